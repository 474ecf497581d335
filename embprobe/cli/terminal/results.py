"""What a probe, a study, a test of the instrument found."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embprobe.encoders.naming import names_in_lines
from embprobe.probing.key import Key
from embprobe.probing.results import Result, Results, format_p, span
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.claims.run import Study
    from embprobe.claims.verdicts import Decision
    from embprobe.selftest.run import Verdict
from embprobe.cli.terminal.console import note

_LETTERS = 17
"""Of a line of a column's heading."""
_COMPARED = 3
"""So many differences have columns in a table; more are in the file."""


def print_results(results: Results, *, title: str) -> None:
    """The headline; one line a question, one column an encoder, intervals under estimates; then what was checked."""
    rows = [row for row in results.rows if not row.is_difference]
    differences = [row for row in results.rows if row.is_difference]
    compared = list(dict.fromkeys((row.encoder, row.against) for row in differences))
    alone: list[tuple[str, str | None]] = list(dict.fromkeys((row.encoder, None) for row in rows))
    columns = alone + (compared if len(compared) <= _COMPARED else [])
    everyone = dict.fromkeys(name for row in results.rows for name in (row.encoder, row.against) if name)
    called = names_in_lines(everyone, _LETTERS)
    table = Table(
        title=escape(visible(title)),
        title_justify="left",
        caption_justify="left",
        caption=escape(_caption(rows)),
    )
    table.add_column("measure")
    for encoder, against in columns:
        heading = called[encoder] if against is None else f"{called[encoder]}\n- {called[against]}"
        table.add_column(escape(heading), justify="right")
    answers: dict[Key, dict[tuple[str, str | None], Result]] = {}
    for row in results.rows:
        answers.setdefault(row.key, {})[row.encoder, row.against] = row
    for key, cells in answers.items():
        table.add_row(escape(visible(str(key))), *(_cell(cells.get(who)) for who in columns), end_section=True)
    width = None if sys.stdout.isatty() else 32 + 19 * len(columns)
    console = Console(highlight=False, emoji=False, width=width)
    console.print(table)
    said = Console(highlight=False, emoji=False, soft_wrap=True)
    for sentence in results.conclusions.sentences:
        said.print(f"[bold]{escape(visible(sentence))}[/bold]")
    if len(compared) > _COMPARED:
        said.print(f"The {len(compared):,} differences between encoders are in the results file.")
    _print_checks(said, results)


def print_study(study: Study) -> None:
    """A line a claim with its verdict; then what each encoder has learned, and what was checked."""
    asked = [row for each in study.decisions if (row := each.difference) is not None]
    over = f"{span([row.groups for row in asked])} {visible(asked[0].resampled)}s"
    table = Table(
        title=escape(visible(str(study.results.manifest["card"]["title"]))),
        title_justify="left",
        caption_justify="left",
        caption=escape(
            f"95 % bootstrap intervals over {over}, not corrected; p by sign flips, of its margin where a claim has "
            f"one, Holm-corrected over the {len(asked)} claims that were asked. A verdict needs both."
        ),
    )
    for heading in ("claim", "estimates", "difference, p", "verdict"):
        table.add_column(heading)
    for decision in study.decisions:
        table.add_row(*map(escape, _decided(decision)), end_section=True)
    console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 140)
    console.print(table)
    said = Console(highlight=False, emoji=False, soft_wrap=True)
    for learning in study.learned:
        said.print(escape(visible(learning.sentence)))
    _print_checks(said, study.results)
    roles = ", ".join(f"{role} is {name}" for role, name in study.names.items())
    said.print(escape(visible(f"Roles: {roles}.")))


def _decided(decision: Decision) -> tuple[str, str, str, str]:
    """The cells of a claim."""
    claim = decision.claim
    margin = f", margin {claim.margin:g}" if claim.margin else ""
    verdict = decision.verdict + (f": {visible(decision.because)}" if decision.because else "")
    roles = zip((claim.a, claim.b), decision.estimates or (), strict=False)
    estimates = "\n".join(f"{role} {row.estimate:.3f}" for role, row in roles)
    return f"{claim.sentence}\n({_number(decision)}{margin})", estimates, _cell(decision.difference), verdict


def _number(decision: Decision) -> str:
    """The number that decides a claim, as it was measured or as the claim names it."""
    return decision.claim.number.describe() if decision.difference is None else str(decision.difference.key)


def _print_checks(console: Console, results: Results) -> None:
    """Whether the probes count, and what could not be asked."""
    for check in results.conclusions.checks:
        console.print(escape(visible(f"{'Check passed' if check.passed else 'CHECK FAILED'}: {check.text}")))
    for reason in results.left_out:
        console.print(escape(visible(f"Left out: {reason}.")))


def print_verdicts(verdicts: Sequence[Verdict]) -> None:
    """A line for each thing that was known beforehand, and a count."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "what", "expected", "found"):
        table.add_column(heading, overflow="fold")
    for each in verdicts:
        table.add_row("passed" if each.passed else "FAILED", *map(escape, (each.about, each.expected, each.found)))
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, emoji=False, width=width).print(table)
    failed = sum(not each.passed for each in verdicts)
    note(f"{len(verdicts) - failed} of {len(verdicts)} passed." + (" Do not believe a probe yet." if failed else ""))


def _cell(row: Result | None) -> str:
    if row is None:
        return ""
    sign = "+" if row.is_difference else ""
    p = "" if row.p_adjusted is None else f", {format_p(row.p_adjusted)}"
    return f"{row.estimate:{sign}.3f}{p}\n{row.low:{sign}.3f} to {row.high:{sign}.3f}"


def _caption(rows: Sequence[Result]) -> str:
    units: dict[str, list[str]] = {}
    for row in rows:
        names = units.setdefault(row.unit, [])
        if row.key.phrase not in names:
            names.append(row.key.phrase)
    units.pop("accuracy", None)
    told = [f"{', '.join(names)}: {unit}." for unit, names in units.items()]
    what = "".join(f"\n{visible(line)}" for line in told)
    over = f"{span([row.groups for row in rows])} {visible(rows[0].resampled)}s"
    return (
        f"95 % bootstrap intervals over {over}; p of a difference by sign flips, of a variance share by permutation, "
        f"Holm-corrected over the card.{what}"
    )
