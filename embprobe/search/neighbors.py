"""Nearest neighbours: the rows that each encoder places nearest to an image, a text, or a sum of both."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.embeddings.extract import encode
from embprobe.embeddings.finite import hint
from embprobe.embeddings.occlusion import OcclusionMap
from embprobe.embeddings.store import Store
from embprobe.encoders.given import GivenVectors
from embprobe.encoders.preprocessing import decoded_side
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.measures.mutual_knn import overlap_at_k
from embprobe.measures.vectors import lack_direction
from embprobe.search.directions import l2_normalize
from embprobe.search.index import Index, open_index
from embprobe.statistics import Estimate, resample
from embprobe.system.text import printable, visible

_SAME = 1 - 1e-4
"""Cosine above which a neighbour's pixels are compared with the query's."""
_TOGETHER = 4096
"""Queries that are searched in one pass over the vectors."""
_LISTED = 8
"""Values of a label that a message lists."""


@dataclass(frozen=True)
class Query:
    """The point to search from: an image, texts, or the sum of their directions, less those of others."""

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
        return " + ".join(plus) + "".join(f" - {part}" for part in minus)

    @property
    def file_name(self) -> str:
        """The name of a figure of its neighbours: an image's key without its suffix, or the words."""
        alone = self.row if not (self.has_text or self.minus_rows) else None
        return self.name if alone is None else str(PurePath(alone.key).with_suffix(""))

    @property
    def has_text(self) -> bool:
        """Whether an encoder must take text to answer it."""
        return bool(self.texts or self.minus_texts)


@dataclass(frozen=True)
class Neighbor:
    """A row and its cosine similarity to the query."""

    row: Row
    similarity: float


