"""The figures of a benchmark: a panel for every data set, and accuracy under a shift against that without it."""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embprobe.benchmarking.cell import Cell, Value
from embprobe.benchmarking.table import Benchmark, Line
from embprobe.benchmarking.tasks import find_task
from embprobe.encoders.naming import names_in_lines
from embprobe.errors import EmbprobeError
from embprobe.plots.legend import draw_legend
from embprobe.plots.probe import Encoders, look
from embprobe.plots.robustness import ShiftedAccuracy, plot_robustness
from embprobe.plots.style import figure, free_path, save
from embprobe.probing.results import span
from embprobe.statistics import Estimate, Robustness, effective_robustness
from embprobe.system.text import visible
from embprobe.system.written import written

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from embprobe.embeddings.workspace import Workspace

SHIFTED = ("linear-probe", "gda", "knn-20", "zero-shot")
"""The tasks whose accuracy is shown under a shift: the first of them that all encoders have."""
_NAMED = 3
"""Data sets whose names are in a file's name; of more, only their number."""
_NAME, _TITLE, _TASK, _UNIT = 28, 44, 20, 40
"""Letters in a line of an encoder's name, above a panel, beside its axis and below it."""
_BAND = 0.64
"""Share of a task's line that its encoders fill."""


def save_benchmark(table: Benchmark, workspace: Workspace) -> list[Path]:
    """Draw a benchmark among the workspace's figures, each as PNG and SVG, and return the paths of the PNGs.

    The first has a panel for every data set. One follows for every domain, and for every data set that is tested by
    what another's images fitted: the accuracy there against that on the main split of the data set that was fitted on.
    A figure that cannot be written is left out, after a warning.
    """
    lines = _main_lines(table)
    name = "-".join(lines) if len(lines) <= _NAMED else f"{len(lines)}-data-sets"
    path = free_path(workspace.figure(f"benchmark-{name}"), "\n".join(lines))
    paths = [path] if written("figure", path, lambda: plot_benchmark(table, path)) else []
    shifts = [_save_shift(inside, shifted, table, workspace) for inside, shifted in _shifts(table)]
    return [*paths, *(path for path in shifts if path is not None)]


def _save_shift(inside: Line, shifted: Line, table: Benchmark, workspace: Workspace) -> Path | None:
    path = workspace.figure(f"robustness-{shifted.dataset}-{shifted.split}")
    first, second = (_first(table, line) for line in (inside, shifted))
    apart = first.dataset.classes != second.dataset.classes  # fewer classes are easier
    names = [_tested(cell, with_classes=apart) for cell in (first, second)]

    def draw() -> None:
        points = _points(table, inside, shifted)
        task = find_task(shifted.task).title
        plot_robustness(points, _line(points), path, inside=names[0], shifted=f"{names[1]} ({task})")

    return path if written("figure", path, draw) else None


def _tested(cell: Cell, *, with_classes: bool) -> str:
    """Name the images that a cell was tested on and, if that may differ, the number of classes."""
    classes = f", {cell.dataset.classes:,} classes" if with_classes else ""
    return visible(f"{cell.dataset.name}, {cell.split.name}{classes}")


def plot_benchmark(table: Benchmark, out: Path) -> None:
    """Write a figure with a panel for the main split of every data set to ``out``, and as SVG beside it.

    A task has a line, an encoder a marker on it with its 95 % interval; a grey line across is the number of the best
    constant answer.
    """
    panels, encoders = _main_lines(table), _alike(table.encoders)
    columns = 1 if len(panels) == 1 else 2 if len(panels) <= 4 else 3
    grid = [list(panels.values())[i : i + columns] for i in range(0, len(panels), columns)]
    heights = [0.95 + max(map(len, row)) * (0.2 + 0.11 * len(encoders)) for row in grid]
    width = 6.4 if columns == 1 else 4.6 * columns
    with figure(width=width, height=1.2 + sum(heights), rows=len(grid), columns=columns, heights=heights) as (
        canvas,
        axes,
    ):
        cells = [cell for of_dataset in panels.values() for of_line in of_dataset for cell in of_line.values()]
        units = "/".join(dict.fromkeys(f"{cell.split.resampled}s" for cell in cells))
        if (engine := canvas.get_layout_engine()) is not None:
            engine.set(h_pad=0.1)  # type: ignore[call-arg]
        canvas.suptitle(
            f"95 % intervals over {span([cell.split.groups for cell in cells])} {visible(units)}; grey: the best "
            "constant answer",
            fontsize=9,
            x=0.01,
            ha="left",
        )
        handles: dict[str, Any] = {}
        for axis, (dataset, lines) in zip(axes, panels.items(), strict=False):
            split = next(iter(lines[0].values())).split.name
            axis.set_title("\n".join(textwrap.wrap(f"{visible(dataset)}: {visible(split)}", _TITLE)), fontsize=8.5)
            handles |= _draw(axis, lines, encoders)
        for unused in axes[len(panels) :]:
            unused.remove()
        called = names_in_lines(encoders, _NAME)
        shown = [name for name in encoders if name in handles]
        draw_legend(canvas, [handles[name] for name in shown], [called[name] for name in shown], columns=2 * columns)
        save(canvas, out, vector=True, subject="\n".join(panels))


