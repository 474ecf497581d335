"""What each encoder finds nearest to an image, a text, or a sum of both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.embeddings.extract import encode
from embprobe.embeddings.store import Store
from embprobe.encoders.given import GivenVectors
from embprobe.encoders.preprocessing import decoded_side
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images, Row
from embprobe.measures.mutual_knn import overlap_at_k
from embprobe.search.index import Index, normalize, open_index
from embprobe.statistics import Estimate, resample
from embprobe.system.text import printable, visible

_SAME = 1 - 1e-4
"""Cosine above which a neighbour's pixels are compared with the query's."""
_NAMED = 8


@dataclass(frozen=True)
class Query:
    """What is near is sought: an image, texts, or a sum of them, less others."""

    row: Row | None = None
    texts: tuple[str, ...] = ()
    minus_rows: tuple[Row, ...] = ()
    minus_texts: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As people would write it: ``cat.jpg + "in snow" - dog.jpg``."""
        plus = [self.row.key] if self.row else []
        plus += [f'"{text}"' for text in self.texts]
        minus = [row.key for row in self.minus_rows] + [f'"{text}"' for text in self.minus_texts]
        return " + ".join(plus) + "".join(f" - {what}" for what in minus)

    @property
    def file_name(self) -> str:
        """What a sheet of it is called: an image's key without its suffix, or the words."""
        alone = self.row if not (self.reads or self.minus_rows) else None
        return self.name if alone is None else str(PurePath(alone.key).with_suffix(""))

    @property
    def reads(self) -> bool:
        """Whether an encoder must take text."""
        return bool(self.texts or self.minus_texts)


@dataclass(frozen=True)
class Neighbor:
    """A row and its cosine similarity to the query."""

    row: Row
    similarity: float


@dataclass(frozen=True)
class Neighborhood:
    """One query's neighbours by encoder name, nearest first, and the overlap of every two encoders."""

    query: Query
    by_encoder: dict[str, list[Neighbor]]
    overlap: dict[tuple[str, str], float]
    chance: float
    """The overlap of two random choices among the same rows."""
    figure: Path | None = None
    """The sheet of it, if it was drawn."""

    def as_json(self) -> dict[str, Any]:
        """Keys, cosines and labels, for ``--json``."""
        return {
            "query": printable(self.query.name),
            "neighbors": {
                encoder: [
                    {"key": printable(n.row.key), "similarity": round(n.similarity, 4), "labels": _labels(n.row)}
                    for n in neighbors
                ]
                for encoder, neighbors in self.by_encoder.items()
            },
            "overlap": [{"encoders": list(pair), "share": share} for pair, share in self.overlap.items()],
            "overlap_by_chance": self.chance,
            **({"figure": str(self.figure)} if self.figure else {}),
        }


def find_neighbors(
    queries: Sequence[Query],
    encoders: Sequence[Encoder],
    stores: Sequence[Store],
    *,
    k: int = 8,
    include_self: bool = False,
    where: Mapping[str, Sequence[str]] | None = None,
    exact: bool = False,
    notify: Callable[[str], None] = lambda now: None,
) -> list[Neighborhood]:
    """For each query, the ``k`` nearest rows of each encoder's store, among those that have the labels ``where``.

    An image with exactly the query's pixels is the query itself and is left out unless ``include_self``. ``tell`` is
    called with what a search leaves to be desired: fewer images than ``k``, a large store searched approximately.
    Raises :class:`UsageError` if a query has text and an encoder takes none, or if no row has the labels;
    :class:`EmbprobeError` if a store has no rows to offer.
    """
    for encoder in encoders:
        if not encoder.spec.has_text and any(query.reads for query in queries):
            raise UsageError(f"'{encoder.spec.name}' takes no text. Leave it out, or ask by images.")
    near: list[dict[str, list[Neighbor]]] = [{} for _ in queries]
    fewest = None
    for encoder, store in zip(encoders, stores, strict=True):
        index = open_index(store, exact=exact, notify=notify)
        if index.says():
            notify(index.says())
        images = store.embedded()
        search = _Search(index, images, matching(images, where or {}), k, include_self)
        fewest = search.size if fewest is None else min(fewest, search.size)
        for place, query, vector in zip(near, queries, _vectors(queries, encoder, store), strict=True):
            place[encoder.spec.name] = search.near(query, vector)
    there = max(len(neighbors) for place in near for neighbors in place.values())
    if there < k:
        notify(f"{k} neighbours are asked for, and there are {there}")
    return [_neighborhood(query, place, fewest or 1) for query, place in zip(queries, near, strict=True)]


def mean_overlaps(found: Sequence[Neighborhood]) -> dict[tuple[str, str], Estimate]:
    """Of every two encoders, the mean overlap over several queries, with its interval over these."""
    pairs = list(found[0].overlap)
    scores = np.array([[each.overlap[pair] for pair in pairs] for each in found])
    drawn = resample(scores, [each.query.name for each in found], seed=0, unit="query")
    return {pair: drawn.mean(i) for i, pair in enumerate(pairs)}


