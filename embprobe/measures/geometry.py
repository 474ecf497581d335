"""Geometry: how embeddings lie on their sphere, as one score per image whose mean is the statistic itself.

Some of these statistics are no means over images: uniformity, the mean cosine, the effective rank and the modality gap
belong to the whole set. Their scores are *influence scores*: that of image i is θ + IF_i, with IF_i the empirical
influence function, the derivative of θ as the weight of image i grows from 1/n and all others shrink alike (the
infinitesimal jackknife: Jaeckel 1972; Efron 1982, "The Jackknife, the Bootstrap and Other Resampling Plans", chapter
6). The IF_i sum to zero, so the mean of the scores is θ, and to first order in 1/n resampling the scores moves their
mean as resampling the images moves θ. So these scores have intervals like all others. But a single score has no meaning
of its own: it may lie outside the range of θ. And an interval says how θ scatters, not how a finite n biases it.

Where vectors are taken as directions, each row may have any positive length.

Vectors are read block by block, and divided by their length, averaged and decomposed in float64. The products of images
with images are of float64 too, but in :func:`uniformity` for images that have to be divided into blocks: of float32.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import blocks_of, rows_at
from embprobe.measures.vectors import (
    LabelArray,
    ScoreArray,
    Vectors,
    add_by_label,
    check_directions,
    check_finite,
    l2_normalize,
    unit_blocks,
)
from embprobe.system.threads import matrix_product, side_by_side, threads_for

COINCIDE = 1e-12
"""Share of the squared lengths that float32's rounding alone can leave around a mean: (6e-8)² is 4e-15."""
_ROWS = 512
"""Rows compared at a time."""
_TALL = 16_384
"""Rows decomposed at a time: 100 MB of 768 dimensions."""
_SUMS = 2**24
"""Numbers of labels' sums held at a time: 128 MiB."""


