"""``embprobe extract``: images into stores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from embprobe.cli.console import note, print_json
from embprobe.cli.options import EncodersOption, ImagesArgument, JsonOption, RunOptions
from embprobe.cli.session import begin, unreadable_reporter
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.embeddings.store import Store


def extract(
    images: ImagesArgument = None,
    encoder: EncodersOption = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images that go through a network at once. Default: 16, on a GPU 64.", min=1)
    ] = None,
    compile: Annotated[
        bool, typer.Option("--compile", help="Let torch compile the networks first: a minute, then faster on GPUs.")
    ] = False,
    most_disk: Annotated[
        str | None, typer.Option(help="What the new vectors may take on the disk: 20GB. Default: what is free.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="local, or ray for a Ray cluster (RAY_ADDRESS; else one here).")
    ] = "local",
    *,
    run: RunOptions,
    json: JsonOption = False,
) -> None:
    """Turn images into embeddings with every encoder. What is already there is not done again."""
    from dataclasses import replace

    from embprobe.embeddings.engines import find_engine
    from embprobe.embeddings.session import ignore_stores
    from embprobe.encoders import NetworkEncoder
    from embprobe.errors import UsageError
    from embprobe.system.memory import parse_memory

    chosen_engine, limit = find_engine(engine), None if most_disk is None else parse_memory(most_disk)
    if compile and engine != "local":
        raise UsageError("--compile is for the local engine.")
    subjects = begin(images, encoder, run)
    encoders = subjects.encoders
    if compile:
        encoders = [each.compiled() if isinstance(each, NetworkEncoder) else each for each in encoders]
    seconds: dict[str, float] = {}
    session = replace(subjects.session, extracted=ignore_stores, most_disk=limit)  # they are listed below
    stores = session.stores(
        subjects.images,
        encoders,
        "extracting",
        tokens=True,
        batch_size=batch_size,
        engine=chosen_engine,
        seconds=seconds,
    )
    if json:
        print_json([store.summary() for store in stores])
    else:
        print_stores(stores, seconds)


def print_stores(stores: Sequence[Store], seconds: Mapping[str, float]) -> None:
    """Print where each store lies, the share of the time that each stage took, and the unreadable images."""
    for store in stores:
        fresh = [f"{store.written - store.taken:,} encoded now"] if store.written else ["already there"]
        fresh += [f"{store.taken:,} taken from other stores"] if store.taken else []
        name, folder = visible(store.spec.name), visible(str(store.folder))
        shape = " x ".join(str(each) for each in store.spec.shape)
        note(f"{name}: {len(store.embedded()):,} x {shape}, {', '.join(fresh)}, in {folder}")
    if (total := sum(seconds.values())) > 0:
        shares = ", ".join(f"{stage} {taken / total:.0%}" for stage, taken in seconds.items())
        note(f"Where the time went: {shares}.")
    unreadable_reporter()(stores)
