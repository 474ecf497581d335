"""What every step of a run shares, and vectors with the rows they are of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.extract import extract
from embprobe.embeddings.job import Progress
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder
from embprobe.images.rows import Images

ProgressBar = Callable[[str, int], AbstractContextManager[Progress | None]]
"""Called with what is being done and how many rows it has; gives what to call with the rows just finished."""


def no_progress(what: str, total: int) -> AbstractContextManager[Progress | None]:
    """A progress bar that shows nothing."""
    return nullcontext()


def ignore(stores: Sequence[Store]) -> None:
    """What to do with stores if nobody wants to know what was left out."""


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

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> EmbeddingSet:
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


def joined(stores: Sequence[Store]) -> EmbeddingSet:
    """The rows that every one of these stores has, with the vectors of each; there must be at least one store."""
    parts = [EmbeddingSet(store.embedded(), {store.spec.name: store.vectors()}) for store in stores]
    first, *others = (part.restricted_to(*parts) for part in parts)
    return EmbeddingSet(first.rows, first.vectors | {name: v for part in others for name, v in part.vectors.items()})
