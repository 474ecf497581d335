"""`embprobe compare` from end to end, with reference encoders and a few emoji."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

import embprobe.cli.session
from embprobe.images import Images
from tests.conftest import Run

ENCODERS = ("-e", "reference/pixels", "-e", "reference/random-vit")


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch, emoji: Images) -> None:
    """The program's images are every sixtieth concept; their names try to steer the terminal and the page."""
    kept = set(sorted(set(emoji.label("concept")))[::60])
    rows = emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)
    few = rows.labelled(lambda row: {**row.labels, "name": f"$x$ <b>{row.labels['name']}</b>\n\x1b[31m\u202e"})
    monkeypatch.setattr(embprobe.cli.session, "open_rows", lambda images, run: few)


def test_a_comparison_is_printed_saved_and_drawn(run: Run, space: Path) -> None:
    code, out, err = run("compare", *ENCODERS)
    assert code == 0
    for term in ("debiased CKA", "mutual 10-NN", "rank correlation", "chance", "category", "style", "color"):
        assert term in out
    (folder,) = (space / "results").iterdir()
    assert {path.name for path in folder.iterdir()} == {"comparison.json", "pairs-1.png"}
    assert f"Figure: {folder / 'pairs-1.png'}" in err and f"Numbers: {folder / 'comparison.json'}" in err
    with Image.open(folder / "pairs-1.png") as sheet:
        assert sheet.width > 1000 and len(sheet.convert("RGB").getcolors(2**24) or ()) > 500
    code, printed, _ = run("compare", *ENCODERS, "--json")
    comparison = json.loads(printed)
    assert comparison.pop("figures") == [str(folder / "pairs-1.png")]
    assert comparison == json.loads((folder / "comparison.json").read_text())
    assert list(comparison["encoders"]) == ["reference/pixels", "reference/random-vit"]


def test_layers_are_compared_printed_saved_and_drawn(run: Run, space: Path) -> None:
    both = ("-e", "bundled/clip", "-e", "bundled/dino", "--layers", "every 3", "-k", "3")
    code, out, err = run("compare", *both)
    assert code == 0 and "Which layers agree?" in out and "by debiased CKA" in out and "by mutual 3-NN" in out
    assert "Layer " in out and "of bundled/clip" in out and "The untrained network, reference/random-vit," in out
    (folder,) = (space / "results").iterdir()
    assert {path.name for path in folder.glob("*.[jp]*")} == {"layers.json", "layers-1.png", "within.png"}
    assert f"Figure: {folder / 'layers-1.png'}" in err and f"Numbers: {folder / 'layers.json'}" in err
    code, printed, _ = run("compare", *both, "--json")
    comparison = json.loads(printed)
    assert comparison.pop("figures") == [str(folder / "layers-1.png"), str(folder / "within.png")]
    assert comparison == json.loads((folder / "layers.json").read_text())
    assert comparison["encoders"]["bundled/dino"]["layers"] == [3, 6]


def test_layers_that_cannot_be_compared(run: Run) -> None:
    code, out, err = run("compare", *ENCODERS, "--layers", "all")
    assert (code, out) == (2, "") and "'reference/pixels' has no layers to compare" in err
    code, _, err = run("compare", "-e", "bundled/dino", "--layers", "7")
    assert code == 2 and "has 6 layers" in err
    code, _, err = run("compare", "-e", "bundled/dino", "--layers", "all", "--thresholds", "loose")
    assert code == 2 and "leave out thresholds, or leave out layers" in " ".join(err.split())


def test_options_reach_the_comparison(run: Run) -> None:
    _, printed, _ = run(
        "compare", *ENCODERS, "-k", "3", "--by", "split", "--pairs", "2", "--near-far", "0.9", "0.8", "--sampled", "9",
        "--most-per-image", "3", "--thresholds", "strict", "--json",
    )  # fmt: skip
    comparison = json.loads(printed)
    assert comparison["terms"] == {
        "k": 3,
        "by": ["split"],
        "pairs": 2,
        "near_far": [0.9, 0.8],  # what is typed overrules the name
        "far_near": [0.15, 0.95],
        "percentiles": [0.95, 0.5],
        "sampled": 9,
        "most_per_image": 3,
    }
    assert comparison["agreement"][1]["measure"] == "mutual 3-NN"
    assert all(len(half["pairs"]) <= 2 for half in comparison["disagreement"])


def test_why_is_drawn_and_printed_with_the_comparison(run: Run, space: Path) -> None:
    code, printed, err = run("compare", *ENCODERS, "--why", "--pairs", "2", "--json")
    assert code == 0, err
    (folder,) = (space / "results").iterdir()
    comparison = json.loads(printed)
    assert comparison["why_figures"] == [str(folder / "why-1.png")] and (folder / "why-1.png").is_file()
    assert comparison["why"] == json.loads((folder / "why.json").read_text())["explained"]
    pairs = [[pair["keys"] for pair in half["pairs"]] for half in comparison["disagreement"]]
    assert [[pair["keys"] for pair in half["pairs"]] for half in comparison["why"]] == pairs
    code, _, err = run("compare", *ENCODERS, "--why", "--pairs", "2")
    assert code == 0 and f"Figure: {folder / 'why-1.png'}" in err
    code, printed, _ = run("compare", *ENCODERS, "--pairs", "2", "--json")
    assert "why" not in json.loads(printed)


def test_limits_that_are_none(run: Run) -> None:
    code, _, err = run("compare", *ENCODERS, "--thresholds", "lose")
    assert code == 2 and "no thresholds 'lose'. Did you mean loose?" in " ".join(err.split())
    code, _, err = run("compare", *ENCODERS, "--far-near", "0.5", "80")
    assert code == 2 and "80 is no cosine" in err
    code, _, err = run("compare", *ENCODERS, "--percentiles", "95", "50")
    assert code == 2 and "Percentiles are from 0 to 1, not 95 and 50" in err


def test_one_encoder_is_no_comparison(run: Run) -> None:
    code, out, err = run("compare", "-e", "reference/pixels")
    assert (code, out) == (2, "") and "at least two encoders" in err
    code, _, err = run("compare", *ENCODERS, "-k", "1000")
    assert code != 0 and "1000" in err
