"""Turn what was typed into images, a device, encoders and a session, and print what a person must know of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from embprobe.cli.console import note
from embprobe.cli.options import IMAGES, MAX_UNLABELLED, PAIR, RunOptions
from embprobe.cli.progress import named_training_bar, progress_bar
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.api import Subjects
    from embprobe.embeddings.session import Session
    from embprobe.embeddings.store import Store
    from embprobe.encoders import Encoder
    from embprobe.images import Images
    from embprobe.images.reading import Reading

LISTED = 10
"""Images or problems printed one by one; the others are counted."""


def open_rows(images: str, run: RunOptions | None = None) -> Images:
    """Open the images as the options of a run say, and print their reader's notes before any work begins."""
    from embprobe.images import open_images

    rows = open_images(images, reading_of(run or RunOptions()))
    for remark in rows.notes:
        note(f"{remark}.")
    return rows


def reading_of(run: RunOptions) -> Reading:
    """Return how the options of a run say that images are to be read."""
    from embprobe.images.paths import parse_levels
    from embprobe.images.reading import Reading
    from embprobe.images.relabelling import parse_labels

    folders = None if run.folders is None else tuple(parse_levels(run.folders))
    return Reading(key_column=run.key_column, labels=parse_labels(run.label or ()), folders=folders)


def choose_device(device: str) -> str:
    """Return the device to compute on, and print a note if there is a GPU that will not be used."""
    from embprobe.system.devices import resolve_device, unused_gpu

    chosen = resolve_device(device)
    if unused := unused_gpu(chosen):
        note(f"{unused}.")
    return chosen


def load_encoders(names: Sequence[str] | None, device: str, precision: str = "") -> list[Encoder]:
    """Load the encoders of these names, each once; the bundled pair for None."""
    from embprobe import encoders

    defaults = {"precision": precision} if precision else {}
    return encoders.load_encoders(list(PAIR if names is None else names), device=device, **defaults)


def begin(
    images: str | None,
    encoders: Sequence[str] | None,
    run: RunOptions,
    *,
    seed: int = 0,
    max_unlabelled: float = MAX_UNLABELLED,
) -> Subjects:
    """Open the images, load the encoders, match vectors that a user brings, and start a session.

    Without images, vectors that are alone have rows of their own; else the bundled images are meant.
    """
    from embprobe.api import open_subjects
    from embprobe.encoders.given import GivenVectors

    rows = None if images is None else open_rows(images, run)
    device = choose_device(run.device)
    loaded = load_encoders(encoders, device, run.precision)
    if rows is None and not all(isinstance(encoder, GivenVectors) for encoder in loaded):
        rows = open_rows(IMAGES, run)
    return open_subjects(rows, loaded, session=start_session(run, device, seed=seed, max_unlabelled=max_unlabelled))


def start_session(run: RunOptions, device: str, *, seed: int = 0, max_unlabelled: float = MAX_UNLABELLED) -> Session:
    """Open the workspace and start a session in it that shows its progress and prints what is left out, once.

    ``max_unlabelled`` is the share of the images that may lack a label that is needed.
    """
    from embprobe.embeddings.session import Session
    from embprobe.embeddings.workspace import Workspace

    printed: set[str] = set()

    def note_once(remark: str) -> None:
        if remark not in printed:
            printed.add(remark)
            note(f"{visible(remark)}.")

    return Session(
        Workspace.open(run.workspace),
        device,
        seed,
        run.fast_decode,
        run.max_pixels,
        progress=progress_bar,
        training=named_training_bar,
        extracted=unreadable_reporter(),
        note=note_once,
        max_unlabelled=max_unlabelled,
    )


def unreadable_reporter() -> Callable[[Sequence[Store]], None]:
    """Return a callback that takes the stores of the same images and prints each image without a vector once.

    An image that cannot be read lacks a vector by all encoders; one whose vector is not finite, by one.
    """
    from embprobe.embeddings.finite import hint, is_not_finite
    from embprobe.embeddings.keep import NO_VECTOR
    from embprobe.images.unlabelled import describe_left_out

    reported: set[str] = set()
    reported_of: dict[str, set[str]] = {}

    def report(stores: Sequence[Store]) -> None:
        count = len(stores[0].images)
        unread = {
            row.key: row.reason
            for store in stores
            for row in store.rejected
            if row.key not in reported and not is_not_finite(row) and row.reason != NO_VECTOR
        }
        reported.update(unread)
        if unread:
            note(f"{len(unread):,} of {count:,} images could not be read and were left out:")
        for key, reason in list(unread.items())[:LISTED]:
            note(f"  '{visible(key)}': {visible(reason)}")
        if len(unread) > LISTED:
            note(f"  and {len(unread) - LISTED:,} more, all in {stores[0].folder / 'rejected.jsonl'}")
        for store in stores:
            known, name = reported_of.setdefault(store.spec.name, set()), visible(store.spec.name)
            for kind, why, advice in (
                (is_not_finite, f"have a vector by {name} that is not finite (nan or inf)", f"; {hint(store.spec)}"),
                (lambda row: row.reason == NO_VECTOR, f"have no vector in '{name}'", ""),
            ):
                keys = [row.key for row in store.rejected if kind(row) and row.key not in known]
                known.update(keys)
                if keys:
                    listed = f". All are in {store.folder / 'rejected.jsonl'}" if len(keys) > 3 else ""
                    note(f"{describe_left_out(keys, count, why)}{advice}{listed}.")

    return report
