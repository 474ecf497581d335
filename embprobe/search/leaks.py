"""Leaks: test images that are among the training images, too, as the same file, the same pixels or a near duplicate."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.search.directions import l2_normalize
from embprobe.search.exact import search_exactly
from embprobe.search.mapped import MappedVectors
from embprobe.system.threads import cores, matrix_product

How = Literal["bytes", "pixels", "near"]
"""The same bytes of a file; other bytes that decode to the same pixels; or other pixels that are nearly alike."""

NEAR_VECTORS = 0.99
"""Cosine of an encoder's vectors from which two images count as near duplicates."""
NEAR_THUMBNAILS = 0.98
"""Correlation of grey thumbnails from which two images count as near duplicates.

Among 10,000 test and 10,000 training images of CIFAR-10 12 pairs reach it, each of one picture; the most alike of two
pictures, ships at sea, have 0.972. Between two halves of 1,525 images of PACS, or of one photograph of each
ImageNet class, no pair has more than 0.95. Of copies at half the size as JPEG of quality 50 it finds 500 of 509 of
PACS and all 334 of ImageNet, but 229 of 1,000 of CIFAR-10, then 16 pixels wide: give vectors for such small ones."""
SIDE = 16
"""Width and height of a thumbnail."""
_CHUNK = 512
"""Images read between two comparisons with the tests."""
_FLAT = 1.0
"""Least standard deviation of a thumbnail in grey levels: with less it is one colour, and what is left is rounding."""


@dataclass(frozen=True)
class Leak:
    """A test image and the training image that it duplicates."""

    test: int
    """The position of the test image in its set."""
    train: int
    """The position of the first such training image; of near duplicates, of the nearest."""
    how: How
    similarity: float
    """1 for the same bytes or pixels, else the cosine or the correlation that counts as near."""


@dataclass(frozen=True, eq=False)
class Leaks:
    """All test images that are among the training images, at most one :class:`Leak` for each."""

    leaks: tuple[Leak, ...]
    """In the order of the test images."""
    tests: int
    """The number of test images."""
    unreadable: int = 0
    """Test and training images that could not be read, which may be duplicates."""

    def __len__(self) -> int:
        return len(self.leaks)

    @property
    def counts(self) -> Mapping[How, int]:
        """How many test images leak as the same bytes, the same pixels, and nearly."""
        counted = Counter(leak.how for leak in self.leaks)
        return {"bytes": counted["bytes"], "pixels": counted["pixels"], "near": counted["near"]}

    @property
    def kept(self) -> NDArray[np.int64]:
        """The positions of the test images that do not leak, ``[k]``: ``tests.take(leaks.kept)`` removes the others."""
        return np.setdiff1d(np.arange(self.tests), [leak.test for leak in self.leaks])

    def note(self) -> str:
        """Return a sentence without its full stop for people; empty if nothing leaks and all images were read."""
        kinds = {"bytes": "as the same file", "pixels": "as the same pixels", "near": "as near duplicates"}
        parts = [f"{count:,} {kinds[how]}" for how, count in self.counts.items() if count]
        leaking = f"{len(self):,} of {self.tests:,} test images are among the training images: {', '.join(parts)}"
        unread = f"{self.unreadable:,} images could not be read, and may be among both"
        return "; ".join([leaking] * bool(parts) + [unread] * bool(self.unreadable))


