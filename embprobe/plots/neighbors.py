"""A sheet of neighbours: one row an encoder, the query on the left, the nearest first."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.naming import names_in_lines, short_names
from embprobe.plots.style import figure, save
from embprobe.plots.thumbnails import describe, show_thumbnail
from embprobe.search.neighbors import Neighborhood
from embprobe.system.text import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHEETS = 20
"""Most queries that get a sheet of their own."""
_LETTERS = 12
"""Of a line of a query that is told in words."""
_NAME = 17
"""Of a line of an encoder's name above the query."""


def save_neighbors(neighborhoods: Sequence[Neighborhood], workspace: Workspace) -> list[Path]:
    """Draw a sheet for each of the first queries among the workspace's figures and return their paths.

    Sheets are named after their queries; of two with the same name the later one gets its number.
    """
    sheets: list[Path] = []
    for one in neighborhoods[:SHEETS]:
        sheet = workspace.figure(f"neighbors-{one.query.file_name}")
        sheets.append(sheet if sheet not in sheets else sheet.with_stem(f"{sheet.stem}-{len(sheets) + 1}"))
        plot_neighbors(one, sheets[-1])
    return sheets


def plot_neighbors(found: Neighborhood, out: Path) -> None:
    """The query and each encoder's neighbours side by side, with their cosines; how far the encoders agree on top."""
    columns = 1 + max(len(neighbors) for neighbors in found.by_encoder.values())
    lines = len(found.by_encoder)
    called = names_in_lines(found.by_encoder, _NAME)
    with figure(width=1.15 * columns, height=0.5 + 1.6 * lines, rows=lines, columns=columns) as (canvas, axes):
        canvas.suptitle("\n".join(textwrap.wrap(_heading(found), 18 * columns)), fontsize=9)
        for line, (encoder, neighbors) in enumerate(found.by_encoder.items()):
            cells = axes[line * columns : (line + 1) * columns]
            _query(cells[0], found, called[encoder] + "\nquery")
            for cell, neighbor in zip(cells[1:], neighbors, strict=False):
                show_thumbnail(cell, neighbor.row, "\n".join([f"{neighbor.similarity:.2f}", *describe(neighbor.row)]))
            for empty in cells[1 + len(neighbors) :]:
                empty.remove()
        save(canvas, out)


def agreement(found: Neighborhood) -> str:
    """How many neighbours the encoders share, every two of them or from the fewest to the most, beside chance."""
    if not found.overlap:
        return ""
    low, high = min(found.overlap.values()), max(found.overlap.values())
    if len(found.overlap) == 1:
        a, b = short_names(*found.overlap).values()
        told = f"{a} and {b} share {low:.0%}"
    else:
        told = f"any two of the encoders share {low:.0%}" + ("" if low == high else f" to {high:.0%}")
    return f"{told} of their neighbours, by chance {found.chance:.2%}"


def _heading(found: Neighborhood) -> str:
    told = agreement(found)
    return f"Nearest to {visible(found.query.name)}" + (f" ({told})" if told else "")


def _query(axis: Axes, found: Neighborhood, title: str) -> None:
    query = found.query
    if query.row is not None:
        show_thumbnail(axis, query.row, title, frame="black")
        return
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=6, loc="center")
    lines = textwrap.wrap(visible(query.name), _LETTERS)[:7]
    axis.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=7, transform=axis.transAxes)
    for spine in axis.spines.values():
        spine.set_visible(True)
