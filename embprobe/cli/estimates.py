"""The parts of a table of results that probe, study and benchmark share: an estimate's cell, lines under the table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.benchmarking.table import Difference
    from embprobe.probing.results import Result, Results


def estimate_cell(row: Result | Difference | None) -> str:
    """Return an estimate with its p, its interval, and if it is undecided the least difference it would have detected.

    They stand on a line each; nothing where there is no result.
    """
    from embprobe.probing.results import format_p
    from embprobe.statistics import CERTAIN

    if row is None:
        return ""
    sign = "+" if row.is_difference else ""
    p = "" if row.p_adjusted is None else f", {format_p(row.p_adjusted)}"
    undecided = row.p_adjusted is not None and row.p_adjusted >= CERTAIN and row.detectable
    detects = f"\ndetects {row.detectable:.3f}" if undecided else ""
    return f"{row.estimate:{sign}.3f}{p}\n{row.low:{sign}.3f} to {row.high:{sign}.3f}{detects}"


def print_checks(console: Console, results: Results) -> None:
    """Print whether each check of the card passed, and why a measure was left out."""
    for check in results.conclusions.checks:
        console.print(escape(visible(f"{check.verdict}: {check.text}")))
    for reason in results.left_out:
        console.print(escape(visible(f"Left out: {reason}.")))
