"""Pairs of images that are near for one encoder and far for another, sought among all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.knn import Positions
from embprobe.measures.pairs import pair_cosines, percentile
from embprobe.measures.vectors import ScoreArray, Vectors, check_same_rows, unit_blocks
from embprobe.system.threads import side_by_side

SAMPLED = 20_000
"""Rows of each of the two samples whose pairs are all looked at, unless another number is given."""
KEPT, FARTHEST = 100_000, 20_000
"""Of more contrasting pairs, so many random ones are kept, and so many with the largest difference of cosines."""
NEAR, FAR = 0.95, 0.5
"""Percentiles of the limits by default: among the nearest twentieth for one encoder, below the median for the other. A
nearest hundredth may be full of what is near for both, such as drawings of one concept."""
_LEAST_NEAR = 200
"""Of fewer pairs than have so many in the nearest twentieth, a larger share is near."""
_ROWS, _COLUMNS = 512, 4096
"""Rows and columns of a block of cosines, 8 MiB."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Limits:
    """The cosines above which a pair is near for one encoder, and below which it is far for the other."""

    near: float
    far: float

    @classmethod
    def at_percentiles(
        cls, near: ScoreArray, far: ScoreArray, *, pairs: int, percentiles: tuple[float, float] = (NEAR, FAR)
    ) -> Limits:
        """Return the limits at percentiles of each encoder's own cosines of random pairs, which are free of scale.

        Args:
            near: Cosines of random pairs by the encoder that calls pairs near, ``[p]``.
            far: Cosines of the same pairs by the other encoder, ``[p]``.
            pairs: The number of pairs that will be looked at. If fewer than 200 of them were near, the nearest 200
                are, or the nearer half.
            percentiles: The two percentiles, from 0 to 1.

        Example:
            >>> cosines = np.linspace(0, 1, 101)
            >>> limits = Limits.at_percentiles(cosines, cosines, pairs=100_000)
            >>> round(limits.near, 2), round(limits.far, 2)
            (0.95, 0.5)
        """
        share = max(min(percentiles[0], 1 - _LEAST_NEAR / max(pairs, 1)), min(percentiles[0], 0.5))
        return cls(float(np.quantile(near, share)), float(np.quantile(far, percentiles[1])))


@dataclass(frozen=True)
class Pair:
    """Two rows and their similarity for each of two encoders, as a cosine and as a percentile of all pairs."""

    first: int
    second: int
    cosines: tuple[float, float]
    percentiles: tuple[float, float]
    """The share of all pairs of images that are less similar than these, from 0 to 1, in each encoder."""

    @property
    def difference(self) -> float:
        """The first encoder's percentile less the second's, from -1 to 1."""
        return self.percentiles[0] - self.percentiles[1]


@dataclass(frozen=True, eq=False)
class ContrastingPairs:
    """The pairs that are near for one encoder and far for the other.

    Attributes:
        limits: The cosines that decide it.
        found: The number of such pairs.
        positions: The rows of the pairs, ``[p, 2]``, lower one first: all of them, or ``KEPT`` random ones.
        farthest: Those with the largest difference of percentiles, largest first; of more than ``FARTHEST`` those with
            the largest difference of cosines.
    """

    limits: Limits
    found: int
    positions: Positions
    farthest: Sequence[Pair] = field(repr=False)

    def limited(self, most: int, rows: int) -> ContrastingPairs:
        """Return the pairs without hubs: each row is in ``most`` at most, those of the largest difference first.

        Args:
            most: Pairs of a row.
            rows: The number of all rows.

        Example:
            >>> pairs = np.array([[0, 1], [0, 2], [0, 3], [1, 2]])
            >>> each = [Pair(i, j, (1.0, 0.0), (1.0, 0.0)) for i, j in pairs.tolist()]
            >>> ContrastingPairs(Limits(0.7, 0.5), 4, pairs, each).limited(1, 4).positions.tolist()
            [[0, 1]]
        """
        count = np.zeros(rows, np.int64)
        kept = []
        for pair in self.farthest:
            if max(count[pair.first], count[pair.second]) < most:
                count[[pair.first, pair.second]] += 1
                kept.append(pair)
        positions = np.array([[pair.first, pair.second] for pair in kept], np.int64).reshape(-1, 2)
        return replace(self, positions=positions, farthest=kept)

    def distinct(self, most: int, groups: Sequence[str] | None = None) -> list[Pair]:
        """Return ``most`` pairs of the largest difference, which is positive; each row, or its group, is in one."""
        chosen: list[Pair] = []
        used: set[int | str] = set()
        for pair in self.farthest:
            if pair.difference <= 0 or len(chosen) == most:
                break
            names = {pair.first, pair.second} if groups is None else {groups[pair.first], groups[pair.second]}
            if not names & used:
                used |= names
                chosen.append(pair)
        return chosen


