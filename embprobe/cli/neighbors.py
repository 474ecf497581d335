"""``embprobe neighbors``: what each encoder finds nearest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from embprobe.cli.console import note, output, print_json
from embprobe.cli.options import EncodersOption, ImagesOption, IndexMemoryOption, JsonOption, RunOptions
from embprobe.cli.session import begin
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.search.neighbors import Neighborhood

_TABLES = 3
"""Most queries that get a table."""


def neighbors(
    image: Annotated[
        list[str] | None,
        typer.Argument(help="Image files, folders of them, or keys of IMAGES; each is a query.", metavar="[IMAGE]..."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option("--text", "-t", help="Text to find, or to add to each image; repeatable. For encoders with text."),
    ] = None,
    minus: Annotated[
        list[str] | None,
        typer.Option(help="An image file, a key of IMAGES or else a text, to take away from each query; repeatable."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option(help="Only among images with this label: category=Food,Drink; repeatable.")
    ] = None,
    images: ImagesOption = None,
    encoder: EncodersOption = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.", min=1, max=100)] = 8,
    include_self: Annotated[bool, typer.Option(help="Show the image itself too, if it is among the images.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Search all vectors of a large store, however long.")] = False,
    index_memory: IndexMemoryOption = None,
    why: Annotated[
        bool, typer.Option("--why", help="Map which parts of the first queries and of their neighbours make them near.")
    ] = False,
    *,
    run: RunOptions,
    json: JsonOption = False,
) -> None:
    """Show what each encoder finds nearest to an image or a text, and how far the encoders agree."""
    from embprobe import api
    from embprobe.plots.neighbors import SHEETS
    from embprobe.search.choice import memory_limit
    from embprobe.search.queries import parse_where
    from embprobe.search.why import QUERIES

    labels = parse_where(where or [])
    memory_limit(index_memory)  # before anything is opened
    subjects = begin(images, encoder, run)
    neighborhoods = api.neighbors(
        image or [],
        subjects.images,
        subjects.encoders,
        k=k,
        texts=text or [],
        minus=minus or [],
        where=labels,
        include_self=include_self,
        exact=exact,
        index_memory=index_memory,
        draw=True,
        why=why,
        notify=lambda remark: note(f"{remark}."),
        session=subjects.session,
    )
    if json:
        documents: list[dict[str, Any]] = [one.as_json() for one in neighborhoods]
        for document in documents[:SHEETS]:
            document.setdefault("figure", None)  # it could not be written
        for document in documents[:QUERIES] if why else ():
            document.setdefault("why_figure", None)
        print_json(documents[0] if len(documents) == 1 else documents)
    else:
        print_neighbors(neighborhoods)
        for figure in [one.figure for one in neighborhoods if one.figure]:
            note(f"Figure: {figure}")
        if len(neighborhoods) > SHEETS:
            note(f"The first {SHEETS} of {len(neighborhoods):,} queries are drawn.")
        for figure in [one.why_figure for one in neighborhoods if one.why_figure]:
            note(f"Why they are near: {figure}")
        if why and len(neighborhoods) > QUERIES:
            note(f"The first {QUERIES} of {len(neighborhoods):,} queries are explained.")


def print_neighbors(neighborhoods: Sequence[Neighborhood]) -> None:
    """Print a table for each of the first queries, nearest first; then how far the encoders agree over all queries."""
    from embprobe.encoders.naming import short_names
    from embprobe.search.neighbors import mean_overlaps

    console, count = output(), len(neighborhoods)
    short = short_names(neighborhoods[0].by_encoder)
    for one in neighborhoods[:_TABLES]:
        console.print(_table(one))
        for (a, b), share in one.overlap.items():
            line = f"{short[a]} and {short[b]} share {share:.0%} of their neighbours (by chance {one.chance:.2%})."
            console.print(escape(line), soft_wrap=True)
    if count > 1 and neighborhoods[0].overlap:
        chance = sum(one.chance for one in neighborhoods) / count
        for (a, b), e in mean_overlaps(neighborhoods).items():
            line = f"{short[a]} and {short[b]}, mean over {count:,} queries: {e.estimate:.0%}"
            interval = f"({e.low:.0%} to {e.high:.0%}; by chance {chance:.2%})"
            console.print(f"[bold]{escape(line)}[/bold] {interval}.", soft_wrap=True)
    if count > _TABLES:
        note(f"The first {_TABLES} of {count:,} queries are shown; --json prints all.")


def _table(neighborhood: Neighborhood) -> Table:
    from embprobe.encoders.naming import short_names
    from embprobe.plots.thumbnails import describe

    table = Table(title=escape(f"Nearest to {visible(neighborhood.query.name)}"), title_justify="left")
    table.add_column("rank", justify="right")
    for name in short_names(neighborhood.by_encoder).values():
        table.add_column(escape(name))
    for rank in range(max(len(neighbors) for neighbors in neighborhood.by_encoder.values())):
        cells = [
            f"{neighbors[rank].similarity:.3f} {escape(', '.join(describe(neighbors[rank].row)))}"
            if rank < len(neighbors)
            else ""
            for neighbors in neighborhood.by_encoder.values()
        ]
        table.add_row(str(rank + 1), *cells)
    return table
