"""Curves over images seen: points at their numbers, bands at their intervals, one colour an encoder."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from PIL import Image

from embprobe.plots import curve
from embprobe.plots.curve import Panel, draw_curves, plot_curves
from embprobe.plots.style import PALETTE
from embprobe.statistics import Estimate


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.2, 100, 50)


TWO = Panel(
    "category",
    "accuracy",
    {"clip": {100_000: estimate(0.6), 30_000: estimate(0.4)}, "dino": {30_000: estimate(0.3)}},
    estimate(0.1),
    0.125,
)
ONE = Panel("name", "accuracy", {"clip": {30_000: estimate(0.05), 1_000_000: estimate(0.2)}, "dino": {}})


def points(axis: Axes) -> list[list[list[float]]]:
    return [np.asarray(line.get_xydata()).tolist() for line in axis.get_lines() if line.get_marker() != "None"]


def test_points_and_bands_are_at_their_numbers_in_the_order_of_sizes() -> None:
    canvas = draw_curves([TWO, ONE], heading="Curves")
    first, second = canvas.axes
    assert first.get_xscale() == second.get_xscale() == "log"
    assert points(first) == [[[30_000, 0.4], [100_000, 0.6]], [[30_000, 0.3]]]
    assert points(second) == [[[30_000, 0.05], [1_000_000, 0.2]]]
    band = first.collections[0].get_paths()[0].vertices
    assert sorted({(x, round(y, 6)) for x, y in np.asarray(band)}) == [
        (30_000, 0.3),
        (30_000, 0.6),
        (100_000, 0.5),
        (100_000, 0.8),
    ]
    assert [each.get_text() for each in first.get_xticklabels()] == ["30 k", "100 k"]
    assert [each.get_text() for each in second.get_xticklabels()] == ["30 k", "1 M"]
    single = first.collections[1]
    assert isinstance(single, LineCollection)
    (interval,) = single.get_segments()
    assert np.asarray(interval).tolist() == pytest.approx(np.array([[30_000, 0.2], [30_000, 0.5]]))
    assert [float(np.asarray(line.get_ydata())[0]) for line in first.get_lines()[-2:]] == [0.1, 0.125]


def test_an_encoder_has_one_color_in_every_panel_and_the_legend_names_all_lines() -> None:
    canvas = draw_curves([ONE, TWO], heading="Curves")
    first, second = canvas.axes
    colors = [[to_hex(line.get_color()) for line in axis.get_lines()] for axis in (first, second)]
    assert colors[0] == [PALETTE[0].lower()] and colors[1][:2] == [color.lower() for color in PALETTE[:2]]
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == [
        "clip",
        "dino",
        "untrained",
        "a blind encoder",
    ]


@pytest.mark.parametrize("count", [1, 3, 4])
def test_any_number_of_panels_becomes_a_picture(count: int, tmp_path: Path) -> None:
    plot_curves(
        [TWO] * count, tmp_path / "new" / "curve.png", heading="More images " * 20 + "$1 of names_with_underscores"
    )
    with Image.open(tmp_path / "new" / "curve.png") as image:
        assert image.format == "PNG" and len(np.unique(np.asarray(image.convert("L")))) > 20
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"curve.png", "curve.svg"}
    assert len(draw_curves([TWO] * count, heading="").axes) == count


def test_examples() -> None:
    assert doctest.testmod(curve).failed == 0
