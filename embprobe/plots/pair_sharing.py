"""Panels of how much contrasting pairs share: both directions beside random pairs of the same images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from embprobe.comparing.result import Disagreement, PairSharing
from embprobe.plots.style import PALETTE
from embprobe.system.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT = 0.36
"""Height of a bar; two of them and a gap are a line."""


def has_sharing(both: Sequence[Disagreement], *, distance: bool) -> bool:
    """Return whether one of the directions has an attribute of that sort."""
    return any(row.distance == distance for half in both for row in half.sharing)


def draw_sharing(axis: Axes, both: Sequence[Disagreement], *, distance: bool) -> None:
    """Draw a bar a direction for each label, or for each distance, with its interval; black lines are random pairs."""
    names = list(dict.fromkeys(row.attribute for half in both for row in half.sharing if row.distance == distance))
    for side, half in enumerate(both):
        for row in half.sharing:
            if row.distance == distance:
                _bar(axis, names.index(row.attribute) + (side - 0.5) * _HEIGHT, row, PALETTE[side])
    axis.set_yticks(range(len(names)), [visible(name) for name in names], fontsize=8)
    axis.set(ylim=(len(names) - 0.4, -0.6), xlim=(0, None))
    axis.set_xlabel("mean distance" if distance else "share of pairs with the same", fontsize=8)
    axis.tick_params(axis="x", labelsize=7)
    axis.grid(axis="x", color="0.9")
    axis.set_axisbelow(True)


def _bar(axis: Axes, place: float, row: PairSharing, color: str) -> None:
    value = row.share
    ends = [[max(0.0, value.estimate - value.low)], [max(0.0, value.high - value.estimate)]]
    axis.barh(place, value.estimate, height=_HEIGHT, color=color, alpha=0.75)
    axis.errorbar(value.estimate, place, xerr=ends, color="0.25", capsize=2, lw=1)
    axis.plot([row.matched] * 2, [place - _HEIGHT / 2, place + _HEIGHT / 2], color="black", lw=2)
