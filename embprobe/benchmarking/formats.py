"""Tables of cells as text: Markdown, LaTeX, HTML whose columns sort, and CSV. Nothing in them is ever run."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from embprobe.benchmarking.cell import Cell
from embprobe.benchmarking.table import csv_of, row_of
from embprobe.benchmarking.tasks import find_task
from embprobe.errors import UsageError
from embprobe.system.text import visible


@dataclass(frozen=True)
class Grid:
    """Cells as lines of a data set, its split and a task, with a column for each encoder."""

    encoders: Sequence[str]
    lines: Sequence[tuple[str, str, str]]
    """Data set, split and task."""
    cells: Sequence[Sequence[Cell | None]]
    """By line and encoder."""


def grid_of(cells: Sequence[Cell]) -> Grid:
    """Arrange cells; of several seeds or versions of a data set, each has a line of its own."""
    encoders = list(dict.fromkeys(cell.encoder.name for cell in cells))
    lines: dict[tuple[str, str, str, str, int], dict[str, Cell]] = {}
    for cell in cells:
        line = (cell.dataset.name, cell.split.name, cell.task, cell.dataset.fingerprint, cell.seed)
        lines.setdefault(line, {})[cell.encoder.name] = cell
    chosen = [[of_line.get(name) for name in encoders] for of_line in lines.values()]
    return Grid(encoders, [(dataset, split, task) for dataset, split, task, *_ in lines], chosen)


def to_markdown(cells: Sequence[Cell]) -> str:
    """Return a Markdown table, an estimate with its interval in each cell."""
    grid = grid_of(cells)
    head = ["data set", "split", "task", "chance", *grid.encoders]
    rows = [[*map(_markdown, head)], ["---", "---", "---", "---:", *["---:"] * len(grid.encoders)]]
    for line, of_line in zip(grid.lines, grid.cells, strict=True):
        rows.append([*map(_markdown, _names(line)), _chance(of_line), *(_text(cell) for cell in of_line)])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def to_latex(cells: Sequence[Cell]) -> str:
    """Return a LaTeX ``tabular`` for the package booktabs."""
    grid = grid_of(cells)
    head = " & ".join(map(_latex, ["data set", "split", "task", "chance", *grid.encoders]))
    lines = [f"\\begin{{tabular}}{{lll{'r' * (1 + len(grid.encoders))}}}", "\\toprule", f"{head} \\\\", "\\midrule"]
    for line, of_line in zip(grid.lines, grid.cells, strict=True):
        values = [*map(_latex, _names(line)), _chance(of_line), *(_latex_value(cell) for cell in of_line)]
        lines.append(f"{' & '.join(values)} \\\\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def to_html(cells: Sequence[Cell]) -> str:
    """Return a page with one table, whose columns sort when their heads are clicked; it loads nothing."""
    grid = grid_of(cells)
    head = "".join(f"<th>{_html(name)}</th>" for name in ["data set", "split", "task", "chance", *grid.encoders])
    body = []
    for line, of_line in zip(grid.lines, grid.cells, strict=True):
        names = "".join(f"<td>{_html(name)}</td>" for name in _names(line))
        values = "".join(
            f'<td class="n" data-v="{cell.value.estimate!r}">{cell.value.estimate:.3f}'
            f"<small>{cell.value.low:.3f} to {cell.value.high:.3f}</small></td>"
            if cell
            else '<td class="n" data-v="-1">-</td>'
            for cell in of_line
        )
        chance = _chance(of_line)
        body.append(f'<tr>{names}<td class="n" data-v="{chance or -1}">{chance}</td>{values}</tr>')
    return _PAGE.replace("HEAD", head).replace("BODY", "\n".join(body))


def to_csv(cells: Sequence[Cell]) -> str:
    """Return a line for each cell, with all its facts."""
    return csv_of([row_of(cell) for cell in cells])


FORMATS: dict[str, Callable[[Sequence[Cell]], str]] = {
    "markdown": to_markdown,
    "csv": to_csv,
    "latex": to_latex,
    "html": to_html,
}


def find_format(name: str) -> Callable[[Sequence[Cell]], str]:
    """Return the function that writes a format.

    Raises:
        UsageError: There is no such format.
    """
    if name not in FORMATS:
        raise UsageError(f"There is no format '{name}': {', '.join(FORMATS)}.")
    return FORMATS[name]


def _names(line: tuple[str, str, str]) -> list[str]:
    dataset, split, task = line
    return [dataset, split, find_task(task).title]


def _chance(cells: Sequence[Cell | None]) -> str:
    chances = [cell.chance for cell in cells if cell is not None]
    return "" if not chances or chances[0] is None else f"{chances[0]:.3f}"


def _text(cell: Cell | None) -> str:
    return f"{cell.value.estimate:.3f} ({cell.value.low:.3f} to {cell.value.high:.3f})" if cell else "-"


def _latex_value(cell: Cell | None) -> str:
    return (
        f"{cell.value.estimate:.3f} {{\\scriptsize ({cell.value.low:.3f} to {cell.value.high:.3f})}}" if cell else "--"
    )


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>|#!])", r"\\\1", visible(text))


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "→": r"$\rightarrow$"}


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, f"\\{letter}" if letter in "#$%&_{}" else letter) for letter in visible(text))


def _html(text: str) -> str:
    return html.escape(visible(text))


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Benchmark</title>
<meta http-equiv="Content-Security-Policy"
content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em; color: #1a1a1a; background: #fff }
table { border-collapse: collapse }
th, td { padding: .35em .8em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
th { cursor: pointer; position: sticky; top: 0; background: #f4f4f4 }
td.n { text-align: right; font-variant-numeric: tabular-nums }
small { display: block; color: #666 }
</style></head><body>
<p>Estimates with their 95 % intervals. Click a head to sort.</p>
<table><thead><tr>HEAD</tr></thead><tbody>
BODY
</tbody></table>
<script>
for (const [i, head] of [...document.querySelectorAll("th")].entries()) {
  let down = false;
  head.addEventListener("click", () => {
    const body = document.querySelector("tbody"), key = row => row.cells[i].dataset.v ?? row.cells[i].textContent;
    down = !down;
    const order = (a, b) => key(a).localeCompare(key(b), undefined, {numeric: true}) || 0;
    const numeric = (a, b) => Number(key(a)) - Number(key(b));
    const by = body.rows[0].cells[i].dataset.v === undefined ? order : numeric;
    body.append(...[...body.rows].sort((a, b) => (down ? -1 : 1) * by(a, b)));
  });
}
</script></body></html>
"""
