"""The style of every figure: colour-blind-safe, legible in grey, no pyplot state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embprobe.probing.results import Result
from embprobe.system.files import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's colours, the darker ones first."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DPI = 150
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
}


def error_bar(row: Result) -> list[list[float]]:
    """Return the lengths of the interval below and above the estimate, in the form of matplotlib's ``errorbar``.

    At least 0: by rounding an end may lie beyond the estimate.
    """
    return [[max(0.0, row.estimate - row.low)], [max(0.0, row.high - row.estimate)]]


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
        yield (
            canvas,
            list(canvas.subplots(rows, columns, squeeze=False, height_ratios=heights, width_ratios=widths).flat),
        )


def save(canvas: Figure, out: Path, *, vector: bool = False) -> None:
    """Write the PNG ``out``, and with ``vector`` an SVG beside it; an interrupted write leaves no file."""
    for path in (out, out.with_suffix(".svg")) if vector else (out,):
        with replacing(path) as temporary:
            canvas.savefig(temporary, metadata={"Date": None} if path.suffix == ".svg" else {})
