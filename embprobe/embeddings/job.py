"""Jobs of engines: the shards to encode, by which encoders, and the vectors that come back."""

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


@dataclass(frozen=True)
class Wanted:
    """Images whose vectors will be asked for, and the encoders that will be asked."""

    images: Images
    encoders: Sequence[Encoder]


def merged(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return each set of images once, with the encoders of all that name it; without those that have no row."""
    different: dict[str, Wanted] = {}
    for each in wanted:
        if len(each.images) and each.encoders:
            before = different.setdefault(each.images.fingerprint, Wanted(each.images, []))
            different[each.images.fingerprint] = Wanted(before.images, [*before.encoders, *each.encoders])
    return list(different.values())


def add_seconds(total: Seconds, more: Mapping[str, float]) -> None:
    """Add the seconds of each stage to those of a total."""
    for stage, taken in more.items():
        total[stage] = total.get(stage, 0.0) + taken


@dataclass(frozen=True)
class Shard:
    """Rows to encode by the encoders whose stores lack them.

    With the vectors that are taken from elsewhere, they become the files with this ``number`` in each of the stores.
    """

    number: int
    rows: Sequence[int]
    """Positions among the images, in order."""
    lacking: tuple[int, ...]
    """Positions of those encoders in the job."""
    part: int = 0
    """Which of several sets of images the rows are of."""


@dataclass
class Encoded:
    """The vectors of a shard by each encoder that lacked it, ready to be written."""

    shard: Shard
    good: list[int] = field(default_factory=list)
    """The positions among the images of the rows that could be read."""
    vectors: list[Floats] = field(default_factory=list)
    """For each position in ``shard.lacking``, that encoder's vectors of these rows, ``[n, d]``."""
    rejected: list[Rejected] = field(default_factory=list)
    """The shard's other rows."""
    seconds: Seconds = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """Shards to encode, and all that an engine needs for it: images, encoders and a device. It never sees a store."""

    images: Images
    """Of several sets, the rows of one after the other."""
    encoders: Sequence[Encoder]
    specs: Sequence[EncoderSpec]
    """The encoders' own, except for how images are decoded, which the run decides for all of them."""
    shards: Sequence[Shard]
    device: str
    batch_size: int
    progress: Progress
    together: bool = False
    """Whether a picture that several rows show is read once for all of them; shards then come in any order."""
    forkable: bool = False
    """Whether rows may be read in forks of the process: nothing but files of this machine and our own code is used."""


Engine = Callable[[Job], Generator[Encoded]]
"""Encodes the shards of a job and yields each when it is whole, in any order."""
