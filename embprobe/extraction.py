"""Images x encoders -> stores. Each image is read once and given to every encoder that still lacks it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import torch
from PIL import Image

from embprobe.encoders.base import Encoder, Floats
from embprobe.encoders.preprocessing import preprocess
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.store import Rejected, Store, open_store
from embprobe.workspace import Workspace

BATCH_SIZE = 64
_READERS = 4

Progress = Callable[[int], None]
"""Called with the number of rows just finished."""


@dataclass
class _Shard:
    """What one encoder has of the shard being read."""

    vectors: list[Floats] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)


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
        for shard in range(max((store.shard_count for store in stores), default=0)):
            lacking = [(e, s) for e, s in zip(encoders, stores, strict=True) if shard not in s.shards]
            if not lacking:
                if progress is not None:
                    progress(len(stores[0].rows_of(shard)))
                continue
            parts = [_Shard() for _ in lacking]
            for rows, pictures in _read(readers, lacking[0][1].rows_of(shard), batch_size):
                for (encoder, _), part in zip(lacking, parts, strict=True):
                    _encode(encoder, rows, pictures, part)
                if progress is not None:
                    progress(len(rows))
            for (_, store), part in zip(lacking, parts, strict=True):
                vectors = (
                    np.concatenate(part.vectors) if part.vectors else np.empty((0, store.spec.dimension), np.float32)
                )
                store.write_shard(shard, vectors, part.rows, part.rejected)
    if stores and len(stores[0].rejected) == len(images):
        first = stores[0].rejected[0]
        raise EmbprobeError(
            f"None of the {len(images)} images in '{images.name}' can be read; '{first.key}': {first.reason}."
        )
    return stores


def encode(encoder: Encoder, pictures: Sequence[Image.Image]) -> Floats:
    """Vectors ``[n, d]`` of RGB pictures, without a store."""
    return encoder.encode_images(torch.stack([preprocess(picture, encoder.spec) for picture in pictures]))


def _read(
    readers: ThreadPoolExecutor, rows: Sequence[Row], size: int
) -> Iterator[tuple[Sequence[Row], list[Image.Image | UnreadableImage]]]:
    """Batches of rows with their pictures, the next batch being read while the caller works on this one."""
    batches = [rows[i : i + size] for i in range(0, len(rows), size)]
    waiting = [readers.submit(_load, row) for row in batches[0]]
    for current, following in zip(batches, [*batches[1:], []], strict=True):
        reading, waiting = waiting, [readers.submit(_load, row) for row in following]
        yield current, [future.result() for future in reading]


def _load(row: Row) -> Image.Image | UnreadableImage:
    try:
        return row.load()
    except UnreadableImage as reason:
        return reason


def _encode(
    encoder: Encoder, rows: Sequence[Row], pictures: Sequence[Image.Image | UnreadableImage], part: _Shard
) -> None:
    good: list[Image.Image] = []
    for row, picture in zip(rows, pictures, strict=True):
        if isinstance(picture, UnreadableImage):
            part.rejected.append(Rejected(row.key, str(picture)))
        else:
            part.rows.append(row)
            good.append(picture)
    if good:
        part.vectors.append(encode(encoder, good))
