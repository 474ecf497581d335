"""Folds: parts of the groups of images, each tested by a classifier that is fitted on the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray

FOLDS = 5


def group_folds(
    groups: Sequence[str] | LabelArray, labels: LabelArray | None = None, *, folds: int = FOLDS, seed: int = 0
) -> NDArray[np.int64]:
    """Deal groups of images into folds: no group is in two, and the groups of a label are shared out evenly.

    These are the stratified folds of Kohavi (1995), of groups instead of images.

    Args:
        groups: The group of each image, ``[n]``; images of one group are not independent.
        labels: The label of each image, ``[n]``; of a group the first one counts. None: folds are not stratified.
        folds: The number of folds.
        seed: The same seed gives the same folds.

    Returns:
        The fold of each image, ``[n]``, from 0.

    Raises:
        EmbprobeError: There are fewer groups than folds.

    Example:
        >>> groups, labels = np.array(list("aabbccdd")), np.array(list("xxxxyyyy"))
        >>> fold = group_folds(groups, labels, folds=2)
        >>> bool(fold[0] == fold[1]), bool(fold[0] != fold[2]), bool(fold[4] != fold[6])
        (True, True, True)
    """
    names, first, coded = np.unique(np.asarray(groups), return_index=True, return_inverse=True)
    if len(names) < folds:
        raise EmbprobeError(f"{folds} folds need at least {folds} groups of images; there are {len(names)}.")
    rank = np.random.default_rng(seed).permutation(len(names))
    if labels is not None:
        rank[np.lexsort((rank, labels[first]))] = np.arange(len(names))
    return np.asarray((rank % folds)[coded], np.int64)
