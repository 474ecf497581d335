"""``embprobe map``: embeddings in the plane."""

from __future__ import annotations

from typing import Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import (
    MAX_UNLABELLED,
    EncodersOption,
    ImagesArgument,
    JsonOption,
    MaxUnlabelledOption,
    RunOptions,
    SeedOption,
)
from embprobe.cli.progress import spinner
from embprobe.cli.session import begin


def draw_map(
    images: ImagesArgument = None,
    encoder: EncodersOption = None,
    by: Annotated[
        str | None, typer.Option(help="The label that colours the points. Default: category, if they have it.")
    ] = None,
    method: Annotated[str, typer.Option(help="umap, tsne or pca.")] = "umap",
    thumbnails: Annotated[int, typer.Option(help="How many images to draw at their points.", min=0)] = 40,
    *,
    run: RunOptions,
    seed: SeedOption = 0,
    max_unlabelled: MaxUnlabelledOption = MAX_UNLABELLED,
    json: JsonOption = False,
) -> None:
    """Lay the embeddings out in the plane, one map per encoder, aligned with each other and coloured by a label."""
    from embprobe import api
    from embprobe.search.projection import check_method

    check_method(method)
    subjects = begin(images, encoder, run, seed=seed, max_unlabelled=max_unlabelled)
    with spinner("maps") as notify:
        maps = api.draw_map(
            subjects.images,
            subjects.encoders,
            by=by,
            method=method,
            thumbnails=thumbnails,
            notify=notify,
            session=subjects.session,
        )
    if json:
        print_json({**maps.as_json(), "figure": str(maps.figure) if maps.figure else None})
    else:
        if maps.figure:
            note(f"Figure: {maps.figure}, {maps.figure.with_suffix('.svg').name}")
        note(f"Points: {maps.table}")
    if maps.figure is None:  # it is all that was asked for
        raise typer.Exit(1)
