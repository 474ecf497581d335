"""Images x encoders -> stores. Each image is read once and given to every encoder that still lacks it."""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from embprobe.encoders.base import Encoder, EncoderSpec, Floats
from embprobe.encoders.preprocessing import decoded_side, preprocess, preprocessing
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row, visible
from embprobe.store import Rejected, Store, open_store
from embprobe.workspace import Workspace

BATCH_SIZE = 64

Progress = Callable[[int], None]
"""Called with the number of rows just finished."""


def extract(
    images: Images,
    encoders: Sequence[Encoder],
    workspace: Workspace,
    *,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    fast_decode: bool = False,
    progress: Progress | None = None,
) -> list[Store]:
    """One complete store per encoder, in their order. Shards that are already there are not encoded again.

    With ``fast_decode``, large JPEGs are decoded at reduced scale: faster, slightly different vectors, other stores.
    Rows whose image cannot be read are left out and listed in the store. Raises :class:`EmbprobeError` if none can.
    """
    if not len(images):
        raise EmbprobeError(f"There are no images in '{images.name}' to extract.")
    specs = [replace(encoder.spec, decoding="fast" if fast_decode else "exact") for encoder in encoders]
    stores = [open_store(workspace.store(images, spec), spec, images, device=device) for spec in specs]
    pairs = list(zip(encoders, stores, strict=True))
    with _workers(device) as crew:
        for rows in sorted({store.shard_rows for store in stores}):  # one, unless a store is of another version's size
            _extract(crew, [(e, s) for e, s in pairs if s.shard_rows == rows], batch_size, progress)
    rejected = stores[0].rejected
    if len(rejected) == len(images):
        for store in stores:
            shutil.rmtree(store.folder)
        with suppress(OSError):  # it holds another encoder's store
            stores[0].folder.parent.rmdir()
        why = f"'{visible(rejected[0].key)}': {rejected[0].reason}"
        raise EmbprobeError(f"None of the {len(images):,} images in '{images.name}' can be read; {why}.")
    return stores


def encode(encoder: Encoder, pictures: Sequence[Image.Image]) -> Floats:
    """Vectors ``[n, d]`` of RGB pictures, without a store."""
    return encoder.encode_images(torch.stack([preprocess(picture, encoder.spec) for picture in pictures]))


def _extract(crew: _Crew, pairs: Sequence[tuple[Encoder, Store]], size: int, progress: Progress | None) -> None:
    """Write the missing shards of stores that have shards of one size."""
    first = pairs[0][1]
    for shard in range(first.shard_count):
        rows = first.rows_of(shard)
        lacking = [(encoder, store) for encoder, store in pairs if shard not in store.shards]
        if not lacking:
            if progress is not None:
                progress(len(rows))
            continue
        done: list[_Batch] = []
        for batch in _in_order(crew, [(rows[i : i + size], i) for i in range(0, len(rows), size)], lacking):
            done.append(batch)
            if progress is not None:
                progress(len(batch.rows) + len(batch.rejected))
        good = [row for batch in done for row in batch.rows]
        bad = [replace(each, row=each.row + shard * first.shard_rows) for batch in done for each in batch.rejected]
        for i, (_, store) in enumerate(lacking):
            empty = np.empty((0, store.spec.dimension), np.float32)
            store.write_shard(
                shard, np.concatenate([empty, *(batch.vectors[i] for batch in done if batch.rows)]), good, bad
            )


@dataclass(frozen=True)
class _Batch:
    """Rows that could be read, each encoder's vectors for them, and the rows that could not."""

    rows: list[Row]
    vectors: list[Floats]
    rejected: list[Rejected]


@dataclass(frozen=True)
class _Crew:
    """Who does the work, how many batches may wait, and whose turn it is to encode: anyone's on CPU, one's on a GPU."""

    pool: ThreadPoolExecutor
    ahead: int
    turn: AbstractContextManager[object]


@contextmanager
def _workers(device: str) -> Iterator[_Crew]:
    """One worker per thread that torch may use; each takes whole batches from file to vectors on a thread of its own.

    That keeps all cores busy without the waits between the threads of one small matrix product.
    """
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            yield _Crew(pool, 2 * threads, nullcontext() if device == "cpu" else Lock())
    finally:
        torch.set_num_threads(threads)


def _in_order(
    crew: _Crew, batches: Sequence[tuple[Sequence[Row], int]], pairs: Sequence[tuple[Encoder, Store]]
) -> Iterator[_Batch]:
    """The batches' results in their order, with no more than a few waiting in memory."""
    waiting: deque[Future[_Batch]] = deque()
    for rows, start in batches:
        waiting.append(crew.pool.submit(_encode, rows, start, pairs, crew.turn))
        if len(waiting) > crew.ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _encode(
    rows: Sequence[Row], start: int, pairs: Sequence[tuple[Encoder, Store]], turn: AbstractContextManager[object]
) -> _Batch:
    """Read rows, the first being the ``start``-th of its shard, and encode those that can be read."""
    good: list[Row] = []
    inputs: list[list[Tensor]] = []
    rejected: list[Rejected] = []
    for i, row in enumerate(rows):
        try:
            inputs.append(_prepared(row, [store.spec for _, store in pairs]))
            good.append(row)
        except UnreadableImage as reason:
            rejected.append(Rejected(row.key, str(reason), start + i))
    if not good:
        return _Batch([], [], rejected)
    batches = [torch.stack([each[i] for each in inputs]) for i in range(len(pairs))]
    with turn:
        vectors = [encoder.encode_images(batch) for (encoder, _), batch in zip(pairs, batches, strict=True)]
    return _Batch(good, vectors, rejected)


def _prepared(row: Row, specs: Sequence[EncoderSpec]) -> list[Tensor]:
    """The row's picture as each spec asks for it; specs that ask for the same share one decoding and one tensor."""
    pictures: dict[int | None, Image.Image] = {}
    prepared: dict[Hashable, Tensor] = {}
    asked = [(decoded_side(spec), preprocessing(spec)) for spec in specs]
    for spec, (side, what) in zip(specs, asked, strict=True):
        if side not in pictures:
            pictures[side] = row.load(at_least=side)
        if (side, what) not in prepared:
            prepared[side, what] = preprocess(pictures[side], spec)
    return [prepared[each] for each in asked]
