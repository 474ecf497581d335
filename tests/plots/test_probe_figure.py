"""The figure of a probe, whatever the names in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.plots.probe import plot_probe
from embprobe.results import Result

CURVE = [
    Result(
        attribute="color",
        measure="displacement",
        intervention="hue",
        strength=strength,
        encoder=encoder,
        resampled="concept",
        groups=50,
        images=50,
        estimate=strength / 200,
        low=strength / 250,
        high=strength / 150,
        unit="distance to an unrelated image",
    )
    for encoder in ("bundled/clip", "bundled/dino", "reference/pixels")
    for strength in (60.0, 120.0)
]
DOTS = [replace(row, measure="category decoding", intervention=None, strength=None) for row in CURVE[::2]]
DIFFERENCE = replace(CURVE[0], encoder="bundled/clip - bundled/dino", p=0.5, p_adjusted=1.0)


def drawn(path: Path) -> Image.Image:
    """The figure, if it is a picture with something in it."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and image.width > 400 and image.height > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
        return image.copy()


def test_curves_and_dots_are_drawn(tmp_path: Path) -> None:
    out = tmp_path / "new" / "figure.png"
    plot_probe([*CURVE, DIFFERENCE, *DOTS], out, question="Does it move?")
    drawn(out)
    assert list(out.parent.iterdir()) == [out]


def test_the_same_numbers_give_the_same_picture_and_others_another(tmp_path: Path) -> None:
    for name, rows in {"a": CURVE, "b": CURVE, "c": [replace(CURVE[0], estimate=0.25), *CURVE[1:]]}.items():
        plot_probe(rows, tmp_path / f"{name}.png", question="?")
    a, b, c = (np.asarray(drawn(tmp_path / f"{name}.png")) for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("name", [r"$\frac{$", "<script>alert(1)</script> \u202e\u200f", "two\nlines {0} %s", "日本語"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    rows = [replace(row, measure=f"{name} decoding", encoder=f"open_clip/{name}", resampled=name) for row in DOTS]
    curves = [replace(row, encoder=f"open_clip/{name}", unit=name) for row in CURVE[:2]]
    plot_probe([*curves, *rows], tmp_path / "figure.png", question=f"Does {name} move?")
    drawn(tmp_path / "figure.png")


def test_an_interval_that_misses_its_estimate_by_rounding_is_drawn(tmp_path: Path) -> None:
    # the mean of equal scores, summed in another order in every resample
    low = float(np.nextafter(0.1, 1))
    plot_probe([replace(DOTS[0], estimate=0.1, low=low, high=low)], tmp_path / "figure.png", question="?")
    drawn(tmp_path / "figure.png")


def test_a_single_row_is_drawn(tmp_path: Path) -> None:
    plot_probe(DOTS[:1], tmp_path / "figure.png", question="?")
    drawn(tmp_path / "figure.png")
