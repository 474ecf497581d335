"""A sheet of generated scenes with their questions, the right answers marked."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.plots.letters import drawable
from embprobe.plots.style import figure, save
from embprobe.plots.thumbnails import picture_of
from embprobe.vlm.question import Question, QuestionSet

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4
_LETTERS = 52
_SIZE = 6.0
"""Of the letters, in points."""


def plot_questions(asked: QuestionSet, examples: Sequence[tuple[str, Sequence[Question]]], out: Path) -> None:
    """Draw images with their questions below them; the right option of each has a mark before it.

    Args:
        asked: The questions' set.
        examples: Keys of images, and the questions about each.
        out: A PNG.
    """
    place = {key: i for i, key in enumerate(asked.images.keys)}
    rows = -(-len(examples) // _COLUMNS)
    with figure(width=2.6 * _COLUMNS, height=4.3 * rows, rows=rows, columns=_COLUMNS) as (canvas, axes):
        for axis, (key, questions) in zip(axes, examples, strict=False):
            axis.imshow(picture_of(asked.images.rows[place[key]]))
            axis.set_title(key, fontsize=_SIZE + 1)
            _write(axis, questions)
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        save(canvas, out)


def _write(axis: Axes, questions: Sequence[Question]) -> None:
    lines: list[str] = []
    for each in questions:
        lines += textwrap.wrap(f"{each.group}: {each.text}", _LETTERS)
        options = "   ".join(f"▶ {option}" if option == each.right else option for option in each.options)
        lines += textwrap.wrap(options, _LETTERS, initial_indent="  ", subsequent_indent="  ")
    axis.set_xlabel("\n".join(map(drawable, lines)), fontsize=_SIZE, loc="left")
