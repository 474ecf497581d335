"""The vectors of a store where they lie, read by position or block by block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Floats

BLOCK = 2**22
"""Numbers of a block: 16 MiB, enough that a call for each costs nothing, and little beside any index."""
Block = NDArray[np.int64] | range
"""Positions of rows that are read together."""


@dataclass(frozen=True)
class MappedVectors:
    """The vectors ``[n, d]`` of a store's rows; none is in memory before it is read."""

    vectors: Floats

    @classmethod
    def of(cls, store: Store) -> MappedVectors:
        """Open a store's vectors; raises :class:`EmbprobeError` if a shard is missing or damaged."""
        return cls(store.vectors())

    def __len__(self) -> int:
        return len(self.vectors)

    def at(self, positions: NDArray[np.int64]) -> Floats:
        """Return copies of the rows at these positions, in their order, ``[m, d]``."""
        return np.asarray(self.vectors[positions])

    def blocks(self, among: NDArray[np.int64] | None = None, rows: int = 0) -> list[Block]:
        """Split all positions, or sorted ones, into blocks of so many rows, or of :data:`BLOCK` numbers."""
        step = rows or max(1, BLOCK // max(1, self.vectors.shape[1]))
        if among is not None:
            return [among[start : start + step] for start in range(0, len(among), step)]
        return [range(start, min(start + step, len(self))) for start in range(0, len(self), step)]

    def read(self, block: Block) -> Floats:
        """Return a block's rows ``[m, d]``: a view of the disk where they lie side by side in one shard."""
        return np.asarray(self.vectors[block.start : block.stop]) if isinstance(block, range) else self.at(block)

    def __iter__(self) -> Iterator[Floats]:
        return (self.read(block) for block in self.blocks())
