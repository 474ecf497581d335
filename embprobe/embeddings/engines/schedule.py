"""Schedule the rows of several sets of images picture by picture, so that each picture is read once for all of them.

Batches stay what they are when a set is encoded alone, for the last bits of a vector may depend on its batch. A batch
is encoded as soon as all its rows are read; until then their crops wait. Sets that show pictures in about the same
order have few crops waiting; of others, fewer are read together.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from embprobe.embeddings.job import Job
from embprobe.encoders.preprocessing import geometry

WAITING = 2**30
"""Bytes of crops that may wait for the rest of their batches."""


@dataclass(frozen=True)
class Place:
    """A row that shows a picture."""

    shard: int
    """The position of its shard in the job."""
    slot: int
    """Its position among the shard's rows."""


Pictures = Sequence[Sequence[Place]]
"""For each picture the rows that show it, in the order of their sets."""


def passes(job: Job) -> Iterator[Pictures]:
    """Yield the pictures of a job in the order in which they are read, those of each pass over them together.

    There are several passes only where too many crops would wait.
    """
    parts = sorted({shard.part for shard in job.shards})
    waiting = [[number for number, shard in enumerate(job.shards) if shard.part in parts]]
    while waiting:
        shards = waiting.pop(0)
        pictures = _pictures(job, shards)
        if len(shards) > 1 and _waiting(job, pictures) > WAITING:
            waiting[:0] = _halves(job, shards)
        else:
            yield pictures


def _halves(job: Job, shards: Sequence[int]) -> list[list[int]]:
    """Split shards into those of one half of their sets and of the other; those of one set by their number."""
    parts = sorted({job.shards[i].part for i in shards})
    if len(parts) == 1:
        return [list(shards[: len(shards) // 2]), list(shards[len(shards) // 2 :])]
    first = set(parts[: len(parts) // 2])
    return [[i for i in shards if (job.shards[i].part in first) == here] for here in (True, False)]


def _pictures(job: Job, shards: Sequence[int]) -> list[list[Place]]:
    """List the pictures of shards in the order of the largest set that shows them."""
    rows = dict[int, int]()
    for i in shards:
        rows[job.shards[i].part] = rows.get(job.shards[i].part, 0) + len(job.shards[i].rows)
    places: dict[Hashable, list[Place]] = {}
    for i in sorted(shards, key=lambda i: (-rows[job.shards[i].part], job.shards[i].part, i)):
        for slot, row in enumerate(job.shards[i].rows):
            places.setdefault(_picture(job.images.rows[row].source), []).append(Place(i, slot))
    return [sorted(each, key=lambda place: (job.shards[place.shard].part, place.shard)) for each in places.values()]


@dataclass(frozen=True)
class _Same:
    """A source that cannot be hashed: it shows the same picture as itself alone."""

    source: object

    def __hash__(self) -> int:
        return id(self.source)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.source is self.source


def _picture(source: object) -> Hashable:
    """Return a key of the picture that a source gives; the source stays alive with it, so that no other is the same."""
    try:
        hash(source)
    except TypeError:
        return _Same(source)
    return source


def _waiting(job: Job, pictures: Pictures) -> int:
    """Return the bytes of crops that wait at most while the pictures are read in this order."""
    bytes_of = [_crop_bytes(job, shard.lacking) for shard in job.shards]
    read_at, batches, sizes = [], [], []
    numbers: dict[tuple[int, int], int] = {}
    for at, places in enumerate(pictures):
        for place in places:
            batch = (place.shard, place.slot // job.batch_size)
            read_at.append(at)
            batches.append(numbers.setdefault(batch, len(numbers)))
            sizes.append(bytes_of[place.shard])
    read, of_batch, size = np.array(read_at), np.array(batches), np.array(sizes, np.int64)
    done = np.zeros(len(numbers), np.int64)
    np.maximum.at(done, of_batch, read)
    change = np.zeros(len(pictures) + 1, np.int64)
    np.add.at(change, read, size)
    np.add.at(change, done[of_batch] + 1, -size)
    return int(np.cumsum(change).max())


def _crop_bytes(job: Job, lacking: Sequence[int]) -> int:
    inputs = [job.specs[i].require_image_input() for i in lacking]
    return sum(3 * side * side for side in {geometry(each): each.input_size for each in inputs}.values())
