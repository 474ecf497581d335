"""Titles that stay inside their figure: smaller, or broken into more lines, where they would run out of it."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

_LETTERS = 400
"""Most letters of a title; the middle of a longer one is left out."""
_MARGIN = 0.05
"""Inches that are left free at the edges."""
_SMALLEST = 0.7
"""Share of its size to which a title may shrink."""
_NARROWEST = 8
"""Letters that a line keeps, whatever room there is."""


def fit_titles(canvas: Figure) -> None:
    """Make titles smaller that are too wide for the figure, break far too wide ones, cut the middle of endless ones."""
    for heading in canvas.texts:
        _fit(canvas, heading)
    wide = [
        title
        for axes in canvas.axes
        for title in _titles(axes)
        if title.get_text() and title.get_window_extent().width > _share(canvas, axes)
    ]
    if wide:
        canvas.draw_without_rendering()  # where a title begins depends on the labels beside its axes
        for title in wide:
            _fit(canvas, title)


def _titles(axes: Axes) -> list[Text]:
    """Return the titles of axes: left, centre and right."""
    from matplotlib.text import Text

    return [child for child in axes.get_children() if isinstance(child, Text) and child not in axes.texts]


def _share(canvas: Figure, axes: Axes) -> float:
    """Return the width in pixels that a title may have wherever its axes begin."""
    place = axes.get_subplotspec()
    return 0.5 * canvas.bbox.width / (place.get_gridspec().ncols if place else 1)


def _fit(canvas: Figure, text: Text) -> None:
    margin = _MARGIN * canvas.dpi
    content = text.get_text()
    if len(content) > _LETTERS:
        content = f"{content[: _LETTERS // 2]}…{content[-_LETTERS // 2 + 1 :]}"
        text.set_text(content)
    box = text.get_window_extent()
    centre, half = box.x0 + box.width / 2, canvas.bbox.width / 2
    room = 2 * (half - abs(centre - half)) if text.get_horizontalalignment() == "center" else canvas.bbox.width - box.x0
    if box.width <= room - margin:
        return
    share = (room - 2 * margin) / box.width
    if share > _SMALLEST:  # better than breaking lines that were broken already
        text.set_fontsize(text.get_fontsize() * share)
        return
    longest = max(map(len, content.split("\n")))
    width = max(_NARROWEST, int(longest * share))
    lines = (textwrap.wrap(line, width) or [line] for line in content.split("\n"))
    text.set_text("\n".join(part for wrapped in lines for part in wrapped))
