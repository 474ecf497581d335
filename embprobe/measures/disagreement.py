"""Pairs of images that one encoder calls the same and the other does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.knn import Positions
from embprobe.measures.rows import check_rows
from embprobe.measures.vectors import ScoreArray, Vectors, lengths

_DRAWN = 1_000_000
"""Pairs that say how similar unrelated images are: percentiles are good to 0.0005, and better at their ends."""
_ROWS = 1024
"""Pairs whose cosine is computed at a time, so that they stay in a core's cache."""


@dataclass(frozen=True)
class Pair:
    """Two rows, how similar they are within each of two encoders, and how similar that is for the encoder."""

    first: int
    second: int
    cosines: tuple[float, float]
    percentiles: tuple[float, float]
    """The share of all pairs of images that are less similar than these, from 0 to 1, in each encoder."""

    @property
    def difference(self) -> float:
        """Of the percentiles, from -1 to 1."""
        return self.percentiles[0] - self.percentiles[1]


def disagreement_pairs(
    a: Vectors,
    b: Vectors,
    neighbors: Positions,
    *,
    at: Positions | None = None,
    most: int = 12,
    groups: Sequence[str] | None = None,
    cosines: tuple[float, float] | None = None,
    among: tuple[ScoreArray, ScoreArray] | None = None,
) -> list[Pair]:
    """Pairs that are near for encoder ``a`` and far for ``b``, largest difference of their percentiles first.

    ``[n, d], [n, e]``. A pair is near if one is among the ``neighbors`` ``[m, k]`` of the other by ``a``
    (:func:`embprobe.measures.mutual_knn.nearest_others` of the rows ``at``, or of all): so no n x n array is
    needed, and no pair with a larger difference is missed but among those that ``a`` ranks behind its k nearest.
    The percentile of a cosine is its place ``among`` those of :func:`random_pairs` by the same encoder, computed here
    if they are not given: similarities of two encoders have different scales, percentiles the same.

    With ``cosines`` (s, t) the pairs are those with a cosine above s by ``a`` and below t by ``b``: with 0.95 and
    0.6, a = CLIP and b = DINOv2 the "CLIP-blind pairs" of MMVP (Tong et al. 2024, "Eyes Wide Shut?", section 2.1).
    At most ``most`` pairs; each image is in one at most, and so is each of the ``groups`` ``[n]``, if these are given.
    Raises :class:`EmbprobeError` if the numbers of rows differ, for zero and non-finite vectors.
    """
    check_rows(a, b, least=2)
    rows = np.arange(len(a)) if at is None else np.asarray(at)
    pairs = np.stack([np.repeat(rows, neighbors.shape[1]), neighbors.ravel()], axis=1)
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    near, far = (pair_cosines(vectors, pairs) for vectors in (a, b))
    if cosines is not None:
        kept = (near > cosines[0]) & (far < cosines[1])
        pairs, near, far = pairs[kept], near[kept], far[kept]
    if among is None:
        random = random_pairs(len(a))
        among = pair_cosines(a, random), pair_cosines(b, random)
    percentiles = [percentile(found, others) for found, others in zip((near, far), among, strict=True)]
    order = np.lexsort((far - near, percentiles[1] - percentiles[0]))
    found: list[Pair] = []
    taken: set[int | str] = set()
    for i in order:
        first, second = pairs[i].tolist()
        if percentiles[0][i] <= percentiles[1][i] or len(found) == most:
            break
        names = {first, second} if groups is None else {groups[first], groups[second]}
        if names & taken:
            continue
        taken |= names
        both = (float(near[i]), float(far[i])), (float(percentiles[0][i]), float(percentiles[1][i]))
        found.append(Pair(first, second, *both))
    return found


def pair_cosines(vectors: Vectors, pairs: Positions) -> ScoreArray:
    """``[n, d], [p, 2] -> [p]``. Raises :class:`EmbprobeError` if one of them is zero or not finite."""
    norms, rows = np.ones(len(vectors)), np.unique(pairs)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        norms[part] = lengths(vectors[part])
    found = np.empty(len(pairs))
    for start in range(0, len(pairs), _ROWS):
        first, second = pairs[start : start + _ROWS].T
        x, y = (np.asarray(vectors[side], np.float64) for side in (first, second))
        found[start : start + _ROWS] = np.einsum("pd,pd->p", x, y) / norms[first] / norms[second]
    return found


def random_pairs(n: int, *, seed: int = 0) -> Positions:
    """A million pairs of different rows at random, or all pairs if there are no more. ``[p, 2]``."""
    if n * (n - 1) // 2 <= _DRAWN:
        return np.stack(np.triu_indices(n, 1), axis=1)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, _DRAWN)
    return np.stack([first, (first + rng.integers(1, n, _DRAWN)) % n], axis=1)


def percentile(values: ScoreArray, among: ScoreArray) -> NDArray[np.float64]:
    """The share of ``among`` below each value, equal ones counted half. ``[p], [q] -> [p]``, from 0 to 1.

    >>> percentile(np.array([1.0, 2.0, 9.0]), np.array([0.0, 1.0, 1.0, 3.0]))
    array([0.5 , 0.75, 1.  ])
    """
    ordered = np.sort(among)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((below + upto) / (2 * len(ordered)))
