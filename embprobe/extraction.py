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
    stores = [open_store(workspace.store(images, e.spec), e.spec, images, device=device) for e in encoders]
    with ThreadPoolExecutor(_READERS) as readers:
        for shard in range(stores[0].shard_count):
            lacking = [_Part(e, s) for e, s in zip(encoders, stores, strict=True) if shard not in s.shards]
            for rows, inputs in _read(readers, stores[0].rows_of(shard), [p.encoder.spec for p in lacking], batch_size):
                for i, part in enumerate(lacking):
                    part.add(rows, [each if isinstance(each, UnreadableImage) else each[i] for each in inputs])
                if progress is not None:
                    progress(len(rows))
            for part in lacking:
                part.write(shard)
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


@dataclass
class _Part:
    """What one encoder has of the shard that is being read."""

    encoder: Encoder
    store: Store
    vectors: list[Floats] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)

    def add(self, rows: Sequence[Row], inputs: Sequence[Tensor | UnreadableImage]) -> None:
        good: list[Tensor] = []
        for row, each in zip(rows, inputs, strict=True):
            if isinstance(each, UnreadableImage):
                self.rejected.append(Rejected(row.key, str(each)))
            else:
                self.rows.append(row)
                good.append(each)
        if good:
            self.vectors.append(self.encoder.encode_images(torch.stack(good)))

    def write(self, shard: int) -> None:
        empty = np.empty((0, self.store.spec.dimension), np.float32)
        self.store.write_shard(shard, np.concatenate([empty, *self.vectors]), self.rows, self.rejected)


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
