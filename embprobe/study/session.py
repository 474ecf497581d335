"""What every step of a run shares, and vectors with the rows they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np

from embprobe.encoders.base import Encoder, Floats
from embprobe.extraction import Progress, extract
from embprobe.images.rows import Images
from embprobe.measures.vectors import Labels
from embprobe.store import Store
from embprobe.workspace import Workspace

ProgressBar = Callable[[str, int], AbstractContextManager[Progress | None]]
"""Called with what is being done and how many rows it has; gives what to call with the rows just finished."""


def no_progress(what: str, total: int) -> AbstractContextManager[Progress | None]:
    """A progress bar that shows nothing."""
    return nullcontext()


def ignore(stores: Sequence[Store]) -> None:
    """What to do with stores if nobody wants to know what was left out."""


@dataclass(frozen=True)
class Embedded:
    """Rows, and by encoder name their vectors ``[n, d]``."""

    rows: Images
    vectors: dict[str, Floats]

    def at(self, keys: Iterable[str]) -> Embedded:
        """The rows with these keys, in this order; keys that are not there are passed over."""
        position = {row.key: i for i, row in enumerate(self.rows.rows)}
        return self.take([position[key] for key in keys if key in position])

    def take(self, positions: Sequence[int]) -> Embedded:
        """The rows at these positions, in this order."""
        chosen = np.asarray(positions, np.int64)
        return Embedded(self.rows.take(chosen.tolist()), {name: each[chosen] for name, each in self.vectors.items()})

    def restricted_to(self, *others: Embedded) -> Embedded:
        """The rows that the others have too."""
        shared = set.intersection(*({row.key for row in other.rows.rows} for other in others))
        if len(shared) == len(self.rows):
            return self  # as nearly always, and a million vectors are copied for nothing
        return self.at(row.key for row in self.rows.rows if row.key in shared)

    def label(self, name: str) -> Labels:
        """One label of every row, ``[n]``."""
        return np.array(self.rows.label(name), dtype=np.str_)

    def keys(self) -> list[str]:
        """The rows' keys."""
        return [row.key for row in self.rows.rows]


@dataclass(frozen=True)
class Session:
    """What every step of a run shares."""

    workspace: Workspace
    device: str = "cpu"
    seed: int = 0
    fast_decode: bool = False
    progress: ProgressBar = no_progress
    extracted: Callable[[Sequence[Store]], None] = ignore
    """Called with the stores of every embedding: they list what could not be read."""

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> Embedded:
        """Each encoder's vectors for the rows that all of them could be given, from stores that are made if needed."""
        with self.progress(what, len(images)) as progress:
            stores = extract(
                images,
                encoders,
                self.workspace,
                device=self.device,
                fast_decode=self.fast_decode,
                progress=progress,
            )
        self.extracted(stores)
        return joined(stores)


def joined(stores: Sequence[Store]) -> Embedded:
    """The rows that every one of these stores has, with the vectors of each; there must be at least one store."""
    parts = [Embedded(store.embedded(), {store.spec.name: store.vectors()}) for store in stores]
    first, *others = (part.restricted_to(*parts) for part in parts)
    return Embedded(first.rows, first.vectors | {name: v for part in others for name, v in part.vectors.items()})
