"""Sessions: workspace, device and seed of a run, and from images and encoders to an embedding set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.embedding_set import EmbeddingSet, of_given
from embprobe.embeddings.extract import extract, extract_together
from embprobe.embeddings.finite import are_finite, hint, holding_infinite, is_not_finite
from embprobe.embeddings.job import Progress, Wanted
from embprobe.embeddings.keep import keep_vectors
from embprobe.embeddings.manifest import ShardFacts, manifest_file
from embprobe.embeddings.store import Store
from embprobe.embeddings.together import groups_of
from embprobe.embeddings.token_set import TokenSet
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.given import GivenVectors
from embprobe.encoders.spec import Encoder, Floats
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.images.unlabelled import MAX_UNLABELLED, describe_left_out
from embprobe.measures.blocks import rows_at
from embprobe.system.text import visible

REMEMBERED = 64
"""Stores that a session keeps open, at most: each shard is a memory map, of which systems allow some ten thousands."""
_TOGETHER = 200_000
"""Rows of sets that are encoded together, at most: each is an object in memory."""
ProgressBar = Callable[[str, int], AbstractContextManager[Progress | None]]
"""Makes a progress bar from an activity and its number of rows; the bar is called with the number of rows just done."""
TrainingProgress = Callable[[int, int, dict[str, float]], None]
"""Called after each step of a training with the step, the number of steps, and the latest numbers."""
TrainingBar = Callable[[str, int], AbstractContextManager[TrainingProgress | None]]
"""Makes a progress bar from the name of what is trained and its number of steps."""


def no_progress(activity: str, total: int) -> AbstractContextManager[Progress | None]:
    """Return a progress bar that shows nothing."""
    return nullcontext()


def no_training_bar(activity: str, total: int) -> AbstractContextManager[TrainingProgress | None]:
    """Return a progress bar of a training that shows nothing."""
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
    training: TrainingBar = no_training_bar
    extracted: Callable[[Sequence[Store]], None] = ignore_stores
    """Called with the stores of every embedding, so that images without a vector can be listed."""
    note: Callable[[str], None] = ignore_note
    """Called with what else was left out, a sentence without a full stop; the same one may come again."""
    max_unlabelled: float = MAX_UNLABELLED
    """The largest share of the images that may lack a label that is needed: they are left out. More is an error."""
    most_disk: int | None = None
    """The bytes that new vectors may take of the disk; None: what is free."""
    _opened: dict[Path, _Opened] = field(default_factory=dict, init=False, repr=False, compare=False)
    """The stores that were read last, by folder."""

    def embed(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        """Return each encoder's vectors of the rows that have one by all of them.

        Stores are made where they are needed; vectors that a user brings are looked up by key. ``activity`` names the
        progress bar.

        Raises:
            UsageError: Images are changed, or have no pictures, and an encoder cannot embed them; or an encoder gives
                tokens.
        """
        refuse_tokens(encoders)
        given = [encoder for encoder in encoders if isinstance(encoder, GivenVectors)]
        networks = [encoder for encoder in encoders if not isinstance(encoder, GivenVectors)]
        self._check(images, networks)
        if given and images.changed:
            names = ", ".join(each.spec.name for each in given)
            raise UsageError(f"There are no vectors of changed images in {names}.")
        parts = [of_given(images, given)] if given else []
        if networks:
            parts.append(_joined([self._read(store) for store in self._extracted(images, networks, activity)]))
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

    def tokens(self, images: Images, encoder: Encoder, activity: str) -> TokenSet:
        """Return the tokens of the images that can be read, by an encoder of tokens (``pooling=tokens``).

        They are stored as vectors are. ``activity`` names the progress bar.

        Raises:
            UsageError: The encoder gives one vector an image, images have no pictures, or the disk has no room.
        """
        grid = encoder.spec.tokens
        if grid is None:
            raise UsageError(f"'{encoder.spec.name}' gives an image one vector: say pooling=tokens behind its name.")
        self._check(images, [encoder])
        (store,) = self._extracted(images, [encoder], activity)
        return TokenSet(store.embedded(), store.vectors(), grid, encoder.spec.name, encoder.spec.image_input)

    def prepare(self, wanted: Sequence[Wanted], activity: str) -> None:
        """Encode several sets of images together, so that :meth:`embed` finds their vectors in the workspace.

        An image that several sets show, changed in different ways, is read and decoded once. ``activity`` names the
        progress bar. Sets that no encoder can embed, and one of too many rows, are left to :meth:`embed`.
        """
        for together in groups_of(wanted, most_rows=_TOGETHER):
            with self.progress(activity, sum(len(each.images) for each in together)) as progress:
                extract_together(
                    together,
                    self.workspace,
                    device=self.device,
                    fast_decode=self.fast_decode,
                    max_pixels=self.max_pixels,
                    progress=progress,
                )

    def stores(
        self, images: Images, encoders: Sequence[Encoder], activity: str, *, tokens: bool = False, **options: Any
    ) -> list[Store]:
        """Return a complete store of each encoder, in their order; vectors that a user brings are kept as stores, too.

        ``options`` are further arguments of :func:`embprobe.embeddings.extract.extract`.

        Raises:
            UsageError: Images have no pictures, and an encoder cannot embed them; or an encoder gives tokens, and these
                are not asked for by ``tokens``.
        """
        if not tokens:
            refuse_tokens(encoders)
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
            known = [None] if options else [self._remembered(images, encoder) for encoder in encoders]
            stores = [store for store in known if store is not None]
            if len(stores) < len(known):
                stores = extract(
                    images,
                    encoders,
                    self.workspace,
                    device=self.device,
                    fast_decode=self.fast_decode,
                    max_pixels=self.max_pixels,
                    progress=progress,
                    most_disk=self.most_disk,
                    note=self.note,
                    **options,
                )
            elif progress is not None:
                progress(len(images))
        self.extracted(stores)
        return stores

    def _remembered(self, images: Images, encoder: Encoder) -> Store | None:
        """Return the store of these images and this encoder if it was read before and is as it was then."""
        spec = encoder.spec.with_decoding("fast" if self.fast_decode else "exact", self.max_pixels)
        folder = self.workspace.store(images, spec)
        opened = self._opened.get(folder)
        if opened is None or opened.of != (spec.fingerprint, images.fingerprint):
            return None
        store = Store(folder, spec, images, self.device, dict(opened.shards), opened.shard_rows)
        return store if opened.is_of(store) else None

    def _read(self, store: Store) -> EmbeddingSet:
        """Return the finite vectors of a complete store, which is opened and checked once (:data:`REMEMBERED`)."""
        opened = self._opened.pop(store.folder, None)
        if opened is None or not opened.is_of(store):
            opened = _opened(store)
        self._opened[store.folder] = opened  # the last of them
        while len(self._opened) > REMEMBERED:
            del self._opened[next(iter(self._opened))]
        return opened.embedding_set(store)


def refuse_tokens(encoders: Sequence[Encoder]) -> None:
    """Raise UsageError if one of the encoders gives an image several vectors where one is needed."""
    for encoder in encoders:
        if encoder.spec.tokens is not None:
            raise UsageError(
                f"'{encoder.spec.name}' gives an image {encoder.spec.tokens.count:,} vectors, and here one is needed: "
                "say pooling=cls or pooling=mean."
            )


@dataclass(frozen=True)
class _Opened:
    """The finite vectors of a store that was read, without its rows, and by which it is known to be unchanged."""

    of: tuple[str, str]
    """The fingerprints of encoder and images."""
    shards: Mapping[int, ShardFacts]
    shard_rows: int
    manifest: tuple[int, ...]
    """The state of the manifest, which is replaced whenever a store is written."""
    vectors: Floats
    kept: NDArray[np.int64] | None
    """Positions of the images that the vectors are of; None: all of them have one."""
    bad: Sequence[str]
    """Keys of the images whose vector is not finite."""

    def is_of(self, store: Store) -> bool:
        """Return whether the vectors are those that the store has now."""
        return self.shards == store.shards and self.manifest == _state(store.folder) and not store.damaged()

    def embedding_set(self, store: Store) -> EmbeddingSet:
        """Return the vectors with the store's rows; ``notes`` count those whose vector is not finite."""
        rows = store.images if self.kept is None else store.images.take(self.kept.tolist())
        notes = []
        if self.bad:
            what = f"have a vector by {visible(store.spec.name)} that is not finite (nan or inf)"
            notes.append(f"{describe_left_out(self.bad, len(store.images), what)}; {hint(store.spec)}")
        return EmbeddingSet(rows, {store.spec.name: self.vectors}, notes=tuple(notes))