def alignment(vectors: Vectors, labels: LabelArray) -> ScoreArray:
    """Return for each image its mean squared distance to the other images of its label, as directions.

    Wang and Isola 2020, "Understanding Contrastive Representation Learning through Alignment and Uniformity on the
    Hypersphere", section 4.1: the mean of ‖x − y‖^α with α = 2 and all pairs of a label as positive ones. Resample
    whole labels: images of one label share their pairs, so an interval over anything finer is too narrow.

    Args:
        vectors: ``[n, d]``.
        labels: The label of each image, ``[n]``.

    Returns:
        Scores ``[n]`` from 0 (all images of a label coincide) to 4; 2: they are no nearer than orthogonal ones. NaN for
        an image that is alone in its label.

    Raises:
        EmbprobeError: If every image is alone in its label, for fewer than two rows, zero and non-finite vectors.
        ValueError: If the numbers of labels and vectors differ.

    Example:
        >>> x = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> alignment(x, np.array(["a", "a", "b", "c"]))  # at a right angle: 1 + 1; alone; alone
        array([ 2.,  2., nan, nan])
    """
    check_directions(vectors, min_rows=2)
    if len(labels) != len(vectors):
        raise ValueError(f"need one label per vector, got {len(labels)} and {len(vectors)}")
    values, coded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if counts.max() < 2:
        raise EmbprobeError("Every image is alone in its label, so there is nothing it could be aligned with.")
    cosine, step = np.full(len(vectors), np.nan), max(1, _SUMS // vectors.shape[1])
    for first in range(0, len(values), step):  # so many labels that their sums can be held
        at = np.flatnonzero((first <= coded) & (coded < first + step))
        some, label = rows_at(vectors, at), coded[at] - first
        sums = np.zeros((min(step, len(values)), vectors.shape[1]))
        for rows, x in unit_blocks(some, min_rows=1):
            add_by_label(sums, label[rows], x)
        others = counts[coded[at]] - 1
        for rows, x in unit_blocks(some, min_rows=1):
            to_others = np.einsum("nd,nd->n", x, sums[label[rows]] - x)
            here = others[rows]
            cosine[at[rows]] = np.divide(to_others, here, out=np.full(len(x), np.nan), where=here > 0)
    return np.asarray(np.maximum(2 - 2 * cosine, 0))


def uniformity(vectors: Vectors, *, partners: int = 2_500, seed: int = 0) -> ScoreArray:
    """Measure how evenly directions cover the sphere: log of the mean of exp(−2 ‖x − y‖²) over pairs of images.

    Wang and Isola 2020, section 4.1, with t = 2. With u_i the mean of the kernel between image i and its partners and U
    the mean of u_i, IF_i = 2 (u_i − U) / U. Time O(n ``partners`` d). Where images are divided into blocks, cosines are
    of float32 and the kernel is summed in float64: the statistic is good to 1e-6.

    Args:
        vectors: ``[n, d]``, taken as directions.
        partners: Each image is compared with all others, up to twice as many as this; if there are more, they are
            divided at random into blocks, and each is compared with those of its own block: at least ``partners``.
        seed: Decides the blocks.

    Returns:
        Influence scores ``[n]`` of a statistic from −8 to 0. 0: all coincide. The lower, the more uniform: about −4 for
        random directions in many dimensions.

    Raises:
        EmbprobeError: For fewer than two rows, zero and non-finite vectors.
        ValueError: For ``partners`` below 1.

    Example:
        >>> uniformity(np.array([[1.0, 0.0], [0.0, 1.0]]))  # one pair, ‖x − y‖² = 2
        array([-4., -4.])
    """
    if partners < 1:
        raise ValueError(f"partners must be at least 1, got {partners}")
    check_directions(vectors, min_rows=2)
    n = len(vectors)
    blocks = max(1, n // (partners + 1))
    order = np.random.default_rng(seed).permutation(n) if blocks > 1 else np.arange(n)
    kernel = np.empty(n)
    # Blocks, not partners drawn for each image: every pair counts for both, as the influence supposes.
    for block in np.array_split(order, blocks):
        x = l2_normalize(vectors[block])
        kernel[block] = _mean_kernel(x if blocks == 1 else x.astype(np.float32))
    mean = kernel.mean()
    return np.asarray(np.log(mean) + 2 * (kernel - mean) / mean)


def mean_cosine(vectors: Vectors) -> ScoreArray:
    """Average the cosine over pairs of distinct images: the anisotropy of the embedding.

    Ethayarajh 2019, "How Contextual are Contextualized Word Representations?". With u_i the mean cosine of image i to
    the others, IF_i = 2 (u_i − θ). Time O(n d).

    Args:
        vectors: ``[n, d]``, taken as directions.

    Returns:
        Influence scores ``[n]`` of a statistic from −1 / (n − 1) to 1. 0: directions are spread evenly about the
        origin. 1: all coincide.

    Raises:
        EmbprobeError: For fewer than two rows, zero and non-finite vectors.

    Example:
        >>> mean_cosine(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])).round(3)  # θ = 1/3; u = 1/2, 1/2, 0
        array([ 0.667,  0.667, -0.333])
    """
    total = _sum_of_directions(vectors)
    to_others = (_along(vectors, total) - 1) / (len(vectors) - 1)
    return np.asarray(2 * to_others - to_others.mean())


def effective_rank(vectors: Vectors) -> ScoreArray:
    """Measure in how many directions embeddings vary: exp of the entropy of the centred matrix's singular values.

    Roy and Vetterli 2007, "The effective rank: a measure of effective dimensionality"; the singular values are
    normalised to sum 1. RankMe (Garrido et al. 2023) is the same of the matrix that is not centred, so that a large
    mean vector, which is one direction, lowers it; and with 1e-7 added to each share.

    With λ_k = σ_k² / n the variance along direction v_k, dλ_k = (v_k · (x_i − m))² − λ_k and dσ_k = dλ_k / (2 σ_k), in
    the same unit. Directions without variance stay without, however images are weighted. The rank grows with n until
    n is many times d, so compare encoders on the same rows. Time O(n d min(n, d)).

    Args:
        vectors: ``[n, d]``, taken with their lengths; pass unit vectors to leave these out.

    Returns:
        Influence scores ``[n]`` of a statistic from 1 (one direction varies) to min(n − 1, d) (all vary alike).

    Raises:
        EmbprobeError: For fewer than two rows, if all coincide, and for numbers that are not finite.

    Example:
        >>> effective_rank(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])).round(6)
        array([2., 2., 2., 2.])
    """
    mean, axes, deviations = principal_axes(vectors)
    share = deviations / deviations.sum()
    entropy = -float(share @ np.log(share))
    # dH = −Σ_k dσ_k (log p_k + H) / Σσ, where the λ_k in dσ_k cancel: the entropy does not depend on scale.
    slope = -(np.log(share) + entropy) / deviations.sum() / (2 * deviations)
    influence = [
        matrix_product(np.asarray(block, np.float64) - mean, axes) ** 2 @ slope for _, block in blocks_of(vectors)
    ]
    return np.asarray(np.exp(entropy) * (1 + np.concatenate(influence)))


def conformity(vectors: Vectors) -> ScoreArray:
    """Return for each image its cosine with the mean of all images, as directions: how typical it is.

    Levi and Gilboa 2025, "The Double-Ellipsoid Geometry of CLIP" (arXiv:2411.14517), define conformity as the mean
    cosine u_i to all others and show that the cosine to the mean vector estimates it. Here the mean is that of unit
    vectors, so one is a linear function of the other: u_i = (n ‖m‖ c_i − 1) / (n − 1). The mean of the scores is ‖m‖,
    and they are its influence scores.

    Args:
        vectors: ``[n, d]``, taken as directions.

    Returns:
        Scores ``[n]`` from −1 to 1; typical images are high.

    Raises:
        EmbprobeError: If the mean is zero, for fewer than two rows, zero and non-finite vectors.

    Example:
        >>> conformity(np.array([[1.0, 0.0], [0.0, 1.0]])).round(3)  # the mean lies between, 45 degrees from both
        array([0.707, 0.707])
    """
    mean = _sum_of_directions(vectors) / len(vectors)
    length = float(np.linalg.norm(mean))
    if length**2 < COINCIDE:
        raise EmbprobeError("The mean of the embeddings is zero, so no image can conform to it.")
    return _along(vectors, mean / length)


def modality_gap(images: Vectors, texts: Vectors) -> ScoreArray:
    """Measure the distance between the mean image and the mean text, as directions.

    Liang et al. 2022, "Mind the Gap". The score of pair i is its difference, image minus text, along the direction of
    the gap. The length of a mean of noise is above zero: for means that are equal, the gap is about the root of the
    summed variances over n, and an interval so near to zero leaves zero out.

    Args:
        images: ``[n, d]``.
        texts: ``[n, d]``; row i of both is one pair.

    Returns:
        Influence scores ``[n]``, one a pair, of a statistic from 0 (no gap) to 2.

    Raises:
        EmbprobeError: If numbers of rows or dimensions differ, if the means coincide (a distance of zero has no
            direction to be moved in), for fewer than two rows, zero and non-finite vectors.

    Example:
        >>> modality_gap(np.array([[1.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [0.0, 1.0]])).round(3)
        array([1.414, 1.414])
    """
    if np.shape(images) != np.shape(texts):
        raise EmbprobeError(
            f"Images and texts must be pairs of one dimension; they have shapes {np.shape(images)} "
            f"and {np.shape(texts)}."
        )
    gap = (_sum_of_directions(images) - _sum_of_directions(texts)) / len(images)
    length = float(np.linalg.norm(gap))
    if length**2 < COINCIDE:
        raise EmbprobeError("The mean image and the mean text coincide. Are these really images and texts?")
    return np.asarray(_along(images, gap / length) - _along(texts, gap / length))


def principal_axes(vectors: Vectors) -> tuple[ScoreArray, ScoreArray, ScoreArray]:
    """Return the mean ``[d]``, the directions of variance ``[d, r]`` and the deviations along them ``[r]``.

    Deviations are roots of variances over n, largest first. Directions without variance are left out, so r is the rank.
    Raises as :func:`centred` does.

    Example:
        >>> mean, axes, deviations = principal_axes(np.array([[1.0, 1.0], [1.0, 3.0]]))
        >>> mean, deviations, abs(axes[:, 0])  # varies in the second dimension alone, by 1 about 2
        (array([1., 2.]), array([1.]), array([0., 1.]))
    """
    mean, parts = centred(vectors, rows=_TALL)
    # The triangle of QR has the singular values and right vectors of the matrix, without the precision that a
    # covariance loses, and without left vectors [n, d]. Of many rows it is that of the triangle so far and some more.
    triangle = np.empty((0, vectors.shape[1]))
    for part in parts:
        x = np.concatenate([triangle, part])
        with threads_for(x.size * min(x.shape)):
            triangle = np.asarray(np.linalg.qr(x, mode="r"))
    with threads_for(triangle.size * len(triangle)):
        _, deviations, axes = np.linalg.svd(triangle, full_matrices=False)
    varies = deviations > deviations[0] * max(vectors.shape) * np.finfo(np.float64).eps
    return mean, np.asarray(axes[varies].T), np.asarray(deviations[varies] / np.sqrt(len(vectors)))


def centred(vectors: Vectors, *, rows: int | None = None) -> tuple[ScoreArray, Iterator[ScoreArray]]:
    """Return the mean ``[d]`` and the vectors less their mean block by block, ``[m, d]`` each, in float64.

    Raises :class:`EmbprobeError` for fewer than two rows, if all coincide, and for numbers that are not finite.
    """
    if len(vectors) < 2:
        raise EmbprobeError(f"Variance needs at least two images; there are {len(vectors)}.")
    check_finite(vectors)
    mean = np.sum([block.sum(0, dtype=np.float64) for _, block in blocks_of(vectors)], axis=0) / len(vectors)
    around = total = 0.0
    for _, block in blocks_of(vectors):
        wide = np.asarray(block, np.float64)
        around += float(np.square(wide - mean).sum())
        total += float(np.square(wide).sum())
    if around <= COINCIDE * total:
        raise EmbprobeError("All embeddings coincide, so there is no variance to measure. Has the encoder collapsed?")
    return np.asarray(mean), (np.asarray(block, np.float64) - mean for _, block in blocks_of(vectors, rows))


def _sum_of_directions(vectors: Vectors) -> ScoreArray:
    """Add up the rows, each divided by its length. ``[n, d] -> [d]``."""
    return np.asarray(np.sum([x.sum(0) for _, x in unit_blocks(vectors)], axis=0))


def _along(vectors: Vectors, direction: ScoreArray) -> ScoreArray:
    """Multiply the rows, each divided by its length, by a vector. ``[n, d], [d] -> [n]``."""
    return np.concatenate([x @ direction for _, x in unit_blocks(vectors)])


def _mean_kernel(x: NDArray[np.floating]) -> ScoreArray:
    """Average exp(−2 ‖x − y‖²) over the other rows, for each of the unit rows. ``[m, d] -> [m]``."""

    def means(start: int) -> ScoreArray:
        kernel = matrix_product(x[start : start + _ROWS], x.T)
        kernel *= 4
        kernel -= 4  # −2 ‖x − y‖² = 4 cos − 4
        np.exp(kernel, out=kernel)
        position = np.arange(len(kernel))
        kernel[position, start + position] = 0  # itself
        return np.asarray(kernel.sum(1, dtype=np.float64) / (len(x) - 1))

    return np.concatenate(side_by_side(means, range(0, len(x), _ROWS), memory=2 * 8 * _ROWS * len(x)))
