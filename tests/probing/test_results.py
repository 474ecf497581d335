"""Results: what was saved is what is loaded, and what cannot be compared is refused."""

from __future__ import annotations

import builtins
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.probing.key import Key
from embprobe.probing.results import VERSION, Check, Conclusions, Result, Results
from embprobe.probing.scores import Scores
from embprobe.system.text import printable

HUE = Key(kind="displacement", target="hue", strength=60.0, dataset="emoji")
CATEGORY = Key(kind="decoding", target="category", variant="linear probe", test="new", dataset="emoji")
ROW = Result(
    attribute="color",
    key=HUE,
    encoder="test/a",
    role="subject",
    resampled="concept",
    groups=2,
    images=3,
    estimate=0.5,
    low=0.25,
    high=0.75,
    unit="distance to an unrelated image",
)
DIFFERENCE = replace(ROW, against="test/b", estimate=-0.125, low=-0.25, high=0.0, p=0.01, p_adjusted=0.02)
DECODED = replace(ROW, key=CATEGORY, unit="accuracy", role="reference", p=0.5, p_adjusted=1.0)
SCORES = Scores(
    key=HUE,
    encoder="test/a",
    role="subject",
    unit="distance to an unrelated image",
    keys=["x", "caf\udce9", "z"],
    groups=["g", "g", "h\udce9"],
    values=np.array([0.25, 0.5, 0.75]),
)
MANIFEST: dict[str, Any] = {"card": {"schema": 1, "title": "Größe", "question": "Is it seen?"}, "seed": 0}
CHECK = Check(encoder="reference/pixels", key=CATEGORY, passed=False, text="it failed")
CONCLUSIONS = Conclusions(key=HUE, numbers={"test/a": 0.5, "test/b": 0.25}, sentences=["a sees it."], checks=[CHECK])
NOTHING = Conclusions(key=None, numbers={}, sentences=[], checks=[])
FOUND = Results(
    manifest=MANIFEST,
    rows=[ROW, DIFFERENCE, DECODED],
    scores=[SCORES, replace(SCORES, key=CATEGORY, role="reference", unit="accuracy", p=0.5)],
    conclusions=CONCLUSIONS,
    left_out=["zero-shot: none of the encoders has a text side"],
)


def write(folder: Path, change: Callable[[dict[str, Any]], object] = lambda content: None) -> Path:
    """Save, then change the JSON."""
    FOUND.save(folder)
    path = folder / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


# --- saved and loaded --------------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    FOUND.save(tmp_path / "results")
    found = Results.load(tmp_path / "results")
    assert found.rows == [ROW, DIFFERENCE, DECODED]
    assert found.manifest == MANIFEST and found.fingerprint == FOUND.fingerprint
    assert found.conclusions == CONCLUSIONS
    assert found.left_out == ["zero-shot: none of the encoders has a text side"] and found.claims == []
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["results.json", "scores.parquet"]
    assert_same_scores(found, FOUND)
    assert found.scores[0].keys == ["x", "caf\\xe9", "z"] and found.scores[0].groups == ["g", "g", "h\\xe9"]


def assert_same_scores(a: Results, b: Results) -> None:
    """All of them, and keys and groups as a file can hold them."""
    assert len(a.scores) == len(b.scores)
    for one, other in zip(a.scores, b.scores, strict=True):
        assert (one.key, one.encoder, one.role, one.unit, one.p) == (
            other.key, other.encoder, other.role, other.unit, other.p
        )  # fmt: skip
        assert one.values.dtype == np.float64 and np.array_equal(one.values, other.values)
        assert list(map(printable, one.keys)) == list(map(printable, other.keys))
        assert list(map(printable, one.groups)) == list(map(printable, other.groups))


