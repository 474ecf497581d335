"""Mutual k-NN: do two encoders find the same neighbours?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.blocks import rows_at
from embprobe.measures.knn import Positions, Similarities, nearest
from embprobe.measures.pair_effects import PairEffects, PairTally
from embprobe.measures.vectors import ScoreArray, Vectors, check_same_rows


def overlap_at_k(a: Sequence[str], b: Sequence[str]) -> float:
    """Return the share of neighbours that two encoders have in common for one query: |A ∩ B| / k, from 0 to 1.

    The term inside the mean of mutual k-NN (Huh et al. 2024, "The Platonic Representation Hypothesis", equation 13).

    Args:
        a: The keys of the k nearest images by one encoder.
        b: The keys of the k nearest images by the other.

    Raises:
        ValueError: If the lists are empty or of different lengths.

    Example:
        >>> overlap_at_k(["cat", "dog", "cow", "hen"], ["dog", "cat", "fox", "owl"])
        0.5
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"need two lists of the same length above 0, got {len(a)} and {len(b)}")
    return len(set(a) & set(b)) / len(a)


def mutual_knn(a: Vectors, b: Vectors, *, k: int = 10) -> ScoreArray:
    """Return for each image the share of its ``k`` nearest others that two encoders have in common.

    The mean is mutual k-NN (Huh et al. 2024, equation 13). Neighbours are by cosine, exact, and the image itself is
    none of them. **Chance is k / (n − 1)**, the mean over all matchings of the rows of ``a`` with those of ``b``, so
    means over different numbers of images cannot be compared. Which of equally near images count as neighbours is
    arbitrary, so duplicates lower it.

    Args:
        a: One encoder's vectors, ``[n, d]``.
        b: The other encoder's vectors of the same rows, ``[n, e]``.
        k: The number of neighbours.

    Returns:
        Scores ``[n]`` from 0 to 1. An interval of their mean needs :func:`neighbor_overlap_effects`, because an image
        is in the lists of others, too.

    Raises:
        EmbprobeError: If the numbers of rows differ, if there are not more than ``k`` + 1 (every image would be a
            neighbour), and for zero and non-finite vectors.
        UsageError: For ``k`` below 1.

    Example:
        >>> angles = np.deg2rad([0, 10, 100, 115])  # nearest: 1, 0, 3, 2
        >>> x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> mutual_knn(x, x[[0, 2, 1, 3]], k=1)  # for the other encoder 2, 3, 0, 1
        array([0., 0., 0., 0.])
        >>> mutual_knn(x, 3 * x, k=1)
        array([1., 1., 1., 1.])
    """
    check_same_rows(a, b, min_rows=1)
    return neighbor_overlap(nearest_others(a, k), nearest_others(b, k))


def nearest_others(vectors: Vectors, k: int, *, at: Positions | None = None, device: str = "cpu") -> Positions:
    """Find the ``k`` nearest other rows of each row by cosine, exactly.

    Args:
        vectors: ``[n, d]``.
        k: The number of neighbours.
        at: Positions ``[m]`` of the rows whose neighbours are wanted, by default all; neighbours may be any row.
        device: Where to search: "cpu", or a device of torch.

    Returns:
        Positions of the neighbours, nearest first, ``[n, k]``, or ``[m, k]`` with ``at``.

    Raises:
        EmbprobeError: If there are not more than ``k`` + 1 rows, and for zero and non-finite vectors.
        UsageError: For ``k`` below 1.

    Example:
        >>> nearest_others(np.array([[1.0, 0.0], [1.0, 0.5], [0.0, 1.0]]), 1).tolist()
        [[1], [0], [1]]
    """
    if k < 1:
        raise UsageError(f"The number of neighbours must be at least 1; it is {k}.")
    if len(vectors) < k + 2:
        raise EmbprobeError(f"This comparison needs at least {k + 2} images; there are {len(vectors)}.")
    return ranked_others(vectors, k, at=at, device=device)[1]


def ranked_others(
    vectors: Vectors, k: int, *, at: Positions | None = None, device: str = "cpu"
) -> tuple[Similarities, Positions]:
    """Return the cosines and positions of the ``k`` nearest other rows, nearest first. ``[n, d] -> [n, k], [n, k]``.

    As :func:`nearest_others`, but ``k`` may be every other row, n − 1; raises as :func:`nearest` does.
    """
    rows = np.arange(len(vectors)) if at is None else at
    similarity, position = nearest(vectors if at is None else rows_at(vectors, at), vectors, k + 1, device=device)
    itself = position == rows[:, None]
    itself[~itself.any(1), -1] = True  # pushed out by k + 1 duplicates: leave out the last of them
    return similarity[~itself].reshape(len(rows), k), position[~itself].reshape(len(rows), k)


