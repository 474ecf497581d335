"""Keep vectors that a user brings in a workspace, as a store like those that encoders fill."""

from __future__ import annotations

from collections.abc import Sequence

from embprobe.embeddings.manifest import Rejected
from embprobe.embeddings.store import Store, open_store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import GivenVectors
from embprobe.images.rows import Images
from embprobe.system.locks import held

NO_VECTOR = "there is no vector of it"
"""The reason for which a row without a vector is missing from its store."""


def keep_vectors(images: Images, given: Sequence[GivenVectors], workspace: Workspace) -> list[Store]:
    """Return a complete store of each of the given vectors for these rows; rows without a vector are listed in it.

    So they can be searched, mapped and reported later, as embeddings that were extracted here.

    Raises:
        EmbprobeError: No row has a vector, or another process writes one of the stores.
    """
    return [_kept(images, each, workspace) for each in given]


def _kept(images: Images, given: GivenVectors, workspace: Workspace) -> Store:
    folder = workspace.store(images, given.spec)
    store = open_store(folder, given.spec, images)
    if store.complete and not store.damaged():
        return store
    positions = given.positions(images.keys)
    with held(workspace.lock(folder), f"The store of '{given.spec.name}' for '{images.name}'"):
        store = open_store(folder, given.spec, images)  # as another process may have left it
        store.sweep()
        store.drop_damaged()
        for shard in store.missing:
            rows, first = store.rows_of(shard), store.span(shard)[0]
            at = positions[first : first + len(rows)]
            kept = [row for row, position in zip(rows, at, strict=True) if position >= 0]
            lacking = [
                Rejected(row.key, NO_VECTOR, first + i)
                for i, (row, position) in enumerate(zip(rows, at, strict=True))
                if position < 0
            ]
            store.write_shard(shard, given.vectors[at[at >= 0]], kept, lacking)
    return store
