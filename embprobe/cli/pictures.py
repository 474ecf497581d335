"""Where people would rather look: previews, neighbours, maps, the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from embprobe.cli.options import (
    IMAGES,
    WORKSPACE,
    DeviceOption,
    EncodersOption,
    FastOption,
    ImagesArgument,
    ImagesOption,
    JsonOption,
    PrecisionOption,
    SeedOption,
    WorkspaceOption,
    begin,
    choose_device,
    load_encoders,
    open_rows,
    reading,
)

SHEETS = 20
"""So many queries get a sheet of their own."""


def preview(
    image: Annotated[
        str, typer.Argument(help="An image file, or the key of one of IMAGES.", metavar="[IMAGE]")
    ] = "1f431/noto",
    attribute: Annotated[
        list[str] | None,
        typer.Option("--attribute", "-a", help="What to change; repeatable. Default: every attribute."),
    ] = None,
    images: Annotated[
        str, typer.Option("--images", "-i", help="Images that words, colours and other drawings are taken from.")
    ] = IMAGES,
    word: Annotated[str, typer.Option(help="The word for what the image shows, if it has no label.")] = "",
    workspace: WorkspaceOption = WORKSPACE,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Look before you measure: an image under every intervention on an attribute and its controls, as one sheet."""
    from dataclasses import replace

    from embprobe.cli import terminal
    from embprobe.embeddings.workspace import Workspace
    from embprobe.images import find_row
    from embprobe.interventions import attributes
    from embprobe.interventions.preview import preview
    from embprobe.plots.preview import plot_preview

    donors = open_rows(images)
    row = find_row(image, donors)
    if word:
        row = replace(row, labels={**row.labels, "name": word})
    space = Workspace.open(workspace)
    drawn = []
    for asked in attribute or attributes():
        sheet = preview(row, asked, donors, seed=seed)
        figure = space.figure(f"preview-{asked}-{row.key}")
        plot_preview(sheet, figure)
        drawn.append({**sheet.as_json(), "figure": str(figure)})
        if not json:
            terminal.note(f"{asked}: {figure}")
    if json:
        terminal.print_json(drawn[0] if len(drawn) == 1 else drawn)


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
    images: ImagesOption = IMAGES,
    encoder: EncodersOption = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.", min=1, max=100)] = 8,
    include_self: Annotated[bool, typer.Option(help="Show the image itself too, if it is among the images.")] = False,
    exact: Annotated[bool, typer.Option("--exact", help="Search all vectors of a large store, however long.")] = False,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    json: JsonOption = False,
) -> None:
    """Show what each encoder finds nearest to an image or a text, and how far the encoders agree."""
    from embprobe.cli import terminal
    from embprobe.embeddings.extract import extract
    from embprobe.embeddings.workspace import Workspace
    from embprobe.plots.neighbors import plot_neighbors
    from embprobe.search.neighbors import find_neighbors, matching
    from embprobe.search.queries import parse_queries, parse_where

    rows, where_to = open_rows(images), choose_device(device)
    queries = parse_queries(image or [], rows, texts=text or [], minus=minus or [])
    labels = parse_where(where or [])
    matching(rows, labels)  # before anything is extracted
    encoders = load_encoders(encoder, where_to, precision)
    if queries[0].has_text:
        encoders = reading(encoders)
    space = Workspace.open(workspace)
    with terminal.progress_bar("extracting", len(rows)) as progress:
        stores = extract(rows, encoders, space, device=where_to, fast_decode=fast_decode, progress=progress)
    terminal.rejections()(stores)
    found = find_neighbors(
        queries,
        encoders,
        stores,
        k=k,
        include_self=include_self,
        where=labels,
        exact=exact,
        notify=lambda told: terminal.note(f"{told}."),
    )
    sheets: list[Path] = []
    for each in found[:SHEETS]:
        sheet = space.figure(f"neighbors-{each.query.file_name}")
        sheets.append(sheet if sheet not in sheets else sheet.with_stem(f"{sheet.stem}-{len(sheets) + 1}"))
        plot_neighbors(each, sheets[-1])
    if json:
        told = [each.as_json() for each in found]
        for content, sheet in zip(told, sheets, strict=False):
            content["figure"] = str(sheet)
        terminal.print_json(told[0] if len(told) == 1 else told)
    else:
        terminal.print_neighbors(found)
        terminal.note("\n".join(f"Figure: {sheet}" for sheet in sheets))
        if len(found) > len(sheets):
            terminal.note(f"The first {len(sheets)} of {len(found):,} queries are drawn; --json tells all.")