def find_leaks(
    train: Images,
    tests: Images,
    *,
    pixels: bool = True,
    near: bool = True,
    vectors: tuple[Floats, Floats] | None = None,
    threshold: float | None = None,
) -> Leaks:
    """Find the test images that are also among the training images.

    Files are compared by a hash of their bytes, whatever they are called; pictures by a hash of their pixels in RGB,
    transparent parts on white; near duplicates, of another size, format or quality, by the cosine of an encoder's
    vectors if they are given, else by the correlation of grey thumbnails of 16 × 16. Mirrored and cropped copies are
    found by vectors at most.

    Every image is read once, and training images are forgotten again: memory is that of the test images' hashes and
    thumbnails, 1.5 kB for each.

    Args:
        train: The training images, ``n`` of them.
        tests: The test images, ``m`` of them.
        pixels: Whether images are decoded, to compare pixels; without it and without thumbnails hashing is all, which
            takes a second for some ten thousand small files.
        near: Whether near duplicates are looked for.
        vectors: Vectors of training ``[n, d]`` and of test images ``[m, d]`` by one encoder, in the order of the rows;
            a memory map of a store is read block by block.
        threshold: Similarity of near duplicates: by default ``NEAR_VECTORS`` for vectors, ``NEAR_THUMBNAILS`` without.

    Raises:
        EmbprobeError: If vectors and images differ in number, if the two encoders' dimensions differ, for a threshold
            that is not above 0 and at most 1, and if rows have no pictures and no vectors are given.

    Example:
        >>> from PIL import Image
        >>> def row(key: str, level: int) -> Row:
        ...     return Row(key=key, labels={}, content=key, source=lambda: Image.new("RGB", (4, 4), (level, 0, 0)))
        >>> train = Images("train", [row("a", 10), row("b", 20)])
        >>> leaks = find_leaks(train, Images("tests", [row("x", 20), row("y", 30)]))
        >>> [(leak.test, leak.train, leak.how) for leak in leaks.leaks], leaks.kept.tolist()
        ([(0, 1, 'bytes')], [1])
        >>> leaks.note()
        '1 of 2 test images are among the training images: 1 as the same file'
    """
    limit = (NEAR_THUMBNAILS if vectors is None else NEAR_VECTORS) if threshold is None else threshold
    if not 0 < limit <= 1:
        raise EmbprobeError(f"The threshold of near duplicates is a similarity above 0 and at most 1, not {limit:g}.")
    if vectors is not None:
        _check(vectors, train, tests)
    elif not (train.has_pictures and tests.has_pictures):
        raise EmbprobeError(
            "Rows without pictures have neither bytes nor pixels to find duplicates by: give vectors of both sets."
        )
    found: dict[int, Leak] = {}
    if near and vectors is not None:
        found |= {leak.test: leak for leak in _near_by_vectors(*vectors, limit)}
    unreadable = 0
    if train.has_pictures and tests.has_pictures:
        known = _Known.of(tests, pixels=pixels, thumbnails=near and vectors is None)
        found |= {leak.test: leak for leak in known.compared(train, limit)}
        unreadable = known.unreadable
    return Leaks(tuple(found[i] for i in sorted(found)), len(tests), unreadable)


@dataclass(frozen=True)
class _Marks:
    """What images are compared by; None for what is not wanted, all of it for an image that cannot be read."""

    content: bytes | None = None
    pixels: bytes | None = None
    thumbnail: Floats | None = None
    """Grey levels less their mean, at length 1, ``[SIDE²]``; zeros for an image of one colour."""
    readable: bool = True