def draw_samples(rows: int, most: int = SAMPLED, *, seed: int = 0) -> tuple[Positions, Positions]:
    """Draw two samples of rows whose pairs are looked at.

    Args:
        rows: The number of rows.
        most: The largest number of rows of a sample. No more rows than that are both samples: all pairs of them.
        seed: Decides the rows.

    Returns:
        Positions ``[m]`` and ``[m]``, without a row in common, or all rows twice.

    Example:
        >>> [sample.tolist() for sample in draw_samples(3)]
        [[0, 1, 2], [0, 1, 2]]
        >>> [len(sample) for sample in draw_samples(25, 20)]
        [12, 12]
    """
    if rows <= most:
        return np.arange(rows), np.arange(rows)
    size = min(most, rows // 2)
    drawn = np.random.default_rng(seed).permutation(rows)[: 2 * size]
    return np.sort(drawn[:size]), np.sort(drawn[size:])


def count_pairs(samples: tuple[Positions, Positions]) -> int:
    """Count the pairs of two samples of :func:`draw_samples`."""
    first, second = samples
    return len(first) * (len(first) - 1) // 2 if np.array_equal(first, second) else len(first) * len(second)


def contrasting_pairs(
    a: Vectors,
    b: Vectors,
    limits: tuple[Limits, Limits],
    *,
    samples: tuple[Positions, Positions],
    among: tuple[ScoreArray, ScoreArray],
    seed: int = 0,
) -> tuple[ContrastingPairs, ContrastingPairs]:
    """Find the pairs of two samples that are near for encoder ``a`` and far for ``b``, and the reverse.

    All pairs are looked at, block by block; cosines are products in float32. Memory: the samples' vectors, and 10 MB a
    pair of blocks. In the way of the study's authors (arXiv 2510.11835, the code for its pairs) limits are cosines
    that differ between the two directions; with cosines of 0.95 and 0.6, a = CLIP and b = DINOv2 the pairs near for a
    are the "CLIP-blind pairs" of MMVP (Tong et al. 2024, "Eyes Wide Shut?", section 2.1). Similarities of two encoders
    have different scales, percentiles the same: the percentile of a cosine is its place among those of random pairs by
    the same encoder.

    Args:
        a: The vectors of the first encoder, ``[n, d]``.
        b: The second encoder's vectors of the same rows, ``[n, e]``.
        limits: Those of pairs near for ``a`` and far for ``b``, and of pairs near for ``b`` and far for ``a``.
        samples: Two samples of rows, as :func:`draw_samples` draws them.
        among: Cosines of random pairs by ``a`` and by ``b``, among which percentiles are taken.
        seed: Decides which pairs are kept if there are more than ``KEPT``.

    Returns:
        The pairs near for ``a`` and those near for ``b``; cosines and percentiles of a pair begin with the encoder
        for which it is near.

    Raises:
        EmbprobeError: If the numbers of rows differ, and for zero and non-finite vectors.

    Example:
        >>> a = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])  # rows 0 and 1 are near
        >>> b = np.array([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.9, 0.1]])  # and far
        >>> everything = np.linspace(-1, 1, 9)
        >>> one, other = contrasting_pairs(
        ...     a, b, (Limits(0.7, 0.5), Limits(0.8, 0.5)), samples=draw_samples(4), among=(everything, everything)
        ... )
        >>> one.positions.tolist(), other.positions.tolist()
        ([[0, 1]], [[0, 3]])
    """
    check_same_rows(a, b, min_rows=2)
    first, second = samples
    together = np.array_equal(first, second)
    sides = [(_units(x, first), None if together else _units(x, second)) for x in (a, b)]
    kept = tuple(_Kept(KEPT, FARTHEST) for _ in limits)
    ordered = [np.sort(values) for values in among]

    def look(row: int) -> None:
        for column in range(row if together else 0, len(second), _COLUMNS):
            cosines = [x[row : row + _ROWS] @ (x if y is None else y)[column : column + _COLUMNS].T for x, y in sides]
            for way, (limit, found) in enumerate(zip(limits, kept, strict=True)):
                near, far = cosines[way], cosines[1 - way]
                at = np.flatnonzero((near > limit.near) & (far < limit.far))
                i, j = np.divmod(at, near.shape[1])
                if together:
                    above = j + column > i + row
                    at, i, j = at[above], i[above], j[above]
                rng = np.random.default_rng([seed, way, row, column])
                found.add(first[i + row], second[j + column], near.ravel()[at], far.ravel()[at], rng.random(len(at)))

    side_by_side(look, range(0, len(first), _ROWS), memory=3 * _ROWS * _COLUMNS * 4)
    return (
        kept[0].result(limits[0], (a, b), (ordered[0], ordered[1])),
        kept[1].result(limits[1], (b, a), (ordered[1], ordered[0])),
    )


def _units(vectors: Vectors, sample: Positions) -> Floats:
    """Return the vectors of a sample, each of length 1, in float32."""
    units = np.empty((len(sample), vectors.shape[1]), np.float32)
    for start in range(0, len(sample), _COLUMNS):
        rows = vectors[sample[start : start + _COLUMNS]]
        for place, block in unit_blocks(rows, min_rows=1, dtype=np.float32):
            units[start + place.start : start + place.stop] = block
    return units


class _Kept:
    """The pairs of one direction: all, or as many random ones and as many of the largest difference as are kept."""

    def __init__(self, most: int, farthest: int) -> None:
        self._most, self._farthest, self._lock, self._found = most, farthest, Lock(), 0
        self._parts: list[NDArray[np.float64]] = []

    def add(
        self,
        first: Positions,
        second: Positions,
        near: NDArray[np.float32],
        far: NDArray[np.float32],
        order: ScoreArray,
    ) -> None:
        """Add pairs; ``order`` has the place of each in a random order."""
        swapped = np.stack([np.minimum(first, second), np.maximum(first, second)]).astype(np.float64)
        part = np.stack([*swapped, near.astype(np.float64), far.astype(np.float64), order])
        with self._lock:
            self._found += len(order)
            self._parts.append(part)
            if sum(each.shape[1] for each in self._parts) > 4 * self._most:
                self._parts = [self._pruned()]

    def _pruned(self) -> NDArray[np.float64]:
        every = np.concatenate(self._parts, axis=1) if self._parts else np.empty((5, 0))
        if every.shape[1] <= self._most:
            return every
        chosen = np.zeros(every.shape[1], bool)
        chosen[np.argpartition(every[4], self._most)[: self._most]] = True  # in a random order
        chosen[self._largest(every)] = True
        return every[:, chosen]

    def _largest(self, every: NDArray[np.float64]) -> Positions:
        """Return the places of the pairs with the largest difference of cosines."""
        difference = every[3] - every[2]
        if len(difference) <= self._farthest:
            return np.arange(len(difference))
        return np.asarray(np.argpartition(difference, self._farthest)[: self._farthest])

    def result(
        self, limits: Limits, vectors: tuple[Vectors, Vectors], among: tuple[ScoreArray, ScoreArray]
    ) -> ContrastingPairs:
        every = self._pruned()
        every = every[:, np.lexsort(every[1::-1])]  # in the order of rows, whichever thread came first
        random = np.sort(np.argsort(every[4], kind="stable")[: self._most])
        positions = every[:2].T.astype(np.int64)
        largest = positions[np.sort(self._largest(every))]
        cosines = [pair_cosines(x, largest) for x in vectors]
        shares = [percentile(values, others) for values, others in zip(cosines, among, strict=True)]
        order = np.lexsort((cosines[1] - cosines[0], shares[1] - shares[0]))
        farthest = [
            Pair(i, j, (near, far), (of_near, of_far))
            for (i, j), near, far, of_near, of_far in zip(
                largest[order].tolist(),
                *(values[order].tolist() for values in (*cosines, *shares)),
                strict=True,
            )
        ]
        return ContrastingPairs(limits, self._found, positions[random], farthest)