def matching(images: Images, where: Mapping[str, Sequence[str]]) -> NDArray[np.int64] | None:
    """The positions of rows with these labels; None for all. Raises :class:`UsageError` if there is none."""
    if not where:
        return None
    for label in where:
        if images.lacks(label):
            known = sorted({name for row in images.rows for name in row.labels})
            raise UsageError(
                f"No image in '{images.name}' has a label '{label}'. Their labels: {', '.join(known) or 'none'}."
            )
    kept = [i for i, row in enumerate(images.rows) if all(row.labels.get(n) in v for n, v in where.items())]
    if not kept:
        label, values = next(iter(where.items()))
        there = sorted({row.labels[label] for row in images.rows if label in row.labels})
        told = ", ".join(map(visible, there[:_NAMED])) + (", …" if len(there) > _NAMED else "")
        asked = " and ".join(f"{name}={','.join(wanted)}" for name, wanted in where.items())
        raise UsageError(f"No image in '{images.name}' has {asked}. Values of '{label}': {told}.")
    return np.array(kept, np.int64)


@dataclass(frozen=True)
class _Search:
    """Rows to choose from, and how many are wanted of them."""

    index: Index
    images: Images
    among: NDArray[np.int64] | None
    k: int
    include_self: bool

    @property
    def size(self) -> int:
        return len(self.images if self.among is None else self.among)

    def near(self, query: Query, vector: Floats) -> list[Neighbor]:
        rows, found = self.images.rows, list[Neighbor]()
        picture = self._picture(query)
        wanted = self.k
        while len(found) < self.k and wanted < 2 * max(self.k, self.size):
            wanted *= 2
            similarity, position = self.index.search(vector, wanted, among=self.among)
            near = (Neighbor(rows[i], float(s)) for s, i in zip(similarity[0], position[0], strict=True) if i >= 0)
            kept = (n for n in near if not self._is_query(n, query, picture))
            found = list(itertools.islice(kept, self.k))
        if not found:
            raise EmbprobeError(f"There is nothing but the query itself in '{self.images.name}'.")
        return found

    def _picture(self, query: Query) -> Image.Image | None:
        """The query's pixels, where neighbours are compared with them."""
        wanted = query.row is not None and not self.include_self and self.images.has_pictures
        return query.row.load() if wanted and query.row is not None else None

    def _is_query(self, neighbor: Neighbor, query: Query, picture: Image.Image | None) -> bool:
        """Whether a neighbour is the query itself: by its pixels, or of rows without pictures by its key."""
        if self.include_self or query.row is None:
            return False
        if picture is None:
            return neighbor.row.key == query.row.key
        return neighbor.similarity >= _SAME and _same(neighbor.row, picture)


def _vectors(queries: Sequence[Query], encoder: Encoder, store: Store) -> Iterator[Floats]:
    """Of each query ``[1, d]``: the sum of directions, less those that are subtracted.

    What several queries take away or add is encoded once.
    """

    @cache
    def said(text: str) -> Floats:
        return normalize(encoder.encode_texts([text]))

    subtracted = {id(row): row for query in queries for row in query.minus_rows}
    taken = {mark: _direction(row, encoder, store) for mark, row in subtracted.items()}
    for query in queries:
        parts = [] if query.row is None else [_direction(query.row, encoder, store)]
        parts += [-taken[id(row)] for row in query.minus_rows]
        yield np.asarray(sum([*parts, *map(said, query.texts), *(-said(text) for text in query.minus_texts)]))


def _direction(row: Row, encoder: Encoder, store: Store) -> Floats:
    if isinstance(encoder, GivenVectors):
        if (found := encoder.positions([row.key], strict=False)[0]) < 0:
            raise UsageError(
                f"'{encoder.spec.name}' has no vector of '{visible(row.key)}': ask by the key of an image that has one."
            )
        return normalize(encoder.vectors[[found]])
    return normalize(encode(encoder, [row.load(at_least=decoded_side(store.spec.require_image_input()))]))


def _neighborhood(query: Query, near: dict[str, list[Neighbor]], size: int) -> Neighborhood:
    fewest = min(map(len, near.values()))
    keys = {name: [n.row.key for n in neighbors[:fewest]] for name, neighbors in near.items()}
    overlap = {(a, b): overlap_at_k(keys[a], keys[b]) for a, b in itertools.combinations(near, 2)}
    return Neighborhood(query, near, overlap, min(1.0, fewest / size))


def _same(row: Row, picture: Image.Image) -> bool:
    other = row.load()
    return other.size == picture.size and other.tobytes() == picture.tobytes()


def _labels(row: Row) -> dict[str, str]:
    return {name: printable(value) for name, value in row.labels.items()}
