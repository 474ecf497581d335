"""A sheet of neighbours: one row an encoder, the query on the left, the nearest first."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from embprobe.files import replacing
from embprobe.images.rows import Row, visible
from embprobe.neighbors import Neighborhood
from embprobe.plots.style import figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_THUMBNAIL = 256


def plot_neighbors(found: Neighborhood, out: Path) -> None:
    """The query and each encoder's neighbours side by side, with their cosines, and the overlap in the title."""
    columns = 1 + max(len(neighbors) for neighbors in found.by_encoder.values())
    lines = len(found.by_encoder)
    with figure(width=1.15 * columns, height=0.4 + 1.6 * lines, rows=lines, columns=columns) as (canvas, axes):
        shared = "; ".join(f"{a} and {b} share {share:.0%}" for (a, b), share in found.overlap.items())
        canvas.suptitle(f"Nearest to {visible(found.query.key)}" + (f" ({shared})" if shared else ""), fontsize=9)
        for line, (encoder, neighbors) in enumerate(found.by_encoder.items()):
            cells = axes[line * columns : (line + 1) * columns]
            _show(cells[0], found.query, encoder.replace("/", "/\n") + "\nquery", frame="black")
            for cell, neighbor in zip(cells[1:], neighbors, strict=False):
                _show(cell, neighbor.row, "\n".join([f"{neighbor.similarity:.2f}", *describe(neighbor.row)]))
            for empty in cells[1 + len(neighbors) :]:
                empty.remove()
        with replacing(out) as path:
            canvas.savefig(path)


def describe(row: Row) -> list[str]:
    """What a row is, in a few words: its name and style if it has them, else its key."""
    labels = [row.labels[label] for label in ("name", "style") if label in row.labels]
    return [visible(text) for text in labels or [row.key]]


def _show(axis: Axes, row: Row, title: str, *, frame: str | None = None) -> None:
    picture = row.load()
    picture.thumbnail((_THUMBNAIL, _THUMBNAIL), Image.Resampling.LANCZOS)
    axis.imshow(picture)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(frame is not None)
        spine.set_color(frame or "none")
    axis.set_title("\n".join(_shorten(line) for line in title.splitlines()), fontsize=6, loc="center")


def _shorten(line: str, width: int = 22) -> str:
    return line if len(line) <= width else line[: width - 1] + "…"
