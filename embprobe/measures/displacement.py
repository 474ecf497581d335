"""Displacement: how far an embedding moves when one attribute of its image is changed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError

Vectors = NDArray[np.floating]
Scores = NDArray[np.float64]


def displacement(original: Vectors, changed: Vectors) -> Scores:
    """For every image, d(f(x), f(Tx)) over the mean of d between unrelated images, with d = 1 - cos. ``[n, d] -> [n]``.

    0: the encoder did not notice. 1: the change moved the image as far as another image is away. It can exceed 1, up
    to the ratio of 2 to the mean distance. The mean runs over all pairs of distinct rows of ``original``, so rows
    should be unrelated to each other, e.g. one per concept. Raises :class:`EmbprobeError` for fewer than two rows,
    zero or non-finite vectors, and if all originals coincide.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])  # unrelated: cos 0, distance 1
    >>> displacement(x, np.array([[1.0, 0.0], [1.0, 1.0]])).round(3)  # not moved; moved by 45 degrees: 1 - 0.707
    array([0.   , 0.293])
    """
    a, b = _unit(original), _unit(changed)
    return np.asarray((1 - (a * b).sum(1)) / _mean_distance(a))


def displacement_percentile(original: Vectors, changed: Vectors, *, partners: int = 50, seed: int = 0) -> Scores:
    """For every image, the share of unrelated images that are nearer to it than its changed self. ``[n, d] -> [n]``.

    0: nearer than any other image. 0.5: as far as a typical one. It does not depend on the encoder's scale. Unrelated
    images are ``partners`` random other rows of ``original`` (all of them, if there are fewer); ties count half.
    """
    a, b = _unit(original), _unit(changed)
    others = a[_partners(len(a), partners, seed)]
    moved = (a * b).sum(1)[:, None]
    to_others = np.einsum("nd,nkd->nk", a, others)
    tied = np.isclose(to_others, moved, rtol=0, atol=1e-7)
    return np.asarray(np.where(tied, 0.5, to_others > moved).mean(1))


def _partners(n: int, count: int, seed: int) -> NDArray[np.int64]:
    """``[n, count]`` positions of other rows: distinct random shifts of the whole sequence."""
    shifts = np.random.default_rng(seed).permutation(np.arange(1, n))[:count]
    return np.asarray((np.arange(n)[:, None] + shifts) % n)


def _mean_distance(unit: Scores) -> float:
    """The mean of 1 - cos over all pairs of distinct rows, from the length of their sum: no n x n array."""
    n = len(unit)
    total = unit.sum(0)
    mean = 1 - float(total @ total - n) / (n * (n - 1))
    if mean < 1e-9:
        raise EmbprobeError(
            "All embeddings coincide, so there is no distance to compare with. Has the encoder collapsed?"
        )
    return mean


def _unit(vectors: Vectors) -> Scores:
    if len(vectors) < 2:
        raise EmbprobeError(f"Displacement needs at least two images; there are {len(vectors)}.")
    wide = np.asarray(vectors, np.float64)
    lengths = np.linalg.norm(wide, axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        bad = int((~np.isfinite(lengths) | (lengths == 0)).sum())
        raise EmbprobeError(f"{bad} of {len(wide)} embeddings are zero or not finite, so they have no direction.")
    return np.asarray(wide / lengths)
