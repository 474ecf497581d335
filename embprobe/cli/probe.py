"""``embprobe probe``: how much each encoder notices an attribute."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, note_files, output, print_json
from embprobe.cli.estimates import estimate_cell, print_checks
from embprobe.cli.options import (
    MAX_UNLABELLED,
    EncodersOption,
    ImagesArgument,
    JsonOption,
    MaxUnlabelledOption,
    RunOptions,
    SeedOption,
)
from embprobe.cli.session import begin, open_rows
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.probing.card import Card
    from embprobe.probing.key import Key
    from embprobe.probing.results import Result, Results

_LETTERS = 17
"""Of a line of a column's heading."""
_COMPARED = 3
"""Most differences that have columns in a table; more are in the results file only."""


def probe(
    images: ImagesArgument = None,
    attribute: Annotated[
        list[str] | None, typer.Option("--attribute", "-a", help="What to probe, or 'all'; repeatable.")
    ] = None,
    card: Annotated[list[Path] | None, typer.Option(help="A probe card of your own; repeatable.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only what the headlines and the checks need.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Only print what the cards ask of these images, and what checks them.")
    ] = False,
    layers: Annotated[
        str | None,
        typer.Option(
            help="The headline by layers of each encoder instead: all, 'every 2', or numbers such as 8,10,12."
        ),
    ] = None,
    encoder: EncodersOption = None,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
) -> None:
    """Measure how much each encoder notices an attribute: a table, a figure and a JSON, with intervals."""
    from embprobe import api
    from embprobe.errors import EmbprobeError, UsageError
    from embprobe.plots.forest import save_forest
    from embprobe.plots.probe import FIGURE
    from embprobe.plots.profile import save_profiles
    from embprobe.probing.card import attributes, bundled_card, read_card
    from embprobe.probing.context import NotApplicable

    every = attributes() if "all" in (attribute or []) else []
    every = [name for name in every if not bundled_card(name).by_name_only]
    names = dict.fromkeys([name for name in attribute or [] if name != "all"] + every)
    cards = [bundled_card(name) for name in names] + [read_card(path) for path in card or []]
    if not cards:
        raise UsageError(f"Say what to probe: --attribute {', '.join([*attributes(), 'all'])}; or --card FILE.")
    if explain:
        print_explanations(cards, images, run, json=json, max_unlabelled=max_unlabelled)
        return
    subjects = begin(images, encoder, run, seed=seed, max_unlabelled=max_unlabelled)
    rows, session = subjects.images, subjects.session
    probed: list[Results] = []
    numbers: list[Path] = []
    every_card = api.probe_cards(
        rows, cards, subjects.encoders, layers=layers, quick=quick, session=session, precision=run.precision
    )
    for one, results in zip(cards, every_card, strict=True):
        if isinstance(results, NotApplicable):
            if len(cards) == 1:
                raise results
            note(str(results))
            continue
        folder = results.folder(session.workspace)
        probed.append(results)
        numbers.append(folder / "results.json")
        if not json:
            title = f"{one.title}: {results.manifest['card']['question']}"
            (print_results if layers is None else print_profile)(results, title=title)
            note_files([folder / FIGURE], numbers[-1])
    if not probed:
        raise EmbprobeError(f"None of the probes can be asked of '{rows.name}'.")
    save_together = save_forest if layers is None else save_profiles
    if len(probed) > 1 and (together := save_together(probed, session.workspace)) and not json:
        note(f"All of them: {together}")
    if json:
        documents = [results.as_json() for results in probed]
        print_json(documents[0] if len(cards) == 1 else documents)
    if not all(path.is_file() for path in numbers):
        raise typer.Exit(1)


def print_explanations(
    cards: Sequence[Card],
    images: str | None,
    run: RunOptions,
    *,
    json: bool,
    max_unlabelled: float = MAX_UNLABELLED,
) -> None:
    """Print what each card asks of the images, its headline and checks, and what it leaves out and why."""
    from embprobe.cli.options import IMAGES
    from embprobe.probing.explain import explain

    rows = open_rows(images or IMAGES, run)
    explanations = [explain(card, rows, max_unlabelled=max_unlabelled) for card in cards]
    if json:
        documents = [explanation.as_json() for explanation in explanations]
        print_json(documents[0] if len(cards) == 1 else documents)
        return
    lines = output(soft_wrap=True)
    for fact in explanations[0].facts:
        lines.print(escape(visible(fact)))
    for explanation in explanations:
        lines.print()
        lines.print(f"[bold]{escape(visible(f'{explanation.title}: {explanation.question}'))}[/bold]")
        lines.print(escape(visible(f"Of {explanation.material}.")))
        for remark in explanation.left_out:
            lines.print(escape(visible(f"Left out: {remark}.")))
        headline = explanation.headline or "none: these images do not allow it"
        lines.print(escape(visible(f"Headline: {headline}.")))
        for check in explanation.checks or ["no reference is known to fail on images like these"]:
            lines.print(escape(visible(f"Check: {check}.")))
        for measure in explanation.measures:
            asked = f"{measure.kind}, {measure.images:,} images: {'; '.join(measure.numbers)}"
            left_out = f"Left out: {measure.kind}, {measure.left_out}"
            lines.print(escape(visible(f"{left_out if measure.left_out else f'Measured: {asked}'}.")))