@dataclass(eq=False)
class _Known:
    """The marks of all test images, and the training image that each was found to duplicate."""

    number: int
    with_pixels: bool
    content: dict[bytes, list[int]] = field(default_factory=dict)
    pixels: dict[bytes, list[int]] = field(default_factory=dict)
    thumbnails: Floats | None = None
    """``[m, SIDE²]``"""
    unreadable: int = 0

    @classmethod
    def of(cls, tests: Images, *, pixels: bool, thumbnails: bool) -> _Known:
        known = cls(len(tests), pixels)
        if thumbnails:
            known.thumbnails = np.zeros((len(tests), SIDE * SIDE), np.float32)
        for start, marks in known._read(tests):
            for i, each in enumerate(marks, start):
                if each.content is not None:
                    known.content.setdefault(each.content, []).append(i)
                if each.pixels is not None:
                    known.pixels.setdefault(each.pixels, []).append(i)
                if known.thumbnails is not None and each.thumbnail is not None:
                    known.thumbnails[i] = each.thumbnail
        return known

    def compared(self, train: Images, limit: float) -> Iterator[Leak]:
        """Yield the leaks by way of likeness, near ones first: the last of a test image is the strictest."""
        same: dict[How, dict[int, int]] = {"bytes": {}, "pixels": {}}
        similarity, nearest = np.zeros(self.number), np.zeros(self.number, np.int64)
        for start, marks in self._read(train):
            for i, each in enumerate(marks, start):
                for test in self.content.get(each.content or b"", ()):
                    same["bytes"].setdefault(test, i)
                for test in self.pixels.get(each.pixels or b"", ()):
                    same["pixels"].setdefault(test, i)
            if self.thumbnails is not None:
                blank = np.zeros(SIDE * SIDE, np.float32)
                chunk = np.stack([blank if each.thumbnail is None else each.thumbnail for each in marks])
                products = matrix_product(self.thumbnails, chunk.T)
                at = products.argmax(1)
                value = products[np.arange(self.number), at]
                better = value > similarity
                similarity[better], nearest[better] = value[better], start + at[better]
        for test in np.flatnonzero(similarity >= limit).tolist():
            yield Leak(test, int(nearest[test]), "near", min(1.0, float(similarity[test])))
        for how in ("pixels", "bytes"):
            yield from (Leak(test, i, how, 1.0) for test, i in same[how].items())

    def _read(self, images: Images) -> Iterator[tuple[int, list[_Marks]]]:
        """Yield the marks of some rows at a time with the position of the first; count those that cannot be read."""

        def marked(row: Row) -> _Marks:
            return _marked(row, pixels=self.with_pixels, thumbnail=self.thumbnails is not None)

        with ThreadPoolExecutor(min(8, cores())) as pool:
            for start in range(0, len(images), _CHUNK):
                marks = list(pool.map(marked, images.rows[start : start + _CHUNK]))
                self.unreadable += sum(not each.readable for each in marks)
                yield start, marks


def _marked(row: Row, *, pixels: bool, thumbnail: bool) -> _Marks:
    """Fetch an image once, and decode it if that is needed."""
    try:
        fetched = row.fetch()
    except (OSError, UnreadableImage):
        return _Marks(readable=False)
    content = _hash(fetched) if isinstance(fetched, bytes) else _hash_of_pixels(fetched)
    if not (pixels or thumbnail):
        return _Marks(content)
    try:
        image = row.rgb(fetched, at_least=None if pixels else 4 * SIDE)
    except UnreadableImage:  # the same damaged file in both sets is a leak as well
        return _Marks(content, readable=False)
    return _Marks(content, _hash_of_pixels(image) if pixels else None, _thumbnail(image) if thumbnail else None)


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=16).digest()


def _hash_of_pixels(image: Image.Image) -> bytes:
    return _hash(f"{image.mode} {image.width} {image.height} ".encode() + image.tobytes())


def _thumbnail(image: Image.Image) -> Floats:
    grey = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    levels = np.asarray(grey, np.float32).ravel()
    levels -= levels.mean()
    if levels.std() < _FLAT:
        return np.zeros_like(levels)
    return levels / np.float32(np.linalg.norm(levels))


def _near_by_vectors(train: Floats, tests: Floats, limit: float) -> Iterator[Leak]:
    directions = l2_normalize(np.asarray(tests))
    cosines, positions = search_exactly(MappedVectors(train), directions, 1)
    for test, (cosine, position) in enumerate(zip(cosines[:, 0].tolist(), positions[:, 0].tolist(), strict=True)):
        if cosine >= limit and directions[test].any():
            yield Leak(test, position, "near", min(1.0, cosine))


def _check(vectors: tuple[Floats, Floats], train: Images, tests: Images) -> None:
    for name, rows, images in (("training", vectors[0], train), ("test", vectors[1], tests)):
        if len(rows) != len(images):
            raise EmbprobeError(
                f"There are {len(images):,} {name} images, but {len(rows):,} vectors of them: give each image one."
            )
    if vectors[0].shape[1] != vectors[1].shape[1]:
        raise EmbprobeError(
            f"Vectors of training images have {vectors[0].shape[1]} dimensions, those of tests {vectors[1].shape[1]}: "
            "both must come from the same encoder."
        )
