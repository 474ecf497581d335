"""Debiased linear CKA between two encoders, and its spread by chance."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import blocks_of
from embprobe.measures.geometry import COINCIDE
from embprobe.measures.vectors import ScoreArray, Vectors, check_finite, check_same_rows
from embprobe.system.threads import matrix_product

_ROWS = 4096
"""Rows widened to float64 at a time: 25 MB of 768 dimensions."""
_EXACT = 2**26
"""Numbers of an encoder up to which products are of float64."""


def cka(a: Vectors, b: Vectors) -> ScoreArray:
    """Compare how two encoders see the similarities among the same images: debiased linear CKA, as influence scores.

    The mean of the scores is HSIC(K, L) / √(HSIC(K, K) HSIC(L, L)) (Kornblith et al. 2019, "Similarity of Neural
    Network Representations Revisited", section 3), with the unbiased HSIC of Song et al. 2012 ("Feature Selection via
    Dependence Maximization"): for K and L with their diagonals set to zero,

        HSIC = [tr(KL) + ΣK ΣL / ((n − 1)(n − 2)) − 2 · 1ᵀKL1 / (n − 2)] / (n (n − 3)).

    Vectors are taken with their lengths. The scores are θ + IF_i as in :mod:`embprobe.measures.geometry`: with h_i the
    sum over j of the products of K and L as centred there, HSIC is the mean of h_i up to a factor, and its influence
    2 (h_i − mean h). Time O(n d e), memory O(n + d e): vectors may be memory-mapped.

    Means, lengths and sums over rows are of float64 always, the products of rows as well up to 2²⁶ numbers an encoder
    (87,000 × 768). Of more they are of float32, each block's added up in float64: the CKA is then good to 1e-6.

    Args:
        a: One encoder's vectors, ``[n, d]``.
        b: The other encoder's vectors of the same rows, ``[n, e]``; the two dimensions may differ.

    Returns:
        Scores ``[n]`` whose mean is the CKA. 1: the same up to rotation, scale and shift. 0 in the mean over all
        matchings of the rows, however many dimensions there are (:func:`chance_cka`), so unrelated encoders are as
        well below; at least −1. A single score may lie outside that range.

    Raises:
        EmbprobeError: If the numbers of rows differ, for fewer than four rows, for numbers that are not finite, and if
            the images of an encoder all coincide or are all equally far from each other.

    Example:
        >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 4.0]])
        >>> round(float(cka(x, 7 * x[:, ::-1] + 5).mean()), 6)
        1.0
    """
    check_same_rows(a, b, min_rows=4)
    return cka_of_kernels(Kernel.of(a), Kernel.of(b))


def cka_of_kernels(x: Kernel, y: Kernel) -> ScoreArray:
    """Compute :func:`cka` from two kernels, each of which is made once however many it is compared with."""
    both, first, second = _products(x, y), x.own, y.own
    scale = np.sqrt(first.mean() * second.mean())
    value = both.mean() / scale
    influence = 2 * (both - both.mean()) / scale - value * (first / first.mean() + second / second.mean() - 2)
    return np.asarray(value + influence)


def chance_cka(n: int) -> float:
    """Return the standard deviation of CKA over all matchings of the ``n`` rows of two encoders; its mean is 0.

    √(2 / (n (n − 3))), exactly and for any two: HSIC is a sum over pairs of two matrices whose rows sum to zero once
    they are centred without their diagonals (Székely and Rizzo 2013, "The distance correlation t-test of independence
    in high dimension", section 2).

    Raises:
        EmbprobeError: For fewer than four rows.

    Example:
        >>> round(chance_cka(1000), 5)
        0.00142
    """
    if n < 4:
        raise EmbprobeError(f"This comparison needs at least 4 images; there are {n}.")
    return float(np.sqrt(2 / (n * (n - 3))))


@dataclass(frozen=True)
class Kernel:
    """The similarities of one encoder's rows, held as the rows themselves; :meth:`of` makes it.

    Rows are about their mean with a mean squared length of 1, which changes no CKA and lets no sum overflow.
    """

    vectors: Vectors
    mean: ScoreArray
    scale: float

    @classmethod
    def of(cls, vectors: Vectors) -> Kernel:
        """Centre and scale vectors ``[n, d]``.

        Raises :class:`EmbprobeError` for numbers that are not finite, and if all rows coincide.
        """
        check_finite(vectors)
        largest = max(float(np.abs(block).max()) for _, block in blocks_of(vectors, _ROWS)) or 1.0
        sums = np.zeros(vectors.shape[1])
        for _, block in blocks_of(vectors, _ROWS):
            sums += (np.asarray(block, np.float64) / largest).sum(0)
        mean = sums / len(vectors)
        spread = total = 0.0
        for _, block in blocks_of(vectors, _ROWS):
            wide = np.asarray(block, np.float64) / largest
            spread += float(np.square(wide - mean).sum())
            total += float(np.square(wide).sum())
        if spread <= COINCIDE * total:
            raise EmbprobeError("All embeddings coincide, so nothing can be compared.")
        return cls(vectors, mean * largest, float(np.sqrt(spread / len(vectors))) * largest)

    def parts(self, dtype: type[np.floating]) -> Iterator[NDArray[np.floating]]:
        """Yield the centred and scaled rows block by block, ``[m, d]`` each."""
        mean, scale = self.mean.astype(dtype), dtype(self.scale)
        for _, block in blocks_of(self.vectors, _ROWS):
            yield (np.asarray(block, dtype) - mean) / scale

    @cached_property
    def own(self) -> ScoreArray:
        """The products of the kernel with itself, ``[n]``.

        Raises :class:`EmbprobeError` if their mean is zero: then all similarities are explained by their rows and
        columns.
        """
        products = _products(self, self)
        # rows have a mean squared length of 1, so terms that cancel are 1 / n
        if products.mean() <= 1e-12 / len(products):
            raise EmbprobeError(
                "All embeddings of an encoder are equally far from each other, so nothing can be compared."
            )
        return products


def _products(x: Kernel, y: Kernel) -> ScoreArray:
    """Sum K̃_ij L̃_ij over j for every row i, ``[n]``; the sum over i is n (n − 3) HSIC.

    K̃_ij = x_i · x_j + (p_i + p_j) / (n − 2) − Σp / ((n − 1)(n − 2)), with p_i = ‖x_i‖², is K without its diagonal,
    centred so that its rows sum to zero; the sum of products is written out so that no n × n matrix is needed.
    """
    n, exact = len(x.vectors), max(x.vectors.size, y.vectors.size) <= _EXACT
    cross = np.zeros((x.vectors.shape[1], y.vectors.shape[1]))
    x_by_q, y_by_p = np.zeros(x.vectors.shape[1]), np.zeros(y.vectors.shape[1])
    p, q = np.empty(n), np.empty(n)
    for rows, u, v in _both(x, y, exact):
        p[rows], q[rows] = (np.einsum("nd,nd->n", w, w, dtype=np.float64) for w in (u, v))
        cross += matrix_product(u.T, v)  # of a kernel with itself BLAS computes half of it
        x_by_q += q[rows].astype(u.dtype) @ u
        y_by_p += p[rows].astype(v.dtype) @ v
    c = 1 / (n - 2)
    alpha, beta = c * p - c * p.sum() / (n - 1), c * q - c * q.sum() / (n - 1)
    means = (n - 1) * alpha * beta + c * alpha * (q.sum() - q) + c * beta * (p.sum() - p) + c * c * (p @ q - p * q)
    products = means - p * q * (1 + 2 * c) - beta * p - alpha * q
    for rows, u, v in _both(x, y, exact):
        with_y = matrix_product(u, cross.astype(u.dtype))
        by_row = np.einsum("nd,nd->n", with_y, v, dtype=np.float64)
        products[rows] += by_row + c * (u @ x_by_q.astype(u.dtype) + v @ y_by_p.astype(v.dtype))
    return np.asarray(products)


def _both(x: Kernel, y: Kernel, exact: bool) -> Iterator[tuple[slice, NDArray[np.floating], NDArray[np.floating]]]:
    """Yield the same rows of two kernels block by block, and their place; of one kernel the same array twice."""
    dtype, start = np.float64 if exact else np.float32, 0
    others = itertools.repeat(None) if x is y else y.parts(dtype)
    for u, other in zip(x.parts(dtype), others, strict=False):
        yield slice(start, start + len(u)), u, u if other is None else other
        start += len(u)
