"""Blind pairs: images that plainly differ, and that an encoder takes for the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import ScoreArray, Vectors, l2_normalize

MMVP_COSINE = 0.95
"""The cosine above which Tong et al. (2024) take two images for alike to CLIP."""
_TIE = 1e-7
"""Cosines that differ by less are equal: they are computed in single precision."""


def blind_pairs(original: Vectors, changed: Vectors, disturbed: Sequence[Vectors]) -> ScoreArray:
    """Return for each image the share of nuisances that move it farther than a plain change does.

    score(i) = mean over the nuisances v of 1[cos(f(x_i), f(T x_i)) > cos(f(x_i), f(v x_i))], ties half. Only cosines of
    one image are compared, so the encoder's scale does not matter, nor how alike its images are to each other.

    Args:
        original: The vectors of the unchanged images, ``[n, d]``.
        changed: The vectors of the same images after the change, ``[n, d]``.
        disturbed: For each nuisance the vectors of the same images under it, ``[n, d]``.

    Returns:
        Scores ``[n]`` from 0 (the change is noticed more than any nuisance) to 1 (less than all of them). An encoder
        of which both are random has 0.5.

    Raises:
        EmbprobeError: There is no nuisance, shapes differ, or a vector is zero or not finite.

    Example:
        >>> x = np.array([[1.0, 0.0], [1.0, 0.0]])
        >>> turned, noise, crop = x[:, ::-1], np.array([[3.0, 4.0], [0.0, 1.0]]), np.array([[0.0, 1.0], [-1.0, 0.0]])
        >>> blind_pairs(x, turned, [noise, crop])  # cosine 0; of the nuisances 0.6 and 0, a tie; 0, a tie, and -1
        array([0.25, 0.75])
    """
    if not disturbed:
        raise EmbprobeError("Blind pairs are compared with nuisances: give at least one.")
    to_changed = _cosines(original, changed)
    shares = []
    for each in disturbed:
        to_disturbed = _cosines(original, each)
        shares.append(np.where(np.abs(to_changed - to_disturbed) <= _TIE, 0.5, to_changed > to_disturbed))
    return np.asarray(np.mean(shares, axis=0))


def alike_pairs(original: Vectors, changed: Vectors, *, above: float = MMVP_COSINE) -> ScoreArray:
    """Return for each image whether the cosine with its changed version is above a number that is fixed beforehand.

    It depends on the encoder's scale: of one whose images all have a cosine above 0.95, every pair counts.

    Args:
        original: The vectors of the unchanged images, ``[n, d]``.
        changed: The vectors of the same images after the change, ``[n, d]``.
        above: The cosine, 0.95 in "Eyes Wide Shut?" (Tong et al. 2024).

    Returns:
        Scores ``[n]``, 0 or 1.

    Raises:
        EmbprobeError: Shapes differ, or a vector is zero or not finite.

    Example:
        >>> alike_pairs(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[4.0, 1.0], [3.0, 1.0]]))  # 0.970 and 0.949
        array([1., 0.])
    """
    return np.asarray(_cosines(original, changed) > above, np.float64)


def _cosines(a: Vectors, b: Vectors) -> ScoreArray:
    if np.shape(a) != np.shape(b):
        raise EmbprobeError(f"Pairs are of the same images: vectors of {np.shape(a)} and {np.shape(b)} are not.")
    return np.asarray((l2_normalize(a) * l2_normalize(b)).sum(1))
