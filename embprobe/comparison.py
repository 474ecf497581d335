"""Encoder against encoder: do they see the same neighbours, and the same similarities?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.geometry import centred
from embprobe.measures.knn import nearest
from embprobe.measures.vectors import Scores, Vectors


def overlap_at_k(a: Sequence[str], b: Sequence[str]) -> float:
    """The share of neighbours two encoders have in common, for one query: |A and B| / k, from 0 to 1.

    The term inside the mean of mutual k-NN (Huh et al. 2024, "The Platonic Representation Hypothesis", equation 13).

    >>> overlap_at_k(["cat", "dog", "cow", "hen"], ["dog", "cat", "fox", "owl"])
    0.5
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"need two lists of the same length above 0, got {len(a)} and {len(b)}")
    return len(set(a) & set(b)) / len(a)


def mutual_knn(a: Vectors, b: Vectors, *, k: int = 10) -> Scores:
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
    if k < 1:
        raise UsageError(f"The number of neighbours must be at least 1; it is {k}.")
    _check_rows(a, b, least=k + 2)
    both = np.sort(np.concatenate([_nearest_others(a, k), _nearest_others(b, k)], axis=1), axis=1)
    return np.asarray((both[:, 1:] == both[:, :-1]).sum(1) / k)  # each list names a row once, so twice is in both


def cka(a: Vectors, b: Vectors) -> float:
    """Debiased linear CKA of two encoders on the same images: do they agree which are alike? ``[n, d], [n, e]``.

    1: the same up to rotation, scale and shift. 0 in the mean over all matchings of the rows, however many dimensions
    there are, so unrelated encoders are as well below; at least −1. HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) (Kornblith
    et al. 2019, "Similarity of Neural Network Representations Revisited", section 3), with the unbiased HSIC of Song
    et al. 2012 ("Feature Selection via Dependence Maximization"): for K and L with their diagonals set to zero,

        HSIC = [tr(KL) + ΣK ΣL / ((n − 1)(n − 2)) − 2 · 1ᵀKL1 / (n − 2)] / (n (n − 3)).

    Vectors are taken with their lengths. Time O(n d e), memory O(n (d + e) + d e). Raises :class:`EmbprobeError` if the
    numbers of rows differ, for fewer than four, for numbers that are not finite, and if the images of an encoder all
    coincide or are all equally far from each other.

    >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 4.0]])
    >>> round(cka(x, 7 * x[:, ::-1] + 5), 6)
    1.0
    """
    _check_rows(a, b, least=4)
    x, y = _scaled(a), _scaled(b)
    return _hsic(x, y) / float(np.sqrt(_own_hsic(x) * _own_hsic(y)))


def _check_rows(a: Vectors, b: Vectors, *, least: int) -> None:
    if len(a) != len(b):
        raise EmbprobeError(f"Encoders are compared on the same images; one has {len(a):,} and the other {len(b):,}.")
    if len(a) < least:
        raise EmbprobeError(f"This comparison needs at least {least} images; there are {len(a)}.")


def _nearest_others(vectors: Vectors, k: int) -> NDArray[np.int64]:
    """``[n, k]`` positions of the nearest other rows by cosine."""
    _, position = nearest(vectors, vectors, k + 1)
    itself = position == np.arange(len(vectors))[:, None]
    itself[~itself.any(1), -1] = True  # pushed out by k + 1 duplicates: leave out the last of them
    return np.asarray(position[~itself].reshape(len(vectors), k))


def _scaled(vectors: Vectors) -> Scores:
    """About the mean, and with a mean squared length of 1: it changes no CKA, and no sum overflows."""
    _, x = centred(vectors)
    return np.asarray(x / np.sqrt(np.square(x).sum(1).mean()))


def _own_hsic(x: Scores) -> float:
    """HSIC(K, K), a sum of squares: zero if all off-diagonal similarities are explained by their rows and columns."""
    found = _hsic(x, x)
    if found <= 1e-12:  # rows have a mean squared length of 1, so terms that cancel are of that order
        raise EmbprobeError("All embeddings of an encoder are equally far from each other, so nothing can be compared.")
    return found


def _hsic(x: Scores, y: Scores) -> float:
    """Unbiased HSIC of centred rows with linear kernels.

    Rows of K sum to zero when x is centred, so to −‖x_i‖² when the diagonal is set to zero: no n × n matrix is needed.
    """
    n = len(x)
    p, q = np.square(x).sum(1), np.square(y).sum(1)
    trace = float(np.square(x.T @ y).sum()) - float(p @ q)
    total = float(p.sum() * q.sum())
    return (trace + total / ((n - 1) * (n - 2)) - 2 * float(p @ q) / (n - 2)) / (n * (n - 3))