def test_without_the_scores_it_is_the_same_but_for_these(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    (tmp_path / "scores.parquet").unlink()
    found = Results.load(str(tmp_path), scores=False)
    assert (found.rows, found.scores) == (FOUND.rows, [])
    assert found.as_json() == FOUND.as_json()
    found.save(tmp_path)
    again = Results.load(tmp_path)
    assert again.as_json() == FOUND.as_json() and again.scores == []


def test_names_that_are_no_utf_8_are_written_as_escapes_and_loaded_as_they_were(tmp_path: Path) -> None:
    facts: dict[str, Any] = {"encoder": "caf\udce9", "key": replace(HUE, target="\ud800", dataset="\udcff")}
    odd = replace(FOUND, rows=[replace(ROW, **facts)], scores=[replace(SCORES, **facts)])
    odd.save(tmp_path)
    first = pq.read_table(tmp_path / "scores.parquet").to_pylist()[0]
    assert (first["encoder"], first["target"], first["dataset"]) == ("caf\\xe9", "\\ud800", "\\xff")
    loaded = Results.load(tmp_path)
    assert loaded.rows == odd.rows
    assert_same_scores(loaded, odd)


def test_two_cards_of_a_study_may_measure_the_same(tmp_path: Path) -> None:
    rows = [ROW, replace(ROW, attribute="other", unit="steps")]
    both = replace(FOUND, rows=rows, scores=[SCORES, replace(SCORES, unit="steps", values=np.array([1.0, 2.0, 3.0]))])
    both.save(tmp_path)
    assert_same_scores(Results.load(tmp_path), both)


def test_without_a_headline_nothing_is_concluded(tmp_path: Path) -> None:
    replace(FOUND, conclusions=NOTHING, left_out=()).save(tmp_path)
    found = Results.load(tmp_path)
    assert found.conclusions == NOTHING and found.left_out == []
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content["conclusions"] == {"key": None, "numbers": {}, "sentences": [], "checks": []}


def test_the_json_is_tidy_and_has_a_version(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content == FOUND.as_json()
    assert content["version"] == VERSION == 4 and content["card"]["title"] == "Größe"
    moved, difference, decoded = content["results"]
    assert moved["measure"] == "hue 60: displacement" and decoded["measure"] == "category decoding, new"
    assert moved["key"] == asdict(HUE) and decoded["key"] == asdict(CATEGORY)
    assert moved["key"]["strength"] == 60.0 and decoded["key"]["strength"] is None
    assert moved["against"] is None and difference["against"] == "test/b"
    assert [row["role"] for row in content["results"]] == ["subject", "subject", "reference"]
    assert list(content["results"][0]) == [
        "measure", "attribute", "key", "encoder", "role", "against", "resampled", "groups", "images", "estimate", "low",
        "high", "p", "p_adjusted", "unit", "floor", "detectable",
    ]  # fmt: skip
    assert content["conclusions"]["checks"] == [
        {"encoder": "reference/pixels", "key": asdict(CATEGORY), "passed": False, "text": "it failed"}
    ]


def test_the_scores_are_a_table_of_one_image_a_row(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    table = pq.read_table(tmp_path / "scores.parquet")
    rows = table.to_pylist()
    assert len(rows) == 6
    assert rows[1] == {
        "key": "caf\\xe9",
        "group": "g",
        "encoder": "test/a",
        "kind": "displacement",
        "target": "hue",
        "test": None,
        "variant": None,
        "condition": None,
        "strength": 60.0,
        "dataset": "emoji",
        "layer": None,
        "score": 0.5,
    }
    assert rows[3]["test"] == "new" and rows[3]["strength"] is None
    assert list(rows[1]) == table.column_names


TEXTS = st.sampled_from(
    ["", "hue", "caf\udce9", "\udcff\ud800", "日本", "\u202eabc", "a\nb", "\0", '"', "None", "a: b, c"]
) | st.text(max_size=8)
"""Names of files and labels are anybody's: bytes that are no UTF-8 (surrogates), control characters, quotes."""
UNIT = st.floats(-1e300, 1e300, allow_nan=False)
ODD_KEYS = st.builds(
    Key,
    kind=st.sampled_from(["displacement", "decoding", "zero-shot", "preference", "variance", "natural-pairs", "mine"]),
    target=TEXTS,
    test=st.none() | TEXTS,
    variant=st.none() | TEXTS,
    condition=st.none() | TEXTS,
    strength=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    dataset=st.none() | TEXTS,
    layer=st.none() | st.integers(0, 48),
)
PROBABILITY = st.none() | st.floats(0, 1)
JSON = st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.lists(st.text(max_size=3), max_size=2))


@st.composite
def results(draw: st.DrawFn) -> Results:
    """Some keys of some encoders, with scores of a few images."""
    keys = draw(
        st.lists(ODD_KEYS, min_size=1, max_size=4, unique_by=lambda key: tuple(map(repr_of, asdict(key).values())))
    )
    encoders = draw(st.lists(TEXTS, min_size=1, max_size=3, unique_by=printable))
    rows, scores = [], []
    for key in keys:
        n = draw(st.integers(1, 5))
        for encoder in encoders:
            role = draw(st.sampled_from(["subject", "reference", "baseline"]))
            p, unit = draw(PROBABILITY), draw(TEXTS)
            facts: dict[str, Any] = {"key": key, "encoder": encoder, "role": role, "unit": unit, "p": p}
            estimate, low, high = draw(UNIT), draw(UNIT), draw(UNIT)
            more: dict[str, Any] = {
                "groups": n,
                "images": n,
                "p_adjusted": p,
                "resampled": draw(TEXTS),
                "attribute": draw(TEXTS),
            }
            rows.append(Result(**facts, **more, estimate=estimate, low=low, high=high))
            names = [draw(TEXTS) for _ in range(n)]
            values = np.array(draw(st.lists(UNIT, min_size=n, max_size=n)))
            scores.append(Scores(**facts, keys=names, groups=names[::-1], values=values))
    differences = [replace(row, against=draw(TEXTS)) for row in rows[: draw(st.integers(0, 2))]]
    headline = draw(st.sampled_from([None, *keys]))
    check = Check(encoder=draw(TEXTS), key=keys[-1], passed=draw(st.booleans()), text=draw(TEXTS))
    return Results(
        manifest={"card": draw(JSON), "seed": draw(st.integers())},
        rows=[*rows, *differences],
        scores=scores,
        conclusions=Conclusions(
            key=headline,
            numbers={encoder: draw(UNIT) for encoder in encoders},
            sentences=draw(st.lists(TEXTS, max_size=2)),
            checks=[check] * draw(st.integers(0, 2)),
        ),
        left_out=draw(st.lists(TEXTS, max_size=2)),
        claims=draw(st.lists(JSON, max_size=2)),
    )


def repr_of(value: object) -> str:
    """A file holds two names that differ only in how their odd bytes are written as one."""
    return repr(printable(value) if isinstance(value, str) else value)


@given(results())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_results_are_loaded_as_they_were_saved(tmp_path: Path, made: Results) -> None:
    made.save(tmp_path)
    found = Results.load(tmp_path)
    assert found.rows == list(made.rows) and found.manifest == made.manifest
    assert found.conclusions == made.conclusions
    assert found.left_out == list(made.left_out) and found.claims == list(made.claims)
    assert found.fingerprint == made.fingerprint
    assert_same_scores(found, made)
    first = (tmp_path / "results.json").read_bytes()
    found.save(tmp_path)
    assert (tmp_path / "results.json").read_bytes() == first


# --- what is refused ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2, 3, VERSION + 1, "4", None])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    write(tmp_path, lambda content: content.update(version=version))
    with pytest.raises(EmbprobeError, match=rf"is of result version {version}; this embprobe reads version {VERSION}"):
        Results.load(tmp_path)


def test_results_as_version_2_wrote_them_are_refused_for_their_version(tmp_path: Path) -> None:
    row = {
        "attribute": "color", "measure": "displacement", "intervention": "hue", "strength": 60.0, "encoder": "test/a",
        "kind": "estimate", "against": None, "resampled": "concept", "groups": 2, "images": 3, "estimate": 0.5,
        "low": 0.25, "high": 0.75, "p": None, "p_adjusted": None, "unit": "u",
    }  # fmt: skip
    asked = {"measure": "displacement", "intervention": "hue", "strength": 60.0}
    said = {"question": asked, "numbers": {}, "sentences": [], "checks": []}
    content = {"version": 2, "card": {}, "conclusions": said, "left_out": [], "results": [row]}
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(EmbprobeError) as refused:
        Results.load(tmp_path)
    assert str(refused.value) == (
        f"'{tmp_path / 'results.json'}' is of result version 2; this embprobe reads version 4. Run the probe again."
    )


@pytest.mark.parametrize("name", ["gone", "results.json"])
def test_results_that_are_not_there_are_named(tmp_path: Path, name: str) -> None:
    write(tmp_path)
    with pytest.raises(EmbprobeError) as refused:
        Results.load(tmp_path / name)  # a file is no folder
    assert str(refused.value) == f"There are no results at '{tmp_path / name / 'results.json'}'."


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, lambda content: content["results"][1].update(groups="two"))
    with pytest.raises(EmbprobeError) as refused:
        Results.load(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"'{path}' is damaged at 'results.1.groups': ") and "integer" in message


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b"null",
        b"3",
        b'"text"',
        b"{}",
        b'{"a": 1}',
        b'{"version": 4}',
        b'{"version": 4, "results": [{"no": "result"}]}',
        b"[" * 100_000,
        b'{"version": 4, "conclusions": ' + b'{"a":' * 100_000,
    ],
    ids=lambda content: repr(content[:40]),
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(EmbprobeError) as refused:
        Results.load(tmp_path)
    message = str(refused.value)
    assert message.startswith(f"'{path}' is damaged") and message.endswith("Remove it, and run the probe again.")
    assert "\n" not in message


