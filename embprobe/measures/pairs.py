"""Pairs of images: their cosines, random ones, and the place of a value among others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.knn import Positions
from embprobe.measures.vectors import ScoreArray, Vectors, lengths

_DRAWN = 1_000_000
"""Random pairs that percentiles are taken among: they are good to 0.0005, and better at their ends."""
_ROWS = 1024
"""Pairs whose cosines are computed at a time, so that they stay in a core's cache."""


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


def random_pairs(n: int, *, seed: int = 0, most: int = _DRAWN) -> Positions:
    """Draw random pairs of different rows among ``n``, or list all if there are no more than ``most``. ``[p, 2]``."""
    if n * (n - 1) // 2 <= most:
        return np.stack(np.triu_indices(n, 1), axis=1)
    rng = np.random.default_rng(seed)
    first = rng.integers(0, n, most)
    return np.stack([first, (first + rng.integers(1, n, most)) % n], axis=1)


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