def _draw(axis: Axes, lines: Sequence[Mapping[str, Cell]], encoders: Encoders) -> dict[str, Any]:
    """Draw the tasks of a data set, the first at the top, and return a marker of each encoder for the legend."""
    step = _BAND / max(len(encoders), 1)
    handles: dict[str, Any] = {}
    for place, of_line in enumerate(lines):
        for i, name in enumerate(encoders):
            if (cell := of_line.get(name)) is None:
                continue
            color, marker = look(name, encoders)
            up = place + step * (i - (len(encoders) - 1) / 2)
            handles[name] = axis.errorbar(
                cell.value.estimate, up, xerr=_bar(cell.value), color=color, marker=marker, linestyle="", capsize=2,
                markersize=4.5, lw=1,
            )  # fmt: skip
        chances = {cell.chance for cell in of_line.values() if cell.chance is not None}
        axis.vlines(sorted(chances), place - 0.5, place + 0.5, color="0.6", lw=1.2, zorder=1)
        if place:
            axis.axhline(place - 0.5, color="0.9", lw=0.8, zorder=0)
    firsts = [next(iter(of_line.values())) for of_line in lines]
    tasks = [_in_lines(find_task(cell.task).title) for cell in firsts]
    axis.set_yticks(range(len(lines)), tasks, fontsize=8)
    axis.tick_params(axis="y", length=0)
    unit = textwrap.fill(", ".join(dict.fromkeys(_unit(cell) for cell in firsts)), _UNIT)
    axis.set(xlabel=unit, xlim=(0, 1), ylim=(len(lines) - 0.5, -0.5))
    axis.grid(axis="x", color="0.93")
    axis.set_axisbelow(True)
    return handles


def _main_lines(table: Benchmark) -> dict[str, list[dict[str, Cell]]]:
    """Return by data set the cells of each task on its main split, by encoder."""
    found: dict[str, list[dict[str, Cell]]] = {}
    for line, at in table.lines.items():
        cells = {name: table.cells[i] for name, i in at.items()}
        if next(iter(cells.values())).split.kind != "domain":
            found.setdefault(line.dataset, []).append(cells)
    return found


def _shifts(table: Benchmark) -> Iterator[tuple[Line, Line]]:
    """Yield for each split under a shift the line of the main split beside it, and its own.

    Tasks are tried in the order of :data:`SHIFTED`; a split without one that all encoders have is passed over.
    """
    drawn: set[tuple[str, str]] = set()
    complete = [line for line, at in table.lines.items() if line.task in SHIFTED and len(at) == len(table.encoders)]
    complete.sort(key=lambda line: SHIFTED.index(line.task))
    for shifted, inside in itertools.product(complete, complete):
        split = shifted.dataset, shifted.split
        same_task = inside.task == shifted.task
        if same_task and split not in drawn and _is_inside(_first(table, inside), _first(table, shifted)):
            drawn.add(split)
            yield inside, shifted


def _first(table: Benchmark, line: Line) -> Cell:
    """Return the cell of a line's first encoder: all have the same data set and split."""
    return table.cells[next(iter(table.lines[line].values()))]


def _is_inside(inside: Cell, shifted: Cell) -> bool:
    """Return whether a cell is of the main split of the data set that another cell, under a shift, was fitted on."""
    if inside.split.kind not in ("official", "folds") or shifted.split.kind not in ("domain", "elsewhere"):
        return False
    if shifted.split.kind == "domain":
        return inside.dataset.name == shifted.dataset.name
    return bool(inside.dataset.card) and inside.dataset.card == shifted.split.fitted_on


def _points(table: Benchmark, inside: Line, shifted: Line) -> list[ShiftedAccuracy]:
    at = [table.lines[line] for line in (inside, shifted)]
    return [
        ShiftedAccuracy(name, "subject", *(_accuracy(table.cells[positions[name]]) for positions in at))
        for name in table.encoders
    ]


def _accuracy(cell: Cell) -> Estimate:
    value = cell.numbers["accuracy"]
    return Estimate(value.estimate, value.low, value.high, cell.split.tested, cell.split.groups)


def _line(points: Sequence[ShiftedAccuracy]) -> Robustness | None:
    """Fit the line of accuracies under the shift; None for too few encoders, or for equal ones."""
    images = points[0].inside.images, points[0].shifted.images
    accuracies = [[each.inside.estimate for each in points], [each.shifted.estimate for each in points]]
    try:
        return effective_robustness(accuracies[0], accuracies[1], images=images)
    except EmbprobeError:
        return None


def _alike(encoders: Sequence[str]) -> Encoders:
    """Return encoders that are all drawn in colour: a benchmark has no references."""
    return dict.fromkeys(encoders, "subject")


def _bar(value: Value) -> list[list[float]]:
    """Return the lengths of an interval below and above the estimate, for matplotlib."""
    return [[max(0.0, value.estimate - value.low)], [max(0.0, value.high - value.estimate)]]


def _unit(cell: Cell) -> str:
    return "mean accuracy per class" if cell.main == "mean per class" else cell.main


def _in_lines(title: str) -> str:
    return textwrap.fill(title, _TASK)
