"""A sheet of previews: one line per intervention, with the original, growing strengths, and controls."""

from __future__ import annotations

import hashlib
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from embprobe.embeddings.workspace import Workspace
from embprobe.interventions.preview import Cell, Line, Sheet
from embprobe.plots.style import figure, free_path, save
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INCHES = 1.5
"""Width of a picture."""
_FLATTEST = 0.4
"""Least ratio of the sides of a cell; flatter or narrower images leave room."""


def save_preview(sheet: Sheet, workspace: Workspace) -> Path | None:
    """Draw the sheet among the workspace's figures and return its path; None, after a warning, if it is not written."""
    subject = hashlib.sha256(repr((sheet.attribute, sheet.key)).encode() + sheet.original.tobytes()).hexdigest()[:16]
    figure = free_path(workspace.figure(f"preview-{sheet.attribute}-{sheet.key}"), subject)
    return figure if written("figure", figure, lambda: plot_preview(sheet, figure, subject=subject)) else None


def plot_preview(sheet: Sheet, out: Path, *, subject: str = "") -> None:
    """Draw the sheet; under each picture its strength (or control) and how far its colours moved.

    ``subject`` is a mark of the image that is written into the file.
    """
    columns = 1 + max(len(line.cells) for line in sheet.lines)
    rows = len(sheet.lines)
    shape = min(max(sheet.original.height / sheet.original.width, _FLATTEST), 1 / _FLATTEST)
    height = 0.5 + (_INCHES * shape + 0.35) * rows
    with figure(width=_INCHES * columns, height=height, rows=rows, columns=columns) as (canvas, axes):
        canvas.suptitle(f"{sheet.attribute}: {visible(sheet.key)}", fontsize=10)
        for number, line in enumerate(sheet.lines):
            _line(line, sheet.original, axes[number * columns : (number + 1) * columns])
        save(canvas, out, subject=subject)


def _line(line: Line, original: Image.Image, axes: list[Axes]) -> None:
    _show(axes[0], original, "\n".join(textwrap.wrap(line.intervention.unit, 26)))
    axes[0].set_ylabel(line.intervention.name, fontsize=8)
    refusals = {cell.reason for cell in line.cells if cell.picture is None}
    if len(refusals) == 1 and all(cell.picture is None for cell in line.cells):
        for axis in axes[2:]:
            axis.remove()
        _write(axes[1], refusals.pop())
        return
    for axis, cell in zip(axes[1:], line.cells, strict=False):
        if cell.picture is None:
            _write(axis, cell.reason)
        else:
            _show(axis, cell.picture, _caption(cell), framed=bool(cell.control))
    for axis in axes[1 + len(line.cells) :]:
        axis.remove()


def _caption(cell: Cell) -> str:
    change = f"control: {cell.control}" if cell.control else cell.argument or f"{cell.strength:g}"
    return f"{change}\nΔE {cell.delta_e:.1f}"


def _show(axis: Axes, picture: Image.Image, title: str, *, framed: bool = False) -> None:
    axis.imshow(picture, interpolation="lanczos")
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set_visible(True)
        spine.set_color("#D55E00" if framed else "#dddddd")
    axis.set_title(title, fontsize=6.5, loc="left")


def _write(axis: Axes, text: str) -> None:
    axis.axis("off")
    axis.text(0, 0.5, "\n".join(textwrap.wrap(text, 26)), fontsize=6.5, va="center", transform=axis.transAxes)
