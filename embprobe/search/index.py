"""A FAISS index over a store: search by cosine, exact, or near enough to it where that would take too long."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError
from embprobe.system.files import replacing, sweep, write_json

EXACT_UP_TO = 500_000
"""Of more rows, an approximate index is built: reading all vectors for each query would take seconds."""
RECALL = 0.95
"""What share of the ten nearest an approximate index must find; it looks at as many cells as that takes."""
_ASKED, _NEAREST = 200, 10
_TRAINED = 64
"""Rows for each cell that the cells are found from."""
_ABANDONED = 3600.0
"""Seconds after which nobody writes to a half-made index any more."""


@dataclass(frozen=True)
class Index:
    """The index of a store; positions are those of ``store.keys()``."""

    store: Store
    faiss_index: Any
    cells: int = 0
    """How many of an approximate index's cells are searched; 0 where the search is exact."""
    recall: float = 1.0
    """The share of the ten nearest others that it finds, measured on 200 rows of the store against exact search."""

    def search(
        self, queries: Floats, k: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Cosines ``[n, k]``, highest first, and positions ``[n, k]``, for queries ``[n, d]`` of any length.

        ``among`` are positions to choose from, all of them if it is not given; ``k`` is cut to their number. Where an
        approximate index found fewer, positions are -1.
        """
        options: dict[str, Any] = {} if among is None else {"sel": faiss.IDSelectorBatch(among)}
        if self.cells:
            options["nprobe"] = self.cells
        known = faiss.SearchParametersIVF if self.cells else faiss.SearchParameters
        most = self.faiss_index.ntotal if among is None else len(among)
        similarity, position = self.faiss_index.search(normalize(queries), min(k, most), params=known(**options))
        return similarity, position

    def says(self) -> str:
        """What a person should know of an approximate index; nothing of an exact one."""
        if not self.cells:
            return ""
        return (
            f"{self.faiss_index.ntotal:,} vectors of {self.store.spec.name} are searched approximately: recall@"
            f"{_NEAREST} {self.recall:.3f} against exact search, {self.cells} of {self.faiss_index.nlist:,} cells"
        )


def open_index(store: Store, *, exact: bool = False, notify: Callable[[str], None] = lambda now: None) -> Index:
    """The index beside a store, built if there is none or the store has changed since.

    It is exact up to ``EXACT_UP_TO`` rows, or if ``exact`` search is wanted. ``tell`` is called with what takes long.
    """
    rows = len(store.embedded())
    if exact and rows > EXACT_UP_TO:
        return Index(store, _flat(store))
    path, note = store.folder / "index.faiss", store.folder / "index.json"
    kind = "IndexFlatIP" if rows <= EXACT_UP_TO else "IndexIVFFlat"
    facts = {"store": store.version, "index": kind, "normalized": True, "rows": rows}
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        if {name: found[name] for name in facts} == facts:
            return Index(store, faiss.read_index(str(path)), int(found["cells"]), float(found["recall"]))
    except (OSError, ValueError, RuntimeError, KeyError, TypeError):
        pass  # none yet, or damaged: it can always be made again
    index = Index(store, _flat(store)) if rows <= EXACT_UP_TO else _approximate(store, notify)
    sweep(store.folder, "index", older_than=_ABANDONED)
    with replacing(path) as temporary:
        try:
            faiss.write_index(index.faiss_index, str(temporary))
        except RuntimeError as error:  # as FAISS says that the disk is full
            reason = str(error).rpartition("(")[2].rstrip(")") or "unknown error"
            raise EmbprobeError(f"The index '{path}' cannot be written: {reason}. Its store is complete.") from None
    write_json(note, {**facts, "cells": index.cells, "recall": index.recall})
    return index


def normalize(vectors: Floats) -> Floats:
    """Each row divided by its length; a row of zeros stays zero. ``[n, d] -> [n, d]``, float32, contiguous."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)


def _flat(store: Store) -> Any:
    index = faiss.IndexFlatIP(store.spec.dimension)
    index.add(normalize(store.vectors()))
    return index


def _approximate(store: Store, notify: Callable[[str], None]) -> Index:
    """Cells around √n centres, and as many of them searched as the recall takes, doubled from one."""
    vectors = normalize(store.vectors())
    notify(f"building an approximate index of {len(vectors):,} vectors of {store.spec.name}")
    cells = max(1, int(np.sqrt(len(vectors))))
    index = faiss.index_factory(store.spec.dimension, f"IVF{cells},Flat", faiss.METRIC_INNER_PRODUCT)
    rng = np.random.default_rng(0)
    index.train(vectors[np.sort(rng.choice(len(vectors), min(len(vectors), _TRAINED * cells), replace=False))])
    index.add(vectors)
    asked = np.sort(rng.choice(len(vectors), min(len(vectors), _ASKED), replace=False))
    _, nearest = faiss.knn(vectors[asked], vectors, _NEAREST + 1, metric=faiss.METRIC_INNER_PRODUCT)
    searched, recall = 1, 0.0
    while True:
        found = Index(store, index, searched)
        _, position = found.search(vectors[asked], _NEAREST + 1)
        shares = [
            len((set(a) & set(b)) - {i}) / len(set(b) - {i}) for i, a, b in zip(asked, position, nearest, strict=True)
        ]
        recall = float(np.mean(shares))
        if recall >= RECALL or searched == cells:
            return Index(store, index, searched, recall)
        searched = min(2 * searched, cells)
