"""Displacement: how far an embedding moves when one attribute of its image is changed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.pair_effects import PairEffects, PairTally
from embprobe.measures.vectors import ScoreArray, Vectors, l2_normalize


def displacement(original: Vectors, changed: Vectors) -> ScoreArray:
    """Measure how far each image moves, relative to the mean distance between unrelated images.

    score(i) = d(f(x_i), f(T x_i)) / D, with d = 1 − cos and D the mean of d over all pairs of distinct rows of
    ``original``. So rows should be unrelated to each other, e.g. one per concept.

    Args:
        original: The vectors of the unchanged images, ``[n, d]``.
        changed: The vectors of the same images after the change, ``[n, d]``.

    Returns:
        Scores ``[n]``. 0: the encoder did not notice. 1: the change moved the image as far as another image is away. It
        can exceed 1, up to 2 / D. Their mean is the estimate; its interval needs :func:`displacement_influence`,
        because D is estimated from the same images.

    Raises:
        EmbprobeError: For fewer than two rows, zero or non-finite vectors, and if all originals coincide.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])  # unrelated: cos 0, distance 1
        >>> displacement(x, np.array([[1.0, 0.0], [1.0, 1.0]])).round(3)  # not moved; by 45 degrees: 1 - 0.707
        array([0.   , 0.293])
    """
    a, b = l2_normalize(original), l2_normalize(changed)
    return np.asarray((1 - (a * b).sum(1)) / _mean_distance(a))


def displacement_influence(original: Vectors, changed: Vectors) -> ScoreArray:
    """Return influence scores of the mean of :func:`displacement`: that mean, with the unit's sampling variation.

    With u_i the mean distance of image i to the others, so that D is the mean of u_i, and T the mean displacement,

        score(i) = d_i / D - 2 T (u_i / D - 1)

    (the ratio's influence; 2, because a distance belongs to two images: Hoeffding 1948).

    Args:
        original: As for :func:`displacement`.
        changed: As for :func:`displacement`.

    Returns:
        Scores ``[n]`` whose mean is that of :func:`displacement`; a single one may be below 0.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # 1, 1 and 2 apart: D = 4/3, u = 3/2, 1, 3/2
        >>> displacement_influence(x, x[[1, 1, 2]]).round(4)  # T = 1/4; 0.75 - 0.5 / 8, 0 + 0.5 / 4, 0 - 0.5 / 8
        array([ 0.6875,  0.125 , -0.0625])
    """
    scores, a = displacement(original, changed), l2_normalize(original)
    to_others = (len(a) - a @ a.sum(0)) / (len(a) - 1)
    return np.asarray(scores - 2 * scores.mean() * (to_others / to_others.mean() - 1))


def displacement_percentile(original: Vectors, changed: Vectors, *, partners: int = 50, seed: int = 0) -> ScoreArray:
    """Return for each image the share of unrelated images that are nearer to it than its changed version.

    It asks :func:`displacement`'s question by rank, so it does not depend on the encoder's scale.

    Args:
        original: The vectors of the unchanged images, ``[n, d]``.
        changed: The vectors of the same images after the change, ``[n, d]``.
        partners: The number of random other rows of ``original`` to compare with; all of them, if there are fewer.
        seed: Decides which partners; the same for every encoder.

    Returns:
        Scores ``[n]`` from 0 (nearer than any other image) to 1. 0.5: as far as a typical one. Ties count half.

    Raises:
        EmbprobeError: For fewer than two rows, and for zero or non-finite vectors.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
        >>> displacement_percentile(x, np.array([[3.0, 4.0], [1.0, 0.0], [-1.0, 0.0]]))  # the second one ties with both
        array([0. , 0.5, 0. ])
    """
    return np.asarray(_nearer(original, changed, partners, seed)[1].mean(1))


def displacement_percentile_effects(
    original: Vectors, changed: Vectors, groups: Sequence[str], *, partners: int = 50, seed: int = 0
) -> PairEffects:
    """Return the scores of :func:`displacement_percentile` with the effect of each image on the others', for intervals.

    Args:
        original: As for :func:`displacement_percentile`.
        changed: As for :func:`displacement_percentile`.
        groups: The resampled group of each image, ``[n]``.
        partners: As for :func:`displacement_percentile`.
        seed: As for :func:`displacement_percentile`.
    """
    shifts, nearer = _nearer(original, changed, partners, seed)
    scores, rows = nearer.mean(1), np.arange(len(nearer))
    tally = PairTally(groups, seed=seed)
    tally.add(rows, (rows[:, None] + shifts) % len(rows), nearer - scores[:, None])
    return tally.effects(scores, partners=len(shifts))


def _nearer(original: Vectors, changed: Vectors, partners: int, seed: int) -> tuple[NDArray[np.int64], ScoreArray]:
    """Return shifts ``[p]`` to each row's partners, and whether they are nearer than its change, ``[n, p]``."""
    a, b = l2_normalize(original), l2_normalize(changed)
    to_changed = (a * b).sum(1)
    shifts = np.random.default_rng(seed).permutation(np.arange(1, len(a)))[:partners]
    nearer = np.empty((len(a), len(shifts)))
    for column, shift in enumerate(shifts):  # row i against row i + shift, for all i at once: no array of all pairs
        to_other = (a * np.roll(a, -shift, axis=0)).sum(1)
        nearer[:, column] = np.where(np.abs(to_other - to_changed) <= 1e-7, 0.5, to_other > to_changed)
    return shifts, nearer


def _mean_distance(directions: ScoreArray) -> float:
    """Return the mean of 1 − cos over all pairs of distinct unit rows, from the length of their sum: no n × n array."""
    n = len(directions)
    total = directions.sum(0)
    mean = 1 - float(total @ total - n) / (n * (n - 1))
    if mean < 1e-9:
        raise EmbprobeError(
            "All embeddings coincide, so there is no distance to compare with. Has the encoder collapsed?"
        )
    return mean
