"""Embedding sets: rows with the vectors that one or more encoders gave them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from embprobe.encoders.spec import Floats
from embprobe.images.rows import Images
from embprobe.measures.vectors import LabelArray


@dataclass(frozen=True)
class EmbeddingSet:
    """Rows of images, and their vectors ``[n, d]`` by encoder name; vector *i* is that of row *i*."""

    rows: Images
    vectors: dict[str, Floats]

    def at(self, keys: Iterable[str]) -> EmbeddingSet:
        """The rows with these keys, in this order; keys that are not there are passed over."""
        position = {row.key: i for i, row in enumerate(self.rows.rows)}
        return self.take([position[key] for key in keys if key in position])

    def take(self, positions: Sequence[int]) -> EmbeddingSet:
        """The rows at these positions, in this order."""
        chosen = np.asarray(positions, np.int64)
        return EmbeddingSet(
            self.rows.take(chosen.tolist()), {name: each[chosen] for name, each in self.vectors.items()}
        )

    def restricted_to(self, *others: EmbeddingSet) -> EmbeddingSet:
        """The rows that the others have too."""
        shared = set.intersection(*({row.key for row in other.rows.rows} for other in others))
        if len(shared) == len(self.rows):
            return self  # as nearly always, and a million vectors are copied for nothing
        return self.at(row.key for row in self.rows.rows if row.key in shared)

    def label(self, name: str) -> LabelArray:
        """One label of every row, ``[n]``."""
        return np.array(self.rows.label(name), dtype=np.str_)

    def keys(self) -> list[str]:
        """The rows' keys."""
        return [row.key for row in self.rows.rows]
