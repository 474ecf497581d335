"""Results: what was saved is what is loaded, and what cannot be compared is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embprobe.errors import EmbprobeError
from embprobe.results import VERSION, Result, Results, Scores, load_results

ROW = Result(
    attribute="color",
    measure="displacement",
    intervention="hue",
    strength=60.0,
    encoder="test/a",
    resampled="concept",
    groups=2,
    images=3,
    estimate=0.5,
    low=0.25,
    high=0.75,
    unit="distance to an unrelated image",
)
DIFFERENCE = replace(ROW, encoder="test/a - test/b", estimate=-0.125, low=-0.25, high=0.0, p=0.01, p_adjusted=0.02)
DECODED = replace(ROW, measure="category decoding", intervention=None, strength=None, unit="accuracy")
SCORES = Scores(
    "displacement", "hue", 60.0, "test/a", ["x", "caf\udce9", "z"], ["g", "g", "h\udce9"], [0.25, 0.5, 0.75]
)
MANIFEST: dict[str, Any] = {"card": {"schema": 1, "title": "Größe"}, "seed": 0}
FOUND = Results(MANIFEST, [ROW, DIFFERENCE, DECODED], [SCORES, replace(SCORES, intervention=None, strength=None)])


def test_what_is_saved_is_what_is_loaded(tmp_path: Path) -> None:
    FOUND.save(tmp_path / "results")
    manifest, rows = load_results(tmp_path / "results" / "results.json")
    assert manifest == MANIFEST
    assert rows == [ROW, DIFFERENCE, DECODED]
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["results.json", "scores.parquet"]


def test_the_json_is_tidy_and_has_a_version(tmp_path: Path) -> None:
    FOUND.save(tmp_path)
    content = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert content == FOUND.as_json()
    assert content["version"] == VERSION and content["card"]["title"] == "Größe"
    assert content["results"][0]["strength"] == 60.0 and content["results"][2]["strength"] is None


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


@pytest.mark.parametrize("version", [0, VERSION + 1, "1", None])
def test_another_version_is_refused(tmp_path: Path, version: object) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({**FOUND.as_json(), "version": version}))
    with pytest.raises(EmbprobeError, match=rf"is of result version {version}; this embprobe reads version {VERSION}"):
        load_results(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[]", b'{"version": 1}', b'{"version": 1, "results": [{"no": "result"}]}']
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "results.json"
    path.write_bytes(content)
    with pytest.raises(EmbprobeError, match=r"results\.json"):
        load_results(path)


def test_an_estimate_that_is_no_number_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Results(MANIFEST, [replace(ROW, estimate=float("nan"))], [SCORES]).save(tmp_path)
    assert not (tmp_path / "results.json").exists()


def test_the_fingerprint_is_of_what_was_measured_not_of_what_was_found() -> None:
    assert replace(FOUND, rows=[]).fingerprint == FOUND.fingerprint
    assert replace(FOUND, manifest={**MANIFEST, "seed": 1}).fingerprint != FOUND.fingerprint
    assert len(FOUND.fingerprint) == 8


def test_a_difference_is_told_from_an_encoder() -> None:
    assert DIFFERENCE.is_difference and not ROW.is_difference
    weights_in_a_folder_with_a_dash = replace(ROW, encoder="open_clip/ViT-B-16:runs/clip - best/model.pt")
    assert not weights_in_a_folder_with_a_dash.is_difference
