"""A legend below a figure that holds every name whole, however long they are."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from embprobe.plots.letters import draw_every_letter

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

_WIDTHS = (60, 40, 25)
"""Letters in a line of a name, the widest that fits first."""
_LETTERS = 240
"""Most letters of a name; the middle of a longer one is left out."""
_MARGIN = 0.1
"""Inches that are left free beside a legend."""
_ROOM = 0.7
"""Inches of a figure's height that are there for its legend; a taller one makes the figure taller."""


def draw_legend(
    canvas: Figure, handles: Sequence[Artist], names: Sequence[str], *, title: str = "", columns: int
) -> None:
    """Draw a legend below the axes, in as many of ``columns`` as fit beside each other.

    Names are broken into lines where even one column is too wide; the figure grows by the height that it lacks.
    """
    for width in _WIDTHS:
        for across in range(min(columns, len(names)), 0, -1):
            legend = _legend(canvas, handles, names, title, across, width)
            box = legend.get_window_extent()
            if box.width <= canvas.bbox.width - _MARGIN * canvas.dpi:
                break
            if across > 1 or width != _WIDTHS[-1]:
                legend.remove()
        else:
            continue
        break
    canvas.set_figheight(canvas.get_figheight() + max(0.0, box.height / canvas.dpi - _ROOM))


def _legend(
    canvas: Figure, handles: Sequence[Artist], names: Sequence[str], title: str, columns: int, width: int
) -> Legend:
    places = [str(i) for i in range(len(names))]  # matplotlib leaves names out that begin with an underscore
    legend = canvas.legend(
        handles, places, title=" " if title else None, loc="outside lower center", ncols=columns, fontsize=8
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(_in_lines(name, width))
    if title:
        legend.get_title().set_text(_in_lines(title, width))
    draw_every_letter(canvas)
    return legend


def _in_lines(name: str, width: int) -> str:
    if "\n" in name:  # broken already
        return name
    if len(name) > _LETTERS:
        name = f"{name[: _LETTERS // 2]}…{name[-_LETTERS // 2 + 1 :]}"
    return textwrap.fill(name, width) or name
