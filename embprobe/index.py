"""A FAISS index over a store: exact search by cosine."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.base import Floats
from embprobe.errors import EmbprobeError
from embprobe.files import replacing, sweep, write_json
from embprobe.store import Store

_ABANDONED = 3600.0
"""Seconds after which nobody writes to a half-made index any more."""


@dataclass(frozen=True)
class Index:
    """The index of a store; positions are those of ``store.keys()``."""

    store: Store
    faiss_index: Any

    def search(self, queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        """Cosines ``[n, k]``, highest first, and positions ``[n, k]``, for queries ``[n, d]`` of any length.

        ``k`` is cut to the number of rows.
        """
        similarity, position = self.faiss_index.search(normalize(queries), min(k, self.faiss_index.ntotal))
        return similarity, position


def open_index(store: Store) -> Index:
    """The index beside a store, built if there is none or the store has changed since."""
    path, note = store.folder / "index.faiss", store.folder / "index.json"
    try:
        if json.loads(note.read_text(encoding="utf-8")) == _note(store):
            return Index(store, faiss.read_index(str(path)))
    except (OSError, ValueError, RuntimeError):
        pass  # none yet, or damaged: it can always be made again
    index = faiss.IndexFlatIP(store.spec.dimension)
    index.add(normalize(store.vectors()))
    sweep(store.folder, "index", older_than=_ABANDONED)
    with replacing(path) as temporary:
        try:
            faiss.write_index(index, str(temporary))
        except RuntimeError as error:  # as FAISS says that the disk is full
            reason = str(error).rpartition("(")[2].rstrip(")") or "unknown error"
            raise EmbprobeError(f"The index '{path}' cannot be written: {reason}. Its store is complete.") from None
    write_json(note, _note(store))
    return Index(store, index)


def normalize(vectors: Floats) -> Floats:
    """Each row divided by its length; a row of zeros stays zero. ``[n, d] -> [n, d]``, float32, contiguous."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)


def _note(store: Store) -> dict[str, Any]:
    return {"store": store.version, "index": "IndexFlatIP", "normalized": True, "rows": len(store.embedded())}
