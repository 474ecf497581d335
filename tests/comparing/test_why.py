"""Why disagreement pairs are near for one encoder and far for another."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embprobe as ep
from embprobe.comparing.result import Comparison, load_comparison
from embprobe.comparing.why import FIRST, are_explained, explain_disagreements
from embprobe.embeddings.occlusion import explain_similarity
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.report import write_report

BOTH = ("reference/pixels", "reference/color-histogram")


@pytest.fixture(scope="module")
def few(emoji: Images) -> Images:
    """Every sixtieth concept in all its drawings."""
    kept = set(sorted(set(emoji.label("concept")))[::60])
    return emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("workspace")


@pytest.fixture(scope="module")
def comparison(few: Images, folder: Path) -> Comparison:
    return ep.compare(few, BOTH, pairs=5, why=True, workspace=folder)


def test_the_first_pairs_have_the_maps_of_their_images_by_both_encoders(comparison: Comparison) -> None:
    assert [each.disagreement for each in comparison.why] == list(comparison.disagreements)
    for half in comparison.why:
        assert [each.pair for each in half.pairs] == list(half.disagreement.pairs[:FIRST]) and half.pairs
        assert list(half.pairs[0].maps) == [half.disagreement.near, half.disagreement.far]
    one = comparison.why[0].pairs[0]
    pictures = one.rows[0].load(), one.rows[1].load()
    for name, maps in one.maps.items():
        for expected, shown in zip(explain_similarity(pictures, load_encoder(name, device="cpu")), maps, strict=True):
            assert np.allclose(expected.drop, shown.drop, atol=1e-6) and np.array_equal(expected.crop, shown.crop)
            assert shown.chance is not None and shown.chance[0] < 0 < shown.chance[1]


def test_numbers_and_a_sheet_lie_beside_the_comparison_and_on_the_page(
    comparison: Comparison, few: Images, folder: Path
) -> None:
    place = comparison.path(Workspace.open(folder)).parent
    content = json.loads((place / "why.json").read_text())["explained"]
    assert content == [each.as_json() for each in comparison.why]
    assert content[0]["pairs"][0]["maps"][content[0]["near"]][0]["chance"] is not None
    with Image.open(place / "why-1.png") as sheet:
        assert sheet.height > 1000 and len(sheet.convert("RGB").getcolors(2**24) or ()) > 500
    page = write_report(Workspace.open(folder), folder / "page.html", images=few).read_text(encoding="utf-8")
    assert page.count("Which parts of them make these pairs near or far") == 1
    (place / "why.json").write_text(json.dumps({"explained": []}))
    page = write_report(Workspace.open(folder), folder / "page.html", images=few).read_text(encoding="utf-8")
    assert "Which parts of them" not in page
    (place / "why.json").write_text(json.dumps({"explained": content}))


def test_explanations_of_other_pairs_are_not_taken_for_those_of_these(comparison: Comparison, folder: Path) -> None:
    place = comparison.path(Workspace.open(folder)).parent
    assert are_explained(load_comparison(place), place)
    first, second = comparison.disagreements
    other = replace(first, pairs=first.pairs[1:])
    assert not are_explained(replace(comparison, disagreements=(other, second)), place)
    assert not are_explained(replace(comparison, disagreements=(second, first)), place)
    assert not are_explained(comparison, place.parent)


@pytest.mark.parametrize("content", ["", "[]", '{"explained": 3}', '{"explained": [{"near": "a"}]}', "{"])
def test_damaged_explanations_are_none(comparison: Comparison, tmp_path: Path, content: str) -> None:
    (tmp_path / "why.json").write_text(content)
    assert not are_explained(comparison, tmp_path)


def test_a_pair_that_cannot_be_read_any_more_is_noted(comparison: Comparison, few: Images, folder: Path) -> None:
    def gone() -> bytes:
        raise UnreadableImage("it is gone")

    notes: list[str] = []
    session = Session(Workspace.open(folder), note=notes.append)
    key = comparison.disagreements[0].pairs[0].keys[0]
    lacking = replace(comparison, rows={**comparison.rows, key: replace(comparison.rows[key], source=gone)})
    encoders = [load_encoder(name, device="cpu") for name in BOTH]
    first, second = explain_disagreements(lacking, few, encoders, session)
    assert len(first.pairs) == FIRST - 1 and len(second.pairs) == FIRST
    assert any("cannot be read any more (it is gone) and are not explained" in note for note in notes)
