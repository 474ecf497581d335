"""The style of every figure: colour-blind-safe, legible in grey, no pyplot state."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from PIL import Image

from embprobe.plots.letters import draw_every_letter
from embprobe.plots.titles import fit_titles
from embprobe.probing.results import Result
from embprobe.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, the darker ones first."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 150
_SUBJECT = "Source"
"""The keyword of the PNG text that says what a figure is of."""
_SETTINGS: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "savefig.dpi": DPI,
    "svg.hashsalt": "embprobe",
    "text.parse_math": False,  # a name with dollar signs is a name
    "text.usetex": False,  # whatever the user's settings are: nor is one with underscores a formula
}


def error_bar(row: Result) -> list[list[float]]:
    """Return the lengths of the interval below and above the estimate, in the form of matplotlib's ``errorbar``.

    At least 0: by rounding an end may lie beyond the estimate.
    """
    return [[max(0.0, row.estimate - row.low)], [max(0.0, row.high - row.estimate)]]


_saved: WeakSet[Figure] = WeakSet()
"""Figures whose texts were made legible when they were saved."""


@contextmanager
def figure(
    *,
    width: float,
    height: float,
    rows: int = 1,
    columns: int = 1,
    heights: Sequence[float] | None = None,
    widths: Sequence[float] | None = None,
) -> Iterator[tuple[Figure, list[Axes]]]:
    """Make a figure in the house style and its axes, row by row.

    ``width`` and ``height`` are in inches; ``heights`` and ``widths`` are the shares of rows and columns.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS):
        canvas = Figure(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False, height_ratios=heights, width_ratios=widths)
        yield canvas, list(axes.flat)
        if canvas not in _saved:
            _finish(canvas)


def save(canvas: Figure, out: Path, *, vector: bool = False, subject: str = "") -> None:
    """Write the PNG ``out``, and with ``vector`` an SVG beside it; an interrupted write leaves no file.

    ``subject`` is a mark of what the figure is of, by which :func:`free_path` knows it again.
    """
    _finish(canvas)
    _saved.add(canvas)
    for path in (out, out.with_suffix(".svg")) if vector else (out,):
        metadata: dict[str, Any] = {"Date": None} if path.suffix == ".svg" else {_SUBJECT: subject} if subject else {}
        with replacing(path) as temporary:
            canvas.savefig(temporary, metadata=metadata)


def _finish(canvas: Figure) -> None:
    """Make every text legible; doing it again changes nothing."""
    draw_every_letter(canvas)
    fit_titles(canvas)


def free_path(path: Path, subject: str) -> Path:
    """Return ``path`` if no figure of another subject is there, else a path whose name ends in a hash of ``subject``.

    File systems that take ``A.png`` and ``a.png`` for one are asked, too.
    """
    if not os.path.lexists(path) or _subject_of(path) == subject:
        return path
    return path.with_stem(f"{path.stem}-{hashlib.sha256(subject.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}")


def _subject_of(path: Path) -> str:
    """Return the mark that :func:`save` wrote into a figure; empty if there is none or it is no figure."""
    try:
        with Image.open(path, formats=["PNG"]) as picture:
            return str(picture.info.get(_SUBJECT, ""))
    except Exception:  # anything may lie there, and Pillow raises many kinds
        return ""