def compare(
    images: ImagesArgument = IMAGES,
    encoder: EncodersOption = None,
    k: Annotated[int, typer.Option("-k", help="Neighbours of an image that mutual k-NN compares.", min=1)] = 10,
    by: Annotated[
        list[str] | None,
        typer.Option(help="A label that may explain a disagreement; repeatable. Default: category, style."),
    ] = None,
    pairs: Annotated[int, typer.Option(help="Disagreement pairs to show in each direction.", min=1, max=100)] = 12,
    cosines: Annotated[
        tuple[float, float] | None,
        typer.Option(
            help="Show instead pairs with a cosine above the first number by one encoder and below the second by the "
            "other, such as 0.95 0.6: MMVP's blind pairs.",
            metavar="NEAR FAR",
        ),
    ] = None,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """How far do encoders agree, what explains where they do not, and on which pairs do they disagree most?"""
    from embprobe.cli import terminal
    from embprobe.comparing.result import ComparisonSettings
    from embprobe.comparing.run import COLOR, compare
    from embprobe.plots.pairs import plot_pairs

    rows, encoders, session = begin(
        images, encoder, workspace, device, precision=precision, fast_decode=fast_decode, seed=seed
    )
    for label in by or []:
        if label != COLOR:
            rows.label(label)  # that all have it is known before anything is extracted
    settings = ComparisonSettings(k, tuple(by or ComparisonSettings.by), pairs, cosines)
    with terminal.spinner("comparing") as notify:
        found = compare(rows, encoders, session, settings, notify=notify)
    folder = session.workspace.results(f"compare-{found.fingerprint}")
    saved = found.save(folder)
    sheets: list[Path] = []
    for both in found.both_ways():
        sheets.append(folder / f"pairs-{len(sheets) + 1}.png")
        plot_pairs(both, rows, sheets[-1])
    if json:
        terminal.print_json({**found.as_json(), "figures": [str(sheet) for sheet in sheets]})
    else:
        terminal.print_comparison(found)
        terminal.note("\n".join(f"Figure: {sheet}" for sheet in sheets))
        terminal.note(f"Numbers: {saved}")


def draw_map(
    images: ImagesArgument = IMAGES,
    encoder: EncodersOption = None,
    by: Annotated[
        str | None, typer.Option(help="The label that colours the points. Default: category, if they have it.")
    ] = None,
    method: Annotated[str, typer.Option(help="umap, tsne or pca.")] = "umap",
    thumbnails: Annotated[int, typer.Option(help="So many of the images are drawn where they are.", min=0)] = 40,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Lay the embeddings out in the plane, one map per encoder, aligned with each other and coloured by a label."""
    from embprobe.cli import terminal
    from embprobe.embeddings.workspace import slug
    from embprobe.plots.map import plot_maps
    from embprobe.search.maps import make_maps
    from embprobe.search.projection import check_method

    check_method(method)
    rows, encoders, session = begin(
        images, encoder, workspace, device, precision=precision, fast_decode=fast_decode, seed=seed
    )
    label = by or ("category" if rows.has("category") else "")
    if label:
        rows.label(label)  # that all have it is known before anything is extracted
    embedded = session.embed(rows, encoders, "extracting")
    with terminal.spinner("maps") as notify:
        maps = make_maps(embedded, encoders, session, method=method, notify=notify)
    picture = maps.folder / (f"by-{slug(label)}.png" if label else "plain.png")
    labels = maps.rows.label(label) if label else None
    plot_maps(maps.layouts, labels, picture, label=label, rows=maps.rows.rows, thumbnails=thumbnails)
    if json:
        terminal.print_json({**maps.as_json(), "figure": str(picture)})
    else:
        terminal.note(f"Figure: {picture}, {picture.with_suffix('.svg').name}\nPoints: {maps.table}")


def report(
    images: Annotated[
        str | None,
        typer.Argument(help="The images on the map, where they are now. Default: those of the newest result."),
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option("--encoder", "-e", help="Encoders on the map; repeatable. Default: those of the newest result."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The page. Default: report.html in the workspace.")] = None,
    workspace: WorkspaceOption = WORKSPACE,
) -> None:
    """Write one self-contained HTML page: every result and comparison, examples, an interactive map, the numbers."""
    from embprobe.cli import terminal
    from embprobe.embeddings.workspace import Workspace
    from embprobe.report import write_report

    space = Workspace.open(workspace, create=False)
    rows = None if images is None else open_rows(images)
    with terminal.spinner("report") as notify:
        page = write_report(space, out or space.root / "report.html", images=rows, encoders=encoder, notify=notify)
    terminal.note(f"Page: {page}")
