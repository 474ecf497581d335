"""Labels beside points: each where it covers no other label, no marker and as few intervals and lines as possible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = 7.5
"""Font size of labels."""
_RINGS = (5.0, 14.0, 24.0, 36.0, 50.0, 66.0, 84.0, 104.0, 126.0, 150.0)
"""Distances from a point to its label, in points of 1/72 inch; from the second on a line joins them."""
_DIRECTIONS = 16
_MARKER = 4.0
"""Half the size of a marker."""
_PAD = 2.5
"""Points that are left free around a label."""
_OUTSIDE, _LABEL, _POINT, _BAR, _LINE, _RING = 50.0, 10.0, 10.0, 1.0, 0.5, 0.15
"""Costs of leaving the axes, of covering a label, a marker, an interval or a line, and of each ring away."""
_Boxes = NDArray[np.float64]  # [n, 4]: left, bottom, right, top, in pixels


def place_labels(
    canvas: Figure,
    axis: Axes,
    labels: Sequence[str],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    *,
    lines: Sequence[NDArray[np.float64]] = (),
) -> None:
    """Write a label beside each point, after limits and scales are set and everything else is drawn.

    Labels are placed one after another, each at the place that costs least, so that crowded figures are readable but
    not the best possible.

    Args:
        canvas: The figure.
        axis: The axes with the points.
        labels: The label of each point; lines are broken already.
        x: The lower ends, the points and the upper ends along the first axis, ``[3, n]``.
        y: The same along the second.
        lines: Points along each line that is drawn, ``[m, 2]``.
    """
    canvas.draw_without_rendering()  # sizes in pixels depend on the layout
    pixel = canvas.dpi / 72
    at = axis.transData.transform(np.column_stack([x[1], y[1]]))
    ends = [axis.transData.transform(np.column_stack([x[i], y[i]])) for i in (0, 2)]
    half = _MARKER * pixel
    points = np.hstack([at - half, at + half])
    bars = np.vstack(
        [
            np.column_stack([ends[0][:, 0], at[:, 1], ends[1][:, 0], at[:, 1]]),
            np.column_stack([at[:, 0], ends[0][:, 1], at[:, 0], ends[1][:, 1]]),
        ]
    )
    along = [np.tile(axis.transData.transform(line), 2) for line in lines]
    inside = axis.get_window_extent()
    placed = np.empty((0, 4))
    for label, point, i in zip(labels, at, range(len(labels)), strict=True):
        text = axis.annotate(
            label, (x[1, i], y[1, i]), (0, 0), textcoords="offset points", fontsize=_SIZE, ha="center", va="center"
        )
        text.set_in_layout(False)
        size = text.get_window_extent()
        centres, rings = _candidates(size.width / 2, size.height / 2, pixel)
        room = np.array([size.width, size.height]) / 2 + _PAD * pixel
        boxes = np.hstack([point + centres - room, point + centres + room])
        cost = _RING * rings + _LABEL * _covered(boxes, placed) + _BAR * _covered(boxes, bars)
        cost += _POINT * _covered(boxes, points)
        cost += _LINE * sum((_covered(boxes, line) > 0).astype(float) for line in along)
        cost += _OUTSIDE * ((boxes[:, :2] < inside.min) | (boxes[:, 2:] > inside.max)).any(1)
        best = int(cost.argmin())
        text.set_position(tuple(centres[best] / pixel))
        placed = np.vstack([placed, boxes[best]])
        if rings[best] > 0:
            axis.annotate(
                "", (x[1, i], y[1, i]), tuple(_edge(centres[best], size.width / 2, size.height / 2) / pixel),
                textcoords="offset points", arrowprops={"arrowstyle": "-", "color": "0.6", "lw": 0.6, "shrinkB": 3},
            ).set_in_layout(False)  # fmt: skip


def _candidates(half_width: float, half_height: float, pixel: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return where the centre of a label may lie from its point, in pixels, and the ring of each place."""
    angles = 2 * np.pi * np.arange(_DIRECTIONS) / _DIRECTIONS
    directions = np.column_stack([np.cos(angles), np.sin(angles)])
    centres, rings = [], []
    for ring, distance in enumerate(_RINGS):
        # a label to the right begins at the distance, one above stands on it
        centres.append(directions * distance * pixel + np.clip(1.5 * directions, -1, 1) * [half_width, half_height])
        rings.append(np.full(len(angles), ring))
    return np.vstack(centres), np.concatenate(rings)


def _covered(boxes: _Boxes, others: _Boxes) -> NDArray[np.int64]:
    """Return how many of the others each box touches."""
    apart = (boxes[:, None, :2] > others[None, :, 2:]) | (boxes[:, None, 2:] < others[None, :, :2])
    return np.asarray((~apart.any(2)).sum(1))


def _edge(centre: NDArray[np.float64], half_width: float, half_height: float) -> NDArray[np.float64]:
    """Return the point of a label's box that is nearest to its point, which lies at 0."""
    half = np.array([half_width, half_height])
    return np.asarray(np.clip(0.0, centre - half, centre + half))
