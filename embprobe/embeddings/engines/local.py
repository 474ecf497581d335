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
    """Encode the shards of a job on this machine; yields them in order, each as soon as its last batch is done."""
    with _crew(job) as crew:
        waiting: deque[tuple[Shard, bool, Future[_Batch]]] = deque()
        parts: list[_Batch] = []

        def finish() -> Iterator[Encoded]:
            shard, last, future = waiting.popleft()
            parts.append(future.result())
            job.progress(len(parts[-1].good) + len(parts[-1].rejected))
            if last:
                yield _joined(shard, parts, job)
                parts.clear()

        for shard in job.shards:
            for start in range(0, len(shard.rows), job.batch_size):
                rows = shard.rows[start : start + job.batch_size]
                batch = crew.pool.submit(_encode, rows, shard.lacking, job, crew.seats)
                waiting.append((shard, start + len(rows) == len(shard.rows), batch))
                if len(waiting) > crew.ahead:
                    yield from finish()
        while waiting:
            yield from finish()


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


def _encode(rows: Sequence[int], lacking: Sequence[int], job: Job, seats: SimpleQueue[Sequence[Encoder]]) -> _Batch:
    """Read the rows at these positions, and encode those that can be read."""
    image_inputs = [job.specs[i].require_image_input() for i in lacking]
    seconds: Seconds = defaultdict(float)
    good: list[int] = []
    crops: list[dict[Hashable, Pixels]] = []
    rejected: list[Rejected] = []
    for position in rows:
        row = job.images.rows[position]
        try:
            crops.append(_crops(row, image_inputs, seconds))
            good.append(position)
        except UnreadableImage as reason:
            rejected.append(Rejected(row.key, str(reason), position))
    if not good:
        return _Batch([], [], rejected, seconds)
    began = time.perf_counter()
    tensors: dict[ImageInput, Tensor] = {}
    for image_input in image_inputs:
        if image_input not in tensors:
            tensors[image_input] = normalized(np.stack([each[geometry(image_input)] for each in crops]), image_input)
    seconds["decode"] += time.perf_counter() - began
    encoders = seats.get()
    try:
        began = time.perf_counter()
        vectors = [
            encoders[i].encode_images(tensors[image_input])
            for i, image_input in zip(lacking, image_inputs, strict=True)
        ]
        seconds["encode"] += time.perf_counter() - began
    except torch.OutOfMemoryError:
        smaller = f"batches of {job.batch_size} images: use --batch-size {job.batch_size // 2}"
        batch = smaller if job.batch_size > 1 else "one image"
        raise EmbprobeError(f"The GPU has not enough memory for {batch}.") from None
    finally:
        seats.put(encoders)
    return _Batch(good, vectors, rejected, seconds)


def _crops(row: Row, image_inputs: Sequence[ImageInput], seconds: Seconds) -> dict[Hashable, Pixels]:
    """What the encoders will see of the row's picture, by geometry; each way of decoding is done once."""
    began = time.perf_counter()
    found = row.fetch()
    fetched = time.perf_counter()
    seconds["read"] += fetched - began
    pictures = {}
    crops: dict[Hashable, Pixels] = {}
    for image_input in image_inputs:
        side, most = decoded_side(image_input), image_input.max_pixels
        if (side, most) not in pictures:
            pictures[side, most] = row.rgb(found, at_least=side, max_pixels=most)
        if geometry(image_input) not in crops:
            crops[geometry(image_input)] = cropped(pictures[side, most], image_input)
    seconds["decode"] += time.perf_counter() - fetched
    return crops
