"""Sessions: workspace, device and seed of a run, and from images and encoders to an embedding set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from embprobe.embeddings.embedding_set import EmbeddingSet, of_given
from embprobe.embeddings.extract import extract, extract_wanted
from embprobe.embeddings.finite import hint, holding_infinite, is_not_finite
from embprobe.embeddings.job import Progress, Wanted
from embprobe.embeddings.keep import keep_vectors
from embprobe.embeddings.store import Store
from embprobe.embeddings.together import groups_of
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import GivenVectors
from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.images.unlabelled import MAX_UNLABELLED, describe_left_out
from embprobe.system.text import visible

_TOGETHER = 200_000
"""Rows of sets that are encoded together, at most: each is an object in memory."""
ProgressBar = Callable[[str, int], AbstractContextManager[Progress | None]]
"""Makes a progress bar from an activity and its number of rows; the bar is called with the number of rows just done."""


def no_progress(activity: str, total: int) -> AbstractContextManager[Progress | None]:
    """Return a progress bar that shows nothing."""
    return nullcontext()


def ignore_stores(stores: Sequence[Store]) -> None:
    """Do nothing with the stores of an embedding."""


def ignore_note(note: str) -> None:
    """Do nothing with a note."""


@dataclass(frozen=True)
class Session:
    """The settings that all steps of a run share: workspace, device, seed, and the callbacks that report progress.

    :meth:`embed` gives images and encoders their vectors, out of the workspace where they were extracted before.
    """

    workspace: Workspace
    device: str = "cpu"
    seed: int = 0
    fast_decode: bool = False
    max_pixels: int | None = None
    """The largest image that is decoded; None: the encoders' own limit."""
    progress: ProgressBar = no_progress
    extracted: Callable[[Sequence[Store]], None] = ignore_stores
    """Called with the stores of every embedding, so that images without a vector can be listed."""
    note: Callable[[str], None] = ignore_note
    """Called with what else was left out, a sentence without a full stop; the same one may come again."""
    max_unlabelled: float = MAX_UNLABELLED
    """The largest share of the images that may lack a label that is needed: they are left out. More is an error."""

    def embed(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        """Return each encoder's vectors of the rows that have one by all of them.

        Stores are made where they are needed; vectors that a user brings are looked up by key. ``activity`` names the
        progress bar.

        Raises:
            UsageError: Images are changed, or have no pictures, and an encoder cannot embed them.
        """
        given = [encoder for encoder in encoders if isinstance(encoder, GivenVectors)]
        networks = [encoder for encoder in encoders if not isinstance(encoder, GivenVectors)]
        self._check(images, networks)
        if given and any(row.change is not None for row in images.rows):
            names = ", ".join(each.spec.name for each in given)
            raise UsageError(f"There are no vectors of changed images in {names}.")
        parts = [of_given(images, given)] if given else []
        if networks:
            parts.append(joined(self._extracted(images, networks, activity)))
        if given:
            for note in parts[0].notes:
                self.note(note)
        first, *others = (part.restricted_to(*parts) for part in parts)
        notes = dict.fromkeys(note for part in parts for note in part.notes)
        by_name = first.vectors | {name: v for part in others for name, v in part.vectors.items()}
        names_in_order = dict.fromkeys(encoder.spec.name for encoder in encoders)
        return replace(
            first,
            vectors={name: by_name[name] for name in names_in_order},
            encoders={encoder.spec.name: encoder for encoder in encoders},
            notes=tuple(notes),
        )

    def prepare(self, sets: Sequence[Images], encoders: Sequence[Encoder], activity: str) -> None:
        """Encode several sets of images together by the same encoders: :meth:`prepare_wanted`."""
        self.prepare_wanted([Wanted(images, encoders) for images in sets], activity)

    def prepare_wanted(self, wanted: Sequence[Wanted], activity: str) -> None:
        """Encode several sets of images together, so that :meth:`embed` finds their vectors in the workspace.

        An image that several sets show, changed in different ways, is read and decoded once. ``activity`` names the
        progress bar. Sets that no encoder can embed, and one of too many rows, are left to :meth:`embed`.
        """
        for together in groups_of(wanted, most_rows=_TOGETHER):
            with self.progress(activity, sum(len(each.images) for each in together)) as progress:
                extract_wanted(
                    together,
                    self.workspace,
                    device=self.device,
                    fast_decode=self.fast_decode,
                    max_pixels=self.max_pixels,
                    progress=progress,
                )

    def stores(self, images: Images, encoders: Sequence[Encoder], activity: str, **options: Any) -> list[Store]:
        """Return a complete store of each encoder, in their order; vectors that a user brings are kept as stores, too.

        ``options`` are further arguments of :func:`embprobe.embeddings.extract.extract`.

        Raises:
            UsageError: Images have no pictures, and an encoder cannot embed them.
        """
        given = [encoder for encoder in encoders if isinstance(encoder, GivenVectors)]
        networks = [encoder for encoder in encoders if not isinstance(encoder, GivenVectors)]
        self._check(images, networks)
        stores = keep_vectors(images, given, self.workspace)
        if networks:
            stores += self._extracted(images, networks, activity, **options)
        by_name = {store.spec.name: store for store in stores}
        return [by_name[encoder.spec.name] for encoder in encoders]

    def directed(self, embedded: EmbeddingSet) -> EmbeddingSet:
        """Return the rows that have a direction by every encoder (:meth:`EmbeddingSet.directed`); note the others."""
        kept = embedded.directed()
        for note in kept.notes[len(embedded.notes) :]:
            self.note(note)
        return kept

    def _check(self, images: Images, networks: Sequence[Encoder]) -> None:
        if networks and not images.has_pictures:
            names = ", ".join(encoder.spec.name for encoder in networks)
            raise UsageError(f"'{images.name}' has vectors and no pictures, so {names} cannot embed them.")

    def _extracted(self, images: Images, encoders: Sequence[Encoder], activity: str, **options: Any) -> list[Store]:
        with self.progress(activity, len(images)) as progress:
            stores = extract(
                images,
                encoders,
                self.workspace,
                device=self.device,
                fast_decode=self.fast_decode,
                max_pixels=self.max_pixels,
                progress=progress,
                **options,
            )
        self.extracted(stores)
        return stores


def joined(stores: Sequence[Store]) -> EmbeddingSet:
    """Return the rows that every one of these stores has, with the vectors of each; there is at least one store."""
    parts = [_finite(store) for store in stores]
    first, *others = (part.restricted_to(*parts) for part in parts)
    vectors = first.vectors | {name: v for part in others for name, v in part.vectors.items()}
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return EmbeddingSet(first.rows, vectors, notes=tuple(notes))


def _finite(store: Store) -> EmbeddingSet:
    """Return the finite vectors of a store; ``notes`` count the rows whose vector is not."""
    rows, vectors, notes = store.embedded(), store.vectors(), list[str]()
    bad = [row.key for row in store.rejected if is_not_finite(row)]
    if holding_infinite(store.folder, store.shards.items()):  # of an earlier version, and not extracted again since
        finite = np.isfinite(vectors).all(axis=1)
        bad += [rows.rows[i].key for i in np.flatnonzero(~finite).tolist()]
        rows, vectors = rows.take(np.flatnonzero(finite).tolist()), vectors[finite]
    if bad:
        what = f"have a vector by {visible(store.spec.name)} that is not finite (nan or inf)"
        notes.append(f"{describe_left_out(bad, len(store.images), what)}; {hint(store.spec)}")
    return EmbeddingSet(rows, {store.spec.name: vectors}, notes=tuple(notes))
