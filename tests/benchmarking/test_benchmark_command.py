"""The commands ``benchmark`` and ``results``, and the page."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import embprobe as ep
from tests.conftest import Run

COLORS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230)}


@pytest.fixture
def colors(tmp_path: Path) -> Path:
    """Three colours, twelve noisy images each, half of them tests."""
    rng = np.random.default_rng(0)
    for name, color in COLORS.items():
        for i in range(12):
            folder = tmp_path / "colors" / ("test" if i % 2 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            pixels = np.clip(np.array(color) + rng.normal(0, 60, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
    return tmp_path / "colors"


def test_one_table_with_intervals_the_same_numbers_as_a_frame_and_on_the_page(
    run: Run, colors: Path, space: Path, tmp_path: Path
) -> None:
    encoders = ["reference/pixels", "reference/color-histogram"]
    options = [part for name in encoders for part in ("-e", name)]
    done = run("benchmark", str(colors), *options, "--csv", str(tmp_path / "cells.csv"))
    assert done.code == 0 and "train → test" in done.out and "linear probe" in done.out and "0.333" in done.out
    assert "95 % bootstrap intervals over 18 test images" in " ".join(done.out.split())
    assert "Figure: " in done.err and (space / "figures" / "benchmark-colors.png").is_file()
    lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * 6  # no encoder has text, and 6 images of a class are not 16
    again = run("benchmark", str(colors), *options, "--json", "--baseline", "reference/pixels")
    content = json.loads(again.out)
    frame = ep.benchmark(str(colors), encoders, workspace=space, device="cpu").to_frame()
    assert [cell["numbers"]["accuracy"]["estimate"] for cell in content["cells"]] == frame["estimate"].tolist()
    assert {each["against"] for each in content["differences"]} == {"reference/pixels"}
    assert run("report").code == 0
    page = (space / "report.html").read_text()
    assert "Benchmarks" in page and "Right by" in page
    table = run("results", str(space), "--task", "knn-1")
    assert table.out.count("k-NN (1)") == 1 and "linear probe" not in table.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--tasks", "linear"], 2, "There is no task 'linear'"),
        (["--baseline", "bundled/dino"], 2, "The baseline 'bundled/dino' is none of the encoders: reference/pixels"),
        (["--classes", "kind"], 1, "This needs the label 'kind', which no image in 'colors' has"),
    ],
)
def test_a_wrong_request_is_a_sentence(run: Run, colors: Path, arguments: list[str], code: int, message: str) -> None:
    done = run("benchmark", str(colors), "-e", "reference/pixels", *arguments)
    assert done.code == code and message in done.err


def test_a_place_that_is_not_there_and_records_that_are_not(run: Run, tmp_path: Path) -> None:
    assert "There is no folder or file" in run("benchmark", str(tmp_path / "nowhere")).err
    assert "There is no folder" in run("results", str(tmp_path / "nowhere")).err