@dataclass(frozen=True, eq=False)
class ExplainedNeighbor:
    """Which part of the query and of a neighbour makes an encoder call the two near."""

    neighbor: Neighbor
    of_query: OcclusionMap | None
    """None of a query that has words or several images."""
    of_neighbor: OcclusionMap


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
    approximate: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By name of an encoder whose store was searched approximately: how, and how well (:meth:`Index.as_json`)."""
    why: Mapping[str, Sequence[ExplainedNeighbor]] = field(default_factory=dict)
    """By encoder the first neighbours with their maps, if they were explained (:mod:`embprobe.search.why`)."""
    why_figure: Path | None = None
    """The sheet of the maps, if it was drawn."""

    def as_json(self) -> dict[str, Any]:
        """Keys, cosines and labels, for ``--json``, and how well an approximate search finds them."""
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
            **({"approximate": self.approximate} if self.approximate else {}),
            **({"figure": str(self.figure)} if self.figure else {}),
            **(
                {"why": {encoder: [_maps(one) for one in shown] for encoder, shown in self.why.items()}}
                if self.why
                else {}
            ),
            **({"why_figure": str(self.why_figure)} if self.why_figure else {}),
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
    index_memory: int | str | None = None,
    device: str = "cpu",
    notify: Callable[[str], None] = lambda now: None,
) -> list[Neighborhood]:
    """Find the ``k`` nearest rows to each query in each encoder's store.

    Args:
        queries: images, texts or sums of them.
        encoders: encode the queries.
        stores: the rows to choose from, a store for each encoder.
        k: neighbours of each query.
        include_self: keep images with exactly the query's pixels, which are otherwise taken for the query itself.
        where: choose among rows whose label has one of these values, for every label.
        exact: search exactly, however many rows there are.
        index_memory: the most that the index of a large store may take, ``"2GB"`` or bytes (:func:`open_index`).
        device: where indices are built and many queries searched: "cpu" or a CUDA device of torch.
        notify: is called with a line where a search is approximate or gives fewer than ``k`` rows, and for a query
            whose vector by an encoder is zero or not finite: it is left out, as rows with zeros are no neighbours.

    Raises:
        UsageError: a query has text and an encoder takes none, no row has the labels, or no index fits the memory.
        EmbprobeError: a store has no row but the query itself, or no query has a direction.
    """
    for encoder in encoders:
        if not encoder.spec.has_text and any(query.has_text for query in queries):
            raise UsageError(f"'{encoder.spec.name}' takes no text. Leave it out, or ask by images.")
    near: list[dict[str, list[Neighbor]]] = [{} for _ in queries]
    undirected: dict[int, str] = {}
    fewest = None
    approximate = dict[str, Mapping[str, Any]]()
    for encoder, store in zip(encoders, stores, strict=True):
        index = open_index(store, exact=exact, memory=index_memory, device=device, notify=notify)
        images = store.embedded()
        search = _Search(index, images, matching(images, where or {}), k, include_self)
        if not index.is_exact(search.among):
            notify(index.approximation())
            approximate[encoder.spec.name] = index.as_json()
        fewest = search.size if fewest is None else min(fewest, search.size)
        vectors = list(query_vectors(queries, encoder, store))
        for i, (query, vector) in enumerate(zip(queries, vectors, strict=True)):
            if lack_direction(vector)[0]:
                undirected.setdefault(i, _undirected(query, vector, encoder))
        directed = [i for i in range(len(queries)) if i not in undirected]
        found = search.near([queries[i] for i in directed], [vectors[i] for i in directed])
        for i, neighbors in zip(directed, found, strict=True):
            near[i][encoder.spec.name] = neighbors
    for reason in undirected.values() if len(undirected) < len(queries) else ():
        notify(f"left out: {reason}")
    if len(undirected) == len(queries):
        raise EmbprobeError(f"{'; '.join(list(undirected.values())[:_LISTED])}: ask by another image or text.")
    near = [by_encoder for i, by_encoder in enumerate(near) if i not in undirected]
    queries = [query for i, query in enumerate(queries) if i not in undirected]
    most = max(len(neighbors) for by_encoder in near for neighbors in by_encoder.values())
    if most < k:
        notify(f"{k} neighbours are asked for, and there are {most}")
    return [
        _neighborhood(query, by_encoder, fewest or 1, approximate)
        for query, by_encoder in zip(queries, near, strict=True)
    ]


def mean_overlaps(neighborhoods: Sequence[Neighborhood]) -> dict[tuple[str, str], Estimate]:
    """Return the mean overlap of every two encoders over several queries, with its bootstrap interval over queries."""
    pairs = list(neighborhoods[0].overlap)
    scores = np.array([[neighborhood.overlap[pair] for pair in pairs] for neighborhood in neighborhoods])
    drawn = resample(scores, [neighborhood.query.name for neighborhood in neighborhoods], seed=0, unit="query")
    return {pair: drawn.mean(i) for i, pair in enumerate(pairs)}


def matching(images: Images, where: Mapping[str, Sequence[str]]) -> NDArray[np.int64] | None:
    """Return the positions of rows with these labels, or None if no label is wanted.

    Raises :class:`UsageError`, with the labels or values that exist, if no row has them.
    """
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
        existing = sorted({row.labels[label] for row in images.rows if label in row.labels})
        listed = ", ".join(map(visible, existing[:_LISTED])) + (", …" if len(existing) > _LISTED else "")
        wanted = " and ".join(f"{name}={','.join(values)}" for name, values in where.items())
        raise UsageError(f"No image in '{images.name}' has {wanted}. Values of '{label}': {listed}.")
    return np.array(kept, np.int64)


@dataclass(frozen=True)
class _Search:
    """A search among some rows of a store, for ``k`` neighbours of each query."""

    index: Index
    images: Images
    among: NDArray[np.int64] | None
    k: int
    include_self: bool

    @property
    def size(self) -> int:
        return len(self.images if self.among is None else self.among)

    def near(self, queries: Sequence[Query], vectors: Sequence[Floats]) -> Iterator[list[Neighbor]]:
        """Yield each query's neighbours; queries are searched together, and alone where most neighbours fall away."""
        for start in range(0, len(queries), _TOGETHER):
            some = slice(start, start + _TOGETHER)
            found = self.index.search(np.concatenate(vectors[some]), 2 * self.k, among=self.among)
            for query, vector, cosines, positions in zip(queries[some], vectors[some], *found, strict=True):
                yield self._near(query, vector, cosines, positions)

    def _near(self, query: Query, vector: Floats, cosines: Floats, positions: NDArray[np.int64]) -> list[Neighbor]:
        picture = self._picture(query)
        wanted = 2 * self.k
        while True:
            neighbors = list(itertools.islice(self._kept(query, picture, cosines, positions), self.k))
            if len(neighbors) == self.k or wanted >= 2 * max(self.k, self.size):
                break
            wanted *= 2
            ((cosines,), (positions,)) = self.index.search(vector, wanted, among=self.among)
        if not neighbors:
            raise EmbprobeError(f"There is nothing but the query itself in '{self.images.name}'.")
        return neighbors

    def _kept(
        self, query: Query, picture: Image.Image | None, cosines: Floats, positions: NDArray[np.int64]
    ) -> Iterator[Neighbor]:
        """Yield the rows that have a direction and are not the query itself."""
        rows = self.images.rows
        for cosine, position in zip(cosines.tolist(), positions.tolist(), strict=True):
            if position >= 0 and (cosine != 0 or self.index.has_direction(position)):
                neighbor = Neighbor(rows[position], cosine)
                if not self._is_query(neighbor, query, picture):
                    yield neighbor

    def _picture(self, query: Query) -> Image.Image | None:
        """Return the query's pixels, if neighbours are to be compared with them."""
        if query.row is None or self.include_self or not self.images.has_pictures:
            return None
        try:
            return query.row.load()
        except UnreadableImage:  # it is too large to be decoded in full
            return None

    def _is_query(self, neighbor: Neighbor, query: Query, picture: Image.Image | None) -> bool:
        """Return whether a neighbour is the query itself: by its pixels, or of rows without pictures by its key."""
        if self.include_self or query.row is None:
            return False
        if picture is None:
            return neighbor.row.key == query.row.key
        return neighbor.similarity >= _SAME and _same(neighbor.row, picture)


