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
    from embprobe.selftest.promise import Verdict


def selftest(
    promises: Annotated[
        list[str] | None, typer.Argument(help="Promises to check, such as 'units'; without any, all of them.")
    ] = None,
    studies: Annotated[int, typer.Option(help="Simulated studies; a thousand take ten seconds.", min=100)] = 200,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Test the instrument: does it find what was planted, and nothing where there is nothing? Do intervals hold?"""
    from embprobe.selftest.run import selftest

    with spinner("selftest") as notify:
        verdicts = list(selftest(promises or [], studies=studies, seed=seed, notify=notify))
    if json:
        print_json([asdict(verdict) for verdict in verdicts])
    else:
        print_verdicts(verdicts)
    if not all(verdict.passed for verdict in verdicts):
        raise typer.Exit(1)


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Print a line for each expectation with the measured answer, and how many passed.

    The name of a promise stands at the first of its expectations.
    """
    table = Table(box=None, pad_edge=False)
    for heading in ("", "promise", "about", "expected", "measured"):
        table.add_column(heading, overflow="fold")
    before = None
    for verdict in verdicts:
        promise = verdict.promise if verdict.promise != before else ""
        cells = map(escape, (promise, verdict.about, verdict.expected, verdict.measured))
        table.add_row("passed" if verdict.passed else "FAILED", *cells)
        before = verdict.promise
    output(width=160).print(table)
    failed = sum(not verdict.passed for verdict in verdicts)
    note(f"{len(verdicts) - failed} of {len(verdicts)} passed." + (" Do not believe a probe yet." if failed else ""))
