"""Results: what was saved is what is loaded, and what cannot be compared is refused."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
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
TOLD = Key(kind="decoding", target="category", variant="linear probe", test="unseen, rare", dataset="emoji")
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
DECODED = replace(ROW, key=TOLD, unit="accuracy", p=0.5)
GUESSED = replace(DECODED, encoder="guessing", role="baseline", p=None)
SCORES = Scores(
    key=HUE,
    encoder="test/a",
    role="subject",
    unit="distance to an unrelated image",
    keys=["x", "caf\udce9", "z"],
    groups=["g", "g", "h\udce9"],
    values=np.array([0.25, 0.5, 0.75]),
)
MANIFEST: dict[str, Any] = {
    "card": {"schema": 1, "title": "Größe", "attribute": "color", "question": "Does it move?"},
    "seed": 0,
}
CONCLUSIONS = Conclusions(
    key=HUE,
    numbers={"test/a": 0.5, "test/b": 0.25},
    sentences=["a sees it."],
    checks=[Check(encoder="reference/pixels", key=TOLD, passed=False, text="it failed")],
)
FOUND = Results(
    manifest=MANIFEST,
    rows=[ROW, DIFFERENCE, DECODED, GUESSED],
    scores=[
        SCORES,
        replace(SCORES, key=TOLD, unit="accuracy", p=0.5),
        replace(SCORES, key=TOLD, encoder="guessing", role="baseline", unit="accuracy"),
    ],
    conclusions=CONCLUSIONS,
    left_out=["zero-shot: none of the encoders has a text side"],
    claims=[{"sentence": "a is more than b", "verdict": "undecided"}],
)


def assert_same(loaded: Results, saved: Results) -> None:
    assert list(loaded.rows) == list(saved.rows) and loaded.conclusions == saved.conclusions
    assert list(loaded.left_out) == list(saved.left_out) and list(loaded.claims) == list(saved.claims)
    assert loaded.manifest == saved.manifest and loaded.fingerprint == saved.fingerprint
    assert len(loaded.scores) == len(saved.scores)
    for a, b in zip(loaded.scores, saved.scores, strict=True):
        assert (a.key, a.encoder, a.role, a.unit, a.p) == (b.key, b.encoder, b.role, b.unit, b.p)
        assert a.values.dtype == np.float64 and np.array_equal(a.values, b.values)
        assert a.keys == [printable(key) for key in b.keys] and a.groups == [printable(group) for group in b.groups]


# --- saved and loaded --------------------------------------------------------------------------------------------


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    FOUND.save(tmp_path / "results")
    assert_same(Results.load(tmp_path / "results"), FOUND)
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["results.json", "scores.parquet"]


def test_without_scores_the_rest_is_the_same(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    (tmp_path / "scores.parquet").unlink()
    assert_same(Results.load(tmp_path, scores=False), replace(FOUND, scores=[]))
    with pytest.raises(EmbprobeError, match=r"scores\.parquet' is damaged or gone"):
        Results.load(tmp_path)


NAMES = st.text(min_size=1, max_size=8).filter(lambda text: printable(text) == text)
KEYS = st.builds(
    Key,
    kind=st.sampled_from(["decoding", "geometry", "somebody-elses"]),
    target=NAMES,
    test=st.none() | NAMES,
    variant=st.none() | NAMES,
    condition=st.none() | NAMES,
    strength=st.none() | st.floats(-1e6, 1e6),
    dataset=st.none() | NAMES,
    layer=st.none() | st.integers(0, 99),
)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS, NAMES, st.integers(1, 4)), min_size=1, max_size=5, unique_by=lambda each: each[:2]))
def test_whatever_keys_are_called_they_come_back(tmp_path: Path, each: list[tuple[Key, str, int]]) -> None:
    rows = [replace(ROW, key=key, encoder=name) for key, name, _ in each]
    scores = [
        replace(
            SCORES, key=key, encoder=name, keys=[f"{i}" for i in range(n)], groups=["g"] * n, values=np.arange(n) / 3
        )
        for key, name, n in each
    ]
    results = replace(FOUND, rows=rows, scores=scores, conclusions=replace(CONCLUSIONS, key=each[0][0]))
    results.save(tmp_path)
    assert_same(Results.load(tmp_path), results)


def test_without_a_headline_nothing_is_concluded(tmp_path: Path) -> None:
    nothing = Conclusions(key=None, numbers={}, sentences=[], checks=[])
    replace(FOUND, conclusions=nothing, left_out=()).save(tmp_path)
    loaded = Results.load(tmp_path)
    assert loaded.conclusions == nothing and loaded.left_out == [] and loaded.headline() == ""


def test_the_json_is_tidy_and_has_a_version(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content == FOUND.as_json()
    assert content["version"] == VERSION and content["card"]["title"] == "Größe"
    assert content["results"][0]["key"]["strength"] == 60.0 and content["results"][2]["key"]["strength"] is None
    assert content["results"][0]["measure"] == "hue 60: displacement"
    assert content["results"][0]["against"] is None and content["results"][1]["against"] == "test/b"
    assert [row["role"] for row in content["results"]] == ["subject", "subject", "subject", "baseline"]


def test_the_scores_are_a_table_of_one_image_a_row(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert len(rows) == 9
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
    assert rows[3]["test"] == "unseen, rare" and rows[3]["strength"] is None


# --- refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2, VERSION + 1, "3", None])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    (tmp_path / "results.json").write_text(json.dumps({**FOUND.as_json(), "version": version}))
    with pytest.raises(EmbprobeError, match=rf"is of result version {version}; this embprobe reads version {VERSION}"):
        Results.load(tmp_path)


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in FOUND.as_json().items() if key != name}


def with_row(**changes: object) -> dict[str, Any]:
    return {**FOUND.as_json(), "results": [{**FOUND.rows[0].as_json(), **changes}]}


DAMAGED: dict[str, object] = {
    "no results": without("results"),
    "no conclusions": without("conclusions"),
    "an empty table": {**FOUND.as_json(), "results": []},
    "a row without a key": with_row(key=None),
    "a key without a kind": with_row(key={"target": "hue"}),
    "a role of its own": with_row(role="winner"),
    "an estimate in words": with_row(estimate="much"),
    "a strength in words": with_row(key=asdict(HUE) | {"strength": "much"}),
    "groups by halves": with_row(groups=2.5),
    "a check that may have passed": {
        **FOUND.as_json(),
        "conclusions": {**FOUND.as_json()["conclusions"], "checks": [{"passed": "perhaps"}]},
    },
    "left out what": {**FOUND.as_json(), "left_out": [3]},
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_what_lacks_something_is_damaged(tmp_path: Path, content: object) -> None:
    (tmp_path / "results.json").write_text(json.dumps(content))
    with pytest.raises(EmbprobeError, match=r"results\.json' is damaged.*Remove it, and run the probe again"):
        Results.load(tmp_path, scores=False)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_damaged(tmp_path: Path, number: str) -> None:
    text = json.dumps(FOUND.as_json()).replace('"estimate": 0.5', f'"estimate": {number}')
    assert number in text
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(EmbprobeError, match="is damaged"):
        Results.load(tmp_path, scores=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b"[]", b'{"version": 3}', b'{"version": 3, "results": [{"no": "result"}]}', b"[" * 9999],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "results.json").write_bytes(content)
    with pytest.raises(EmbprobeError, match=r"results\.json' is damaged"):
        Results.load(tmp_path)


def test_where_there_are_none_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="There are no results at"):
        Results.load(tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "other rows", "no columns"])
def test_damaged_scores_are_named(tmp_path: Path, damage: str) -> None:
    FOUND.save(tmp_path)
    path = tmp_path / "scores.parquet"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif damage == "other rows":
        replace(FOUND, scores=[replace(SCORES, encoder="nobody")]).save(tmp_path / "other")
        path.write_bytes((tmp_path / "other" / "scores.parquet").read_bytes())
    else:
        pq.write_table(pq.read_table(path).select(["key", "score"]), path)
    with pytest.raises(EmbprobeError, match=r"scores\.parquet' is damaged or gone. Run the probe again"):
        Results.load(tmp_path)


def test_an_estimate_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(FOUND, rows=[replace(ROW, estimate=float("nan"))]).save(tmp_path)
    assert not (tmp_path / "results.json").exists()


# --- what they are -----------------------------------------------------------------------------------------------


def test_the_fingerprint_is_of_what_was_measured_not_of_what_was_found() -> None:
    assert replace(FOUND, rows=[]).fingerprint == FOUND.fingerprint
    assert replace(FOUND, manifest={**MANIFEST, "seed": 1}).fingerprint != FOUND.fingerprint
    assert len(FOUND.fingerprint) == 8


def test_a_difference_is_told_from_an_encoder() -> None:
    assert DIFFERENCE.is_difference and not ROW.is_difference
    assert (ROW.label, DIFFERENCE.label) == ("test/a", "test/a - test/b")
    weights_in_a_folder_with_a_dash = replace(ROW, encoder="open_clip/ViT-B-16:runs/clip - best/model.pt")
    assert not weights_in_a_folder_with_a_dash.is_difference


def test_the_headline_is_the_sentences_or_of_one_encoder_its_number() -> None:
    assert FOUND.headline() == "a sees it."
    alone = replace(FOUND, conclusions=replace(CONCLUSIONS, sentences=[]))
    unit = "distance to an unrelated image"
    assert alone.headline() == f"test/a: 0.500 (0.250 to 0.750) at 'hue 60: displacement', {unit}."


def test_a_frame_has_the_fields_of_the_key_as_columns() -> None:
    frame = FOUND.to_frame()
    assert frame["measure"].tolist()[0] == "hue 60: displacement" and "key" not in frame
    assert frame["target"].tolist() == ["hue", "hue", "category", "category"]
    assert frame["role"].tolist() == ["subject", "subject", "subject", "baseline"]


def test_without_pandas_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EmbprobeError, match="A data frame needs pandas: pip install pandas"):
        FOUND.to_frame()


def test_a_notebook_shows_a_table_that_no_name_can_break() -> None:
    hostile = replace(FOUND, rows=[replace(ROW, encoder="<script>alert(1)</script>")])
    page = hostile._repr_html_()
    assert "&lt;script&gt;" in page and "<script>" not in page
    assert "0.500 (0.250 to 0.750)" in page and "<b>a sees it.</b>" in page


def test_a_result_draws_itself(tmp_path: Path) -> None:
    path = FOUND.plot(tmp_path / "figure.png")
    assert path == tmp_path / "figure.png" and path.read_bytes().startswith(b"\x89PNG")
    assert path.with_suffix(".svg").exists()
    figure: Any = FOUND.plot()
    assert "Does it move?" in figure._suptitle.get_text()
