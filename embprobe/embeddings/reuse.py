"""Take vectors from other stores of a workspace, so that images that were encoded before are not encoded again.

A folder of 100,000 images with one more is another set of rows, and has a store of its own. Its rows are looked up one
by one in the stores that the same encoder has of other sets from the same place, by a hash of key and content, wherever
they stand there. Vectors are taken only from files whose bytes are those that were written.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.manifest import ShardFacts, manifest_file, read_manifest
from embprobe.embeddings.store import Store, row_marks, rows_file, vectors_file
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Row

_NONE = -1


@dataclass(frozen=True)
class _Shard:
    """A written shard of another store."""

    folder: Path
    number: int
    facts: ShardFacts

    def vectors(self) -> Floats | None:
        """Read the vectors ``[n, d]``; None if the file is gone or its bytes are not those that were written."""
        return _read(vectors_file(self.folder, self.number), self.facts.sha256)

    def marks(self) -> NDArray[np.uint64] | None:
        """Read the marks ``[n]`` of the vectors' rows; None if there are none that can be trusted."""
        marks = _read(rows_file(self.folder, self.number), self.facts.rows_sha256)
        return marks if marks is not None and marks.shape == (self.facts.rows,) else None


@dataclass
class Reusable:
    """The vectors that other stores have of the rows that a store lacks."""

    store: Store
    shards: list[_Shard] = field(default_factory=list)
    shard_of: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    """For each row of the store, the position in ``shards`` of the one that has its vector, or -1."""
    place_of: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """For each row of the store, its position in that shard."""

    def new_rows(self, number: int) -> Sequence[int]:
        """Return the positions of a shard's rows that must be encoded."""
        start, stop = self.store.span(number)
        if not self.shards:
            return range(start, stop)
        new = np.flatnonzero(self.shard_of[start:stop] == _NONE) + start
        return range(start, stop) if len(new) == stop - start else tuple(new.tolist())

    def with_taken(self, number: int, encoded: Sequence[int], vectors: Floats) -> tuple[list[Row], Floats]:
        """Return all rows of a shard that have a vector, with the vectors: those just encoded, and those taken.

        Args:
            number: The shard of this store.
            encoded: Positions of the rows that were encoded.
            vectors: Their vectors ``[len(encoded), d]``.

        Raises:
            EmbprobeError: A store that vectors are taken from was changed a moment ago.
        """
        start, stop = self.store.span(number)
        rows = self.store.images.rows
        if not self.shards or not len(taken := np.flatnonzero(self.shard_of[start:stop] != _NONE) + start):
            return [rows[i] for i in encoded], vectors
        positions = np.concatenate([np.asarray(encoded, np.int64), taken])
        every = np.concatenate([vectors, np.empty((len(taken), *self.store.spec.shape), vectors.dtype)])
        sources = self.shard_of[positions]
        for source in np.unique(sources[len(encoded) :]):
            whole = self.shards[source].vectors()
            if whole is None:
                raise EmbprobeError(
                    f"The store '{self.shards[source].folder}' was changed while vectors were taken from it. "
                    "Run the same command again."
                )
            here = len(encoded) + np.flatnonzero(sources[len(encoded) :] == source)
            every[here] = whole[self.place_of[positions[here]]]
        order = np.argsort(positions, kind="stable")
        return [rows[i] for i in positions[order]], every[order]

    def copy_of(self, number: int) -> Path | None:
        """Return the file of another store that holds just the vectors of this shard, in its order, if there is one."""
        start, stop = self.store.span(number)
        if not self.shards or (first := self.shard_of[start]) == _NONE or (self.shard_of[start:stop] != first).any():
            return None
        other = self.shards[first]
        same = other.facts.rows == stop - start and (self.place_of[start:stop] == np.arange(stop - start)).all()
        return vectors_file(other.folder, other.number) if same else None


def find_reusable(store: Store, workspace: Workspace) -> Reusable:
    """Look up the rows that a store lacks in the other stores that its encoder has in the workspace.

    Only stores of sets from the same place, changed in the same way, are looked at, and only shards whose files are
    whole. Damaged stores are passed over.
    """
    family = store.rows_from
    if not family or store.complete:
        return Reusable(store)
    count = len(store.images)
    reusable = Reusable(store, [], np.full(count, _NONE, np.int32), np.full(count, _NONE, np.int64))
    spans = [store.span(number) for number in store.missing]
    wanted = np.concatenate([np.arange(*span) for span in spans])
    marks = row_marks(store.images.rows[i] for i in wanted)
    order = np.argsort(marks)
    wanted, marks = wanted[order], marks[order]
    for shard in _others(store, workspace, family):
        theirs = shard.marks()
        if theirs is None or not len(theirs):
            continue
        at = np.minimum(np.searchsorted(marks, theirs), len(marks) - 1)
        hits = np.flatnonzero(marks[at] == theirs)
        hits = hits[reusable.shard_of[wanted[at[hits]]] == _NONE]
        if len(hits) and shard.vectors() is not None:
            reusable.shard_of[wanted[at[hits]]] = len(reusable.shards)
            reusable.place_of[wanted[at[hits]]] = hits
            reusable.shards.append(shard)
    return reusable


def _others(store: Store, workspace: Workspace, family: str) -> Iterable[_Shard]:
    for folder in workspace.stores_of(store.spec):
        if folder == store.folder:
            continue
        try:
            if family.encode() not in manifest_file(folder).read_bytes():  # parsing hundreds of manifests takes longer
                continue
            manifest = read_manifest(folder)
        except (EmbprobeError, OSError):
            continue
        if manifest.rows_from == family and manifest.encoder_fingerprint == store.spec.fingerprint:
            for number, facts in sorted(manifest.shards.items()):
                if facts.finite:
                    yield _Shard(folder, number, facts)


def _read(path: Path, sha256: str) -> NDArray[Any] | None:
    """Read a .npy file whose bytes have this hash; None if there is no such file."""
    try:
        content = path.read_bytes() if sha256 else b""
    except OSError:
        return None
    if not sha256 or hashlib.sha256(content).hexdigest() != sha256:
        return None
    array: NDArray[Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return array
