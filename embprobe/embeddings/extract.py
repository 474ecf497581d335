"""Extraction: images x encoders -> stores. Each image is read once and given to every encoder that still lacks it."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from embprobe.embeddings.disk import check_room
from embprobe.embeddings.finite import finite_part, hint, holding_infinite, is_not_finite, reject_infinite
from embprobe.embeddings.job import Encoded, Engine, Job, Progress, Seconds, Shard, Wanted, add_seconds, merged
from embprobe.embeddings.reuse import Reusable, find_reusable
from embprobe.embeddings.store import Store, open_store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.network import share_networks
from embprobe.encoders.preprocessing import preprocess
from embprobe.encoders.spec import Decoding, Encoder, EncoderSpec, Floats
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.system.locks import held
from embprobe.system.text import visible

BATCH_SIZE, GPU_BATCH_SIZE = 16, 64
"""Images in a batch. A CPU core works on a batch alone, and a small one's intermediate results stay in its cache."""


class NoVectors(EmbprobeError):
    """No image of a set has a vector by an encoder."""


def extract(
    images: Images,
    encoders: Sequence[Encoder],
    workspace: Workspace,
    *,
    device: str = "cpu",
    batch_size: int | None = None,
    fast_decode: bool = False,
    max_pixels: int | None = None,
    progress: Progress | None = None,
    engine: Engine | None = None,
    seconds: Seconds | None = None,
    most_disk: int | None = None,
    note: Callable[[str], None] = lambda remark: None,
) -> list[Store]:
    """Encode images into one complete store per encoder, in their order; shards that exist are not encoded again.

    Rows whose image cannot be read are left out and listed in every store; those with a vector that is not finite in
    that encoder's.

    Args:
        images: the rows to encode.
        encoders: one that is named twice is used once, and its store returned twice.
        workspace: holds the stores, and the locks of those that are written.
        device: where the encoders compute, as the manifest will name it.
        batch_size: images in a batch; :data:`BATCH_SIZE` on a CPU and :data:`GPU_BATCH_SIZE` elsewhere unless given.
        fast_decode: decode large JPEGs at reduced scale: faster, slightly different vectors, other stores.
        max_pixels: a larger image is left out; a limit other than the encoder's own makes other stores.
        progress: is called with the number of rows just finished.
        engine: encodes the missing shards; the local one unless given.
        seconds: the time of each stage is added to it.
        most_disk: the bytes that new vectors may take; what is free unless given.
        note: is called with the size of stores of tokens before they are written.

    Raises:
        UsageError: the vectors would take more of the disk than they may.
        NoVectors: no image can be read, or an encoder gives no finite vector.
        EmbprobeError: another process writes one of the stores, or the disk is full.
    """
    if not len(images):
        raise EmbprobeError(f"There are no images in '{images.name}' to extract.")
    (stores,) = _extract(
        [Wanted(images, encoders)],
        workspace,
        device=device,
        batch_size=batch_size,
        fast_decode=fast_decode,
        max_pixels=max_pixels,
        progress=progress,
        engine=engine,
        seconds=seconds,
        most_disk=most_disk,
        note=note,
        finish=lambda stores: _refuse_empty(images, stores),
    )
    return stores


