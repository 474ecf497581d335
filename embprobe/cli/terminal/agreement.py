"""What encoders find near, and how far they agree."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embprobe.comparing.result import Agreement, Comparison
from embprobe.encoders.naming import short_names
from embprobe.plots.thumbnails import describe
from embprobe.probing.results import span
from embprobe.search.neighbors import Neighborhood, mean_overlaps
from embprobe.statistics import Estimate
from embprobe.system.text import visible

_TOLD = 5
"""So many queries get a table."""


def print_neighbors(found: Sequence[Neighborhood]) -> None:
    """A table a query, each encoder's neighbours in a column, nearest first; then how far the encoders agree."""
    console = Console(highlight=False, emoji=False)
    called = short_names(found[0].by_encoder)
    for each in found[:_TOLD]:
        console.print(_neighbors(each))
        for (a, b), share in each.overlap.items():
            told = f"{called[a]} and {called[b]} share {share:.0%} of their neighbours (by chance {each.chance:.2%})."
            console.print(escape(told))
    if len(found) > 1 and found[0].overlap:
        for (a, b), e in mean_overlaps(found).items():
            told = f"{called[a]} and {called[b]}, mean over {len(found):,} queries: {e.estimate:.0%}"
            console.print(f"[bold]{escape(told)}[/bold] ({e.low:.0%} to {e.high:.0%}).")


def _neighbors(found: Neighborhood) -> Table:
    table = Table(title=escape(f"Nearest to {visible(found.query.name)}"), title_justify="left")
    table.add_column("rank", justify="right")
    for name in short_names(found.by_encoder).values():
        table.add_column(escape(name))
    for rank in range(max(len(neighbors) for neighbors in found.by_encoder.values())):
        cells = [
            f"{neighbors[rank].similarity:.3f} {escape(', '.join(describe(neighbors[rank].row)))}"
            if rank < len(neighbors)
            else ""
            for neighbors in found.by_encoder.values()
        ]
        table.add_row(str(rank + 1), *cells)
    return table


def print_comparison(found: Comparison) -> None:
    """How far every two encoders agree beside chance, and what the similarity of each goes with."""
    console = Console(highlight=False, emoji=False, width=None if sys.stdout.isatty() else 140)
    over = span([each.found.groups for each in found.agreements])
    table = Table(
        title=f"Do the encoders agree? {found.compared:,} images of {escape(visible(found.images.name))}",
        title_justify="left",
        caption_justify="left",
        caption=f"95 % bootstrap intervals over {over} {found.resampled}s. Chance: rows matched at random, mean and "
        "the 97.5th percentile.",
    )
    measures = list(dict.fromkeys(each.measure for each in found.agreements))
    called = short_names(found.encoders)
    table.add_column("encoders")
    for measure in measures:
        table.add_column(escape(measure), justify="right")
    for a, b in dict.fromkeys((each.a, each.b) for each in found.agreements):
        cells = [_agreement(each) for each in found.agreements if (each.a, each.b) == (a, b)]
        table.add_row(f"{escape(called[a])}\n{escape(called[b])}", *cells, end_section=True)
    console.print(table)
    if found.explanations:
        _print_explanations(console, found)


def _agreement(each: Agreement) -> str:
    e = each.found
    return f"{e.estimate:.3f} ({e.low:.3f} to {e.high:.3f})\nchance {each.chance:.4f}, to {each.chance_high:.4f}"


def _print_explanations(console: Console, found: Comparison) -> None:
    console.print("What does similarity go with? Partial rank correlation over pairs, the others held constant")
    table = Table()
    table.add_column("attribute")
    for name in short_names(found.encoders).values():
        table.add_column(escape(name), justify="right")
    by_attribute: dict[str, dict[str, Estimate]] = {}
    for each in found.explanations:
        by_attribute.setdefault(each.attribute, {}).update({each.a: each.of_a, each.b: each.of_b})
    for attribute, estimates in by_attribute.items():
        cells = (f"{e.estimate:.3f}\n{e.low:.3f} to {e.high:.3f}" for e in map(estimates.__getitem__, found.encoders))
        table.add_row(escape(visible(attribute)), *cells, end_section=True)
    console.print(table)
    for a, b in itertools.combinations(found.encoders, 2):
        console.print(f"[bold]{escape(visible(found.sentence(a, b)))}[/bold]", soft_wrap=True)
