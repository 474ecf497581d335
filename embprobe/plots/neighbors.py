"""A sheet of nearest neighbours: one line per encoder, the query on the left, then the nearest images in order."""

from __future__ import annotations

import hashlib
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.naming import names_in_lines, short_names
from embprobe.images.decoding import UnreadableImage
from embprobe.plots.style import figure, free_path, save
from embprobe.plots.thumbnails import describe, show_thumbnail
from embprobe.search.neighbors import Neighborhood, Query
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHEETS = 20
"""Most queries that get a sheet of their own."""
_LETTERS = 12
"""Most letters in a line of a query that is a text."""
_NAME = 17
"""Most letters in a line of an encoder's name above the query."""


def save_neighbors(neighborhoods: Sequence[Neighborhood], workspace: Workspace) -> list[Path | None]:
    """Draw a sheet for each of the first queries among the workspace's figures and return their paths.

    Sheets are named after their queries. A query whose name belongs to a sheet of another query already gets a mark
    behind it, and of two equal ones the later its number. None, after a warning, for a sheet that cannot be written.
    """
    sheets: list[Path | None] = []
    taken: set[str] = set()
    for one in neighborhoods[:SHEETS]:
        subject = subject_of(one.query)
        sheet = free_path(workspace.figure(f"neighbors-{one.query.file_name}"), subject)
        if str(sheet).casefold() in taken:
            sheet = sheet.with_stem(f"{sheet.stem}-{len(sheets) + 1}")
        taken.add(str(sheet).casefold())
        drawn = written("figure", sheet, partial(plot_neighbors, one, sheet, subject=subject))
        sheets.append(sheet if drawn else None)
    return sheets


def subject_of(query: Query) -> str:
    """Return a mark of the query: its name and the bytes of its images, for files in two folders may share a name."""
    mark = hashlib.sha256(query.name.encode("utf-8", "surrogatepass"))
    for row in (query.row, *query.minus_rows):
        if row is not None:
            mark.update(row.content.encode("utf-8", "surrogatepass"))
            with suppress(UnreadableImage, OSError):  # vectors without pictures
                fetched = row.fetch()
                mark.update(fetched if isinstance(fetched, bytes) else fetched.tobytes())
    return mark.hexdigest()[:16]


def plot_neighbors(neighborhood: Neighborhood, out: Path, *, subject: str = "") -> None:
    """Draw the query and each encoder's neighbours with their cosines, under a line on how far the encoders agree.

    ``subject`` is a mark of the query that is written into the file.
    """
    columns = 1 + max(len(neighbors) for neighbors in neighborhood.by_encoder.values())
    lines = len(neighborhood.by_encoder)
    titles = names_in_lines(neighborhood.by_encoder, _NAME)
    with figure(width=1.15 * columns, height=0.5 + 1.6 * lines, rows=lines, columns=columns) as (canvas, axes):
        canvas.suptitle("\n".join(textwrap.wrap(_heading(neighborhood), 18 * columns)), fontsize=9)
        for line, (encoder, neighbors) in enumerate(neighborhood.by_encoder.items()):
            cells = axes[line * columns : (line + 1) * columns]
            draw_query(cells[0], neighborhood, titles[encoder] + "\nquery")
            for cell, neighbor in zip(cells[1:], neighbors, strict=False):
                show_thumbnail(cell, neighbor.row, "\n".join([f"{neighbor.similarity:.2f}", *describe(neighbor.row)]))
            for empty in cells[1 + len(neighbors) :]:
                empty.remove()
        save(canvas, out, subject=subject)


def agreement(neighborhood: Neighborhood) -> str:
    """Write the share of neighbours that two encoders have in common, or its range over all pairs, beside chance.

    Empty for a single encoder.
    """
    if not neighborhood.overlap:
        return ""
    low, high = min(neighborhood.overlap.values()), max(neighborhood.overlap.values())
    if len(neighborhood.overlap) == 1:
        a, b = short_names(*neighborhood.overlap).values()
        shares = f"{a} and {b} share {low:.0%}"
    else:
        shares = f"any two of the encoders share {low:.0%}" + ("" if low == high else f" to {high:.0%}")
    return f"{shares} of their neighbours, by chance {neighborhood.chance:.2%}"


def _heading(neighborhood: Neighborhood) -> str:
    shares = agreement(neighborhood)
    return f"Nearest to {visible(neighborhood.query.name)}" + (f" ({shares})" if shares else "")


def draw_query(axis: Axes, neighborhood: Neighborhood, title: str) -> None:
    """Draw the query: its image, or its text."""
    query = neighborhood.query
    if query.row is not None:
        show_thumbnail(axis, query.row, title, frame="black")
        return
    axis.set(xticks=[], yticks=[], aspect="equal")
    axis.set_title(title, fontsize=6, loc="center")
    lines = textwrap.wrap(visible(query.name), _LETTERS)[:7]
    axis.text(0.5, 0.5, "\n".join(lines), ha="center", va="center", fontsize=7, transform=axis.transAxes)
    for spine in axis.spines.values():
        spine.set_visible(True)
