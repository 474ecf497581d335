"""What an engine is given to do, and what it gives back: rows in shards, and their vectors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field

from embprobe.embeddings.manifest import Rejected
from embprobe.encoders.spec import Encoder, EncoderSpec, Floats
from embprobe.images.rows import Images

Progress = Callable[[int], None]
"""Called with the number of rows just finished."""

Seconds = dict[str, float]
"""How long each stage took (read, decode, encode, write), summed over the workers."""


def add_seconds(total: Seconds, more: Mapping[str, float]) -> None:
    """Add to a total, stage by stage."""
    for stage, taken in more.items():
        total[stage] = total.get(stage, 0.0) + taken


@dataclass(frozen=True)
class Shard:
    """What is to be done: rows ``start`` to ``stop`` of the images, for some of the encoders."""

    number: int
    start: int
    stop: int
    lacking: tuple[int, ...]
    """Positions of the encoders whose stores lack it."""


@dataclass
class Encoded:
    """A shard that was done: the positions of the rows that could be read, and each lacking encoder's vectors."""

    shard: Shard
    good: list[int] = field(default_factory=list)
    vectors: list[Floats] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    seconds: Seconds = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """Everything an engine needs to do shards; it never sees a store."""

    images: Images
    encoders: Sequence[Encoder]
    specs: Sequence[EncoderSpec]
    """The encoders' own, but for what the whole run decides (how images are decoded)."""
    shards: Sequence[Shard]
    device: str
    batch_size: int
    progress: Progress


Engine = Callable[[Job], Generator[Encoded]]
"""Does the shards of a job, in any order."""
