"""The figure of a comparison of vision-language models: accuracy by group of questions, every encoder with a marker."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embprobe.encoders.naming import names_in_lines
from embprobe.plots.legend import draw_legend
from embprobe.plots.probe import look
from embprobe.plots.style import figure, save
from embprobe.probing.results import span
from embprobe.probing.scores import Role
from embprobe.statistics import Estimate
from embprobe.system.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from embprobe.vlm.compare import ComparedGroup, VlmComparison

_NAME, _GROUP, _HEADING = 28, 18, 84
"""Letters in a line of a model's name, of a group's name and of the heading."""
_BAND = 0.66
"""Share of a group's height that its models fill."""


def plot_vlm(comparison: VlmComparison, out: Path) -> None:
    """Write the figure of :func:`draw_vlm` to ``out``, and as SVG beside it."""
    with _drawn(comparison) as canvas:
        save(canvas, out, vector=True)


def draw_vlm(comparison: VlmComparison) -> Figure:
    """Draw the accuracy of every model in every group, with 95 % intervals, and the rate of guessing.

    References, such as a blind model, are drawn in grey. Returns a matplotlib figure.
    """
    with _drawn(comparison) as canvas:
        return canvas


@contextmanager
def _drawn(comparison: VlmComparison) -> Iterator[Figure]:
    roles: dict[str, Role] = {
        name: "reference" if name in comparison.references else "subject" for name in comparison.models
    }
    groups = comparison.groups
    height = 1.5 + len(groups) * (0.3 + 0.16 * len(roles))
    with figure(width=6.6, height=height) as (canvas, (axis,)):
        words = "/".join(dict.fromkeys(f"{group.resampled}s" for group in groups))
        guessing = "; grey line: guessing" if any(group.chance is not None for group in groups) else ""
        heading = f"{comparison.asked or 'Questions about images'}: 95 % intervals over "
        heading += f"{span([group.units for group in groups])} {words}{guessing}"
        canvas.suptitle(textwrap.fill(visible(heading), _HEADING), fontsize=9, x=0.01, ha="left")
        step = _BAND / len(roles)
        handles: list[Any] = []
        for i, name in enumerate(roles):
            color, marker = look(name, roles)
            found = [comparison.accuracy(name, group.name).accuracy for group in groups]
            places = [place + step * (i - (len(roles) - 1) / 2) for place in range(len(groups))]
            handles.append(
                axis.errorbar(
                    [each.estimate for each in found],
                    places,
                    xerr=_bars(found),
                    color=color,
                    marker=marker,
                    linestyle="",
                    capsize=2,
                    markersize=4.5,
                    lw=1,
                )  # fmt: skip
            )
        _frame(axis, groups)
        called = names_in_lines(roles, _NAME)
        draw_legend(canvas, handles, [called[name] for name in roles], columns=3)
        yield canvas


def _frame(axis: Axes, groups: Collection[ComparedGroup]) -> None:
    """Name the groups, with the number of their questions or pairs, and draw the rate of guessing of each."""
    names = []
    for place, group in enumerate(groups):
        counted = f"{group.pairs:,} pairs" if group.pairs else f"{group.questions:,} questions"
        counted = f"{len(group.kinds)} sets, {counted}" if group.kinds else counted
        names.append("\n".join([*textwrap.wrap(visible(group.name or "all questions"), _GROUP), counted]))
        if group.chance is not None:
            axis.vlines(group.chance, place - 0.5, place + 0.5, color="0.6", lw=1.2, zorder=1)
        if place:
            axis.axhline(place - 0.5, color="0.9", lw=0.8, zorder=0)
    axis.set_yticks(range(len(groups)), names, fontsize=8)
    axis.tick_params(axis="y", length=0)
    axis.set(xlabel="accuracy", xlim=(0, 1), ylim=(len(groups) - 0.5, -0.5))
    axis.grid(axis="x", color="0.93")
    axis.set_axisbelow(True)


def _bars(found: Collection[Estimate]) -> list[list[float]]:
    """Return the lengths of intervals below and above the estimates, for matplotlib."""
    below = [max(0.0, each.estimate - each.low) for each in found]
    return [below, [max(0.0, each.high - each.estimate) for each in found]]
