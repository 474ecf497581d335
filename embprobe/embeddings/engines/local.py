"""The default engine: the cores and GPUs of this machine, one thread per core."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Generator, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from embprobe.embeddings.engines.schedule import Pictures, Place, passes
from embprobe.embeddings.job import Encoded, Job, Seconds, Shard, add_seconds
from embprobe.embeddings.manifest import Rejected
from embprobe.encoders.network import NetworkEncoder
from embprobe.encoders.preprocessing import Pixels, cropped, decoded_side, geometry, normalized
from embprobe.encoders.spec import Encoder, Floats, ImageInput
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.interventions.sharing import one_picture
from embprobe.system.devices import each_of
from embprobe.system.threads import allowed_threads, one_thread
from embprobe.system.threads import cores as _cores

_SEATS_PER_GPU = 2
"""Batches that may be on one GPU: while one is computed, the next is on its way there."""


def run(job: Job) -> Generator[Encoded]:
    """Encode the shards of a job on this machine; yields each as soon as its last batch is done.

    They come in order, unless the job is one of several sets together: then each picture is read and decoded once for
    all rows that show it, changed or not.
    """
    with _crew(job) as crew:
        waiting: deque[tuple[int, Future[list[_Batch]]]] = deque()
        readings, parts = _Readings(job), defaultdict[int, list[_Batch]](list)

        def finish() -> Iterator[Encoded]:
            count, future = waiting.popleft()
            full = future.result()
            job.progress(count)  # as they are read: of sets together, most batches are full only near the end
            for batch in full:
                parts[batch.shard].append(batch)
                shard = job.shards[batch.shard]
                if len(parts[batch.shard]) == -(-len(shard.rows) // job.batch_size):
                    of_shard = sorted(parts.pop(batch.shard), key=lambda part: part.number)
                    yield _joined(shard, of_shard, job)

        for pictures in _chunks(job):
            count = sum(map(len, pictures))
            waiting.append((count, crew.pool.submit(_encode, pictures, readings, job, crew.seats)))
            if len(waiting) > crew.ahead:
                yield from finish()
        while waiting:
            yield from finish()


def _chunks(job: Job) -> Iterator[Pictures]:
    """Yield the pictures that a worker reads at a time: about a batch of rows, and just one where nothing is shared."""
    if not job.together:
        for number, shard in enumerate(job.shards):
            slots = range(len(shard.rows))
            for start in range(0, len(slots), job.batch_size):
                yield [[Place(number, slot)] for slot in slots[start : start + job.batch_size]]
        return
    for pictures in passes(job):
        size = max(1, job.batch_size * len(pictures) // sum(map(len, pictures)))
        for start in range(0, len(pictures), size):
            yield pictures[start : start + size]


@dataclass(frozen=True)
class _Batch:
    """Positions of the rows that could be read, each encoder's vectors for them, and the rows that could not."""

    shard: int
    """The position of their shard in the job."""
    number: int
    """Which of the shard's batches it is."""
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


def _encode(pictures: Pictures, readings: _Readings, job: Job, seats: SimpleQueue[Sequence[Encoder]]) -> list[_Batch]:
    """Read the rows that show some pictures; encode the batches of which no row is left to read."""
    full = []
    for places in pictures:
        picture = _Picture(shared=len(places) > 1)
        with one_picture() if len(places) > 1 else nullcontext():
            for place in places:
                reading = readings.of(place)
                position = job.shards[place.shard].rows[place.slot]
                if reading.read(place.slot, position, job.images.rows[position], picture):
                    full.append(readings.close(reading))
    return [_vectors(reading, job, seats) for reading in full]


class _Picture:
    """An image that is fetched and decoded once for all rows that show it, changed or not."""

    def __init__(self, *, shared: bool) -> None:
        self._shared = shared
        self._fetched: bytes | Image.Image | UnreadableImage | None = None
        self._decoded: dict[tuple[int | None, int], Image.Image | UnreadableImage] = {}
        self._crops: dict[Hashable, Pixels] = {}

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

    def cropped(self, row: Row, image: Image.Image, image_input: ImageInput) -> Pixels:
        """Return the crop of the row's picture that an encoder takes; of a picture as it is, each is made once."""
        if not self._shared or row.change is not None:
            return cropped(image, image_input)
        if geometry(image_input) not in self._crops:
            self._crops[geometry(image_input)] = cropped(image, image_input)
        return self._crops[geometry(image_input)]


