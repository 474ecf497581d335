"""``embprobe benchmark``: data sets x encoders in one table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import (
    MAX_UNLABELLED,
    EncodersOption,
    JsonOption,
    MaxUnlabelledOption,
    RunOptions,
    SeedOption,
)
from embprobe.cli.session import choose_device, load_encoders, start_session
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.benchmark.cell import Cell
    from embprobe.benchmark.table import Benchmark, Difference, Line


def benchmark(
    datasets: Annotated[
        list[str] | None,
        typer.Argument(
            help="Data sets: a card's name with a place (cifar-10@FOLDER), or a folder, tars, parquet files, "
            "hf:OWNER/NAME. Default: the bundled images.",
            metavar="[DATASET]...",
        ),
    ] = None,
    encoder: EncodersOption = None,
    tasks: Annotated[
        str | None,
        typer.Option(help="Names with commas between. Default: all that data set and encoder allow.", metavar="NAMES"),
    ] = None,
    baseline: Annotated[
        str, typer.Option(help="The encoder that all others are compared with. Default: every two are compared.")
    ] = "",
    classes: Annotated[
        str, typer.Option(help="The label whose values are the classes. Default: the card's, else category.")
    ] = "",
    domains: Annotated[
        str,
        typer.Option(help="The label whose values are domains, each tested by what was fitted on the others."),
    ] = "",
    csv: Annotated[Path | None, typer.Option(help="Write the cells to this file, too.", metavar="FILE")] = None,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
) -> None:
    """Measure encoders on data sets: k-NN, linear probe, GDA, zero-shot, retrieval, by their official splits."""
    from embprobe import api
    from embprobe.benchmark.dataset import open_dataset
    from embprobe.benchmark.tasks import find_task
    from embprobe.cli.options import IMAGES
    from embprobe.cli.session import reading_of
    from embprobe.system.files import replacing

    wanted = [find_task(name.strip()).name for name in tasks.split(",")] if tasks else None
    reading = reading_of(run)
    opened = [
        open_dataset(name, reading, label=classes, domains=domains, max_unlabelled=max_unlabelled)
        for name in datasets or [IMAGES]
    ]
    device = choose_device(run.device)
    loaded = load_encoders(encoder, device, run.precision)
    session = start_session(run, device, seed=seed, max_unlabelled=max_unlabelled)
    table = api.benchmark(opened, loaded, tasks=wanted, baseline=baseline, session=session)
    if csv is not None:
        with replacing(csv) as path:
            path.write_text(table.to_csv(), encoding="utf-8")
    if json:
        print_json(table.as_json())
        return
    print_benchmark(table)
    if csv is not None:
        note(f"Table: {csv}")
    note(f"Cells: {table.paths[0].parents[3]}")


def print_benchmark(table: Benchmark) -> None:
    """Print a table for every data set: a line a task, a column an encoder, and the differences that are certain."""
    from embprobe.encoders.naming import short_names

    console, short = output(width=140), short_names(table.encoders)
    differences = table.differences()
    for dataset in dict.fromkeys(line.dataset for line in table.lines):
        lines = {line: encoders for line, encoders in table.lines.items() if line.dataset == dataset}
        cells = {line: {name: table.cells[i] for name, i in at.items()} for line, at in lines.items()}
        grid = Table(title=escape(visible(dataset)), title_justify="left", caption_justify="left")
        grid.caption = _caption([cell for of_line in cells.values() for cell in of_line.values()])
        grid.add_column("task")
        grid.add_column("chance", justify="right")
        for name in table.encoders:
            grid.add_column(escape(short[name]), justify="right")
        split = ""
        for line, of_line in cells.items():
            first = next(iter(of_line.values()))
            if line.split != split:
                split = line.split
                grid.add_row(f"[bold]{escape(visible(split))}[/bold]", *[""] * (1 + len(table.encoders)))
            row = [_value(of_line.get(name)) for name in table.encoders]
            grid.add_row(_title(first), "" if first.chance is None else f"{first.chance:.3f}", *row, end_section=True)
        console.print(grid)
        for each in differences:
            if each.line.dataset == dataset:
                console.print(escape(visible(_sentence(each, short))), soft_wrap=True)
    for reason in table.left_out:
        where = ", ".join(part for part in (reason.dataset, reason.task, reason.encoder) if part)
        console.print(escape(visible(f"Left out: {where}: {reason.reason.removesuffix('.')}.")), soft_wrap=True)


def _value(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return f"{cell.value.estimate:.3f}\n{cell.value.low:.3f} to {cell.value.high:.3f}"


def _title(cell: Cell) -> str:
    from embprobe.benchmark.table import title_of

    mean = ", mean per class" if cell.main == "mean per class" else ""
    return f"{title_of(cell.task)}{mean}"


def _caption(cells: list[Cell]) -> str:
    """Return what the intervals of a data set's cells are over, and how its images are split."""
    from embprobe.probing.results import span

    groups = span([cell.split.groups for cell in cells])
    folds = any(cell.split.kind == "folds" for cell in cells)
    own = " It has no official split: every image is tested by what was fitted on the other folds." if folds else ""
    return f"95 % bootstrap intervals over {groups} {cells[0].split.resampled}s of test images.{own}"


def _sentence(difference: Difference, short: dict[str, str]) -> str:
    """Return a sentence on a difference: its size and interval, or the least that could have been shown."""
    from embprobe.probing.results import format_p
    from embprobe.statistics import CERTAIN

    line: Line = difference.line
    a, b, p = short[difference.encoder], short[difference.against], format_p(difference.p_adjusted)
    interval = f"{difference.estimate:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}, {p})"
    if difference.p_adjusted < CERTAIN:
        ahead, behind = (a, b) if difference.estimate > 0 else (b, a)
        return f"{line.task}, {line.split}: {ahead} above {behind}, {a} - {b} = {interval}."
    detects = f"these images would show {difference.detectable:.3f} or more with a probability of 0.8"
    return f"{line.task}, {line.split}: {a} and {b} undecided, {interval}; {detects}."
