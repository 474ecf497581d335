"""Stores: made, and checked."""

from __future__ import annotations

from typing import Annotated

import typer

from embprobe.cli.options import (
    IMAGES,
    WORKSPACE,
    DeviceOption,
    EncodersOption,
    FastOption,
    ImagesArgument,
    JsonOption,
    PrecisionOption,
    WorkspaceOption,
    choose_device,
    load_encoders,
    open_rows,
)


def extract(
    images: ImagesArgument = IMAGES,
    encoder: EncodersOption = None,
    workspace: WorkspaceOption = WORKSPACE,
    device: DeviceOption = "auto",
    precision: PrecisionOption = "",
    fast_decode: FastOption = False,
    batch_size: Annotated[
        int | None, typer.Option(help="Images that go through a network at once. Default: 16, on a GPU 64.", min=1)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Let torch compile the networks first: a minute, then faster on GPUs.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help="local, or ray for a Ray cluster (RAY_ADDRESS; else one here).")
    ] = "local",
    json: JsonOption = False,
) -> None:
    """Turn images into embeddings with every encoder, and index them. What is already there is not done again."""
    from embprobe.cli import terminal
    from embprobe.embeddings.engines import find_engine
    from embprobe.embeddings.extract import extract
    from embprobe.embeddings.workspace import Workspace
    from embprobe.encoders import NetworkEncoder
    from embprobe.errors import UsageError
    from embprobe.search.index import open_index

    run = find_engine(engine)
    rows, where = open_rows(images), choose_device(device)
    encoders = load_encoders(encoder, where, precision)
    if compile and engine != "local":
        raise UsageError("--compile is for the local engine.")
    if compile:
        encoders = [each.compiled() if isinstance(each, NetworkEncoder) else each for each in encoders]
    seconds: dict[str, float] = {}
    with terminal.progress_bar("extracting", len(rows)) as progress:
        stores = extract(
            rows,
            encoders,
            Workspace.open(workspace),
            device=where,
            batch_size=batch_size,
            fast_decode=fast_decode,
            progress=progress,
            engine=run,
            seconds=seconds,
        )
    for store in stores:
        open_index(store)
    if json:
        terminal.print_json([store.summary() for store in stores])
    else:
        terminal.print_stores(stores, seconds)


def verify(
    workspace: WorkspaceOption = WORKSPACE,
    repair: Annotated[
        bool, typer.Option("--repair", help="Forget damaged shards, so that the next extract makes just those again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Check every byte of every store against the hashes written beside it."""
    from embprobe.cli import terminal
    from embprobe.embeddings.verify import verify_stores
    from embprobe.embeddings.workspace import Workspace

    space = Workspace.open(workspace, create=False)
    checked = list(verify_stores(space, repair=repair))
    if json:
        terminal.print_json([store.as_json() for store in checked])
    else:
        terminal.print_checked(checked, space.root, repaired=repair)
    if any(store.problems and not (repair and store.damaged) for store in checked):
        raise typer.Exit(1)