def test_a_file_that_is_cut_off_anywhere_is_damaged(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    path = tmp_path / "results.json"
    whole = path.read_bytes().rstrip()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        with pytest.raises(EmbprobeError, match="is damaged"):
            Results.load(tmp_path)


@pytest.mark.parametrize("lost", ["conclusions", "left_out", "results"])
def test_a_lost_part_is_named(tmp_path: Path, lost: str) -> None:
    path = write(tmp_path, lambda content: content.pop(lost))
    with pytest.raises(EmbprobeError) as refused:
        Results.load(tmp_path)
    assert str(refused.value) == f"'{path}' is damaged: it lacks {lost}. Remove it, and run the probe again."


DAMAGED = r"^'[^']+results\.json' is damaged( at '[^'\n]+': [^\n]+)?\. Remove it, and run the probe again\.$"


@pytest.mark.parametrize(
    "changes",
    [
        {"estimate": "0.5"},
        {"estimate": "much"},
        {"estimate": True},
        {"estimate": None},
        {"estimate": 10**400},
        {"low": "0"},
        {"p": "0.5"},
        {"groups": "2"},
        {"groups": 2.5},
        {"groups": True},
        {"images": []},
        {"encoder": 3},
        {"encoder": None},
        {"role": "boss"},
        {"role": None},
        {"against": 3},
        {"unit": None},
        {"surplus": 1},
        {"key": None},
        {"key": "hue 60: displacement"},
        {"key": {}},
        {"key": {"kind": "displacement"}},
        {"key": {"target": "hue"}},
        {"key": asdict(HUE) | {"strength": "60"}},
        {"key": asdict(HUE) | {"strength": "much"}},
        {"key": asdict(HUE) | {"strength": False}},
        {"key": asdict(HUE) | {"layer": 0.5}},
        {"key": asdict(HUE) | {"target": None}},
        {"key": asdict(HUE) | {"surplus": 1}},
    ],
    ids=str,
)
def test_a_row_of_other_types_is_damage(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, lambda content: content["results"][0].update(changes))
    with pytest.raises(EmbprobeError, match=DAMAGED):
        Results.load(tmp_path)


@pytest.mark.parametrize("field", ["estimate", "low", "high", "p", "p_adjusted"])
@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_damage(tmp_path: Path, field: str, number: str) -> None:
    path = write(tmp_path, lambda content: content["results"][1].update({field: "HERE"}))
    path.write_text(path.read_text().replace('"HERE"', number))
    with pytest.raises(EmbprobeError, match="is damaged"):
        Results.load(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"results": []},
        {"results": {}},
        {"results": None},
        {"results": [3]},
        {"conclusions": {"key": None}},
        {"conclusions": None},
        {"conclusions": {"key": {"no": "key"}, "numbers": {}, "sentences": [], "checks": []}},
        {"conclusions": {"key": None, "numbers": {"a": "1"}, "sentences": [], "checks": []}},
        {"conclusions": {"key": None, "numbers": {}, "sentences": [1], "checks": []}},
        {"conclusions": {"key": None, "numbers": {}, "sentences": [], "checks": [{}]}},
        {"conclusions": {"key": None, "numbers": {}, "sentences": "none", "checks": []}},
        {"conclusions": asdict(NOTHING) | {"surplus": 1}},
        {"conclusions": asdict(NOTHING) | {"checks": [asdict(CHECK) | {"passed": "perhaps"}]}},
        {"conclusions": asdict(NOTHING) | {"checks": [asdict(CHECK) | {"passed": "true"}]}},
        {"conclusions": asdict(NOTHING) | {"checks": [asdict(CHECK) | {"passed": 1}]}},
        {"left_out": [1]},
        {"left_out": "nothing"},
        {"claims": ["one"]},
        {"claims": {}},
    ],
    ids=str,
)
def test_parts_of_other_types_are_damage(tmp_path: Path, changes: dict[str, Any]) -> None:
    write(tmp_path, lambda content: content.update(changes))
    with pytest.raises(EmbprobeError, match=DAMAGED):
        Results.load(tmp_path)


