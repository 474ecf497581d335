"""What each encoder finds nearest to an image."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from embprobe.comparison.neighborhoods import overlap_at_k
from embprobe.encoders.base import Encoder
from embprobe.encoders.preprocessing import decoded_side
from embprobe.errors import EmbprobeError
from embprobe.extraction import encode
from embprobe.images.rows import Images, Row, printable
from embprobe.index import open_index
from embprobe.store import Store

_SAME = 1 - 1e-4
"""Cosine above which a neighbour's pixels are compared with the query's."""


@dataclass(frozen=True)
class Neighbor:
    """A row and its cosine similarity to the query."""

    row: Row
    similarity: float


@dataclass(frozen=True)
class Neighborhood:
    """One query's neighbours by encoder name, nearest first, and the overlap of every two encoders."""

    query: Row
    by_encoder: dict[str, list[Neighbor]]
    overlap: dict[tuple[str, str], float]

    def as_json(self) -> dict[str, Any]:
        """Keys, cosines and labels, for ``--json``."""
        return {
            "query": printable(self.query.key),
            "neighbors": {
                encoder: [
                    {"key": printable(n.row.key), "similarity": round(n.similarity, 4), "labels": _labels(n.row)}
                    for n in neighbors
                ]
                for encoder, neighbors in self.by_encoder.items()
            },
            "overlap": [{"encoders": list(pair), "share": share} for pair, share in self.overlap.items()],
        }


def find_neighbors(
    query: Images, encoders: Sequence[Encoder], stores: Sequence[Store], *, k: int = 8, include_self: bool = False
) -> Neighborhood:
    """The ``k`` nearest rows of each encoder's store to the one image in ``query``.

    An image with exactly the query's pixels is the query itself and is left out unless ``include_self``. Raises
    :class:`EmbprobeError` if a store has no rows to offer.
    """
    row = query.rows[0]
    picture = row.load()
    by_encoder: dict[str, list[Neighbor]] = {}
    for encoder, store in zip(encoders, stores, strict=True):
        index, rows = open_index(store), store.embedded().rows
        vector = encode(encoder, [row.load(at_least=decoded_side(store.spec))])
        found: list[Neighbor] = []
        wanted = k
        while len(found) < k and wanted < 2 * max(k, len(rows)):
            wanted *= 2
            similarity, position = index.search(vector, wanted)
            near = (Neighbor(rows[i], float(s)) for s, i in zip(similarity[0], position[0], strict=True))
            kept = (n for n in near if include_self or n.similarity < _SAME or not _same(n.row, picture))
            found = list(itertools.islice(kept, k))
        if not found:
            raise EmbprobeError(f"There is nothing but the query itself in '{store.images.name}'.")
        by_encoder[encoder.spec.name] = found
    overlap = {
        (a, b): overlap_at_k([n.row.key for n in by_encoder[a]], [n.row.key for n in by_encoder[b]])
        for a, b in itertools.combinations(by_encoder, 2)
    }
    return Neighborhood(row, by_encoder, overlap)


def _same(row: Row, picture: Image.Image) -> bool:
    other = row.load()
    return other.size == picture.size and other.tobytes() == picture.tobytes()


def _labels(row: Row) -> dict[str, str]:
    return {name: printable(value) for name, value in row.labels.items()}
