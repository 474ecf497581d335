"""``embprobe map``: embeddings in the plane."""

from __future__ import annotations

from typing import Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import IMAGES, EncodersOption, ImagesArgument, JsonOption, RunOptions, SeedOption
from embprobe.cli.progress import spinner
from embprobe.cli.session import begin


def draw_map(
    images: ImagesArgument = IMAGES,
    encoder: EncodersOption = None,
    by: Annotated[
        str | None, typer.Option(help="The label that colours the points. Default: category, if they have it.")
    ] = None,
    method: Annotated[str, typer.Option(help="umap, tsne or pca.")] = "umap",
    thumbnails: Annotated[int, typer.Option(help="How many images to draw at their points.", min=0)] = 40,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Lay the embeddings out in the plane, one map per encoder, aligned with each other and coloured by a label."""
    from embprobe.plots.map import save_maps
    from embprobe.search.maps import choose_label, make_maps
    from embprobe.search.projection import check_method

    check_method(method)
    rows, encoders, session = begin(images, encoder, run, seed=seed)
    label = choose_label(rows, by)  # before anything is extracted
    embedded = session.embed(rows, encoders, "extracting")
    with spinner("maps") as notify:
        maps = make_maps(embedded, encoders, session, method=method, notify=notify)
    figure = save_maps(maps, label=label, thumbnails=thumbnails)
    if json:
        print_json({**maps.as_json(), "figure": str(figure)})
    else:
        note(f"Figure: {figure}, {figure.with_suffix('.svg').name}\nPoints: {maps.table}")