def query_vectors(queries: Sequence[Query], encoder: Encoder, store: Store) -> Iterator[Floats]:
    """Yield each query's vector ``[1, d]``: the sum of directions, less those that are subtracted.

    Texts and subtracted images that several queries share are encoded once.
    """

    @cache
    def text_direction(text: str) -> Floats:
        return l2_normalize(encoder.encode_texts([text]))

    subtracted = {id(row): row for query in queries for row in query.minus_rows}
    minus = {mark: _direction(row, encoder, store) for mark, row in subtracted.items()}
    for query in queries:
        parts = [] if query.row is None else [_direction(query.row, encoder, store)]
        parts += [-minus[id(row)] for row in query.minus_rows]
        parts += [text_direction(text) for text in query.texts]
        parts += [-text_direction(text) for text in query.minus_texts]
        yield np.asarray(sum(parts))


def _undirected(query: Query, vector: Floats, encoder: Encoder) -> str:
    """Return why a query has no neighbours by an encoder, as a sentence without a full stop."""
    name = visible(encoder.spec.name)
    if np.isfinite(vector).all():
        return f"'{visible(query.name)}' is a vector of zeros by {name}, and nothing is near to it or far from it"
    return f"'{visible(query.name)}' has a vector by {name} that is not finite (nan or inf); {hint(encoder.spec)}"


def _direction(row: Row, encoder: Encoder, store: Store) -> Floats:
    if isinstance(encoder, GivenVectors):
        position = encoder.positions([row.key], strict=False)[0]
        if position < 0:
            raise UsageError(
                f"'{encoder.spec.name}' has no vector of '{visible(row.key)}': ask by the key of an image that has one."
            )
        return l2_normalize(encoder.vectors[[position]])
    image_input = store.spec.require_image_input()
    try:
        picture = row.rgb(row.fetch(), at_least=decoded_side(image_input), max_pixels=image_input.max_pixels)
    except UnreadableImage as reason:  # one that was opened at a smaller scale than the encoder needs
        raise EmbprobeError(f"'{visible(row.key)}' cannot be read as an image: {reason}.") from None
    return l2_normalize(encode(encoder, [picture]))


def _neighborhood(
    query: Query, near: dict[str, list[Neighbor]], size: int, approximate: Mapping[str, Mapping[str, Any]]
) -> Neighborhood:
    fewest = min(map(len, near.values()))
    keys = {name: [n.row.key for n in neighbors[:fewest]] for name, neighbors in near.items()}
    overlap = {(a, b): overlap_at_k(keys[a], keys[b]) for a, b in itertools.combinations(near, 2)}
    return Neighborhood(query, near, overlap, min(1.0, fewest / size), approximate=approximate)


def _same(row: Row, picture: Image.Image) -> bool:
    other = row.load()
    return other.size == picture.size and other.tobytes() == picture.tobytes()


def _maps(explained: ExplainedNeighbor) -> dict[str, Any]:
    """Return the maps of one neighbour, for ``--json``."""
    return {
        "key": printable(explained.neighbor.row.key),
        "of_query": None if explained.of_query is None else explained.of_query.as_json(),
        "of_neighbor": explained.of_neighbor.as_json(),
    }


def _labels(row: Row) -> dict[str, str]:
    return {name: printable(value) for name, value in row.labels.items()}
