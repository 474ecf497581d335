"""Keep vectors that are not finite out of stores: their rows are rejected, as rows of unreadable images are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.manifest import Rejected, ShardFacts
from embprobe.embeddings.store import Store, vectors_file
from embprobe.encoders.spec import EncoderSpec, Floats
from embprobe.images.rows import Row
from embprobe.measures.blocks import blocks_of
from embprobe.measures.vectors import Vectors

_REASON = "the encoder's vector is not finite (nan or inf)"


def is_not_finite(row: Rejected) -> bool:
    """Return whether a row was rejected for its vector, and not for its image."""
    return row.reason.startswith(_REASON)


def hint(spec: EncoderSpec) -> str:
    """Return where the user may look for the cause, as a part of a sentence."""
    if spec.stored == "float16":
        return "it is stored in float16, whose largest number is 65,504: try stored=float32"
    if spec.precision == "float16":  # its largest number is 65,504
        return "it computes in float16, which overflows early: try --precision bfloat16 or float32"
    return f"it computes in {spec.precision}, so look at its weights and its preprocessing"


def finite_part(
    vectors: Floats, rows: Sequence[Row], positions: Sequence[int], spec: EncoderSpec
) -> tuple[Floats, list[Row], list[Rejected]]:
    """Split an encoder's vectors of some rows into finite ones, in the type that is stored, and rejected rows.

    A number that this type cannot hold is infinite.

    Args:
        vectors: ``[n, d]``, or tokens ``[n, t, d]``.
        rows: Their ``n`` rows.
        positions: The rows' positions among the images.
        spec: The encoder's, for the hint in the reason.
    """
    with np.errstate(over="ignore"):
        floats = np.asarray(vectors, spec.stored)
    finite = np.isfinite(floats).all(axis=tuple(range(1, floats.ndim)))
    if finite.all():
        return floats, list(rows), []
    reason = f"{_REASON}; {hint(spec)}"
    rejected = [Rejected(rows[i].key, reason, positions[i]) for i in np.flatnonzero(~finite).tolist()]
    return floats[finite], [rows[i] for i in np.flatnonzero(finite).tolist()], rejected


def are_finite(vectors: Vectors) -> NDArray[np.bool_]:
    """Return of which rows all numbers are finite, read block by block. ``[n, ...] -> [n]``."""
    finite = [np.isfinite(block).all(axis=tuple(range(1, block.ndim))) for _, block in blocks_of(vectors)]
    return np.concatenate(finite or [np.empty(0, bool)])


def holding_infinite(folder: Path, shards: Iterable[tuple[int, ShardFacts]]) -> list[int]:
    """Return the shards of a store whose files hold vectors that are not finite, as earlier versions wrote them.

    Only shards that were not checked when they were written are read; a damaged one is not this function's business.
    """
    return [shard for shard, facts in shards if not facts.finite and not _is_finite(vectors_file(folder, shard))]


def reject_infinite(store: Store) -> None:
    """Write shards of a store again whose files hold vectors that are not finite; the others' vectors stay.

    Only the process that holds the store's lock may; raises ``OSError`` if the disk is full or may not be written to.
    """
    for shard in holding_infinite(store.folder, sorted(store.shards.items())):
        facts, first = store.shards[shard], store.span(shard)[0]
        gone = {rejected.row for rejected in facts.rejected}
        there = [(first + i, row) for i, row in enumerate(store.rows_of(shard)) if first + i not in gone]
        vectors = np.load(vectors_file(store.folder, shard), allow_pickle=False)
        positions, rows = [position for position, _ in there], [row for _, row in there]
        kept, kept_rows, rejected = finite_part(vectors, rows, positions, store.spec)
        everything = sorted([*facts.rejected, *rejected], key=lambda each: each.row)
        before = store.written
        store.write_shard(shard, kept, kept_rows, everything, facts.seconds)
        store.written = before  # nothing was encoded


def _is_finite(path: Path) -> bool:
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
        return not isinstance(vectors, np.ndarray) or bool(are_finite(vectors).all())
    except (OSError, ValueError, EOFError, TypeError):
        return True
