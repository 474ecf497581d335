"""Patch retrieval: whether the patch nearest to a part of an object is the same part of another picture of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.dense import Mask, patch_places
from embprobe.measures.vectors import ScoreArray, l2_normalize

Box = ScoreArray
"""Top, left, bottom and right of an object, in shares of the image, ``[4]``."""


def object_box(seen: ScoreArray) -> Box:
    """Return the box around an object in its mask ``[s, s]``; NaN where no pixel is covered by half.

    Example:
        >>> seen = np.zeros((4, 4))
        >>> seen[1:3, 2] = 1
        >>> object_box(seen).tolist()
        [0.25, 0.5, 0.75, 0.75]
    """
    down, across = (np.flatnonzero((seen > 0.5).any(axis)) for axis in (1, 0))
    if not len(down):
        return np.full(4, np.nan)
    sides = [down[0] / seen.shape[0], across[0] / seen.shape[1]]
    return np.array([*sides, (down[-1] + 1) / seen.shape[0], (across[-1] + 1) / seen.shape[1]])


def same_part(
    patches: NDArray[np.floating], covered: Mask, boxes: ScoreArray, partner: NDArray[np.int64]
) -> tuple[ScoreArray, ScoreArray]:
    """Score each image by how often its object's patches find the same part of the object in another picture.

    Parts correspond by their place in the object's box. Of each patch that the object covers, the nearest by cosine
    among those that the partner's object covers is sought; it is right if it holds the corresponding place. Places that
    the partner's object does not cover are not asked for. Among ties, one is taken at random, in expectation.

    Args:
        patches: Patch tokens, ``[n, h, w, d]``.
        covered: Whether the object covers each patch, ``[n, h, w]``.
        boxes: The box of each image's object, ``[n, 4]`` (:func:`object_box`).
        partner: The position of each image's other picture, ``[n]``; -1 for none.

    Returns:
        Recall@1 of each image ``[n]``, and that of choosing at random among the patches of the partner's object; NaN
        where nothing is asked, or the partner's object covers one patch alone.

    Raises:
        EmbprobeError: A token has no direction.

    Example:
        >>> tokens = np.array([[[[1.0, 0.0], [0.0, 1.0]]], [[[0.9, 0.1], [0.1, 0.9]]]])  # two images of 1 x 2 patches
        >>> boxes = np.array([[0.0, 0.0, 1.0, 1.0]] * 2)
        >>> same_part(tokens, np.ones((2, 1, 2), bool), boxes, np.array([1, -1]))
        (array([ 1., nan]), array([0.5, nan]))
    """
    n, h, w, d = patches.shape
    places = patch_places(h, w)
    found, chance = np.full(n, np.nan), np.full(n, np.nan)
    for i, j in enumerate(partner.tolist()):
        if j < 0 or np.isnan(boxes[[i, j]]).any() or covered[j].sum() < 2:
            continue
        queries = np.flatnonzero(covered[i].ravel())
        target = _corresponding(places.reshape(-1, 2)[queries], boxes[i], boxes[j], (h, w))
        asked = (target >= 0) & covered[j].ravel()[target]
        if not asked.any():
            continue
        candidates = np.flatnonzero(covered[j].ravel())
        mine = l2_normalize(patches[i].reshape(-1, d)[queries[asked]], min_rows=1)
        similarity = mine @ l2_normalize(patches[j].reshape(-1, d)[candidates]).T
        best = similarity >= similarity.max(1, keepdims=True) - 1e-12
        right = best & (candidates[None] == target[asked][:, None])
        found[i] = (right.any(1) / best.sum(1)).mean()
        chance[i] = 1 / len(candidates)
    return found, chance


def _corresponding(places: ScoreArray, box: Box, other: Box, grid: tuple[int, int]) -> NDArray[np.int64]:
    """Return the patch of another picture that holds each place's counterpart, -1 for places outside of the box."""
    size, other_size = box[2:] - box[:2], other[2:] - other[:2]
    within = (places - box[:2]) / size
    mapped = other[:2] + within * other_size
    row, column = (np.clip(np.floor(mapped[:, k] * grid[k]).astype(np.int64), 0, grid[k] - 1) for k in (0, 1))
    inside = ((within >= 0) & (within <= 1)).all(1)
    return np.where(inside, row * grid[1] + column, -1)
