"""Rank correlation: do two encoders rank all other images alike by similarity, near and far?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.natural_pairs import standard_ranks
from embprobe.measures.pair_effects import PairEffects, PairTally
from embprobe.measures.vectors import ScoreArray, Vectors, check_same_rows, l2_normalize
from embprobe.system.threads import matrix_product, side_by_side

Positions = NDArray[np.int64]
_ROWS = 256
"""Rows whose pairs are held at a time."""
_MATCHED = 64
"""Rows that are matched at random at a time."""


def rank_correlation(a: Vectors, b: Vectors) -> ScoreArray:
    """Return for each image the Spearman correlation, between two encoders, of its cosines to all other images.

    Unlike mutual k-NN it weighs all pairs alike, few of which are near. The mean over rows in place of the one
    correlation over all pairs (representational similarity analysis; Kriegeskorte et al. 2008) leaves out that some
    images are near to many. Memory is 24 n² bytes: of many rows, take some thousand at random.

    Args:
        a: One encoder's vectors, ``[n, d]``.
        b: The other encoder's vectors of the same rows, ``[n, e]``.

    Returns:
        Scores ``[n]`` from −1 to 1: 1 if both rank the others alike; 0 is chance. An image to which all others are
        equally near, as to a blank one, has no order to agree with: 0. An interval of their mean needs
        :func:`rank_correlation_effects`, because a pair's ranks belong to both images.

    Raises:
        EmbprobeError: If the numbers of rows differ, for fewer than four rows, for zero and non-finite vectors, and if
            all others are equally near to every image.

    Example:
        >>> lines = [np.deg2rad(degrees) for degrees in ([0, 10, 30, 70], [0, 40, 30, 70])]  # the second one moves
        >>> x, y = (np.stack([np.cos(line), np.sin(line)], axis=1) for line in lines)
        >>> rank_correlation(x, y).round(2)  # its others are 10, 20, 60 degrees away, nearest last: 321; then 132
        array([ 0.5, -0.5,  1. ,  0.5])
    """
    check_same_rows(a, b, min_rows=4)
    return np.asarray((cosine_ranks(a) * cosine_ranks(b)).sum(1))


def cosine_ranks(vectors: Vectors) -> ScoreArray:
    """Rank every row's cosines to the other rows, centred and each row scaled to length 1. ``[n, d] -> [n, n]``.

    Products of two such rows are Spearman correlations. Zero on the diagonal, and where a row's cosines are all the
    same; ties have the mean of their ranks. Raises :class:`EmbprobeError` if all images are equally near to each
    other, and for zero and non-finite vectors.
    """
    x = l2_normalize(vectors)
    others = ~np.eye(len(x), dtype=bool)
    ranks = np.zeros(others.shape)
    ranks[others] = standard_ranks(matrix_product(x, x.T)[others].reshape(len(x), -1)).ravel()
    if not ranks.any():
        raise EmbprobeError(f"All {len(x):,} images are equally near to each other.")
    return ranks


def rank_correlation_effects(a: ScoreArray, b: ScoreArray, groups: Sequence[str]) -> PairEffects:
    """Return the scores of :func:`rank_correlation` with the effect of each image on the others', for intervals.

    With u and v the two ranks scaled to variance 1, the influence of a partner on a row's correlation r is
    uv - r (u² + v²) / 2, as in :func:`~embprobe.measures.natural_pairs.natural_pair_effects`.

    Args:
        a: The :func:`cosine_ranks` of one encoder, ``[n, n]``.
        b: The :func:`cosine_ranks` of the other, ``[n, n]``.
        groups: The resampled group of each image, ``[n]``.
    """
    n, tally, scores = len(a), PairTally(groups), np.empty(len(a))
    for start in range(0, n, _ROWS):
        u, v = a[start : start + _ROWS], b[start : start + _ROWS]
        rows, products = np.arange(start, start + len(u)), u * v
        scores[rows] = products.sum(1)
        influence = (n - 1) * (products - scores[rows, None] * (u * u + v * v) / 2)
        tally.add(rows, np.broadcast_to(np.arange(n), influence.shape), influence)
    return tally.effects(scores, partners=n - 3)  # degrees of freedom of a correlation


def correlation_by_chance(a: ScoreArray, b: ScoreArray, *, matchings: int = 200, seed: int = 0) -> ScoreArray:
    """Return the mean rank correlation under random matchings of one encoder's rows with the other's.

    Args:
        a: The :func:`cosine_ranks` of one encoder, ``[n, n]``.
        b: The :func:`cosine_ranks` of the other, ``[n, n]``.
        matchings: The number of random matchings.
        seed: The same seed gives the same matchings.

    Returns:
        One mean per matching, ``[matchings]``.
    """
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(a)) for _ in range(matchings)]

    def mean(order: Positions) -> float:
        total = 0.0
        for start in range(0, len(a), _MATCHED):  # a few rows, whose numbers are near when columns are taken
            rows = slice(start, start + _MATCHED)
            total += float(np.einsum("ij,ij->", a[rows], b[order[rows]].take(order, axis=1)))
        return total / len(a)

    return np.array(side_by_side(mean, orders, memory=a.nbytes + b.nbytes))
