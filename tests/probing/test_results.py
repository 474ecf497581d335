"""Results: what was saved is what is loaded, and what cannot be compared is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embprobe.errors import EmbprobeError
from embprobe.probing.results import VERSION, Check, Conclusions, Question, Result, Results, Scores, load_results

ROW = Result(
    attribute="color",
    measure="displacement",
    intervention="hue",
    strength=60.0,
    encoder="test/a",
    kind="estimate",
    resampled="concept",
    groups=2,
    images=3,
    estimate=0.5,
    low=0.25,
    high=0.75,
    unit="distance to an unrelated image",
)
DIFFERENCE = replace(
    ROW, against="test/b", kind="difference", estimate=-0.125, low=-0.25, high=0.0, p=0.01, p_adjusted=0.02
)
DECODED = replace(ROW, measure="category decoding", intervention=None, strength=None, unit="accuracy")
SCORES = Scores(
    measure="displacement",
    intervention="hue",
    strength=60.0,
    encoder="test/a",
    unit="distance to an unrelated image",
    keys=["x", "caf\udce9", "z"],
    groups=["g", "g", "h\udce9"],
    values=[0.25, 0.5, 0.75],
)
MANIFEST: dict[str, Any] = {"card": {"schema": 1, "title": "Größe"}, "seed": 0}
CONCLUSIONS = Conclusions(
    ROW.question, {"test/a": 0.5, "test/b": 0.25}, ["a sees it."], [Check("reference/pixels", "m", False, "it failed")]
)
FOUND = Results(
    MANIFEST,
    [ROW, DIFFERENCE, DECODED],
    [SCORES, replace(SCORES, intervention=None, strength=None)],
    CONCLUSIONS,
    ["zero-shot: none of the encoders has a text side"],
)


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    FOUND.save(tmp_path / "results")
    content, rows = load_results(tmp_path / "results" / "results.json")
    assert rows == [ROW, DIFFERENCE, DECODED]
    assert content == {
        **MANIFEST,
        "conclusions": {
            "question": {"measure": "displacement", "intervention": "hue", "strength": 60.0},
            "numbers": {"test/a": 0.5, "test/b": 0.25},
            "sentences": ["a sees it."],
            "checks": [{"encoder": "reference/pixels", "measure": "m", "passed": False, "text": "it failed"}],
        },
        "left_out": ["zero-shot: none of the encoders has a text side"],
    }
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["results.json", "scores.parquet"]


def test_without_a_headline_nothing_is_concluded(tmp_path: Path) -> None:
    replace(FOUND, conclusions=Conclusions(None, {}, [], []), left_out=()).save(tmp_path)
    content, _ = load_results(tmp_path / "results.json")
    assert content["conclusions"] == {"question": None, "numbers": {}, "sentences": [], "checks": []}
    assert content["left_out"] == []


def test_the_json_is_tidy_and_has_a_version(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content == FOUND.as_json()
    assert content["version"] == VERSION and content["card"]["title"] == "Größe"
    assert content["results"][0]["strength"] == 60.0 and content["results"][2]["strength"] is None
    assert content["results"][0]["against"] is None and content["results"][1]["against"] == "test/b"


def test_the_scores_are_a_table_of_one_image_a_row(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    rows = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    assert len(rows) == 6
    assert rows[1] == {
        "key": "caf\\xe9",
        "group": "g",
        "encoder": "test/a",
        "measure": "displacement",
        "intervention": "hue",
        "strength": 60.0,
        "score": 0.5,
    }
    assert rows[3]["intervention"] is None and rows[3]["strength"] is None


@pytest.mark.parametrize("version", [0, 1, VERSION + 1, "2", None])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**FOUND.as_json(), "version": version}))
    with pytest.raises(EmbprobeError, match=rf"is of result version {version}; this embprobe reads version {VERSION}"):
        load_results(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b'{"version": 2}', b'{"version": 2, "results": [{"no": "result"}]}']
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(EmbprobeError, match=r"results\.json"):
        load_results(path)


def test_an_estimate_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        replace(FOUND, rows=[replace(ROW, estimate=float("nan"))]).save(tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_the_fingerprint_is_of_what_was_measured_not_of_what_was_found() -> None:
    assert replace(FOUND, rows=[]).fingerprint == FOUND.fingerprint
    assert replace(FOUND, manifest={**MANIFEST, "seed": 1}).fingerprint != FOUND.fingerprint
    assert len(FOUND.fingerprint) == 8


def test_a_difference_is_told_from_an_encoder() -> None:
    assert DIFFERENCE.is_difference and not ROW.is_difference
    assert (ROW.who, DIFFERENCE.who) == ("test/a", "test/a - test/b")
    weights_in_a_folder_with_a_dash = replace(ROW, encoder="open_clip/ViT-B-16:runs/clip - best/model.pt")
    assert not weights_in_a_folder_with_a_dash.is_difference


def test_a_question_is_what_a_row_and_its_scores_share() -> None:
    assert ROW.question == DIFFERENCE.question == SCORES.question == Question("displacement", "hue", 60.0)
    assert DECODED.question != ROW.question


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (Question("displacement", "hue", 60.0), "hue 60: displacement"),
        (Question("displacement", "oil", 0.02), "oil 0.02: displacement"),
        (Question("category decoding"), "category decoding"),
        (Question("category k-NN", "pca:32"), "pca:32: category k-NN"),
        (Question("displacement", "hue", 0.0), "hue 0: displacement"),
    ],
)
def test_a_question_is_written_in_short(question: Question, text: str) -> None:
    assert str(question) == text
