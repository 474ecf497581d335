"""The default engine: the cores and GPUs of this machine, one thread per core."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from embprobe.embeddings.job import Encoded, Job, Seconds, Shard, add_seconds
from embprobe.embeddings.manifest import Rejected
from embprobe.encoders.network import NetworkEncoder
from embprobe.encoders.preprocessing import Pixels, cropped, decoded_side, geometry, normalized
from embprobe.encoders.spec import Encoder, Floats, ImageInput
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.system.devices import each_of
from embprobe.system.threads import allowed_threads, one_thread
from embprobe.system.threads import cores as _cores

_SEATS_PER_GPU = 2
"""Batches that may be on one GPU: while one is computed, the next is on its way there."""


def run(job: Job) -> Generator[Encoded]:
    """Encode the shards of a job on this machine; yields them in order, each as soon as its last batch is done.

    Shards that follow each other and show the same images, each changed in its own way, are encoded together: an image
    is then read and decoded once for all of them.
    """
    with _crew(job) as crew:
        waiting: deque[tuple[Sequence[Shard], bool, Future[list[_Batch]]]] = deque()
        parts: list[list[_Batch]] = []

        def finish() -> Iterator[Encoded]:
            shards, last, future = waiting.popleft()
            parts.append(future.result())
            for part in parts[-1]:
                job.progress(len(part.good) + len(part.rejected))
            if last:
                for shard, of_shard in zip(shards, zip(*parts, strict=True), strict=True):
                    yield _joined(shard, of_shard, job)
                parts.clear()

        for shards in _together(job):
            count = len(shards[0].rows)
            for start in range(0, count, job.batch_size):
                stop = min(start + job.batch_size, count)
                batch = crew.pool.submit(_encode, shards, start, stop, job, crew.seats)
                waiting.append((shards, stop == count, batch))
                if len(waiting) > crew.ahead:
                    yield from finish()
        while waiting:
            yield from finish()


def _together(job: Job) -> Iterator[list[Shard]]:
    """Yield the shards of a job, those that follow each other and show the same images in one list."""
    group: list[Shard] = []
    shown: list[object] = []
    for shard in job.shards:
        sources: list[object] = [job.images.rows[i].source for i in shard.rows]
        if group and sources != shown:
            yield group
            group = []
        shown = sources
        group.append(shard)
    if group:
        yield group


@dataclass(frozen=True)
class _Batch:
    """Positions of the rows that could be read, each encoder's vectors for them, and the rows that could not."""

    good: list[int]
    vectors: list[Floats]
    rejected: list[Rejected]
    seconds: Seconds


def _joined(shard: Shard, parts: Sequence[_Batch], job: Job) -> Encoded:
    done = Encoded(shard)
    for part in parts:
        done.good += part.good
        done.rejected += part.rejected
        add_seconds(done.seconds, part.seconds)
    for i, encoder in enumerate(shard.lacking):
        empty = np.empty((0, job.specs[encoder].dimension), np.float32)
        done.vectors.append(np.concatenate([empty, *(part.vectors[i] for part in parts if part.good)]))
    return done


@dataclass(frozen=True)
class _Crew:
    """The threads, how many batches may wait for them, and the encoders, as often as they may work at the same time."""

    pool: ThreadPoolExecutor
    ahead: int
    seats: SimpleQueue[Sequence[Encoder]]


@contextmanager
def _crew(job: Job) -> Iterator[_Crew]:
    """One worker per thread that torch may use; each takes whole batches from file to vectors on a thread of its own.

    That keeps all cores busy without the waits between the threads of one small matrix product. A GPU takes turns
    among the workers, who read and decode meanwhile.
    """
    threads = allowed_threads()
    workers = threads if job.device == "cpu" else max(threads, _cores())
    seats: SimpleQueue[Sequence[Encoder]] = SimpleQueue()
    for places in _seats(job, workers):
        seats.put(places)
    with one_thread(), ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            yield _Crew(pool, 2 * workers, seats)
        finally:
            pool.shutdown(cancel_futures=True)  # after an error nobody waits for the rest


def _seats(job: Job, workers: int) -> Iterator[Sequence[Encoder]]:
    if job.device == "cpu":
        for _ in range(workers):
            yield job.encoders
        return
    for i, device in enumerate(each_of(job.device)):
        here = job.encoders if i == 0 else [_on(encoder, device) for encoder in job.encoders]
        for _ in range(_SEATS_PER_GPU if device.startswith("cuda") else 1):
            yield here


def _on(encoder: Encoder, device: str) -> Encoder:
    """A copy of the encoder on that device; one that is no :class:`NetworkEncoder` stays where it is and serves all."""
    return encoder.on(device) if isinstance(encoder, NetworkEncoder) else encoder


