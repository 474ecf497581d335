"""Dense measures: scores per image of predictions for its patches, ``[n, h, w]`` patches of ``n`` images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import ScoreArray

Mask = NDArray[np.bool_]


def mean_iou(predicted: Mask, truth: Mask) -> ScoreArray:
    """Score predicted masks by the mean of two overlaps: of the object and of the background.

    The overlap of a class is the number of patches that are both predicted and true over those that are either
    (intersection over union, Jaccard). A class that an image neither has nor is predicted to have does not count.

    Args:
        predicted: Whether each patch is predicted to show the object, ``[n, h, w]``.
        truth: Whether it does.

    Returns:
        Scores ``[n]`` in 0..1.

    Example:
        >>> truth = np.array([[[True, True], [False, False]]])
        >>> mean_iou(np.array([[[True, False], [False, False]]]), truth)  # (1 / 2 + 2 / 3) / 2
        array([0.58333333])
    """
    _check_shapes(predicted, truth)
    n = len(truth)
    overlaps = np.full((2, n), np.nan)
    for i, (a, b) in enumerate(((predicted, truth), (~predicted, ~truth))):
        either = (a | b).reshape(n, -1).sum(1)
        np.divide((a & b).reshape(n, -1).sum(1), either, out=overlaps[i], where=either > 0)
    return np.asarray(np.nanmean(overlaps, axis=0))


def patch_accuracy(predicted: Mask, truth: Mask) -> ScoreArray:
    """Score each image by the share of its patches that are predicted right. ``[n, h, w], [n, h, w] -> [n]``.

    Example:
        >>> patch_accuracy(np.array([[[True, False]]]), np.array([[[True, True]]]))
        array([0.5])
    """
    _check_shapes(predicted, truth)
    return np.asarray((predicted == truth).reshape(len(truth), -1).mean(1))


def ranked_above(values: NDArray[np.floating], truth: Mask) -> ScoreArray:
    """Score each image by how often a patch of the object has a larger value than one of the background.

    That is the area under the ROC curve within an image, ties half (Mann and Whitney 1947).

    Args:
        values: A number for each patch, ``[n, h, w]``.
        truth: Whether each patch shows the object.

    Returns:
        Scores ``[n]`` in 0..1, 0.5 for values that do not tell; NaN where all patches are of one class.

    Example:
        >>> ranked_above(np.array([[[0.9, 0.2], [0.5, 0.1]]]), np.array([[[True, True], [False, False]]]))
        array([0.75])
    """
    _check_shapes(values, truth)
    scores = np.full(len(truth), np.nan)
    for i, (of_image, inside) in enumerate(zip(values, truth, strict=True)):
        if inside.any() and not inside.all():
            gap = of_image[inside][:, None] - of_image[~inside][None]
            scores[i] = ((gap > 0) + (gap == 0) / 2).mean()
    return scores


def explained(predicted: NDArray[np.floating], truth: NDArray[np.floating]) -> ScoreArray:
    """Score predicted numbers such that the mean over images is R²: one minus the error over the variance.

    With e_i the sum of an image's squared errors, v_i that of its squared distances from the mean truth of all images,
    and r = sum of e / sum of v, the score is 1 - r - (e_i - r v_i) / mean of v: the linearised ratio (Davison and
    Hinkley 1997, section 3.8), whose bootstrap resamples the variance, too.

    Args:
        predicted: ``[n, ...]``, for example the places of an image's patches, ``[n, h, w, 2]``.
        truth: The true numbers, of the same shape.

    Returns:
        Scores ``[n]``; their mean is at most 1, and 0 for whoever always answers the mean truth.

    Raises:
        EmbprobeError: The truth is the same everywhere, so there is nothing to explain.

    Example:
        >>> explained(np.array([[0.0], [1.0], [1.0]]), np.array([[0.0], [1.0], [2.0]])).mean()  # 1 - 1 / (1 + 0 + 1)
        np.float64(0.5)
    """
    _check_shapes(predicted, truth)
    n = len(truth)
    errors = np.square(np.asarray(predicted, np.float64) - truth).reshape(n, -1).sum(1)
    # the last axis holds the numbers that one thing has; a mean is taken over images and over all places in them
    mean = np.asarray(truth, np.float64).reshape(-1, truth.shape[-1]).mean(0)
    spread = np.square(np.asarray(truth, np.float64) - mean).reshape(n, -1).sum(1)
    if not spread.sum() > 0:
        raise EmbprobeError("The truth is the same in all images, so there is nothing to explain.")
    ratio = errors.sum() / spread.sum()
    return np.asarray(1 - ratio - (errors - ratio * spread) / spread.mean())


def shuffle_patches(patches: NDArray[Any], *, seed: int = 0) -> NDArray[Any]:
    """Permute the patches of each image, another way for each: what they hold stays, and where they stood is lost.

    Args:
        patches: ``[n, h, w, d]``.
        seed: The same seed gives the same permutations.

    Example:
        >>> shuffled = shuffle_patches(np.arange(4.0).reshape(1, 2, 2, 1))
        >>> sorted(shuffled.ravel().tolist())
        [0.0, 1.0, 2.0, 3.0]
    """
    n, h, w, d = patches.shape
    order = np.random.default_rng(seed).permuted(np.tile(np.arange(h * w), (n, 1)), axis=1)
    shuffled = np.take_along_axis(patches.reshape(n, h * w, d), order[..., None], axis=1)
    return np.asarray(shuffled.reshape(n, h, w, d))


def patch_places(rows: int, columns: int) -> ScoreArray:
    """Return row and column of the middle of each patch, in shares of the image: ``[rows, columns, 2]``, 0 to 1.

    Example:
        >>> patch_places(1, 2).tolist()
        [[[0.5, 0.25], [0.5, 0.75]]]
    """
    y, x = (np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns
    return np.stack(np.meshgrid(y, x, indexing="ij"), axis=-1)


def _check_shapes(a: NDArray[Any], b: NDArray[Any]) -> None:
    if a.shape != b.shape:
        raise EmbprobeError(f"Predictions are of the shape {a.shape} and truths of {b.shape}: they must be the same.")
