"""Heat maps of layers: how far every layer of a network agrees with every layer of another, or of itself."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from embprobe.comparing.layer_result import LayerComparison, LayerSimilarity, load_layers
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.naming import fold, short_names
from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import ScoreArray
from embprobe.plots.letters import drawable
from embprobe.plots.style import PALETTE, figure, save
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WITHIN = "within.png"
"""The file of the figure of each encoder with itself."""
_COLORS = "viridis"
_MARK = PALETTE[1]
_CELL, _LEAST, _MOST = 0.36, 2.6, 9.0
"""Inches of a cell, and of a panel's shortest and longest side."""
_LEGIBLE = 0.24
"""Inches of a cell in which a number of two digits can be read."""
_NAME, _HEADING = 30, 10
"""Letters in a line of an axis, and in an inch of the heading."""


def save_layers(comparison: LayerComparison, workspace: Workspace) -> None:
    """Write the numbers into a folder of the workspace, and the figures beside them.

    Of a comparison that is there already only missing figures are drawn. What cannot be written is logged as a warning.
    """
    path = comparison.path(workspace)
    known = _is_saved(comparison, path.parent)
    if not known:
        written("comparison", path, lambda: comparison.save(workspace))
    for out, pairs in _figures(comparison, path.parent).items():
        if not (known and out.is_file()):
            written("figure", out, partial(plot_layers, comparison, pairs, out))


def figures_of(comparison: LayerComparison, folder: Path) -> list[Path]:
    """Return the paths of the figures in a comparison's folder: ``layers-1.png`` and so on, and ``within.png``."""
    return list(_figures(comparison, folder))


def plot_layers(comparison: LayerComparison, pairs: Sequence[tuple[str, str]], out: Path) -> None:
    """Write the figure of :func:`draw_layers` to ``out``, and as SVG beside it."""
    with _drawn(comparison, pairs) as canvas:
        save(canvas, out, vector=True)


def draw_layers(comparison: LayerComparison, pairs: Sequence[tuple[str, str]]) -> Figure:
    """Draw heat maps of a comparison: a row of panels for every two encoders, a column for each measure.

    The layers of the first are the rows of a panel, from the input up, those of the second the columns. In each row the
    greatest value is framed: of an encoder with itself the greatest of two different layers. Colours of one measure
    mean the same in all panels, and the red line in a colour bar is chance.

    Args:
        comparison: The comparison.
        pairs: Names of two encoders each, or of the same one twice; at least one pair.

    Returns:
        A matplotlib figure.
    """
    with _drawn(comparison, pairs) as canvas:
        return canvas


def _figures(comparison: LayerComparison, folder: Path) -> dict[Path, list[tuple[str, str]]]:
    """Return the figures of a comparison and the encoders that each is about."""
    figures = {folder / f"layers-{i}.png": [pair] for i, pair in enumerate(comparison.between(), 1)}
    return {**figures, folder / WITHIN: [(name, name) for name in comparison.encoders]}


def _is_saved(comparison: LayerComparison, folder: Path) -> bool:
    try:
        return load_layers(folder) == comparison
    except EmbprobeError:
        return False


@contextmanager
def _drawn(comparison: LayerComparison, pairs: Sequence[tuple[str, str]]) -> Iterator[Figure]:
    measures = comparison.measures
    values = {(m, pair): comparison.similarity(*pair, m) for pair in pairs for m in measures}
    sizes = [values[measures[0], pair].shape for pair in pairs]
    sides = [[min(max(_CELL * side, _LEAST), _MOST) for side in shape] for shape in sizes]
    heights, width = [height for height, _ in sides], max(width for _, width in sides)
    across = len(measures) * (width + 1.5)
    with figure(
        width=across,
        height=sum(heights) + 0.75 * len(pairs) + 0.6,
        rows=len(pairs),
        columns=len(measures),
        heights=heights,
    ) as (canvas, axes):
        heading = f"Do layers agree? {comparison.compared:,} images of {comparison.images.name}"
        framed = "framed: the greatest in its row" + (", itself left out" if all(a == b for a, b in pairs) else "")
        canvas.suptitle(
            "\n".join(textwrap.wrap(drawable(f"{heading}; {framed}"), int(_HEADING * across))),
            fontsize=10,
            x=0.01,
            ha="left",
        )
        for i, pair in enumerate(pairs):
            for j, measure in enumerate(measures):
                every = np.concatenate([values[measure, each].ravel() for each in pairs])
                limits = min(0.0, float(every.min())), max(float(every.max()), 1e-9)
                axis = axes[i * len(measures) + j]
                facts = next(each for each in comparison.similarities if each.measure == measure)
                _draw(axis, values[measure, pair], limits, facts, same=pair[0] == pair[1])
                axis.set_title(measure if i == 0 else "")
                _name_layers(axis, comparison, pair)
        yield canvas


def _name_layers(axis: Axes, comparison: LayerComparison, pair: tuple[str, str]) -> None:
    """Write the numbers of the layers beside a heat map, at most 24 of them, and the names of the encoders."""
    short = short_names(comparison.encoders)
    labels = [fold(f"layer of {drawable(short[name])}", _NAME) for name in pair]
    axis.set(ylabel=labels[0], xlabel=labels[1])
    for which, name in zip((axis.yaxis, axis.xaxis), pair, strict=True):
        layers = comparison.encoders[name].layers
        step = -(-len(layers) // 24)
        which.set_ticks(range(0, len(layers), step), labels=[str(each) for each in layers[::step]])


def _draw(axis: Axes, values: ScoreArray, limits: tuple[float, float], facts: LayerSimilarity, *, same: bool) -> None:
    """Draw a heat map with its numbers, its colour bar, chance, and a frame about the greatest value of each row."""
    from matplotlib.patches import Rectangle

    low, high = limits
    image = axis.imshow(values, cmap=_COLORS, vmin=low, vmax=high, origin="lower", aspect="equal")
    canvas = axis.get_figure(root=True)
    assert canvas is not None  # it was made with one
    bar = canvas.colorbar(image, ax=axis, shrink=0.8)
    bar.ax.axhline(facts.chance, xmin=-0.35, xmax=1.35, color=_MARK, lw=2.5, clip_on=False)
    spread = "" if facts.chance_spread is None else f" ± {facts.chance_spread:.1g}"
    bar.set_label(f"chance {facts.chance:.3f}{spread}", fontsize=8)
    axis.tick_params(length=0)
    for spine in axis.spines.values():
        spine.set_visible(False)
    rows, columns = values.shape
    cell = _MOST / max(rows, columns, _MOST / _CELL)
    digits = 3 if cell >= _CELL else 2
    others = np.where(np.eye(rows, columns, dtype=bool), -np.inf, values) if same else values
    for i in range(rows):
        for j in range(columns) if cell >= _LEGIBLE else ():
            light = (values[i, j] - low) / (high - low) > 0.6
            axis.text(
                j,
                i,
                _short(values[i, j], digits),
                color="black" if light else "white",
                fontsize=6.5,
                ha="center",
                va="center",
            )
        if not same or columns > 1:
            at = int(others[i].argmax())
            axis.add_patch(Rectangle((at - 0.46, i - 0.46), 0.92, 0.92, fill=False, color=_MARK, lw=1.8))


def _short(value: float, digits: int) -> str:
    """Write a number without the zero before its point, and 0 and 1 without one."""
    text = f"{value:.{digits}f}"
    return f"{value:.0f}".replace("-0", "0") if float(text) in (0, 1) else text.replace("0.", ".", 1)
