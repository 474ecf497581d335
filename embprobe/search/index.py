"""Search a store by cosine: exactly, block by block, or of many rows by an approximate index that lies beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError
from embprobe.search.approximate import NEAREST, RECALL, Effort, build, measure_effort, propose
from embprobe.search.choice import Choice, choose_index, memory_limit
from embprobe.search.directions import l2_normalize
from embprobe.search.exact import rank, search_exactly
from embprobe.search.gpu import MOST, failure, gpu_of, to_gpu
from embprobe.search.mapped import MappedVectors
from embprobe.system.files import replacing, sweep, write_json
from embprobe.system.models import Count, DamagedFile, Number, Record, read_json_file

__all__ = ["RECALL", "Index", "l2_normalize", "open_index"]

EXACT_UP_TO = 500_000
"""Of more rows, an approximate index is built: reading all vectors for each query would take seconds."""
EXACT_NUMBERS = 2**29
"""So would reading more numbers than this (2 GiB), however few rows they are."""
_SCHEMA = 2
"""Of ``index.json``; 1 had no number, and its indices held whole vectors, also of few rows."""
_ABANDONED = 3600.0
"""Seconds without a change after which a half-written index is taken for a killed process's."""
_SEARCHED_THERE = 1024
"""Queries from which copying an index to the GPU should pay: an estimate, not measured."""


class _Note(Record):
    """The facts of a saved index: of which vectors it is, and how it is searched."""

    schema_number: Count
    store: str
    index: str
    rows: Count
    width: Count
    code: Count
    nlist: Count
    sha256: str
    cells: Count
    candidates: Count
    recall: Number


@dataclass(frozen=True)
class Index:
    """A search over the vectors of a store by cosine; positions are those of ``store.keys()``."""

    store: Store
    faiss_index: Any = None
    """An approximate index; None where all vectors are searched."""
    cells: int = 0
    """How many of an approximate index's cells are searched; 0 where the search is exact."""
    recall: float = 1.0
    """The share of the ten nearest others that it finds, measured on 200 rows of the store against exact search."""
    candidates: int = 1
    """How many of an approximate index's candidates for each neighbour are ordered by their vectors."""
    key: str = ""
    """The approximate index as FAISS's ``index_factory`` names it."""
    device: str = "cpu"
    """Where many queries are searched: "cpu" or a CUDA device of torch."""
    notify: Callable[[str], None] = lambda now: None
    """Called with a line if a GPU fails and the CPU goes on."""

    def search(
        self, queries: Floats, k: int, *, among: NDArray[np.int64] | None = None
    ) -> tuple[Floats, NDArray[np.int64]]:
        """Return the cosines ``[n, k]`` and positions ``[n, k]`` of the k nearest rows of each query, nearest first.

        Args:
            queries: vectors ``[n, d]``; they need not be normalised.
            k: neighbours of each query, cut to the number of rows to choose from.
            among: positions to choose from; all rows if it is not given. Few enough are searched exactly.

        Cosines are those of the store's vectors, exact but for the rounding of a float32, also by an approximate index.
        Where that finds fewer than k, the last positions are -1.
        """
        directions = l2_normalize(queries)
        k = min(k, len(self.vectors) if among is None else len(among))
        if self.is_exact(among):
            return search_exactly(self.vectors, directions, k, among=among, device=self.device, notify=self.notify)
        count = min(k * self.candidates, len(self.vectors) if among is None else len(among))
        return rank(self.vectors, directions, self._propose(directions, count, among), k)

    def is_exact(self, among: NDArray[np.int64] | None = None) -> bool:
        """Return whether a search of all rows, or among some, is exact."""
        return self.faiss_index is None or (among is not None and _few(len(among), self.store.spec.dimension))

    def has_direction(self, position: int) -> bool:
        """Return whether the vector at a position is another than zeros."""
        return bool(np.any(self.vectors.at(np.array([position]))))

    def approximation(self) -> str:
        """Describe how well an approximate index searches, in a line for people; empty for an exact one."""
        if self.faiss_index is None:
            return ""
        index = self.faiss_index
        codes = f", {self.candidates} candidates for each neighbour from codes of {_code(index)} bytes"
        return (
            f"{index.ntotal:,} vectors of {self.store.spec.name} are searched approximately: recall@"
            f"{NEAREST} {self.recall:.3f} against exact search, {self.cells} of {index.nlist:,} cells"
            f"{codes if _code(index) else ''}"
        )

    def as_json(self) -> dict[str, Any]:
        """How an approximate index searches and how well, for ``--json``."""
        return {
            "index": self.key,
            "cells_searched": self.cells,
            "candidates_per_neighbor": self.candidates,
            f"recall_at_{NEAREST}": self.recall,
        }

    @cached_property
    def vectors(self) -> MappedVectors:
        """The vectors, where they lie on the disk."""
        return MappedVectors.of(self.store)

    @cached_property
    def _on_gpu(self) -> Any:
        """The approximate index on the GPU; None where there is none, or no room."""
        gpu = gpu_of(self.device)
        try:
            return None if gpu is None else to_gpu(self.faiss_index, gpu)
        except RuntimeError as error:
            self.notify(f"the GPU {failure(error)}, and the CPU searches")
            return None

    def _propose(self, directions: Floats, count: int, among: NDArray[np.int64] | None) -> NDArray[np.int64]:
        many = len(directions) >= _SEARCHED_THERE and among is None and max(count, self.cells) <= MOST
        if many and self._on_gpu is not None:
            try:
                return propose(self._on_gpu, directions, count, self.cells)
            except RuntimeError as error:
                self.__dict__["_on_gpu"] = None  # it is not asked again
                self.notify(f"the GPU {failure(error)} in the middle of a search, and the CPU goes on")
        return propose(self.faiss_index, directions, count, self.cells, among=among)


