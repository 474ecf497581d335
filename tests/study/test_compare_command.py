"""`embprobe compare` from end to end, with reference encoders and a few emoji."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

import embprobe.cli
import embprobe.commands.arguments
from embprobe.images import Images

Run = Callable[..., tuple[object, str, str]]
ENCODERS = ("-e", "reference/pixels", "-e", "reference/random-vit")


@pytest.fixture
def few(emoji: Images) -> Images:
    """Every sixtieth concept; one of them is named by somebody who wants to be read."""
    kept = set(sorted(set(emoji.label("concept")))[::60])
    rows = emoji.take(i for i, row in enumerate(emoji.rows) if row.labels["concept"] in kept)
    return rows.labelled(lambda row: {**row.labels, "name": f"$x$ <b>{row.labels['name']}</b>\n\x1b[31m\u202e"})


@pytest.fixture
def run(few: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setattr(embprobe.commands.arguments, "open_rows", lambda images: few)
    monkeypatch.setenv("EMBPROBE_WORKSPACE", str(tmp_path / "space"))

    def run(*arguments: str) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["embprobe", "compare", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            embprobe.cli.main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_comparison_is_printed_saved_and_drawn(run: Run, tmp_path: Path) -> None:
    code, out, err = run(*ENCODERS)
    assert code == 0
    for told in ("debiased CKA", "mutual 10-NN", "rank correlation", "chance", "category", "style", "color"):
        assert told in out
    (folder,) = (tmp_path / "space" / "results").iterdir()
    assert {path.name for path in folder.iterdir()} == {"comparison.json", "pairs-1.png"}
    assert f"Figure: {folder / 'pairs-1.png'}" in err and f"Numbers: {folder / 'comparison.json'}" in err
    with Image.open(folder / "pairs-1.png") as sheet:
        assert sheet.width > 1000 and len(sheet.convert("RGB").getcolors(2**24) or ()) > 500
    code, printed, _ = run(*ENCODERS, "--json")
    said = json.loads(printed)
    assert said.pop("figures") == [str(folder / "pairs-1.png")]
    assert said == json.loads((folder / "comparison.json").read_text())
    assert list(said["encoders"]) == ["reference/pixels", "reference/random-vit"]


def test_options_reach_the_comparison(run: Run) -> None:
    _, printed, _ = run(*ENCODERS, "-k", "3", "--by", "split", "--pairs", "2", "--cosines", "0.9", "0.8", "--json")
    said = json.loads(printed)
    assert said["terms"] == {"k": 3, "by": ["split"], "pairs": 2, "cosines": [0.9, 0.8]}
    assert said["agreement"][1]["measure"] == "mutual 3-NN"
    assert all(len(each["pairs"]) <= 2 for each in said["disagreement"])


def test_one_encoder_is_no_comparison(run: Run) -> None:
    code, out, err = run("-e", "reference/pixels")
    assert (code, out) == (2, "") and "at least two encoders" in err
    code, _, err = run(*ENCODERS, "-k", "1000")
    assert code != 0 and "1000" in err
