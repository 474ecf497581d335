"""Images x encoders -> stores. Each image is read once and given to every encoder that still lacks it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import torch
from PIL import Image

from embprobe.embeddings.job import Encoded, Engine, Job, Progress, Seconds, Shard, add_seconds
from embprobe.embeddings.store import Store, open_store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.preprocessing import preprocess
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.system.locks import held
from embprobe.system.text import visible

BATCH_SIZE, GPU_BATCH_SIZE = 16, 64
"""A core works on a batch alone, and a small one's intermediate results stay in memory that is at hand."""


def extract(
    images: Images,
    encoders: Sequence[Encoder],
    workspace: Workspace,
    *,
    device: str = "cpu",
    batch_size: int | None = None,
    fast_decode: bool = False,
    progress: Progress | None = None,
    engine: Engine | None = None,
    seconds: Seconds | None = None,
) -> list[Store]:
    """One complete store per encoder, in their order. Shards that are already there are not encoded again.

    ``batch_size`` is :data:`BATCH_SIZE` on a CPU and :data:`GPU_BATCH_SIZE` elsewhere, unless given. With
    ``fast_decode``, large JPEGs are decoded at reduced scale: faster, slightly different vectors, other stores.
    Rows whose image cannot be read are left out and listed in the store. ``seconds`` is added to. Raises
    :class:`EmbprobeError` if no image can be read, if another process writes one of the stores, or if the disk is full,
    :class:`UsageError` if an encoder takes no images.
    """
    if not len(images):
        raise EmbprobeError(f"There are no images in '{images.name}' to extract.")
    specs = [encoder.spec.with_decoding("fast" if fast_decode else "exact") for encoder in encoders]
    first = {spec.fingerprint: i for i, spec in reversed(list(enumerate(specs)))}
    chosen = sorted(first.values())  # an encoder under two names is one
    folders = [workspace.store(images, specs[i]) for i in chosen]

    def opened() -> list[Store]:
        pairs = zip(folders, chosen, strict=True)
        return [open_store(folder, specs[i], images, device=device) for folder, i in pairs]

    with ExitStack() as stack:
        stores = opened()
        lacking = [store for store in stores if not store.complete or store.damaged()]
        for store in sorted(lacking, key=lambda store: store.folder):
            what = f"The store of '{store.spec.name}' for '{images.name}'"
            with _writing(store):
                stack.enter_context(held(workspace.lock(store.folder), what))
        if lacking:
            stores = opened()  # as whoever wrote before has left them
            for store in stores:
                if store.folder in {each.folder for each in lacking}:
                    with _writing(store):
                        store.sweep()
                        store.drop_damaged()
        notify = _counting(progress, len({store.shard_rows for store in stores}))
        shards = _missing(stores, notify)
        size = batch_size or (BATCH_SIZE if device == "cpu" else GPU_BATCH_SIZE)
        job = Job(images, [encoders[i] for i in chosen], [specs[i] for i in chosen], shards, device, size, notify)
        if shards:
            with closing((engine or _local)(job)) as done:
                _write(done, stores, {} if seconds is None else seconds)
        _refuse_unreadable(images, stores)
    by_fingerprint = {store.spec.fingerprint: store for store in stores}
    return [replace(by_fingerprint[spec.fingerprint], spec=spec) for spec in specs]


def _local(job: Job) -> Generator[Encoded]:
    from embprobe.embeddings.engines.local import run

    return run(job)


def encode(encoder: Encoder, pictures: Sequence[Image.Image]) -> Floats:
    """Vectors ``[n, d]`` of RGB pictures, without a store."""
    image_input = encoder.spec.require_image_input()
    return encoder.encode_images(torch.stack([preprocess(picture, image_input) for picture in pictures]))


def _counting(progress: Progress | None, times: int) -> Progress:
    """Tell of each row once, although rows are gone through so many times (stores with shards of different sizes)."""
    done = 0

    def notify(rows: int) -> None:
        nonlocal done
        before, done = done // times, done + rows
        if progress is not None:
            progress(done // times - before)

    return notify


def _missing(stores: Sequence[Store], progress: Progress) -> list[Shard]:
    """The shards that a store lacks; those of one size first, if a store is of another version's size."""
    missing = []
    for size in sorted({store.shard_rows for store in stores}):
        alike = [i for i, store in enumerate(stores) if store.shard_rows == size]
        for number in range(stores[alike[0]].shard_count):
            start = number * size
            stop = min(start + size, len(stores[0].images))
            lacking = tuple(i for i in alike if number not in stores[i].shards)
            if lacking:
                missing.append(Shard(number, start, stop, lacking))
            else:
                progress(stop - start)
    return missing


def _write(done: Iterator[Encoded], stores: Sequence[Store], seconds: Seconds) -> None:
    """Write shards as they come."""
    for found in done:
        began = time.perf_counter()
        for i, vectors in zip(found.shard.lacking, found.vectors, strict=True):
            rows = [stores[i].images.rows[position] for position in found.good]
            with _writing(stores[i]):
                stores[i].write_shard(found.shard.number, vectors, rows, found.rejected, found.seconds)
        add_seconds(seconds, found.seconds | {"write": time.perf_counter() - began})


@contextmanager
def _writing(store: Store) -> Iterator[None]:
    """What the system refuses becomes a sentence."""
    try:
        yield
    except OSError as error:
        raise EmbprobeError(
            f"The store '{store.folder}' cannot be written: {error.strerror or error}. What was finished is safe "
            f"({len(store.shards)} of {store.shard_count} shards): mend that and run the same command again."
        ) from error


def _refuse_unreadable(images: Images, stores: Sequence[Store]) -> None:
    """Raise if no row could be read, and leave no store."""
    rejected = stores[0].rejected
    if len(rejected) < len(images):
        return
    for store in stores:
        shutil.rmtree(store.folder, ignore_errors=True)
    with suppress(OSError):  # it holds another encoder's store
        stores[0].folder.parent.rmdir()
    why = f"'{visible(rejected[0].key)}': {rejected[0].reason}"
    raise EmbprobeError(f"None of the {len(images):,} images in '{images.name}' can be read; {why}.")
