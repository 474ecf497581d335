"""A FAISS index over a store: search by cosine, exact, or near enough to it where that would take too long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from pydantic import StrictBool

from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError
from embprobe.system.files import replacing, sweep, write_json
from embprobe.system.models import Count, DamagedFile, Number, Record, read_json_file

EXACT_UP_TO = 500_000
"""Of more rows, an approximate index is built: reading all vectors for each query would take seconds."""
RECALL = 0.95
"""The share of the ten nearest that an approximate index must find; it searches as many cells as that takes."""
_SAMPLE, _NEAREST = 200, 10
"""Rows that recall is measured on, and neighbours of each."""
_TRAINED = 64
"""Rows for each cell that k-means places the cells by."""
_SHORT, _LONG = 1e-15, 1e15
"""Between these lengths no square of a float32 that matters is too small or too large for a float32."""
_ABANDONED = 3600.0
"""Seconds without a change after which a half-written index is taken for a killed process's."""


class _Note(Record):
    """The facts of a saved index: the version of its store, and how it is searched."""

    store: str
    index: str
    normalized: StrictBool
    rows: Count
    cells: Count
    recall: Number


@dataclass(frozen=True)
class Index:
    """A FAISS index over the l2-normalised vectors of a store; positions are those of ``store.keys()``."""

    store: Store
    faiss_index: Any
    cells: int = 0
    """How many of an approximate index's cells are searched; 0 where the search is exact."""
    recall: float = 1.0
    """The share of the ten nearest others that it finds, measured on 200 rows of the store against exact search."""

    def search(
        self, queries: Floats, k: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return the cosines ``[n, k]`` and positions ``[n, k]`` of the k nearest rows of each query, nearest first.

        Args:
            queries: vectors ``[n, d]``; they need not be normalised.
            k: neighbours of each query, cut to the number of rows to choose from.
            among: positions to choose from; all rows if it is not given.

        Where an approximate index finds fewer than k, the last positions are -1.
        """
        options: dict[str, Any] = {} if among is None else {"sel": faiss.IDSelectorBatch(among)}
        if self.cells:
            options["nprobe"] = self.cells
        parameters = (faiss.SearchParametersIVF if self.cells else faiss.SearchParameters)(**options)
        most = self.faiss_index.ntotal if among is None else len(among)
        cosines, positions = self.faiss_index.search(l2_normalize(queries), min(k, most), params=parameters)
        return cosines, positions

    def has_direction(self, position: int) -> bool:
        """Return whether the vector at a position is another than zeros."""
        if self.cells:
            self.faiss_index.make_direct_map()  # once; further calls do nothing
        return bool(np.any(self.faiss_index.reconstruct(position)))

    def approximation(self) -> str:
        """Describe how well an approximate index searches, in a line for people; empty for an exact one."""
        if not self.cells:
            return ""
        return (
            f"{self.faiss_index.ntotal:,} vectors of {self.store.spec.name} are searched approximately: recall@"
            f"{_NEAREST} {self.recall:.3f} against exact search, {self.cells} of {self.faiss_index.nlist:,} cells"
        )


def open_index(store: Store, *, exact: bool = False, notify: Callable[[str], None] = lambda now: None) -> Index:
    """Open the index beside a store; build it if there is none or the store has changed since.

    It is exact up to ``EXACT_UP_TO`` rows, or if ``exact`` search is wanted. ``notify`` is called with a line before
    work that takes long. Raises :class:`EmbprobeError` if the index cannot be written.
    """
    rows = len(store.embedded())
    if exact and rows > EXACT_UP_TO:
        return Index(store, _flat(store))
    path, note_path = store.folder / "index.faiss", store.folder / "index.json"
    kind = "IndexFlatIP" if rows <= EXACT_UP_TO else "IndexIVFFlat"
    facts = {"store": store.version, "index": kind, "normalized": True, "rows": rows}
    try:
        note = read_json_file(_Note, note_path)
        if note.model_dump(exclude={"cells", "recall"}) == facts:
            return Index(store, faiss.read_index(str(path)), note.cells, note.recall)
    except (OSError, RuntimeError, DamagedFile):  # the second is FAISS's
        pass  # none yet, or damaged: it can always be made again
    index = Index(store, _flat(store)) if rows <= EXACT_UP_TO else _approximate(store, notify)
    sweep(store.folder, "index", older_than=_ABANDONED)
    with replacing(path) as temporary:
        try:
            faiss.write_index(index.faiss_index, str(temporary))
        except RuntimeError as error:  # as FAISS says that the disk is full
            reason = str(error).rpartition("(")[2].rstrip(")") or "unknown error"
            raise EmbprobeError(f"The index '{path}' cannot be written: {reason}. Its store is complete.") from None
    write_json(note_path, {**facts, "cells": index.cells, "recall": index.recall})
    return index


def l2_normalize(vectors: Floats) -> Floats:
    """Divide each row by its length; a row of zeros stays zero. ``[n, d] -> [n, d]``, float32, contiguous."""
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    odd = np.flatnonzero(~((lengths[:, 0] > _SHORT) & (lengths[:, 0] < _LONG)))
    with np.errstate(invalid="ignore", over="ignore"):
        directions = np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)
    if len(odd):
        wide = np.asarray(vectors[odd], np.float64)
        exact = np.linalg.norm(wide, axis=1, keepdims=True)
        directions[odd] = wide / np.where(exact == 0, 1, exact)
    return directions


def _flat(store: Store) -> Any:
    index = faiss.IndexFlatIP(store.spec.dimension)
    index.add(l2_normalize(store.vectors()))
    return index


def _approximate(store: Store, notify: Callable[[str], None]) -> Index:
    """Build an index of √n cells; the number of cells that are searched is doubled until recall is :data:`RECALL`."""
    vectors = l2_normalize(store.vectors())
    notify(f"building an approximate index of {len(vectors):,} vectors of {store.spec.name}")
    cells = max(1, int(np.sqrt(len(vectors))))
    index = faiss.index_factory(store.spec.dimension, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)
    index.train(vectors[np.sort(rng.choice(len(vectors), min(len(vectors), _TRAINED * cells), replace=False))])
    index.add(vectors)
    sample = np.sort(rng.choice(len(vectors), min(len(vectors), _SAMPLE), replace=False))
    _, nearest = faiss.knn(vectors[sample], vectors, _NEAREST + 1, metric=faiss.METRIC_INNER_PRODUCT)
    searched, recall = 1, 0.0
    while True:
        _, positions = Index(store, index, searched).search(vectors[sample], _NEAREST + 1)
        shares = [
            len((set(a) & set(b)) - {i}) / len(set(b) - {i}) for i, a, b in zip(sample, positions, nearest, strict=True)
        ]
        recall = float(np.mean(shares))
        if recall >= RECALL or searched == cells:
            return Index(store, index, searched, recall)
        searched = min(2 * searched, cells)
