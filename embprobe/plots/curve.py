"""Curves over the number of training images: one panel a question, one line an encoder, bands for intervals."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.plots.legend import draw_legend
from embprobe.plots.style import MARKERS, PALETTE, figure, save
from embprobe.statistics import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_TITLE, _UNIT, _CAPTION = 38, 34, 110
"""Letters in a line of a panel's title, of an axis and of the heading."""


@dataclass(frozen=True)
class Panel:
    """One question's curves.

    Attributes:
        title: The question.
        unit: The unit of the estimates.
        curves: By encoder, its estimate by the number of images seen; an encoder may lack some numbers, or all.
        untrained: The estimate of the network before training, if it was measured.
        floor: The estimate of a blind encoder, such as guessing.
    """

    title: str
    unit: str
    curves: Mapping[str, Mapping[int, Estimate]]
    untrained: Estimate | None = None
    floor: float | None = None


def plot_curves(panels: Sequence[Panel], out: Path, *, heading: str) -> None:
    """Write the figure of :func:`draw_curves` to ``out``, and as SVG beside it."""
    with _drawn(panels, heading) as canvas:
        save(canvas, out, vector=True)


def draw_curves(panels: Sequence[Panel], *, heading: str) -> Figure:
    """Draw one panel a question: estimates over images seen, on a logarithmic axis, with bands of 95 % intervals.

    Args:
        panels: The questions; at least one, two in a row.
        heading: The text above all panels.

    Returns:
        A matplotlib figure.
    """
    with _drawn(panels, heading) as canvas:
        return canvas


@contextmanager
def _drawn(panels: Sequence[Panel], heading: str) -> Iterator[Figure]:
    encoders = list(dict.fromkeys(encoder for panel in panels for encoder in panel.curves))
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with figure(width=4.2 * columns, height=2.7 * rows + 1.2, rows=rows, columns=columns) as (canvas, axes):
        canvas.suptitle(textwrap.fill(heading, _CAPTION * columns // 2), fontsize=10, x=0.01, ha="left")
        lines: dict[str, Line2D] = {}
        for axis, panel in zip(axes, panels, strict=False):
            _draw(axis, panel, encoders, lines)
        for axis in axes[len(panels) :]:
            axis.remove()
        draw_legend(canvas, list(lines.values()), list(lines), columns=len(lines))
        yield canvas


def _draw(axis: Axes, panel: Panel, encoders: Sequence[str], lines: dict[str, Line2D]) -> None:
    sizes = sorted({size for curve in panel.curves.values() for size in curve})
    axis.set_title(textwrap.fill(panel.title, _TITLE))
    axis.set_xscale("log")
    axis.set(xlabel="training images seen", ylabel=textwrap.fill(panel.unit, _UNIT))
    for i, encoder in enumerate(encoders):
        curve = dict(sorted(panel.curves.get(encoder, {}).items()))
        if not curve:
            continue
        color, estimates = PALETTE[i % len(PALETTE)], list(curve.values())
        (lines[encoder],) = axis.plot(
            list(curve),
            [each.estimate for each in estimates],
            color=color,
            marker=MARKERS[i % len(MARKERS)],
            markersize=4,
        )
        low, high = [each.low for each in estimates], [each.high for each in estimates]
        if len(curve) > 1:
            axis.fill_between(list(curve), low, high, color=color, alpha=0.2, lw=0)
        else:  # a band needs two ends
            axis.vlines(list(curve), low, high, color=color, lw=1)
    if panel.untrained is not None:
        lines["untrained"] = axis.axhline(panel.untrained.estimate, color="0.5", linestyle="--", lw=1)
    if panel.floor is not None:
        lines["a blind encoder"] = axis.axhline(panel.floor, color="0.5", linestyle=":", lw=1)
    axis.set_xticks([], minor=True)
    axis.set_xticks(sizes, [_short(size) for size in sizes])
    axis.grid(axis="y", color="0.92")
    axis.set_axisbelow(True)


def _short(size: int) -> str:
    """Write a number of images in thousands or millions where it is round.

    >>> [_short(size) for size in (640, 30_000, 1_000_000, 2_500_000)]
    ['640', '30 k', '1 M', '2.5 M']
    """
    if size >= 1_000_000:
        return f"{size / 1_000_000:g} M"
    return f"{size / 1000:g} k" if size >= 1000 else str(size)