def neighbor_overlap(a: Positions, b: Positions) -> ScoreArray:
    """Return the share of each row's neighbours that two encoders have in common.

    Args:
        a: Positions of each row's neighbours by one encoder, ``[m, k]``, such as :func:`nearest_others` returns.
        b: The same rows' neighbours by the other encoder, ``[m, k]``.

    Returns:
        Scores ``[m]`` from 0 to 1.

    Example:
        >>> neighbor_overlap(np.array([[1, 2], [0, 2]]), np.array([[2, 3], [2, 0]]))
        array([0.5, 1. ])
    """
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    return np.asarray((both[:, 1:] == both[:, :-1]).sum(1) / a.shape[1])  # each list names a row once: twice is in both


def neighbor_overlap_effects(
    a: Positions, b: Positions, groups: Sequence[str], *, k: int, at: Positions | None = None
) -> PairEffects:
    """Return the scores of :func:`neighbor_overlap` with the effect of each image on the others', for intervals.

    An image in one of a row's two lists takes a place in it: without it, the next nearest would be there. With p the
    share of images about the end of one list that are in the other list, the image adds to the row's common neighbours
    1 if it is in both lists, less p for each list that it is in.

    Args:
        a: Positions of each row's neighbours by one encoder, nearest first, ``[m, k + more]``; p is of the ranks about
            k, so give more than k.
        b: The same rows' neighbours by the other encoder, ``[m, k + more]``.
        groups: The resampled group of each image that the neighbours were sought among, ``[n]``.
        k: The number of neighbours that count.
        at: Positions ``[m]`` of the rows that the lists belong to, by default all n. Of fewer, the effects of images
            as neighbours stand for all n, with the variance of those.
    """
    rows, n = np.arange(len(a)) if at is None else at, len(groups)
    near = slice(k - max(1, k // 4), k + max(1, k // 4))
    first, second = a[:, :k], b[:, :k]
    ends = [_is_in(a[:, near], second).mean(1), _is_in(b[:, near], first).mean(1)]
    common = _is_in(first, second)
    scores = common.sum(1) / k
    size = (n - 1) / k
    influence = size * np.concatenate([common - ends[0][:, None], np.broadcast_to(-ends[1][:, None], second.shape)], 1)
    tally = PairTally(groups)
    tally.add_sparse(rows, np.concatenate([first, second], axis=1), influence, -influence.sum(1) / (n - 1))
    effects = tally.effects(scores, partners=n - 1)
    return replace(effects, received=effects.received[rows] * np.sqrt(n / len(rows)))


def _is_in(positions: Positions, lists: Positions) -> NDArray[np.bool_]:
    """Return whether each position is in the list of its row. ``[m, p], [m, k] -> [m, p]``."""
    return np.asarray((positions[:, :, None] == lists[:, None]).any(2))


def neighbor_overlap_by_chance(
    a: Positions, b: Positions, *, n: int, at: Positions | None = None, matchings: int = 200, seed: int = 0
) -> ScoreArray:
    """Return the mean of :func:`neighbor_overlap` under random matchings of one encoder's rows with the other's.

    A matching takes the rows ``at`` to each other and the rest to the rest, because neighbours are known for the former
    only; so the mean is k / (n − 1) or near it.

    Args:
        a: Positions of neighbours by one encoder, ``[m, k]``.
        b: Positions of neighbours by the other, ``[m, k]``.
        n: The number of rows that the neighbours were searched among.
        at: Positions ``[m]`` of the rows that the lists belong to, by default all.
        matchings: The number of random matchings.
        seed: The same seed gives the same matchings.

    Returns:
        One mean per matching, ``[matchings]``.
    """
    rows = np.arange(n) if at is None else at
    rest = np.setdiff1d(np.arange(n), rows)
    rng = np.random.default_rng(seed)
    means = np.empty(matchings)
    for i in range(matchings):
        order, becomes = rng.permutation(len(rows)), np.empty(n, np.int64)
        becomes[rows[order]] = rows
        becomes[rest] = rng.permutation(rest)
        means[i] = neighbor_overlap(a, becomes[b[order]]).mean()
    return means