@given(data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_anything_in_any_place_is_loaded_or_refused(tmp_path: Path, data: st.DataObject) -> None:
    """And what is loaded can be said, shown and saved."""
    content = json.loads(json.dumps(FOUND.as_json()))
    part: Any = content
    while isinstance(part, dict | list) and part:
        at = data.draw(st.sampled_from(sorted(part) if isinstance(part, dict) else range(len(part))))
        if data.draw(st.booleans()) or not isinstance(part[at], dict | list):
            part[at] = data.draw(st.sampled_from([None, 0, -1, 1.5, "", "x", "\ud800", True, [], {}, [None], {"a": 1}]))
            break
        part = part[at]
    (tmp_path / "results.json").write_text(json.dumps(content))
    try:
        found = Results.load(tmp_path, scores=False)
    except EmbprobeError as refused:
        assert str(tmp_path) in str(refused) and "\n" not in str(refused)
    else:
        assert found.headline() is not None and found._repr_html_() and found.fingerprint
        found.save(tmp_path / "again")


def test_an_estimate_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(FOUND, rows=[replace(ROW, estimate=float("nan"))]).save(tmp_path)
    assert not (tmp_path / "results.json").exists()


# --- scores that are not those of the rows -----------------------------------------------------------------------


def damaged(table: pa.Table, name: str) -> pa.Table | None:
    """The table, changed in one way; None for none."""
    score = table.column_names.index("score")
    zeros = pa.array([0.0] * table.num_rows)
    match name:
        case "a key lost":
            return table.slice(0, 3)
        case "rows lost":
            return table.slice(0, 4)
        case "a row too many":
            return pa.concat_tables([table, table.slice(5)])
        case "an encoder that has no row":
            encoders = pa.array(["test/c"] * table.num_rows)
            return table.set_column(table.column_names.index("encoder"), "encoder", encoders)
        case "a key that has no row":
            return table.set_column(table.column_names.index("strength"), "strength", zeros)
        case "a column lost":
            return table.drop_columns(["layer"])
        case "a column of another name":
            return table.rename_columns(["image", *table.column_names[1:]])
        case "text for scores":
            return table.set_column(score, "score", pa.array(["1"] * table.num_rows))
        case "no scores":
            return table.set_column(score, "score", pa.array([None] * table.num_rows, pa.float64()))
        case "scores that are no numbers":
            return table.set_column(score, "score", pa.array([float("nan")] * table.num_rows))
        case "another file":
            return pa.table({"a": [1]})
    return None


@pytest.mark.parametrize(
    "name",
    [
        "a key lost",
        "rows lost",
        "a row too many",
        "an encoder that has no row",
        "a key that has no row",
        "a column lost",
        "a column of another name",
        "text for scores",
        "no scores",
        "scores that are no numbers",
        "another file",
        "no parquet",
        "cut off",
        "gone",
    ],
)
def test_scores_that_are_not_those_of_the_rows_are_refused(tmp_path: Path, name: str) -> None:
    FOUND.save(tmp_path)
    path = tmp_path / "scores.parquet"
    table = damaged(pq.read_table(path), name)
    if table is not None:
        pq.write_table(table, path)
    elif name == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-100] if name == "cut off" else b"key,score\nx,1\n")
    with pytest.raises(EmbprobeError) as refused:
        Results.load(tmp_path)
    assert str(refused.value) == f"'{path}' is damaged or gone. Run the probe again."
    assert Results.load(tmp_path, scores=False).rows == FOUND.rows