def extract_together(
    wanted: Sequence[Wanted],
    workspace: Workspace,
    *,
    device: str = "cpu",
    fast_decode: bool = False,
    max_pixels: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Encode several sets of images, so that :func:`extract` finds the store of each complete.

    An image that several rows show, changed in different ways, is read and decoded once for all of them. A set of which
    nothing can be read or encoded is left to :func:`extract`, which says so.

    Args:
        wanted: the sets of rows, each with its encoders as :func:`extract` takes them.
        workspace: holds the stores.
        device: where the encoders compute.
        fast_decode: decode large JPEGs at reduced scale.
        max_pixels: a larger image is left out.
        progress: is called with the number of rows just finished, of all sets.

    Raises:
        EmbprobeError: another process writes one of the stores, or the disk is full.
    """
    if different := merged(wanted):
        _extract(
            different,
            workspace,
            device=device,
            fast_decode=fast_decode,
            max_pixels=max_pixels,
            progress=progress,
            together=True,
        )


def _extract(
    wanted: Sequence[Wanted],
    workspace: Workspace,
    *,
    device: str,
    fast_decode: bool,
    max_pixels: int | None,
    progress: Progress | None,
    batch_size: int | None = None,
    engine: Engine | None = None,
    seconds: Seconds | None = None,
    together: bool = False,
    most_disk: int | None = None,
    note: Callable[[str], None] = lambda remark: None,
    finish: Callable[[Sequence[Store]], None] = lambda stores: None,
) -> list[list[Store]]:
    """Return by set of images each encoder's complete store of it; ``finish`` is called before the locks are let go."""
    decoding: Decoding = "fast" if fast_decode else "exact"
    sets = [each.images for each in wanted]
    specs = [[encoder.spec.with_decoding(decoding, max_pixels) for encoder in each.encoders] for each in wanted]
    chosen: dict[str, tuple[Encoder, EncoderSpec]] = {}  # two names of one encoder need one store
    for each, of_set in zip(wanted, specs, strict=True):
        for encoder, spec in zip(each.encoders, of_set, strict=True):
            chosen.setdefault(spec.fingerprint, (encoder, spec))
    number = {fingerprint: i for i, fingerprint in enumerate(chosen)}
    parts = [
        (part, i) for part, of_set in enumerate(specs) for i in sorted({number[spec.fingerprint] for spec in of_set})
    ]
    networks = share_networks([encoder for encoder, _ in chosen.values()])
    each_spec = [spec for _, spec in chosen.values()]
    places = [(sets[part], each_spec[i]) for part, i in parts]
    folders = [workspace.store(images, spec) for images, spec in places]

    def opened() -> list[Store]:
        pairs = zip(folders, places, strict=True)
        return [open_store(folder, spec, images, device=device) for folder, (images, spec) in pairs]

    with ExitStack() as stack:
        stores = opened()
        lacking = [
            store
            for store in stores
            if not store.complete or store.damaged() or holding_infinite(store.folder, store.shards.items())
        ]
        for store in sorted(lacking, key=lambda store: store.folder):  # so that of two processes one gets them all
            title = f"The store of '{store.spec.name}' for '{store.images.name}'"
            with _writing(store):
                stack.enter_context(held(workspace.lock(store.folder), title))
        if lacking:
            stores = opened()  # another process may have written to them before they were locked
            locked = {store.folder for store in lacking}
            for store in stores:
                if store.folder in locked:
                    with _writing(store):
                        store.sweep()
                        store.drop_damaged()
                        reject_infinite(store)
        reusable = [find_reusable(store, workspace) for store in stores]
        _take(reusable)
        for remark in check_room(lacking, workspace.root, most_disk):
            note(remark)
        of_sets: list[dict[int, Reusable]] = [{} for _ in sets]
        for (part, i), each_reusable in zip(parts, reusable, strict=True):
            of_sets[part][i] = each_reusable
        shards = _missing(sets, of_sets)
        every = sets[0] if len(sets) == 1 else Images.joined("together", sets)
        notify = _counting(progress, shards, len(every))
        size = batch_size or (BATCH_SIZE if device == "cpu" else GPU_BATCH_SIZE)
        forkable = all(images.forkable for images in sets)
        job = Job(every, networks, each_spec, shards, device, size, notify, together, forkable)
        if shards:
            with closing((engine or _local)(job)) as encoded:
                _write(encoded, sets, of_sets, {} if seconds is None else seconds)
        finish(stores)
    by_place = {(part, each_spec[i].fingerprint): store for (part, i), store in zip(parts, stores, strict=True)}
    return [
        [replace(by_place[part, spec.fingerprint], spec=spec) for spec in of_set] for part, of_set in enumerate(specs)
    ]


def _local(job: Job) -> Generator[Encoded]:
    from embprobe.embeddings.engines.local import run

    return run(job)


def encode(encoder: Encoder, pictures: Sequence[Image.Image]) -> Floats:
    """Vectors ``[n, d]`` of RGB pictures, without a store."""
    image_input = encoder.spec.require_image_input()
    return encoder.encode_images(torch.stack([preprocess(picture, image_input) for picture in pictures]))


def _take(reusable: Sequence[Reusable]) -> None:
    """Write the shards whose vectors can all be taken from other stores."""
    for each in reusable:
        store, nothing = each.store, np.empty((0, *each.store.spec.shape), each.store.spec.stored)
        for number in store.missing:
            if not each.new_rows(number):
                rows, vectors = each.with_taken(number, [], nothing)
                with _writing(store):
                    store.write_shard(number, vectors, rows, [], copy_of=each.copy_of(number))
                store.taken += len(rows)


def _missing(sets: Sequence[Images], of_sets: Sequence[Mapping[int, Reusable]]) -> list[Shard]:
    """List the shards that stores lack, with the rows to encode.

    Encoders whose stores of a set lack the same rows share a shard, so that an image is read once for all of them;
    another version may have begun a store with shards of another size.
    """
    lacking: dict[tuple[int, int, int, bool, Sequence[int]], list[int]] = {}
    for part, reusable in enumerate(of_sets):
        for i, each in reusable.items():
            masked = each.store.spec.masked  # an opaque image has no vector by these alone
            for number in each.store.missing:
                lacking.setdefault((each.store.shard_rows, number, part, masked, each.new_rows(number)), []).append(i)
    before = _offsets(sets)
    ordered = sorted(lacking.items(), key=lambda item: (*item[0][:4], *item[1]))
    return [
        Shard(number, _moved(rows, before[part]), tuple(encoders), part)
        for (_, number, part, _, rows), encoders in ordered
    ]


def _offsets(sets: Sequence[Images]) -> list[int]:
    """Return for each set how many rows the sets before it have."""
    return [0, *itertools.accumulate(len(images) for images in sets)]


def _moved(rows: Sequence[int], by: int) -> Sequence[int]:
    return range(rows.start + by, rows.stop + by) if isinstance(rows, range) else tuple(row + by for row in rows)


def _counting(progress: Progress | None, shards: Sequence[Shard], count: int) -> Progress:
    """Return a callback that reports each of ``count`` rows once, although some are encoded in several shards.

    Rows that need no encoding are reported at once.
    """
    total = sum(len(shard.rows) for shard in shards)
    rows = len({row for shard in shards for row in shard.rows})
    done = 0

    def notify(more: int) -> None:
        nonlocal done
        before, done = done * rows // total, done + more
        if progress is not None:
            progress(done * rows // total - before)

    if progress is not None and rows < count:
        progress(count - rows)
    return notify


def _write(
    encoded_shards: Iterator[Encoded],
    sets: Sequence[Images],
    of_sets: Sequence[Mapping[int, Reusable]],
    seconds: Seconds,
) -> None:
    """Write shards to their stores as they come from an engine, with the vectors that are taken from other stores."""
    before = _offsets(sets)
    for encoded in encoded_shards:
        began, number, offset = time.perf_counter(), encoded.shard.number, before[encoded.shard.part]
        good = [position - offset for position in encoded.good]
        unread = [replace(row, row=row.row - offset) for row in encoded.rejected]
        for i, vectors in zip(encoded.shard.lacking, encoded.vectors, strict=True):
            reusable = of_sets[encoded.shard.part][i]
            store = reusable.store
            finite, _, not_finite = finite_part(vectors, [store.images.rows[row] for row in good], good, store.spec)
            left_out = {row.row for row in not_finite}
            positions = [position for position in good if position not in left_out]
            rows, every = reusable.with_taken(number, positions, finite)
            rejected = sorted([*unread, *not_finite], key=lambda row: row.row)
            with _writing(store):
                store.write_shard(number, every, rows, rejected, encoded.seconds)
            store.taken += len(rows) - len(positions)
        add_seconds(seconds, encoded.seconds | {"write": time.perf_counter() - began})


@contextmanager
def _writing(store: Store) -> Iterator[None]:
    """Turn an ``OSError`` of the block into an :class:`EmbprobeError` that names the store and the reason."""
    try:
        yield
    except OSError as error:
        raise EmbprobeError(
            f"The store '{store.folder}' cannot be written: {error.strerror or error}. What was finished is safe "
            f"({len(store.shards)} of {store.shard_count} shards): mend that and run the same command again."
        ) from error


def _refuse_empty(images: Images, stores: Sequence[Store]) -> None:
    """Raise :class:`NoVectors` if no row could be read or an encoder gave no finite vector; remove the empty stores."""
    empty = [store for store in stores if len(store.rejected) == len(images)]
    if not empty:
        return
    for store in empty:
        shutil.rmtree(store.folder, ignore_errors=True)
    with suppress(OSError):  # it holds another encoder's store
        empty[0].folder.parent.rmdir()
    rejected = empty[0].rejected
    not_finite = [row for row in rejected if is_not_finite(row)]
    if not not_finite:
        why = f"'{visible(rejected[0].key)}': {rejected[0].reason}"
        raise NoVectors(f"None of the {len(images):,} images in '{images.name}' can be read; {why}.")
    read = len(not_finite)
    others = "" if read == len(images) else f", and {len(images) - read:,} more cannot be read"
    by = f"of '{images.name}' by '{visible(empty[0].spec.name)}'"
    all_of_them = f"All {read:,} vectors {by} are" if read > 1 else f"The vector {by} is"
    raise NoVectors(
        f"{all_of_them} not finite (nan or inf){others}: {hint(empty[0].spec)}. Stores of other encoders are kept."
    )
