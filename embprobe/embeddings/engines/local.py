"""The default engine: the cores and GPUs of this machine, one thread per core."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from embprobe.embeddings.engines.processes import Read, reader
from embprobe.embeddings.engines.reading import ReadRow, mask_of
from embprobe.embeddings.engines.schedule import Pictures, Place, passes
from embprobe.embeddings.job import Encoded, Job, Seconds, Shard, add_seconds
from embprobe.embeddings.manifest import Rejected
from embprobe.encoders.network import NetworkEncoder, encode_together, on_device
from embprobe.encoders.preprocessing import Pixels, geometry, normalized
from embprobe.encoders.spec import Encoder, Floats, ImageInput
from embprobe.errors import EmbprobeError
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
            waiting.append((count, crew.pool.submit(_encode, pictures, readings, job, crew)))
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
        empty = np.empty((0, *job.specs[encoder].shape), job.specs[encoder].stored)
        done.vectors.append(np.concatenate([empty, *(part.vectors[i] for part in parts if part.good)]))
    return done


@dataclass(frozen=True)
class _Crew:
    """The threads, how many batches may wait for them, and the encoders, as often as they may work at the same time."""

    pool: ThreadPoolExecutor
    ahead: int
    seats: SimpleQueue[Sequence[Encoder]]
    read: Read


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
    with (
        one_thread(),
        ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        reader(job, workers) as read,
    ):
        try:
            yield _Crew(pool, 2 * workers, seats, read)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # nobody waits for the rest
            raise


def _seats(job: Job, workers: int) -> Iterator[Sequence[Encoder]]:
    if job.device == "cpu":
        for _ in range(workers):
            yield job.encoders
        return
    for i, device in enumerate(each_of(job.device)):
        here = job.encoders if i == 0 else on_device(job.encoders, device)
        for _ in range(_SEATS_PER_GPU if device.startswith("cuda") else 1):
            yield here


def _encode(pictures: Pictures, readings: _Readings, job: Job, crew: _Crew) -> list[_Batch]:
    """Read the rows that show some pictures; encode the batches of which no row is left to read."""
    full = [reading for row in crew.read(pictures) if (reading := readings.add(row)) is not None]
    return [_vectors(reading, job, crew.seats) for reading in full]


class _Readings:
    """The batches that are being read, by whichever workers."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._lock = Lock()
        self._open: dict[tuple[int, int], _Reading] = {}

    def add(self, row: ReadRow) -> _Reading | None:
        """Add a row to its batch; return the batch if the row was its last."""
        number = row.place.slot // self._job.batch_size
        with self._lock:
            reading = self._open.setdefault((row.place.shard, number), _Reading(row.place.shard, number))
            reading.read[row.place.slot] = row
            rows = len(self._job.shards[row.place.shard].rows)
            if len(reading.read) < min(self._job.batch_size, rows - number * self._job.batch_size):
                return None
            return self._open.pop((row.place.shard, number))


@dataclass(frozen=True)
class _Reading:
    """The rows of a batch that were read."""

    shard: int
    number: int
    read: dict[int, ReadRow] = field(default_factory=dict)
    """By their positions in the shard."""

    @property
    def rows(self) -> list[ReadRow]:
        """The rows in order."""
        return [row for _, row in sorted(self.read.items())]

    def masks(self, image_input: ImageInput) -> list[Pixels]:
        """Return the masks of the rows that could be read, as an encoder sees them."""
        return [row.crops[mask_of(image_input)] for row in self.rows if not isinstance(row.crops, Rejected)]


def _vectors(reading: _Reading, job: Job, seats: SimpleQueue[Sequence[Encoder]]) -> _Batch:
    """Encode the crops of a reading by the encoders that lack them."""
    seconds: Seconds = {}
    for row in reading.rows:
        add_seconds(seconds, row.seconds)
    rejected = [row.crops for row in reading.rows if isinstance(row.crops, Rejected)]
    good = [row.position for row in reading.rows if not isinstance(row.crops, Rejected)]
    if not good:
        return _Batch(reading.shard, reading.number, [], [], rejected, seconds)
    began = time.perf_counter()
    lacking = job.shards[reading.shard].lacking
    image_inputs = [job.specs[i].require_image_input() for i in lacking]
    tensors: dict[ImageInput, Tensor] = {}
    for image_input in image_inputs:
        if image_input not in tensors:
            how = geometry(image_input)
            pixels = np.stack([row.crops[how] for row in reading.rows if not isinstance(row.crops, Rejected)])
            tensors[image_input] = normalized(pixels, image_input)
    add_seconds(seconds, {"decode": time.perf_counter() - began})
    encoders = seats.get()
    try:
        began = time.perf_counter()
        vectors = encode_together([encoders[i] for i in lacking], [tensors[each] for each in image_inputs])
        for place, (i, image_input) in enumerate(zip(lacking, image_inputs, strict=True)):
            encoder = encoders[i]
            if job.specs[i].masked and isinstance(encoder, NetworkEncoder):
                vectors[place] = encoder.pooled_by_mask(
                    vectors[place], [each / 255 for each in reading.masks(image_input)]
                )
        add_seconds(seconds, {"encode": time.perf_counter() - began})
    except torch.OutOfMemoryError:
        smaller = f"batches of {job.batch_size} images: use --batch-size {job.batch_size // 2}"
        batch = smaller if job.batch_size > 1 else "one image"
        raise EmbprobeError(f"The GPU has not enough memory for {batch}.") from None
    finally:
        seats.put(encoders)
    return _Batch(reading.shard, reading.number, good, vectors, rejected, seconds)
