"""Accuracy under a shift against accuracy without it, on logit axes: how far above the line an encoder lies."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.naming import names_in_lines
from embprobe.plots.legend import draw_legend
from embprobe.plots.letters import drawable
from embprobe.plots.placing import place_labels
from embprobe.plots.probe import look
from embprobe.plots.style import figure, save
from embprobe.probing.scores import Role
from embprobe.statistics import Estimate, Robustness

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Which = Literal["x", "y"]
_TICKS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5),
    *(0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999),
)
_BETWEEN = 0.06
"""Least distance of two ticks, as a share of an axis."""
_FEWEST = 4
"""Round ticks below which an axis gets finer ones."""
_MARGIN = 0.08
"""Share of an axis that is left free at its ends."""
_NAME, _HEADING, _AXIS = 26, 80, 50
"""How many letters fit into a line of a label, of the heading and of an axis."""


@dataclass(frozen=True)
class ShiftedAccuracy:
    """The accuracy of an encoder without a shift and under it, with their intervals.

    Attributes:
        encoder: Its full name.
        role: Subject or reference; references are drawn in grey.
        inside: The accuracy on images like those that its classifier was fitted on.
        shifted: The accuracy under the shift.
    """

    encoder: str
    role: Role
    inside: Estimate
    shifted: Estimate


def plot_robustness(
    points: Sequence[ShiftedAccuracy], line: Robustness | None, out: Path, *, inside: str, shifted: str
) -> None:
    """Write the figure of :func:`draw_robustness` to ``out``, and as SVG beside it."""
    with _drawn(points, line, inside=inside, shifted=shifted) as canvas:
        save(canvas, out, vector=True)


def draw_robustness(points: Sequence[ShiftedAccuracy], line: Robustness | None, *, inside: str, shifted: str) -> Figure:
    """Draw the accuracy of each encoder under a shift over that without it, with 95 % intervals, and the fitted line.

    Both axes are in logits, in which :func:`embprobe.statistics.effective_robustness` fits its line. Accuracies and
    ends of intervals at 0 or 1, which have no logit, are drawn half an image away from it.

    Args:
        points: One an encoder; at least one.
        line: The fitted line, or None where there are too few encoders for one.
        inside: The name of the test images without the shift.
        shifted: The name of those with it.

    Returns:
        A matplotlib figure.
    """
    with _drawn(points, line, inside=inside, shifted=shifted) as canvas:
        return canvas


@contextmanager
def _drawn(
    points: Sequence[ShiftedAccuracy], line: Robustness | None, *, inside: str, shifted: str
) -> Iterator[Figure]:
    roles = {point.encoder: point.role for point in points}
    x = np.array([_inside_01(point.inside) for point in points]).T
    y = np.array([_inside_01(point.shifted) for point in points]).T
    with figure(width=6.4, height=5.6) as (canvas, (axis,)):
        canvas.suptitle(
            textwrap.fill(f"Accuracy on {shifted} against accuracy on {inside}", _HEADING)
            + "\n95 % intervals over images, logit axes",
            fontsize=10,
            x=0.01,
            ha="left",
        )
        limits = [_scale(axis, "x", x), _scale(axis, "y", y)]
        axis.set_xlabel(textwrap.fill(f"accuracy on {inside}", _AXIS))
        axis.set_ylabel(textwrap.fill(f"accuracy on {shifted}", _AXIS))
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        lines = _draw_lines(axis, limits, line)
        for point, at, up in zip(points, x.T, y.T, strict=True):
            color, marker = look(point.encoder, roles)
            axis.errorbar(
                at[1], up[1], _lengths(up), _lengths(at), fmt=marker, color=color, capsize=2, markersize=5, lw=1
            )
        if lines:
            draw_legend(canvas, lines, [str(line.get_label()) for line in lines], columns=2)
        called = names_in_lines(roles, _NAME)
        place_labels(
            canvas,
            axis,
            [drawable(called[point.encoder]) for point in points],
            x,
            y,
            lines=[np.column_stack(line.get_data()) for line in lines],
        )
        yield canvas


def _inside_01(estimate: Estimate) -> tuple[float, float, float]:
    """Return the lower end, the estimate and the upper end, each at least half an image away from 0 and 1."""
    least = 0.5 / estimate.images
    low, middle, high = np.clip([estimate.low, estimate.estimate, estimate.high], least, 1 - least)
    return min(low, middle), middle, max(middle, high)


def _lengths(ends: NDArray[np.float64]) -> list[list[float]]:
    """Return the lengths of an interval below and above the estimate, for matplotlib."""
    return [[float(ends[1] - ends[0])], [float(ends[2] - ends[1])]]


def _scale(axis: Axes, which: Which, ends: NDArray[np.float64]) -> tuple[float, float]:
    """Give an axis its logit scale, ticks and limits around the intervals, and return the limits."""
    from scipy.special import expit, logit

    low, high = logit(ends.min()), logit(ends.max())
    margin = max(_MARGIN * (high - low), 0.1)
    limits = float(expit(low - margin)), float(expit(high + margin))
    ticks = _ticks(*limits)
    axis.set(**{f"{which}scale": "logit"})
    dimension = axis.xaxis if which == "x" else axis.yaxis
    dimension.set_ticks([], minor=True)
    dimension.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set(**{f"{which}lim": limits})
    return limits


def _ticks(low: float, high: float) -> list[float]:
    """Return round accuracies that lie far enough apart; in a narrow range, finer ones at equal steps."""
    from matplotlib.ticker import MaxNLocator
    from scipy.special import logit

    ticks: list[float] = []
    for tick in _TICKS:
        far = not ticks or logit(tick) - logit(ticks[-1]) >= _BETWEEN * (logit(high) - logit(low))
        if low <= tick <= high and far:
            ticks.append(tick)
    if len(ticks) < _FEWEST:
        ticks = [round(float(tick), 6) for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
    return ticks


def _draw_lines(axis: Axes, limits: Sequence[tuple[float, float]], line: Robustness | None) -> list[Line2D]:
    """Draw y = x and the fitted line, and return those that are in sight."""
    from scipy.special import expit, logit

    x = expit(np.linspace(logit(limits[0][0]), logit(limits[0][1]), 200))
    shown = [(x, "no loss: y = x", "0.6", ":")]
    if line is not None:
        explained = "" if line.r2 is None else f", r² = {line.r2:.2f}"
        shown.append((line.expected(x), f"fitted line{explained}", "0.3", "-"))
    drawn = []
    for y, name, color, style in shown:
        if ((y >= limits[1][0]) & (y <= limits[1][1])).any():
            drawn += axis.plot(x, y, color=color, linestyle=style, lw=1, zorder=1, label=name)
    return drawn