def _encode(
    shards: Sequence[Shard], start: int, stop: int, job: Job, seats: SimpleQueue[Sequence[Encoder]]
) -> list[_Batch]:
    """Read the rows from ``start`` to ``stop`` of shards that show the same images; encode those that can be read."""
    readings = [_Reading(shard, [job.specs[i].require_image_input() for i in shard.lacking]) for shard in shards]
    for i in range(start, stop):
        rows = [(shard.rows[i], job.images.rows[shard.rows[i]]) for shard in shards]
        picture = _Picture(shared=len(shards) > 1)
        for (position, row), reading in zip(rows, readings, strict=True):
            reading.read(position, row, picture)
    return [_vectors(reading, job, seats) for reading in readings]


class _Picture:
    """An image that is fetched and decoded once for all rows that show it, changed or not."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._fetched: bytes | Image.Image | UnreadableImage | None = None
        self._decoded: dict[tuple[int | None, int], Image.Image | UnreadableImage] = {}

    def fetch(self, row: Row) -> bytes | Image.Image:
        """Return the result of the row's ``fetch``."""
        if self._fetched is None:
            try:
                self._fetched = row.fetch()
            except UnreadableImage as reason:
                self._fetched = reason
        if isinstance(self._fetched, UnreadableImage):
            raise self._fetched
        return self._fetched

    def rgb(self, row: Row, side: int | None, max_pixels: int) -> Image.Image:
        """Return what the row's ``rgb`` returns."""
        fetched = self.fetch(row)
        if not self._shared:
            return row.rgb(fetched, at_least=side, max_pixels=max_pixels)
        how = side, max_pixels
        if how not in self._decoded:
            try:
                self._decoded[how] = row.undone(fetched, at_least=side, max_pixels=max_pixels)
            except UnreadableImage as reason:
                self._decoded[how] = reason
        image = self._decoded[how]
        if isinstance(image, UnreadableImage):
            raise image
        # a change gets a copy, for it may draw into its image
        return row.rgb(image if row.change is None else image.copy(), at_least=side, max_pixels=max_pixels)


class _Reading:
    """The rows of a shard that were read, and the crops of them that its encoders take."""

    def __init__(self, shard: Shard, image_inputs: Sequence[ImageInput]) -> None:
        self.shard, self.image_inputs = shard, image_inputs
        self.good: list[int] = []
        self.crops: list[dict[Hashable, Pixels]] = []
        self.rejected: list[Rejected] = []
        self.seconds: Seconds = defaultdict(float)

    def read(self, position: int, row: Row, picture: _Picture) -> None:
        """Read the row at a position, or list it among the rejected."""
        try:
            self.crops.append(self._crops(row, picture))
            self.good.append(position)
        except UnreadableImage as reason:
            self.rejected.append(Rejected(row.key, str(reason), position))

    def _crops(self, row: Row, picture: _Picture) -> dict[Hashable, Pixels]:
        """Return what the encoders will see of the row's picture, by geometry; each way of decoding is done once."""
        began = time.perf_counter()
        picture.fetch(row)
        fetched = time.perf_counter()
        self.seconds["read"] += fetched - began
        pictures = {}
        crops: dict[Hashable, Pixels] = {}
        for image_input in self.image_inputs:
            side, most = decoded_side(image_input), image_input.max_pixels
            if (side, most) not in pictures:
                pictures[side, most] = picture.rgb(row, side, most)
            if geometry(image_input) not in crops:
                crops[geometry(image_input)] = cropped(pictures[side, most], image_input)
        self.seconds["decode"] += time.perf_counter() - fetched
        return crops


def _vectors(reading: _Reading, job: Job, seats: SimpleQueue[Sequence[Encoder]]) -> _Batch:
    """Encode the crops of a reading by the encoders that lack them."""
    seconds, lacking = reading.seconds, reading.shard.lacking
    if not reading.good:
        return _Batch([], [], reading.rejected, seconds)
    began = time.perf_counter()
    tensors: dict[ImageInput, Tensor] = {}
    for image_input in reading.image_inputs:
        if image_input not in tensors:
            pixels = np.stack([each[geometry(image_input)] for each in reading.crops])
            tensors[image_input] = normalized(pixels, image_input)
    seconds["decode"] += time.perf_counter() - began
    encoders = seats.get()
    try:
        began = time.perf_counter()
        vectors = [
            encoders[i].encode_images(tensors[image_input])
            for i, image_input in zip(lacking, reading.image_inputs, strict=True)
        ]
        seconds["encode"] += time.perf_counter() - began
    except torch.OutOfMemoryError:
        smaller = f"batches of {job.batch_size} images: use --batch-size {job.batch_size // 2}"
        batch = smaller if job.batch_size > 1 else "one image"
        raise EmbprobeError(f"The GPU has not enough memory for {batch}.") from None
    finally:
        seats.put(encoders)
    return _Batch(reading.good, vectors, reading.rejected, seconds)