class _Readings:
    """The batches that are being read, by whichever workers."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = Lock()
        self._open: dict[tuple[int, int], _Reading] = {}

    def of(self, place: Place) -> _Reading:
        """Return the batch that a row belongs to."""
        number, size = place.slot // self._job.batch_size, self._job.batch_size
        with self._lock:
            if (place.shard, number) not in self._open:
                shard = self._job.shards[place.shard]
                image_inputs = [self._job.specs[i].require_image_input() for i in shard.lacking]
                count = min(size, len(shard.rows) - number * size)
                self._open[place.shard, number] = _Reading(place.shard, number, count, shard.lacking, image_inputs)
            return self._open[place.shard, number]

    def close(self, reading: _Reading) -> _Reading:
        """Forget a batch of which all rows are read, and return it."""
        with self._lock:
            return self._open.pop((reading.shard, reading.number))


class _Reading:
    """The rows of a batch that were read, and the crops of them that its encoders take."""

    def __init__(
        self, shard: int, number: int, count: int, lacking: Sequence[int], image_inputs: Sequence[ImageInput]
    ) -> None:
        self.shard, self.number, self.lacking, self.image_inputs = shard, number, lacking, image_inputs
        self.seconds: Seconds = defaultdict(float)
        self._count = count
        self._lock = Lock()
        self._read: dict[int, tuple[int, dict[Hashable, Pixels]] | Rejected] = {}

    @property
    def good(self) -> list[int]:
        """The positions of the rows that could be read, in order."""
        return [each[0] for _, each in sorted(self._read.items()) if isinstance(each, tuple)]

    @property
    def crops(self) -> list[dict[Hashable, Pixels]]:
        """Their crops by geometry."""
        return [each[1] for _, each in sorted(self._read.items()) if isinstance(each, tuple)]

    @property
    def rejected(self) -> list[Rejected]:
        """The rows that could not be read, in order."""
        return [each for _, each in sorted(self._read.items()) if isinstance(each, Rejected)]

    def read(self, slot: int, position: int, row: Row, picture: _Picture) -> bool:
        """Read the row at a position, or list it among the rejected; return whether it was the batch's last."""
        seconds: Seconds = defaultdict(float)
        try:
            read: tuple[int, dict[Hashable, Pixels]] | Rejected = (position, self._crops(row, picture, seconds))
        except UnreadableImage as reason:
            read = Rejected(row.key, str(reason), position)
        with self._lock:
            self._read[slot] = read
            add_seconds(self.seconds, seconds)
            return len(self._read) == self._count

    def _crops(self, row: Row, picture: _Picture, seconds: Seconds) -> dict[Hashable, Pixels]:
        """Return what the encoders will see of the row's picture, by geometry; each way of decoding is done once."""
        began = time.perf_counter()
        picture.fetch(row)
        fetched = time.perf_counter()
        seconds["read"] += fetched - began
        pictures = {}
        crops: dict[Hashable, Pixels] = {}
        for image_input in self.image_inputs:
            side, most = decoded_side(image_input), image_input.max_pixels
            if (side, most) not in pictures:
                pictures[side, most] = picture.rgb(row, side, most)
            if geometry(image_input) not in crops:
                crops[geometry(image_input)] = picture.cropped(row, pictures[side, most], image_input)
        seconds["decode"] += time.perf_counter() - fetched
        return crops


def _vectors(reading: _Reading, job: Job, seats: SimpleQueue[Sequence[Encoder]]) -> _Batch:
    """Encode the crops of a reading by the encoders that lack them."""
    seconds, good, crops = reading.seconds, reading.good, reading.crops
    if not good:
        return _Batch(reading.shard, reading.number, [], [], reading.rejected, seconds)
    began = time.perf_counter()
    tensors: dict[ImageInput, Tensor] = {}
    for image_input in reading.image_inputs:
        if image_input not in tensors:
            pixels = np.stack([each[geometry(image_input)] for each in crops])
            tensors[image_input] = normalized(pixels, image_input)
    seconds["decode"] += time.perf_counter() - began
    encoders = seats.get()
    try:
        began = time.perf_counter()
        vectors = [
            encoders[i].encode_images(tensors[image_input])
            for i, image_input in zip(reading.lacking, reading.image_inputs, strict=True)
        ]
        seconds["encode"] += time.perf_counter() - began
    except torch.OutOfMemoryError:
        smaller = f"batches of {job.batch_size} images: use --batch-size {job.batch_size // 2}"
        batch = smaller if job.batch_size > 1 else "one image"
        raise EmbprobeError(f"The GPU has not enough memory for {batch}.") from None
    finally:
        seats.put(encoders)
    return _Batch(reading.shard, reading.number, good, vectors, reading.rejected, seconds)