def print_results(results: Results, *, title: str) -> None:
    """Print one line a question and one column an encoder, with intervals; then the conclusions and the checks."""
    from embprobe.encoders.naming import names_in_lines

    rows = [row for row in results.rows if not row.is_difference]
    differences = [row for row in results.rows if row.is_difference]
    compared = list(dict.fromkeys((row.encoder, row.against) for row in differences))
    alone: list[tuple[str, str | None]] = list(dict.fromkeys((row.encoder, None) for row in rows))
    columns = alone + (compared if len(compared) <= _COMPARED else [])
    everyone = dict.fromkeys(name for row in results.rows for name in (row.encoder, row.against) if name)
    short = names_in_lines(everyone, _LETTERS)
    table = Table(
        title=escape(visible(title)),
        title_justify="left",
        caption_justify="left",
        caption=escape(_caption(rows)),
    )
    table.add_column("measure")
    for encoder, against in columns:
        heading = short[encoder] if against is None else f"{short[encoder]}\n- {short[against]}"
        table.add_column(escape(heading), justify="right")
    by_key: dict[Key, dict[tuple[str, str | None], Result]] = {}
    for row in results.rows:
        by_key.setdefault(row.key, {})[row.encoder, row.against] = row
    for key, rows_of_key in by_key.items():
        cells = (estimate_cell(rows_of_key.get(column)) for column in columns)
        table.add_row(escape(visible(str(key))), *cells, end_section=True)
    output(width=32 + 19 * len(columns)).print(table)
    lines = output(soft_wrap=True)
    for sentence in results.conclusions.sentences:
        lines.print(f"[bold]{escape(visible(sentence))}[/bold]")
    if len(compared) > _COMPARED:
        lines.print(f"The {len(compared):,} differences between encoders are in the results file.")
    print_checks(lines, results)


def print_profile(results: Results, *, title: str) -> None:
    """Print one line a layer and one column an encoder, with intervals; then what follows, and the checks."""
    from embprobe.encoders.naming import names_in_lines

    first, cells = results.rows[0], {(row.key.layer, row.encoder): row for row in results.rows}
    columns = list(dict.fromkeys(row.encoder for row in results.rows if row.key.layer is not None))
    short = names_in_lines(columns, _LETTERS)
    beside = [
        f"{row.encoder} {row.estimate:.3f} ({row.low:.3f} to {row.high:.3f})"
        for row in results.rows
        if row.encoder not in columns
    ]
    caption = (
        f"{first.unit}; 95 % intervals over {first.groups:,} {first.resampled}s. Output is an encoder's own vector."
    )
    caption += f" Beside them: {', '.join(beside)}." if beside else ""
    table = Table(
        title="\n".join(escape(visible(line)) for line in (title, str(results.conclusions.key))),
        title_justify="left",
        caption_justify="left",
        caption=escape(visible(caption)),
    )
    table.add_column("layer")
    for encoder in columns:
        table.add_column(escape(short[encoder]), justify="right")
    layers = sorted({row.key.layer for row in results.rows if row.key.layer is not None})
    for layer in [*layers, None]:
        name = "output" if layer is None else str(layer)
        table.add_row(name, *(estimate_cell(cells.get((layer, encoder))) for encoder in columns), end_section=True)
    output(width=16 + 19 * len(columns)).print(table)
    lines = output(soft_wrap=True)
    for sentence in results.conclusions.sentences:
        lines.print(f"[bold]{escape(visible(sentence))}[/bold]")
    print_checks(lines, results)


def _caption(rows: Sequence[Result]) -> str:
    from embprobe.probing.results import span

    measures: dict[str, list[str]] = {}
    for row in rows:
        names = measures.setdefault(row.unit, [])
        if row.key.phrase not in names:
            names.append(row.key.phrase)
    measures.pop("accuracy", None)
    lines = [f"{', '.join(names)}: {unit}." for unit, names in measures.items()]
    units = "".join(f"\n{visible(line)}" for line in lines)
    over = f"{span([row.groups for row in rows])} {visible(rows[0].resampled)}s"
    return (
        f"95 % bootstrap intervals over {over}; p of a difference by sign flips, of a variance share by permutation, "
        f"Holm-corrected: differences of the headline by themselves, all else together. Other training seeds and other "
        "fits of a classifier are not in the intervals. Detects: the least difference that would have been shown with "
        f"a probability of 0.8.{units}"
    )
