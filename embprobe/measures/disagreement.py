"""Pairs of images that are near for one encoder and far for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.knn import Positions
from embprobe.measures.vectors import ScoreArray, Vectors, check_same_rows, lengths

_DRAWN = 1_000_000
"""Random pairs that percentiles are taken among: they are good to 0.0005, and better at their ends."""
_ROWS = 1024
"""Pairs whose cosines are computed at a time, so that they stay in a core's cache."""


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
    """Find pairs that are near for encoder ``a`` and far for ``b``, the largest difference of percentiles first.

    A pair is near if one is among the ``neighbors`` of the other by ``a``: so no n × n array is needed, and the only
    pairs with a larger difference that are missed are those that ``a`` ranks behind its k nearest. Similarities of two
    encoders have different scales, percentiles the same: the percentile of a cosine is its place among those of random
    pairs by the same encoder.

    With ``cosines`` = (s, t) the pairs are those with a cosine above s by ``a`` and below t by ``b``: with 0.95 and
    0.6, a = CLIP and b = DINOv2 the "CLIP-blind pairs" of MMVP (Tong et al. 2024, "Eyes Wide Shut?", section 2.1).

    Args:
        a: The vectors of the encoder for which pairs are near, ``[n, d]``.
        b: The other encoder's vectors of the same rows, ``[n, e]``.
        neighbors: Positions of the nearest others by ``a``, ``[m, k]``, as
            :func:`embprobe.measures.mutual_knn.nearest_others` returns them.
        at: Positions ``[m]`` of the rows that the lists of neighbours belong to, by default all.
        most: The number of pairs to return at most.
        groups: The group of each row, ``[n]``; like each image, each group is in one pair at most.
        cosines: Limits on the cosines of a pair by ``a`` and by ``b``.
        among: The cosines of :func:`random_pairs` by ``a`` and by ``b``, if they are known; else they are computed.

    Returns:
        Pairs, each with a positive difference; each image is in one at most.

    Raises:
        EmbprobeError: If the numbers of rows differ, and for zero and non-finite vectors.

    Example:
        >>> a = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [-1.0, 0.0]])  # rows 0 and 1 are near
        >>> b = np.array([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.9, 0.1]])  # and far
        >>> [pair] = disagreement_pairs(a, b, np.array([[1], [0], [1], [2]]), most=1)
        >>> pair.first, pair.second
        (0, 1)
    """
    check_same_rows(a, b, min_rows=2)
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
    percentiles = [percentile(values, others) for values, others in zip((near, far), among, strict=True)]
    order = np.lexsort((far - near, percentiles[1] - percentiles[0]))
    chosen: list[Pair] = []
    used: set[int | str] = set()
    for i in order:
        first, second = pairs[i].tolist()
        if percentiles[0][i] <= percentiles[1][i] or len(chosen) == most:
            break
        names = {first, second} if groups is None else {groups[first], groups[second]}
        if names & used:
            continue
        used |= names
        cosines_of_pair = float(near[i]), float(far[i])
        chosen.append(Pair(first, second, cosines_of_pair, (float(percentiles[0][i]), float(percentiles[1][i]))))
    return chosen


def pair_cosines(vectors: Vectors, pairs: Positions) -> ScoreArray:
    """Compute the cosine of each pair of rows.

    Args:
        vectors: ``[n, d]``.
        pairs: Positions of the two rows of each pair, ``[p, 2]``.

    Returns:
        Cosines ``[p]``.

    Raises:
        EmbprobeError: If a vector of a pair is zero or not finite.

    Example:
        >>> pair_cosines(np.array([[1.0, 0.0], [3.0, 4.0], [0.0, 2.0]]), np.array([[0, 1], [1, 2]]))
        array([0.6, 0.8])
    """
    norms, rows = np.ones(len(vectors)), np.unique(pairs)
    for start in range(0, len(rows), _ROWS):
        part = rows[start : start + _ROWS]
        norms[part] = lengths(vectors[part])
    cosines, order = np.empty(len(pairs)), np.argsort(pairs[:, 0], kind="stable")  # one side is read in its order
    for start in range(0, len(pairs), _ROWS):
        some = order[start : start + _ROWS]
        first, second = pairs[some].T
        x, y = (np.asarray(vectors[side], np.float64) for side in (first, second))
        cosines[some] = np.einsum("pd,pd->p", x, y) / norms[first] / norms[second]
    return cosines


def random_pairs(n: int, *, seed: int = 0) -> Positions:
    """Draw a million random pairs of different rows among ``n``, or list all pairs if there are no more. ``[p, 2]``."""
    if n * (n - 1) // 2 <= _DRAWN:
        return np.stack(np.triu_indices(n, 1), axis=1)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, _DRAWN)
    return np.stack([first, (first + rng.integers(1, n, _DRAWN)) % n], axis=1)


def percentile(values: ScoreArray, among: ScoreArray) -> NDArray[np.float64]:
    """Return the share of the values ``among`` that lie below each value, equal ones counted half.

    Args:
        values: ``[p]``.
        among: ``[q]``, in any order.

    Returns:
        Shares ``[p]`` from 0 to 1.

    Example:
        >>> percentile(np.array([1.0, 2.0, 9.0]), np.array([0.0, 1.0, 1.0, 3.0]))
        array([0.5 , 0.75, 1.  ])
    """
    ordered = np.sort(among)
    below, upto = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
    return np.asarray((below + upto) / (2 * len(ordered)))
