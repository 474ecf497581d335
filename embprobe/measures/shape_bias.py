"""Shape bias: of decisions on images whose shape and texture are of two classes, the share that follows the shape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.statistics import Estimate, resample


def shape_bias(decisions: LabelArray, shape: LabelArray, texture: LabelArray) -> ScoreArray:
    """Score decisions such that their mean is the shape bias, n_shape / (n_shape + n_texture).

    n_shape decisions name the class of the shape, n_texture that of the texture; a third class is neither (Geirhos et
    al. 2019, "ImageNet-trained CNNs are biased towards texture", section 2.4). With s = 1 for shape, d = 1 for either,
    and the means of both over images in conflict, b = mean(s) / mean(d), an image's score is b + (s − b d) / mean(d):
    its mean is b, and a bootstrap of it is that of the ratio (the linearised ratio of Davison and Hinkley 1997,
    section 3.8).

    Args:
        decisions: The class that each image was taken for, ``[n]``; any other text, such as ``na``, is neither.
        shape: The class of each image's shape, ``[n]``.
        texture: The class of each image's texture, ``[n]``.

    Returns:
        Scores ``[n]``, which may lie below 0 and above 1, while their mean may not. NaN for images whose shape and
        texture are of one class, which tell nothing, and for all images if no decision is for either.

    Raises:
        EmbprobeError: If the three differ in length, or no image has a conflict.

    Example:
        Two decisions for the shape, one for the texture, one for neither; the last image has no conflict.

        >>> taken_for = np.array(["cat", "cat", "car", "dog", "cat"])
        >>> shape, texture = np.array(["cat"] * 5), np.array(["car", "car", "car", "car", "cat"])
        >>> shape_bias(taken_for, shape, texture).round(3)  # 0.667 + (1 - 0.667) / 0.75, 0.667 - 0.667 / 0.75, 0.667
        array([ 1.111,  1.111, -0.222,  0.667,    nan])
        >>> covered(taken_for, shape, texture)
        array([ 1.,  1.,  1.,  0., nan])
    """
    conflict = _conflicts(decisions, shape, texture)
    by_shape, decided = (decisions == shape)[conflict], covered(decisions, shape, texture)[conflict]
    scores = np.full(len(shape), np.nan)
    if decided.any():
        bias, coverage = by_shape.sum() / decided.sum(), decided.mean()
        scores[conflict] = bias + (by_shape - bias * decided) / coverage
    return scores


def covered(decisions: LabelArray, shape: LabelArray, texture: LabelArray) -> ScoreArray:
    """Score 1 for a decision for shape or texture, 0 for neither; the mean is the coverage of the shape bias.

    Arguments and errors are those of :func:`shape_bias`. A shape bias of a low coverage is one of few decisions.

    Returns:
        Scores ``[n]``; NaN for images whose shape and texture are of one class.

    Example:
        >>> covered(np.array(["cat", "dog"]), np.array(["cat", "cat"]), np.array(["car", "car"]))
        array([1., 0.])
    """
    conflict = _conflicts(decisions, shape, texture)
    either = (decisions == shape) | (decisions == texture)
    return np.where(conflict, either.astype(np.float64), np.nan)


@dataclass(frozen=True)
class ShapeBias:
    """Decisions for shape and for texture, counted, and the shape bias with an interval over images."""

    shape: int
    """Decisions for the class of the shape."""
    texture: int
    """Decisions for the class of the texture."""
    neither: int
    """Decisions for a third class, or for none."""
    bias: Estimate | None
    """shape / (shape + texture); None if there is no such decision, or only one image."""
    coverage: Estimate | None
    """(shape + texture) / all of them; None if there is only one image."""


@dataclass(frozen=True)
class ShapeBiases(ShapeBias):
    """The shape bias over all images in conflict, and over those of each class of shape."""

    left_out: int
    """Decisions on images whose shape and texture are of one class."""
    by_class: Mapping[str, ShapeBias]
    """By class of the shape."""


def estimate_shape_bias(
    decisions: LabelArray,
    shape: LabelArray,
    texture: LabelArray,
    *,
    images: Sequence[str] | None = None,
    seed: int = 0,
) -> ShapeBiases:
    """Estimate the shape bias of decisions by people, a network or an encoder, of all classes and of each.

    Decisions of an encoder come from :func:`~embprobe.measures.nearest_mean.predict_nearest_mean`, fitted to other
    images, or :func:`~embprobe.measures.zero_shot.predict_zero_shot`; published ones from
    :func:`~embprobe.measures.decisions.read_decisions`.

    Args:
        decisions: The class that each image was taken for, ``[n]``; any other text, such as ``na``, is neither.
        shape: The class of each image's shape, ``[n]``.
        texture: The class of each image's texture, ``[n]``.
        images: A name of each image, ``[n]``, where several people decide on the same images: intervals are over
            images, with all decisions on one together. By default each decision is on an image of its own.
        seed: Of the bootstrap.

    Raises:
        EmbprobeError: If the arguments differ in length, or no image has a conflict.

    Example:
        >>> taken_for = np.array(["cat", "cat", "car", "dog", "cat"])
        >>> shape, texture = np.array(["cat"] * 5), np.array(["car", "car", "car", "car", "cat"])
        >>> found = estimate_shape_bias(taken_for, shape, texture)
        >>> found.shape, found.texture, found.neither, found.left_out
        (2, 1, 1, 1)
        >>> round(found.bias.estimate, 3), found.coverage.estimate
        (0.667, 0.75)
    """
    conflict = _conflicts(decisions, shape, texture)
    names = np.arange(len(shape)).astype(str) if images is None else np.asarray(images)
    if len(names) != len(shape):
        raise EmbprobeError(f"There are {len(shape):,} decisions, but {len(names):,} names of images: give each one.")

    def of(rows: NDArray[np.bool_]) -> ShapeBias:
        return _estimate(decisions[rows], shape[rows], texture[rows], names[rows].tolist(), seed)

    every = of(conflict)
    by_class = {str(value): of(conflict & (shape == value)) for value in np.unique(shape[conflict])}
    left_out = int((~conflict).sum())
    return ShapeBiases(
        every.shape, every.texture, every.neither, every.bias, every.coverage, left_out=left_out, by_class=by_class
    )


def _estimate(
    decisions: LabelArray, shape: LabelArray, texture: LabelArray, images: Sequence[str], seed: int
) -> ShapeBias:
    by_shape, by_texture = int((decisions == shape).sum()), int((decisions == texture).sum())
    neither = len(decisions) - by_shape - by_texture
    if len(set(images)) < 2:  # no interval
        return ShapeBias(by_shape, by_texture, neither, None, None)
    scores = [covered(decisions, shape, texture)]
    if by_shape + by_texture:
        scores.append(shape_bias(decisions, shape, texture))
    drawn = resample(np.stack(scores, axis=1), images, seed=seed, unit="image")
    bias = None
    if len(scores) > 1:
        bias = drawn.mean(1)  # of few decisions the linearised ratio leaves the range of a share
        bias = replace(bias, low=max(0.0, bias.low), high=min(1.0, bias.high))
    return ShapeBias(by_shape, by_texture, neither, bias, drawn.mean(0))


def _conflicts(decisions: LabelArray, shape: LabelArray, texture: LabelArray) -> NDArray[np.bool_]:
    """Return which images have a shape and a texture of two classes."""
    if not len(decisions) == len(shape) == len(texture):
        raise EmbprobeError(
            f"Each image needs a decision, a shape and a texture; there are {len(decisions):,}, {len(shape):,} and "
            f"{len(texture):,}."
        )
    conflict = np.asarray(shape != texture, np.bool_)
    if not conflict.any():
        raise EmbprobeError(
            "No image has a shape of one class and a texture of another, so none shows which of them is followed: "
            "give images with cues in conflict."
        )
    return conflict
