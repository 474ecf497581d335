"""Accuracy under a shift over accuracy without it: the points, the lines, and labels that cover nothing."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from PIL import Image
from scipy.special import expit, logit

from embprobe.plots.robustness import ShiftedAccuracy, draw_robustness, plot_robustness
from embprobe.probing.scores import Role
from embprobe.statistics import Estimate, effective_robustness


def estimate(accuracy: float, images: int = 1_000) -> Estimate:
    half = 1.96 * np.sqrt(accuracy * (1 - accuracy) / images)
    return Estimate(accuracy, accuracy - half, accuracy + half, images, images)


def point(encoder: str, inside: float, shifted: float, images: int = 1_000) -> ShiftedAccuracy:
    role: Role = "reference" if encoder.startswith("reference/") else "subject"
    return ShiftedAccuracy(encoder, role, estimate(inside, images), estimate(shifted, images))


THREE = [point("a/x", 0.5, 0.2), point("b/y", 0.8, 0.5), point("reference/pixels", 0.9, 9 / 13)]


def axis_of(canvas: Figure) -> Axes:
    (axis,) = canvas.axes
    return axis


def labels_of(canvas: Figure) -> list[Annotation]:
    """The encoders' labels; lines that join labels and points have no text."""
    return [text for text in axis_of(canvas).texts if isinstance(text, Annotation) and text.get_text()]


def test_points_intervals_and_lines_are_at_their_accuracies() -> None:
    line = effective_robustness([0.5, 0.8, 0.9], [0.2, 0.5, 9 / 13])
    canvas = draw_robustness(THREE, line, inside="cifar-10", shifted="cifar-10.1")
    axis = axis_of(canvas)
    assert (axis.get_xscale(), axis.get_yscale()) == ("logit", "logit")
    at = [[float(np.ravel(of)[0]) for of in bar[0].get_data()] for bar in axis.containers]
    assert at == [[0.5, 0.2], [0.8, 0.5], [0.9, pytest.approx(9 / 13)]]
    caps = [[float(np.ravel(of)[0]) for of in cap.get_data()] for cap in axis.containers[0][1]]
    half_x, half_y = 1.96 * np.sqrt(0.25 / 1_000), 1.96 * np.sqrt(0.16 / 1_000)
    assert sorted(caps) == pytest.approx(
        np.array(sorted([[0.5 - half_x, 0.2], [0.5 + half_x, 0.2], [0.5, 0.2 - half_y], [0.5, 0.2 + half_y]]))
    )
    by_name = {str(each.get_label()): each for each in axis.get_lines() if not str(each.get_label()).startswith("_")}
    assert list(by_name) == ["no loss: y = x", "fitted line, r² = 1.00"]
    x, y = (np.asarray(of) for of in by_name["fitted line, r² = 1.00"].get_data())
    assert logit(y) == pytest.approx(logit(x) - np.log(4))  # the odds are a quarter
    assert np.array_equal(*by_name["no loss: y = x"].get_data())
    assert [label.get_text() for label in labels_of(canvas)] == ["a/x", "b/y", "reference/pixels"]
    assert axis.get_xlabel() == "accuracy on cifar-10" and axis.get_ylabel() == "accuracy on cifar-10.1"
    colors = [bar[0].get_color() for bar in axis.containers]
    assert colors[2] == "0.35" and colors[0] != colors[1]  # references are grey
    ticks = [label.get_text() for label in axis.get_xticklabels()]
    assert ticks == ["0.5", "0.6", "0.7", "0.8", "0.9"]


def test_a_line_that_is_out_of_sight_or_missing_is_not_in_the_legend() -> None:
    far = [point("a/x", 0.95, 0.10), point("b/y", 0.96, 0.11)]
    canvas = draw_robustness(far, None, inside="here", shifted="there")
    assert canvas.legends == []
    canvas = draw_robustness(THREE, None, inside="here", shifted="there")
    assert [text.get_text() for text in canvas.legends[0].get_texts()] == ["no loss: y = x"]


def test_all_right_and_all_wrong_are_drawn_half_an_image_from_the_end() -> None:
    certain = ShiftedAccuracy("a/x", "subject", Estimate(1.0, 1.0, 1.0, 20, 20), Estimate(0.0, 0.0, 0.1, 50, 50))
    axis = axis_of(draw_robustness([certain, point("b/y", 0.9, 0.5)], None, inside="here", shifted="there"))
    assert [float(np.ravel(of)[0]) for of in axis.containers[0][0].get_data()] == [0.975, 0.01]


def test_a_narrow_range_has_finer_ticks() -> None:
    near = [point(f"a/{i}", 0.8 + 0.001 * i, 0.7 + 0.001 * i, 100_000) for i in range(4)]
    axis = axis_of(draw_robustness(near, None, inside="here", shifted="there"))
    for ticks, limits in ((axis.get_xticks(), axis.get_xlim()), (axis.get_yticks(), axis.get_ylim())):
        assert len(ticks) >= 3 and limits[0] <= min(ticks) < max(ticks) <= limits[1]


def boxes(canvas: Figure) -> list[tuple[str, tuple[float, float, float, float]]]:
    canvas.draw_without_rendering()
    found = []
    for label in labels_of(canvas):
        box = super(Annotation, label).get_window_extent()  # of the text alone
        found.append((label.get_text(), (box.x0, box.y0, box.x1, box.y1)))
    return found


@pytest.mark.parametrize("spread", [0.0, 0.01, 0.5])
def test_labels_cover_neither_each_other_nor_a_point_and_stay_inside(spread: float) -> None:
    rng = np.random.default_rng(0)
    accuracies = expit(1.2 + spread * rng.normal(size=14))
    points = [
        point(f"family-{i}/a-model-of-a-long-name:weights-{i}", inside, inside - 0.1 + 0.02 * spread * rng.normal())
        for i, inside in enumerate(accuracies)
    ]
    canvas = draw_robustness(points, None, inside="here", shifted="there")
    placed = boxes(canvas)
    assert len(placed) == 14
    axis = axis_of(canvas)
    for (first, a), (second, b) in combinations(placed, 2):
        assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1], (first, second)
    frame = axis.get_window_extent()
    at = axis.transData.transform([[each.inside.estimate, each.shifted.estimate] for each in points])
    for name, (left, bottom, right, top) in placed:
        assert frame.x0 <= left and right <= frame.x1 and frame.y0 <= bottom and top <= frame.y1, name
        assert not any(left <= x <= right and bottom <= y <= top for x, y in at), name


def test_it_is_written_as_png_and_svg_with_any_name(tmp_path: Path) -> None:
    points = [point("a/$x_1$\x1b", 0.5, 0.2), point("b/_猫", 0.8, 0.5)]
    plot_robustness(points, None, tmp_path / "robustness.png", inside="$a$", shifted="b" * 300)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["robustness.png", "robustness.svg"]
    with Image.open(tmp_path / "robustness.png") as image:
        assert len(np.unique(np.asarray(image.convert("L")))) > 20


def test_one_encoder_alone_is_drawn() -> None:
    canvas = draw_robustness([THREE[0]], None, inside="here", shifted="there")
    assert [label.get_text() for label in labels_of(canvas)] == ["a/x"]
