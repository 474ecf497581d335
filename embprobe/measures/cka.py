"""Debiased linear CKA, and how large it is by chance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.geometry import COINCIDE
from embprobe.measures.rows import check_rows
from embprobe.measures.vectors import ScoreArray, Vectors, check_finite

_ROWS = 4096
"""Rows widened to float64 at a time: 25 MB of 768 dimensions."""


def cka(a: Vectors, b: Vectors) -> ScoreArray:
    """Do two encoders agree which images are alike? Debiased linear CKA; influence scores. ``[n, d], [n, e] -> [n]``.

    Their mean is HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) (Kornblith et al. 2019, "Similarity of Neural Network
    Representations Revisited", section 3), with the unbiased HSIC of Song et al. 2012 ("Feature Selection via
    Dependence Maximization"): for K and L with their diagonals set to zero,

        HSIC = [tr(KL) + ΣK ΣL / ((n − 1)(n − 2)) − 2 · 1ᵀKL1 / (n − 2)] / (n (n − 3)).

    1: the same up to rotation, scale and shift. 0 in the mean over all matchings of the rows, however many dimensions
    there are (:func:`chance_cka`), so unrelated encoders are as well below; at least −1. Vectors are taken with their
    lengths. The scores are θ + IF_i as in :mod:`embprobe.measures.geometry`: with h_i the sum over j of K and L as
    centred there, HSIC is the mean of h_i up to a factor, and its influence 2 (h_i − mean h).

    Time O(n d e), memory O(n + d e): vectors may be memory-mapped. Raises :class:`EmbprobeError` if the numbers of
    rows differ, for fewer than four, for numbers that are not finite, and if the images of an encoder all coincide or
    are all equally far from each other.

    >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 4.0]])
    >>> round(float(cka(x, 7 * x[:, ::-1] + 5).mean()), 6)
    1.0
    """
    check_rows(a, b, least=4)
    return cka_of(Kernel.of(a), Kernel.of(b))


def cka_of(x: Kernel, y: Kernel) -> ScoreArray:
    """The same from what each encoder has by itself, which is computed once however many it is compared with."""
    both, first, second = _products(x, y), x.own, y.own
    scale = np.sqrt(first.mean() * second.mean())
    found = both.mean() / scale
    influence = 2 * (both - both.mean()) / scale - found * (first / first.mean() + second / second.mean() - 2)
    return np.asarray(found + influence)


def chance_cka(n: int) -> float:
    """The standard deviation of CKA over all matchings of ``n`` rows of two encoders; its mean is 0.

    √(2 / (n (n − 3))), exactly and for any two: HSIC is a sum over pairs of two matrices whose rows sum to zero once
    they are centred without their diagonals (Székely and Rizzo 2013, "The distance correlation t-test of independence
    in high dimension", section 2). Raises :class:`EmbprobeError` for fewer than four.

    >>> round(chance_cka(1000), 5)
    0.00142
    """
    if n < 4:
        raise EmbprobeError(f"This comparison needs at least 4 images; there are {n}.")
    return float(np.sqrt(2 / (n * (n - 3))))


@dataclass(frozen=True)
class Kernel:
    """The similarities of an encoder's rows; :meth:`of` makes it.

    Rows are about their mean with a mean squared length of 1, which changes no CKA and lets no sum overflow.
    """

    vectors: Vectors
    mean: ScoreArray
    scale: float

    @classmethod
    def of(cls, vectors: Vectors) -> Kernel:
        """Raises :class:`EmbprobeError` for numbers that are not finite, and if all rows coincide."""
        blocks = [vectors[start : start + _ROWS] for start in range(0, len(vectors), _ROWS)]
        check_finite(*blocks)
        largest = max(float(np.abs(block).max()) for block in blocks) or 1.0
        sums = np.zeros(vectors.shape[1])
        for block in blocks:
            sums += (np.asarray(block, np.float64) / largest).sum(0)
        mean = sums / len(vectors)
        spread = total = 0.0
        for block in blocks:
            wide = np.asarray(block, np.float64) / largest
            spread += float(np.square(wide - mean).sum())
            total += float(np.square(wide).sum())
        if spread <= COINCIDE * total:
            raise EmbprobeError("All embeddings coincide, so nothing can be compared.")
        return cls(vectors, mean * largest, float(np.sqrt(spread / len(vectors))) * largest)

    def parts(self) -> Iterator[ScoreArray]:
        """The rows, some at a time, ``[m, d]`` each."""
        for start in range(0, len(self.vectors), _ROWS):
            yield (np.asarray(self.vectors[start : start + _ROWS], np.float64) - self.mean) / self.scale

    @cached_property
    def own(self) -> ScoreArray:
        """Products with itself, a sum of squares. Raises :class:`EmbprobeError` if they are zero: then all similarities
        are explained by their rows and columns."""
        found = _products(self, self)
        if found.mean() <= 1e-12 / len(found):  # rows have a mean squared length of 1, so terms that cancel are 1 / n
            raise EmbprobeError(
                "All embeddings of an encoder are equally far from each other, so nothing can be compared."
            )
        return found


def _products(x: Kernel, y: Kernel) -> ScoreArray:
    """Of every row i the sum over j of K̃_ij L̃_ij, whose sum over i is n (n − 3) HSIC.

    K̃_ij = x_i · x_j + (p_i + p_j) / (n − 2) − Σp / ((n − 1)(n − 2)), with p_i = ‖x_i‖², is K without its diagonal,
    centred so that its rows sum to zero; the sum of products is written out so that no n × n matrix is needed.
    """
    n = len(x.vectors)
    cross = np.zeros((x.vectors.shape[1], y.vectors.shape[1]))
    x_by_q, y_by_p = np.zeros(x.vectors.shape[1]), np.zeros(y.vectors.shape[1])
    p, q = np.empty(n), np.empty(n)
    start = 0
    for u, v in zip(x.parts(), y.parts(), strict=True):
        rows = slice(start, start + len(u))
        p[rows], q[rows] = np.square(u).sum(1), np.square(v).sum(1)
        cross += u.T @ v
        x_by_q += q[rows] @ u
        y_by_p += p[rows] @ v
        start += len(u)
    c = 1 / (n - 2)
    alpha, beta = c * p - c * p.sum() / (n - 1), c * q - c * q.sum() / (n - 1)
    means = (n - 1) * alpha * beta + c * alpha * (q.sum() - q) + c * beta * (p.sum() - p) + c * c * (p @ q - p * q)
    found = means - p * q * (1 + 2 * c) - beta * p - alpha * q
    start = 0
    for u, v in zip(x.parts(), y.parts(), strict=True):
        rows = slice(start, start + len(u))
        found[rows] += np.einsum("nd,nd->n", u @ cross, v) + c * (u @ x_by_q + v @ y_by_p)
        start += len(u)
    return np.asarray(found)
