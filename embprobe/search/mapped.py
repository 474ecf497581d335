"""The vectors of a store where they lie: memory maps of its shards, read by position or block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Floats

BLOCK = 2**22
"""Numbers of a block: 16 MiB, enough that a call for each costs nothing, and little beside any index."""


@dataclass(frozen=True)
class MappedVectors:
    """The vectors ``[n, d]`` of a store's rows; none is in memory before it is read."""

    shards: Sequence[Floats]
    starts: NDArray[np.int64]
    """The position of each shard's first row; behind them the number of rows."""
    dimension: int

    @classmethod
    def of(cls, store: Store) -> MappedVectors:
        """Open a store's shards; raises :class:`EmbprobeError` if one is missing or damaged."""
        shards = [np.asarray(shard) for shard in store.blocks()]
        starts = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])]).astype(np.int64)
        return cls(shards, starts, store.spec.dimension)

    def __len__(self) -> int:
        return int(self.starts[-1])

    def at(self, positions: NDArray[np.int64]) -> Floats:
        """Return copies of the rows at these positions, in their order, ``[m, d]``."""
        rows = np.empty((len(positions), self.dimension), np.float32)
        shard_of = np.searchsorted(self.starts, positions, side="right") - 1
        for shard in np.unique(shard_of):
            here = shard_of == shard
            rows[here] = self.shards[shard][positions[here] - self.starts[shard]]
        return rows

    def blocks(self, among: NDArray[np.int64] | None = None, rows: int = 0) -> list[NDArray[np.int64] | range]:
        """Split all positions, or sorted ones, into blocks for :meth:`read`: of so many rows, or :data:`BLOCK` numbers.

        No block lies in two shards, unless positions are given.
        """
        step = rows or max(1, BLOCK // max(1, self.dimension))
        if among is not None:
            return [among[start : start + step] for start in range(0, len(among), step)]
        return [
            range(start, min(start + step, int(stop)))
            for first, stop in zip(self.starts[:-1], self.starts[1:], strict=True)
            for start in range(int(first), int(stop), step)
        ]

    def read(self, block: NDArray[np.int64] | range) -> Floats:
        """Return a block's rows ``[m, d]``: a view of the disk where they lie side by side."""
        if not isinstance(block, range):
            return self.at(block)
        shard = int(np.searchsorted(self.starts, block.start, side="right")) - 1
        first = int(self.starts[shard])
        return self.shards[shard][block.start - first : block.stop - first]

    def __iter__(self) -> Iterator[Floats]:
        return (self.read(block) for block in self.blocks())
