"""``embprobe benchmark``: data sets x encoders in one table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.estimates import estimate_cell
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
    from embprobe.benchmarking.cell import Cell
    from embprobe.benchmarking.table import Benchmark, Difference, Line, RecipeGap

_NAME = 18
"""Letters of an encoder's name on a line of a heading."""
_BESIDE = 3
"""Pairs of encoders whose differences have columns of their own; more stand in lines below."""


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
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=ENCODER,ENCODER: encoders of one recipe and other seeds, among those of -e; of two recipes or "
            "more, differences are resampled over images and seeds. Repeatable.",
            metavar="NAME=ENCODERS",
        ),
    ] = None,
    classes: Annotated[
        str, typer.Option(help="The label whose values are the classes. Default: the card's, else category.")
    ] = "",
    domains: Annotated[
        str,
        typer.Option(help="The label whose values are domains, each tested by what was fitted on the others."),
    ] = "",
    captions: Annotated[str, typer.Option(help="The label that holds captions. Default: the card's.")] = "",
    leaks: Annotated[
        str,
        typer.Option(
            help="How to look for test images that are among the training images: bytes, near (the same pixels and "
            "near duplicates, too: decodes all pictures), off; auto is bytes for up to 200,000 files of this machine."
        ),
    ] = "auto",
    without_leaks: Annotated[bool, typer.Option("--without-leaks", help="Leave those test images out.")] = False,
    csv: Annotated[Path | None, typer.Option(help="Write the cells to this file, too.", metavar="FILE")] = None,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
) -> None:
    """Measure encoders on data sets: k-NN, linear probe, GDA, zero-shot, retrieval, by their official splits."""
    from embprobe import api
    from embprobe.benchmarking.dataset import open_dataset
    from embprobe.benchmarking.tasks import find_task
    from embprobe.cli.options import IMAGES
    from embprobe.cli.session import reading_of
    from embprobe.errors import UsageError
    from embprobe.plots.benchmark import save_benchmark
    from embprobe.system.files import replacing

    if leaks not in ("auto", "bytes", "near", "off"):
        raise UsageError(f"--leaks is auto, bytes, near or off, not '{leaks}'.")
    wanted = [find_task(name.strip()).name for name in tasks.split(",")] if tasks else None
    recipes = _recipes(recipe or [])
    reading = reading_of(run)
    opened = [
        open_dataset(name, reading, label=classes, domains=domains, captions=captions, max_unlabelled=max_unlabelled)
        for name in datasets or [IMAGES]
    ]
    device = choose_device(run.device)
    loaded = load_encoders(encoder, device, run.precision)
    session = start_session(run, device, seed=seed, max_unlabelled=max_unlabelled)
    table = api.benchmark(
        opened,
        loaded,
        tasks=wanted,
        baseline=baseline,
        leaks=leaks,  # type: ignore[arg-type]
        without_leaks=without_leaks,
        session=session,
    )
    figures = save_benchmark(table, session.workspace)
    if csv is not None:
        with replacing(csv) as path:
            path.write_text(table.to_csv(), encoding="utf-8")
    gaps = table.recipe_gaps(recipes) if recipes else []
    if json:
        recipes_json = [{**asdict(gap.line), **asdict(gap)} for gap in gaps]
        print_json({**table.as_json(), **({"recipes": recipes_json} if recipes else {})})
        return
    print_benchmark(table)
    _print_gaps(gaps)
    if csv is not None:
        note(f"Table: {csv}")
    for figure in figures:
        note(f"Figure: {figure}")
    note(f"Cells: {table.paths[0].parents[3]}")


def _recipes(typed: Sequence[str]) -> dict[str, list[str]]:
    """Return by the name of each recipe its encoders.

    Raises:
        UsageError: One is not of the form NAME=ENCODER,ENCODER, or its name stands twice.
    """
    from embprobe.errors import UsageError

    recipes: dict[str, list[str]] = {}
    for each in typed:
        name, _, encoders = each.partition("=")
        names = [encoder.strip() for encoder in encoders.split(",") if encoder.strip()]
        if not name or len(names) < 2 or name in recipes:
            raise UsageError(f"A recipe is NAME=ENCODER,ENCODER with two seeds or more, and named once; not '{each}'.")
        recipes[name] = names
    return recipes


def _print_gaps(gaps: Sequence[RecipeGap]) -> None:
    """Print the differences between recipes, over images and seeds, and over each of them alone."""
    from embprobe.benchmarking.tasks import find_task
    from embprobe.probing.results import format_p

    if not gaps:
        return
    grid = Table(title="Recipes", title_justify="left", caption_justify="left")
    grid.caption = "Differences with 95 % intervals. Of another training run the one over images and seeds speaks."
    for name in ("data set", "split", "task", "recipes", "over images and seeds", "over images", "over seeds"):
        grid.add_column(name)
    for gap in gaps:
        both, images, seeds = gap.difference.both, gap.difference.images, gap.difference.seeds
        p = "" if both.p is None else f", {format_p(both.p)}"
        grid.add_row(
            escape(visible(gap.line.dataset)),
            escape(visible(gap.line.split)),
            find_task(gap.line.task).title,
            escape(visible(f"{gap.recipe} - {gap.against}")),
            f"{both.estimate:+.3f}{p}\n{both.low:+.3f} to {both.high:+.3f}",
            *(f"{each.low:+.3f} to {each.high:+.3f}" for each in (images, seeds)),
            end_section=True,
        )
    output(width=160).print(grid)


