"""Images x encoders -> stores. Each image is read once and given to every encoder that still lacks it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from embprobe.encoders.base import Encoder, EncoderSpec, Floats
from embprobe.encoders.preprocessing import preprocess
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row, printable
from embprobe.store import Rejected, Store, open_store
from embprobe.workspace import Workspace

BATCH_SIZE = 64
_READERS = 4

Progress = Callable[[int], None]
"""Called with the number of rows just finished."""


def extract(
    images: Images,
    encoders: Sequence[Encoder],
    workspace: Workspace,
    *,
    device: str = "cpu",
    batch_size: int = BATCH_SIZE,
    progress: Progress | None = None,
) -> list[Store]:
    """One complete store per encoder, in their order. Shards that are already there are not encoded again.

    Rows whose image cannot be read are left out and listed in the store. Raises :class:`EmbprobeError` if none can.
    """
    if not len(images):
        raise EmbprobeError(f"There are no images in '{images.name}' to extract.")
    stores = [open_store(workspace.store(images, e.spec), e.spec, images, device=device) for e in encoders]
    pairs = list(zip(encoders, stores, strict=True))
    with ThreadPoolExecutor(_READERS) as readers:
        for rows in sorted({store.shard_rows for store in stores}):  # one, unless a store is of another version's size
            _extract(readers, [(e, s) for e, s in pairs if s.shard_rows == rows], batch_size, progress)
    rejected = stores[0].rejected
    if len(rejected) == len(images):
        for store in stores:
            shutil.rmtree(store.folder)
        why = f"'{printable(rejected[0].key)}': {rejected[0].reason}"
        raise EmbprobeError(f"None of the {len(images):,} images in '{images.name}' can be read; {why}.")
    return stores


def encode(encoder: Encoder, pictures: Sequence[Image.Image]) -> Floats:
    """Vectors ``[n, d]`` of RGB pictures, without a store."""
    return encoder.encode_images(torch.stack([preprocess(picture, encoder.spec) for picture in pictures]))


def _extract(
    readers: ThreadPoolExecutor, pairs: Sequence[tuple[Encoder, Store]], size: int, progress: Progress | None
) -> None:
    """Write the missing shards of stores that have shards of one size."""
    first = pairs[0][1]
    for shard in range(first.shard_count):
        lacking = [_Part(encoder, store, shard) for encoder, store in pairs if shard not in store.shards]
        for rows, inputs in _read(readers, first.rows_of(shard), [part.encoder.spec for part in lacking], size):
            for i, part in enumerate(lacking):
                part.add(rows, [each if isinstance(each, UnreadableImage) else each[i] for each in inputs])
            if progress is not None:
                progress(len(rows))
        for part in lacking:
            part.write()


@dataclass
class _Part:
    """What one encoder has of the shard that is being read."""

    encoder: Encoder
    store: Store
    shard: int
    vectors: list[Floats] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, rows: Sequence[Row], inputs: Sequence[Tensor | UnreadableImage]) -> None:
        good: list[Tensor] = []
        for row, each in zip(rows, inputs, strict=True):
            if isinstance(each, UnreadableImage):
                position = self.shard * self.store.shard_rows + len(self.rows) + len(self.rejected)
                self.rejected.append(Rejected(row.key, str(each), position))
            else:
                self.rows.append(row)
                good.append(each)
        if good:
            self.vectors.append(self.encoder.encode_images(torch.stack(good)))

    def write(self) -> None:
        empty = np.empty((0, self.store.spec.dimension), np.float32)
        self.store.write_shard(self.shard, np.concatenate([empty, *self.vectors]), self.rows, self.rejected)


def _read(
    readers: ThreadPoolExecutor, rows: Sequence[Row], specs: Sequence[EncoderSpec], size: int
) -> Iterator[tuple[Sequence[Row], list[list[Tensor] | UnreadableImage]]]:
    """Batches of rows with what each encoder is to be given, the next batch being read while this one is encoded.

    Without a spec nothing is read.
    """
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]

    def start(batch: Sequence[Row]) -> list[Future[list[Tensor] | UnreadableImage]]:
        return [readers.submit(_load, row, specs) for row in batch]

    waiting = start(batches[0])
    for current, following in zip(batches, [*batches[1:], []], strict=True):
        reading, waiting = waiting, start(following)
        yield current, [future.result() for future in reading]


def _load(row: Row, specs: Sequence[EncoderSpec]) -> list[Tensor] | UnreadableImage:
    if not specs:
        return []
    try:
        picture = row.load()
    except UnreadableImage as reason:
        return reason
    return [preprocess(picture, spec) for spec in specs]
