"""``embprobe selftest``: the instrument is tested before it is believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import JsonOption, SeedOption
from embprobe.cli.progress import spinner

if TYPE_CHECKING:
    from embprobe.selftest.run import Verdict


def selftest(
    studies: Annotated[int, typer.Option(help="Simulated studies; a thousand take a minute.", min=100)] = 400,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Test the instrument: does it find what was planted, and nothing where there is nothing? Do intervals hold?"""
    from embprobe.selftest.run import selftest

    with spinner("selftest") as notify:
        verdicts = list(selftest(studies=studies, seed=seed, notify=notify))
    if json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        print_verdicts(verdicts)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print a line for each expectation with what was measured, and how many passed."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "expected", "found"):
        table.add_column(heading, overflow="fold")
    for verdict in verdicts:
        cells = map(escape, (verdict.about, verdict.expected, verdict.measured))
        table.add_row("passed" if verdict.passed else "FAILED", *cells)
    output(width=160).print(table)
    failed = sum(not verdict.passed for verdict in verdicts)
    note(f"{len(verdicts) - failed} of {len(verdicts)} passed." + (" Do not believe a probe yet." if failed else ""))