# --- what a row is -----------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_what_was_measured_not_of_what_was_found() -> None:
    assert replace(FOUND, rows=[]).fingerprint == FOUND.fingerprint
    assert replace(FOUND, manifest={**MANIFEST, "seed": 1}).fingerprint != FOUND.fingerprint
    assert len(FOUND.fingerprint) == 8


def test_a_difference_is_told_from_an_encoder() -> None:
    assert DIFFERENCE.is_difference and not ROW.is_difference
    assert (ROW.label, DIFFERENCE.label) == ("test/a", "test/a - test/b")
    weights_in_a_folder_with_a_dash = replace(ROW, encoder="open_clip/ViT-B-16:runs/clip - best/model.pt")
    assert not weights_in_a_folder_with_a_dash.is_difference


def test_a_key_is_what_a_row_and_its_scores_share() -> None:
    assert ROW.key == DIFFERENCE.key == SCORES.key == Key(
        kind="displacement", target="hue", strength=60.0, dataset="emoji"
    )  # fmt: skip
    assert DECODED.key != ROW.key


# --- for people and notebooks ------------------------------------------------------------------------------------


def test_the_headline_is_the_sentences_and_of_one_encoder_its_number() -> None:
    assert FOUND.headline() == "a sees it."
    two = replace(CONCLUSIONS, sentences=["a sees it.", "b does not."])
    assert replace(FOUND, conclusions=two).headline() == "a sees it.\nb does not."
    rows = [ROW, replace(ROW, encoder="reference/pixels", role="reference"), DIFFERENCE, DECODED]
    alone = replace(FOUND, rows=rows, conclusions=replace(CONCLUSIONS, sentences=[]))
    assert alone.headline() == (
        "test/a: 0.500 (0.250 to 0.750) at 'hue 60: displacement', distance to an unrelated image."
    )
    assert replace(FOUND, conclusions=NOTHING).headline() == ""


