"""Mutual k-NN: do two encoders find the same neighbours?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.knn import Positions, Similarities, nearest
from embprobe.measures.rows import check_rows
from embprobe.measures.vectors import ScoreArray, Vectors


def overlap_at_k(a: Sequence[str], b: Sequence[str]) -> float:
    """The share of neighbours two encoders have in common, for one query: |A and B| / k, from 0 to 1.

    The term inside the mean of mutual k-NN (Huh et al. 2024, "The Platonic Representation Hypothesis", equation 13).

    >>> overlap_at_k(["cat", "dog", "cow", "hen"], ["dog", "cat", "fox", "owl"])
    0.5
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"need two lists of the same length above 0, got {len(a)} and {len(b)}")
    return len(set(a) & set(b)) / len(a)


def mutual_knn(a: Vectors, b: Vectors, *, k: int = 10) -> ScoreArray:
    """For every image, the share of its ``k`` nearest others that two encoders have in common.

    ``[n, d], [n, e] -> [n]``, from 0 to 1; the mean is mutual k-NN (Huh et al. 2024, equation 13). Neighbours are by
    cosine, exact, and the image itself is none of them. **Chance is k / (n − 1)**, the mean over all matchings of the
    rows of ``a`` with those of ``b``, so means over different numbers of images cannot be compared. Which of equally
    near images count as neighbours is arbitrary, so duplicates lower it.

    Raises :class:`EmbprobeError` if the numbers of rows differ, if there are not more than ``k`` + 1 (every image would
    be a neighbour), for zero and non-finite vectors; :class:`UsageError` for ``k`` below 1.

    >>> angles = np.deg2rad([0, 10, 100, 115])  # nearest: 1, 0, 3, 2
    >>> x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    >>> mutual_knn(x, x[[0, 2, 1, 3]], k=1)  # for the other encoder 2, 3, 0, 1
    array([0., 0., 0., 0.])
    >>> mutual_knn(x, 3 * x, k=1)
    array([1., 1., 1., 1.])
    """
    check_rows(a, b, least=1)
    return shared(nearest_others(a, k), nearest_others(b, k))


def nearest_others(vectors: Vectors, k: int, *, at: Positions | None = None, device: str = "cpu") -> Positions:
    """Positions of the ``k`` nearest other rows by cosine, nearest first. ``[n, d] -> [n, k]``.

    With ``at``, positions ``[m]``, only of these rows: ``[m, k]``, the neighbours still being any of all. Raises as
    :func:`mutual_knn` does.
    """
    if k < 1:
        raise UsageError(f"The number of neighbours must be at least 1; it is {k}.")
    if len(vectors) < k + 2:
        raise EmbprobeError(f"This comparison needs at least {k + 2} images; there are {len(vectors)}.")
    return ranked_others(vectors, k, at=at, device=device)[1]


def ranked_others(
    vectors: Vectors, k: int, *, at: Positions | None = None, device: str = "cpu"
) -> tuple[Similarities, Positions]:
    """The cosines and positions of the ``k`` nearest other rows, nearest first. ``[n, d] -> [n, k], [n, k]``.

    As :func:`nearest_others`, but ``k`` may be every other row, n − 1; raises as :func:`nearest` does.
    """
    rows = np.arange(len(vectors)) if at is None else at
    similarity, position = nearest(vectors if at is None else vectors[at], vectors, k + 1, device=device)
    itself = position == rows[:, None]
    itself[~itself.any(1), -1] = True  # pushed out by k + 1 duplicates: leave out the last of them
    return similarity[~itself].reshape(len(rows), k), position[~itself].reshape(len(rows), k)


def shared(a: Positions, b: Positions) -> ScoreArray:
    """The share of each row's neighbours that both have. ``[m, k], [m, k] -> [m]``, from 0 to 1."""
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    return np.asarray((both[:, 1:] == both[:, :-1]).sum(1) / a.shape[1])  # each list names a row once: twice is in both


def shared_by_chance(
    a: Positions, b: Positions, *, n: int, at: Positions | None = None, matchings: int = 200, seed: int = 0
) -> ScoreArray:
    """The mean of :func:`shared` if the rows of one encoder were matched at random with those of the other.

    ``[m, k], [m, k] -> [matchings]``, for neighbours among ``n`` rows, of the rows ``at``, or of all. A matching takes
    the rows ``at`` to each other and the rest to the rest, for only of these is known what is near them; so the mean is
    k / (n − 1) or near it.
    """
    rows = np.arange(n) if at is None else at
    rest = np.setdiff1d(np.arange(n), rows)
    rng = np.random.default_rng(seed)
    found = np.empty(matchings)
    for i in range(matchings):
        order, becomes = rng.permutation(len(rows)), np.empty(n, np.int64)
        becomes[rows[order]] = rows
        becomes[rest] = rng.permutation(rest)
        found[i] = shared(a, becomes[b[order]]).mean()
    return found