def _opened(store: Store) -> _Opened:
    """Open the vectors of a complete store, and leave out those that are not finite."""
    manifest, rejected = _state(store.folder), store.rejected
    vectors, bad = store.vectors(), [row.key for row in rejected if is_not_finite(row)]
    kept = np.setdiff1d(np.arange(len(store.images)), [row.row for row in rejected])
    if holding_infinite(store.folder, store.shards.items()):  # of an earlier version, and not extracted again since
        finite = are_finite(vectors)
        bad += [store.images.rows[i].key for i in kept[~finite].tolist()]
        kept, vectors = kept[finite], rows_at(vectors, np.flatnonzero(finite))
    of = store.spec.fingerprint, store.images.fingerprint
    all_of_them = len(kept) == len(store.images)
    return _Opened(of, dict(store.shards), store.shard_rows, manifest, vectors, None if all_of_them else kept, bad)


def _state(folder: Path) -> tuple[int, ...]:
    """Return by which a store's manifest is known to be the same file, unchanged; nothing if there is none."""
    try:
        status = manifest_file(folder).stat()
    except OSError:
        return ()
    return status.st_ino, status.st_size, status.st_mtime_ns


def joined(stores: Sequence[Store]) -> EmbeddingSet:
    """Return the rows that every one of these stores has, with the vectors of each; there is at least one store."""
    return _joined([_opened(store).embedding_set(store) for store in stores])


def _joined(parts: Sequence[EmbeddingSet]) -> EmbeddingSet:
    first, *others = (part.restricted_to(*parts) for part in parts)
    vectors = first.vectors | {name: v for part in others for name, v in part.vectors.items()}
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    return EmbeddingSet(first.rows, vectors, notes=tuple(notes))
