"""Count the bytes that stores will take, and refuse what the disk or the user's limit has no room for."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from embprobe.embeddings.store import Store
from embprobe.errors import UsageError
from embprobe.system.memory import format_memory
from embprobe.system.text import visible

_SPARED = 0.05
"""The share of the free disk that is left alone."""


def check_room(stores: Sequence[Store], root: Path, most: int | None = None) -> list[str]:
    """Return remarks on the size of stores of tokens that are to be written, before anything is.

    Args:
        stores: Stores, complete or not.
        root: A folder on the disk that they lie on.
        most: The bytes that they may take together. Default: 95 % of what is free.

    Raises:
        UsageError: They take more.
    """
    wanted = [(store, _missing_rows(store) * store.spec.bytes) for store in stores]
    of_tokens = [(store, size) for store, size in wanted if store.spec.tokens is not None and size]
    total = sum(size for _, size in wanted)
    limit = most if most is not None else int(shutil.disk_usage(root).free * (1 - _SPARED))
    if total > limit and (most is not None or of_tokens):
        whose = f"--most-disk allows {format_memory(most)}" if most is not None else "the disk has not that much left"
        advice = ": leave images out, store in half the space with stored=float16, or pool" if of_tokens else ""
        raise UsageError(f"The vectors to be written take {format_memory(total)}, and {whose}{advice}.")
    return [
        f"the tokens of '{visible(store.spec.name)}' take {format_memory(size)} on the disk: {len(store.images):,} x "
        f"{store.spec.shape[0]} x {store.spec.dimension} in {store.spec.stored}"
        for store, size in of_tokens
    ]


def _missing_rows(store: Store) -> int:
    """Return the number of rows in the shards that are not written."""
    spans = (store.span(shard) for shard in store.missing)
    return sum(stop - start for start, stop in spans)