def test_a_subject_of_any_name_has_its_number() -> None:
    rows = [replace(ROW, encoder=name) for name in ("mine", "reference/pixels")]
    rows.append(replace(ROW, encoder="python:mine:make", role="reference"))
    found = replace(FOUND, rows=rows, conclusions=replace(CONCLUSIONS, sentences=[]))
    assert [line.partition(":")[0] for line in found.headline().splitlines()] == ["mine", "reference/pixels"]


def test_without_pandas_a_data_frame_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def without_pandas(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "pandas":
            raise ImportError(name)
        return whole(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_pandas)
    with pytest.raises(EmbprobeError, match=r"^A data frame needs pandas: pip install pandas\.$"):
        FOUND.to_frame()


def test_the_data_frame_is_a_row_a_number_and_a_column_a_field() -> None:
    try:
        import pandas as pd
    except ImportError:  # it is no dependency; then this is what can be checked
        with pytest.raises(EmbprobeError, match="needs pandas"):
            FOUND.to_frame()
        return
    frame = FOUND.to_frame()
    assert list(frame.columns) == [
        "measure", "kind", "target", "test", "variant", "condition", "strength", "dataset", "layer", "attribute",
        "encoder", "role", "against", "resampled", "groups", "images", "estimate", "low", "high", "p", "p_adjusted",
        "unit", "floor", "detectable",
    ]  # fmt: skip
    assert frame["measure"].tolist() == ["hue 60: displacement"] * 2 + ["category decoding, new"]
    assert frame["estimate"].tolist() == [0.5, -0.125, 0.5] and frame["target"].tolist() == ["hue", "hue", "category"]
    assert frame["strength"].dtype == np.float64 and frame["strength"].isna().tolist() == [False, False, True]
    assert frame["role"].tolist() == ["subject", "subject", "reference"]
    assert frame.loc[frame["against"].isna(), "encoder"].tolist() == ["test/a", "test/a"]
    assert isinstance(replace(FOUND, rows=[]).to_frame(), pd.DataFrame)


class Cells(HTMLParser):
    """The elements of a page, and the text of its cells."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.elements.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def cells_of(results: Results) -> Cells:
    parsed = Cells()
    parsed.feed(results._repr_html_())
    return parsed


def test_a_notebook_shows_a_line_a_key_and_a_column_an_encoder() -> None:
    other = replace(ROW, encoder="test/b", estimate=0.25, low=0.125, high=0.5)
    shown = cells_of(replace(FOUND, rows=[ROW, other, DIFFERENCE, DECODED]))
    assert shown.cells == [
        "measure", "test/a", "test/b",
        "hue 60: displacement", "0.500 (0.250 to 0.750)", "0.250 (0.125 to 0.500)",
        "category decoding, new", "0.500 (0.250 to 0.750)", "",
    ]  # fmt: skip
    assert "<p><b>a sees it.</b></p>" in FOUND._repr_html_()


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> & </table>"


def test_names_cannot_act_in_a_notebook() -> None:
    row = replace(ROW, encoder=HOSTILE, key=replace(HUE, target=HOSTILE), unit=HOSTILE)
    for sentences in ([HOSTILE], []):
        conclusions = Conclusions(key=row.key, numbers={}, sentences=sentences, checks=[])
        found = replace(FOUND, rows=[row], conclusions=conclusions)
        shown = cells_of(found)
        assert set(shown.elements) == {"p", "b", "table", "thead", "tbody", "tr", "th", "td"}
        assert shown.cells == ["measure", HOSTILE, f"{HOSTILE} 60: displacement", "0.500 (0.250 to 0.750)"]


def test_a_figure_is_given_or_written(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    figure = FOUND.plot()
    assert isinstance(figure, Figure) and "Is it seen?" in figure.get_suptitle()
    assert [axis.get_title(loc="left") for axis in figure.axes] == ["hue: displacement", "category decoding, new"]
    out = FOUND.plot(str(tmp_path / "new" / "figure.png"))
    assert out == tmp_path / "new" / "figure.png" and out.read_bytes().startswith(b"\x89PNG")
    assert sorted(out.parent.iterdir()) == [out, out.with_suffix(".svg")]
