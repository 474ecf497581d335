"""Displacement: how far an embedding moves when one attribute of its image is changed."""

from __future__ import annotations

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import ScoreArray, Vectors, unit


def displacement(original: Vectors, changed: Vectors) -> ScoreArray:
    """For every image, d(f(x), f(Tx)) over the mean of d between unrelated images, with d = 1 - cos. ``[n, d] -> [n]``.

    0: the encoder did not notice. 1: the change moved the image as far as another image is away. It can exceed 1, up
    to the ratio of 2 to the mean distance. The mean runs over all pairs of distinct rows of ``original``, so rows
    should be unrelated to each other, e.g. one per concept. Raises :class:`EmbprobeError` for fewer than two rows,
    zero or non-finite vectors, and if all originals coincide.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])  # unrelated: cos 0, distance 1
    >>> displacement(x, np.array([[1.0, 0.0], [1.0, 1.0]])).round(3)  # not moved; moved by 45 degrees: 1 - 0.707
    array([0.   , 0.293])
    """
    a, b = unit(original), unit(changed)
    return np.asarray((1 - (a * b).sum(1)) / _mean_distance(a))


def displacement_percentile(original: Vectors, changed: Vectors, *, partners: int = 50, seed: int = 0) -> ScoreArray:
    """For every image, the share of unrelated images that are nearer to it than its changed self. ``[n, d] -> [n]``.

    0: nearer than any other image. 0.5: as far as a typical one. It does not depend on the encoder's scale. Unrelated
    images are ``partners`` random other rows of ``original`` (all of them, if there are fewer); ties count half.
    """
    a, b = unit(original), unit(changed)
    moved = (a * b).sum(1)
    shifts = np.random.default_rng(seed).permutation(np.arange(1, len(a)))[:partners]
    nearer = np.zeros(len(a))
    for shift in shifts:  # every row against the one so many places further: no array of all pairs
        to_other = (a * np.roll(a, -shift, axis=0)).sum(1)
        nearer += np.where(np.abs(to_other - moved) <= 1e-7, 0.5, to_other > moved)
    return nearer / len(shifts)


def _mean_distance(unit: ScoreArray) -> float:
    """The mean of 1 - cos over all pairs of distinct rows, from the length of their sum: no n x n array."""
    n = len(unit)
    total = unit.sum(0)
    mean = 1 - float(total @ total - n) / (n * (n - 1))
    if mean < 1e-9:
        raise EmbprobeError(
            "All embeddings coincide, so there is no distance to compare with. Has the encoder collapsed?"
        )
    return mean