def open_index(
    store: Store,
    *,
    exact: bool = False,
    memory: int | str | None = None,
    device: str = "cpu",
    notify: Callable[[str], None] = lambda now: None,
) -> Index:
    """Open a search over a store; of many rows, build the index beside it if there is none or it is out of date.

    Up to ``EXACT_UP_TO`` rows and ``EXACT_NUMBERS`` numbers, or if ``exact`` search is wanted, there is no index: the
    vectors are searched where they lie.

    Args:
        store: A complete store.
        exact: Whether to search exactly, however many rows there are.
        memory: The most that an approximate index may take, ``"2GB"`` or bytes. Default: a fourth of the available
            memory, at most 1.5 GB; then an index that is there and fits is used, whichever it is.
        device: Where to build it and to search for many queries: "cpu" or a CUDA device of torch.
        notify: Called with a line before work that takes long, and if a GPU fails.

    Raises:
        UsageError: No index fits the memory.
        EmbprobeError: A shard of the store is missing or damaged, or the index cannot be written.
    """
    limit = memory_limit(memory)
    with suppress(OSError):  # a disk that is read only is searched, too
        sweep(store.folder, "index", older_than=_ABANDONED)
    rows, dimension = sum(facts.rows for facts in store.shards.values()), store.spec.dimension
    if exact or _few(rows, dimension):
        return Index(store, device=device, notify=notify)
    choice = choose_index(rows, dimension, limit)
    path, note_path = store.folder / "index.faiss", store.folder / "index.json"
    saved = _read(store, path, note_path, choice if memory is not None else None, limit)
    if saved is not None:
        index, note = saved
        return Index(store, index, note.cells, note.recall, note.candidates, note.index, device, notify)
    vectors = MappedVectors.of(store)
    notify(f"building an approximate index of {rows:,} vectors of {store.spec.name}")
    index = build(vectors, choice, limit, device=device, notify=notify)
    effort = measure_effort(index, vectors, choice, device=device, notify=notify)
    _write(store, index, path, note_path, choice, effort)
    return Index(store, index, effort.cells, effort.recall, effort.candidates, choice.key, device, notify)


def _few(rows: int, dimension: int) -> bool:
    """Return whether so many vectors are searched exactly without being asked to."""
    return rows <= EXACT_UP_TO and rows * dimension <= EXACT_NUMBERS


def _read(store: Store, path: Path, note_path: Path, wanted: Choice | None, limit: int) -> tuple[Any, _Note] | None:
    """Read the saved index if it is of this store as it is now, undamaged, the one that is wanted, and fits."""
    try:
        note = read_json_file(_Note, note_path)
        choice = Choice(note.rows, note.width, note.nlist, note.code)
        if (
            (note.schema_number, note.store, note.index) != (_SCHEMA, store.version, choice.key)
            or note.rows != sum(facts.rows for facts in store.shards.values())
            or (wanted is not None and choice != wanted)
            or choice.memory > limit
        ):
            return None
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != note.sha256:
                return None
        import faiss

        return faiss.read_index(str(path)), note
    except (OSError, RuntimeError, DamagedFile):  # the second is FAISS's
        return None  # none yet, of another version, or damaged: it can always be made again


def _write(store: Store, index: Any, path: Path, note_path: Path, choice: Choice, effort: Effort) -> None:
    """Save an index and its facts, which name the hash of the file: one that is not this index's is never taken."""
    import faiss

    with replacing(path) as temporary:
        try:
            faiss.write_index(index, str(temporary))
        except RuntimeError as error:  # as FAISS says that the disk is full
            reason = str(error).rpartition("(")[2].rstrip(")") or "unknown error"
            raise EmbprobeError(f"The index '{path}' cannot be written: {reason}. Its store is complete.") from None
        with temporary.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    note = _Note(
        schema_number=_SCHEMA,
        store=store.version,
        index=choice.key,
        rows=choice.rows,
        width=choice.width,
        code=choice.code,
        nlist=choice.cells,
        sha256=digest,
        cells=effort.cells,
        candidates=effort.candidates,
        recall=effort.recall,
    )
    write_json(note_path, note.model_dump())


def _code(index: Any) -> int:
    """Return the bytes of an index's codes; 0 where it holds vectors."""
    return int(index.code_size) if hasattr(index, "pq") else 0