def print_benchmark(table: Benchmark) -> None:
    """Print a table for every data set: a line a task, a column an encoder, and one for every difference."""
    from embprobe.encoders.naming import names_in_lines, short_names

    console, short, pairs = output(width=160), short_names(table.encoders), table.pairs()
    differences = {(each.line, each.encoder, each.against): each for each in table.differences()}
    lines_of = names_in_lines(table.encoders, _NAME)
    beside = len(pairs) <= _BESIDE or bool(table.baseline)
    letters = {} if beside else table.letters()
    for dataset in dict.fromkeys(line.dataset for line in table.lines):
        lines = [line for line in table.lines if line.dataset == dataset]
        cells = {line: {name: table.cells[i] for name, i in table.lines[line].items()} for line in lines}
        grid = Table(title=escape(visible(dataset)), title_justify="left", caption_justify="left")
        grid.caption = _caption(
            [cell for of_line in cells.values() for cell in of_line.values()], table, lettered=not beside
        )
        grid.add_column("task")
        grid.add_column("chance", justify="right")
        for name in table.encoders:
            grid.add_column(escape(lines_of[name]), justify="right")
        for a, b in pairs if beside else []:
            grid.add_column(escape(f"{lines_of[a]}\n- {lines_of[b]}"), justify="right")
        split = ""
        for line, of_line in cells.items():
            first = next(iter(of_line.values()))
            if line.split != split:
                split = line.split
                grid.add_row(f"[bold]{escape(visible(split))}[/bold]")
            tied = letters.get(line, {})
            values = [_value(of_line.get(name), tied.get(name, "")) for name in table.encoders]
            against = [estimate_cell(differences.get((line, *pair))) or "-" for pair in pairs] if beside else []
            chance = "" if first.chance is None else f"{first.chance:.3f}"
            grid.add_row(_title(first), chance, *values, *against, end_section=True)
        console.print(grid)
        domains = {line for line, of_line in cells.items() if next(iter(of_line.values())).split.kind == "domain"}
        for each in [] if beside else differences.values():
            if each.line.dataset == dataset and each.line not in domains:  # letters say enough of many domains
                console.print(escape(visible(_sentence(each, short))), soft_wrap=True)
    _print_means(console, table)
    for reason in table.left_out:
        where = ", ".join(part for part in (reason.dataset, reason.task, reason.encoder) if part)
        console.print(escape(visible(f"Left out: {where}: {reason.reason.removesuffix('.')}.")), soft_wrap=True)


def _print_means(console: Console, table: Benchmark) -> None:
    """Print means over data sets, if there are several."""
    from embprobe.benchmarking.tasks import find_task
    from embprobe.encoders.naming import names_in_lines

    means = table.means()
    if not means:
        return
    several = any(mean.over_datasets for mean in means)
    wide = "for data sets like these" if several else "for these data sets alone: over others, five are needed"
    grid = Table(title="Mean over data sets", title_justify="left", caption_justify="left")
    grid.caption = f"Each data set counts the same. 95 % intervals {wide}. "
    grid.caption += "The mean rank, 1 for the best, hides how large gaps are."
    grid.add_column("task")
    grid.add_column("data sets", justify="right")
    for name in names_in_lines(table.encoders, _NAME).values():
        grid.add_column(escape(name), justify="right")
    for task in dict.fromkeys(mean.task for mean in means):
        of_task = [mean for mean in means if mean.task == task]
        cells = []
        for mean in of_task:
            value = mean.over_datasets or mean.over_images
            rank = f"\nrank {mean.rank.estimate:.2f}" if mean.rank else ""
            cells.append(f"{value.estimate:.3f}\n{value.low:.3f} to {value.high:.3f}{rank}")
        grid.add_row(find_task(task).title, str(len(of_task[0].datasets)), *cells, end_section=True)
    console.print(grid)


def _value(cell: Cell | None, letters: str) -> str:
    tied = f" {letters}" if letters else ""
    return f"{cell.value.estimate:.3f}{tied}\n{cell.value.low:.3f} to {cell.value.high:.3f}" if cell else "-"


def _title(cell: Cell) -> str:
    from embprobe.benchmarking.tasks import find_task

    mean = "\nmean per class" if cell.main == "mean per class" else ""
    return f"{find_task(cell.task).title}{mean}"


def _caption(cells: list[Cell], table: Benchmark, *, lettered: bool) -> str:
    """Return what the intervals of a data set's cells are over, and how its images are split."""
    from embprobe.probing.results import span

    groups = span([cell.split.groups for cell in cells])
    unit = cells[0].split.resampled
    over = f"{groups} test images" if unit == "image" else f"{groups} {unit}s of test images"
    folds = any(cell.split.kind == "folds" for cell in cells)
    own = " In folds, for want of an official split, every image is tested by what the others fitted." if folds else ""
    several = len(table.encoders) > 1
    p = " p is corrected (Holm) over the differences of a split; 'detects' is the least difference that these images "
    p += "would show with a probability of 0.8."
    tied = " Encoders that share a letter are not told apart by these images." if lettered else ""
    return f"95 % bootstrap intervals over {over}.{own}{p if several else ''}{tied}"


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
