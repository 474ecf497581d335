"""Sessions: workspace, device and seed of a run, and from images and encoders to an embedding set."""

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
"""Called with a step's name and its number of rows; its context gives the callback for rows just finished."""


def no_progress(what: str, total: int) -> AbstractContextManager[Progress | None]:
    """A progress bar that shows nothing."""
    return nullcontext()


def ignore(stores: Sequence[Store]) -> None:
    """Report nothing of rows that could not be read."""


@dataclass(frozen=True)
class Session:
    """The settings that all steps of a run share: workspace, device, seed, and the callbacks that report progress.

    :meth:`embed` gives images and encoders their vectors, out of the workspace where they were extracted before.
    """

    workspace: Workspace
    device: str = "cpu"
    seed: int = 0
    fast_decode: bool = False
    progress: ProgressBar = no_progress
    extracted: Callable[[Sequence[Store]], None] = ignore
    """Called with the stores behind every embedding set; they list the rows that could not be read."""

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> EmbeddingSet:
        """Return the rows that could be read, with each encoder's vectors of them; missing stores are extracted first.

        ``what`` names the step for the progress bar. Raises as :func:`embprobe.embeddings.extract.extract` does.
        """
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
    """Return the rows that all of these stores have, with each store's vectors of them, by encoder name.

    There must be at least one store.
    """
    parts = [EmbeddingSet(store.embedded(), {store.spec.name: store.vectors()}) for store in stores]
    first, *others = (part.restricted_to(*parts) for part in parts)
    return EmbeddingSet(first.rows, first.vectors | {name: v for part in others for name, v in part.vectors.items()})
