"""A sheet of neighbours: one row an encoder, the query on the left, the nearest first."""

from __future__ import annotations

from pathlib import Path

from embprobe.images.rows import visible
from embprobe.neighbors import Neighborhood
from embprobe.plots.style import figure, save
from embprobe.plots.thumbnails import describe, show_thumbnail


def plot_neighbors(found: Neighborhood, out: Path) -> None:
    """The query and each encoder's neighbours side by side, with their cosines, and the overlap in the title."""
    columns = 1 + max(len(neighbors) for neighbors in found.by_encoder.values())
    lines = len(found.by_encoder)
    with figure(width=1.15 * columns, height=0.4 + 1.6 * lines, rows=lines, columns=columns) as (canvas, axes):
        shared = "; ".join(f"{a} and {b} share {share:.0%}" for (a, b), share in found.overlap.items())
        canvas.suptitle(f"Nearest to {visible(found.query.key)}" + (f" ({shared})" if shared else ""), fontsize=9)
        for line, (encoder, neighbors) in enumerate(found.by_encoder.items()):
            cells = axes[line * columns : (line + 1) * columns]
            show_thumbnail(cells[0], found.query, encoder.replace("/", "/\n") + "\nquery", frame="black")
            for cell, neighbor in zip(cells[1:], neighbors, strict=False):
                show_thumbnail(cell, neighbor.row, "\n".join([f"{neighbor.similarity:.2f}", *describe(neighbor.row)]))
            for empty in cells[1 + len(neighbors) :]:
                empty.remove()
        save(canvas, out)
