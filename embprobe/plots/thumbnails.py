"""Thumbnails of rows with short captions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.plots.letters import drawable
from embprobe.system.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIDE = 256
_LETTERS = 22
_NONE = (235, 235, 235)


def show_thumbnail(axis: Axes, row: Row, title: str, *, frame: str | None = None) -> None:
    """Draw a row's image in these axes; lines of the title that are too long lose their middles."""
    picture = picture_of(row)
    picture.thumbnail((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    axis.imshow(picture)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(frame is not None)
        spine.set_color(frame or "none")
    axis.set_title(
        "\n".join(cut_middle(drawable(line), _LETTERS) for line in title.splitlines()), fontsize=6, loc="center"
    )


def picture_of(row: Row | None) -> Image.Image:
    """Return the image of a row; of a row that has none, or without a row, a light grey square."""
    try:
        if row is not None:
            return row.load(at_least=_SIDE)
    except UnreadableImage:
        pass
    return Image.new("RGB", (_SIDE, _SIDE), _NONE)


def describe(row: Row) -> list[str]:
    """Return a caption of a row in parts: its labels ``name`` and ``style`` if it has them, else its key."""
    labels = [row.labels[label] for label in ("name", "style") if label in row.labels]
    return [visible(text) for text in labels or [row.key]]


def shorten(line: str, width: int) -> str:
    """Cut a line to at most ``width`` letters, the last one an ellipsis."""
    return line if len(line) <= width else line[: width - 1] + "…"


def cut_middle(line: str, width: int) -> str:
    """Cut a line to at most ``width`` letters, an ellipsis for those in the middle: names often differ at their ends.

    >>> cut_middle("photos/2024/IMG_0001.png", 16)
    'photos/…0001.png'
    """
    head = (width - 1) // 2
    return line if len(line) <= width else f"{line[:head]}…{line[len(line) - (width - 1 - head) :]}"
