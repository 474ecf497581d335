"""Decoding: scores of a classifier's predictions on images it has not seen, and the score of guessing."""

from __future__ import annotations

import numpy as np

from embprobe.measures.vectors import LabelArray, ScoreArray


def correct(predicted: LabelArray, truth: LabelArray) -> ScoreArray:
    """Score each prediction 1 where it is right, else 0; the mean is the accuracy.

    Args:
        predicted: The predicted label of each image, ``[n]``.
        truth: The true labels, ``[n]``.

    Returns:
        Scores ``[n]``, each 0 or 1.

    Example:
        >>> correct(np.array(["cat", "dog"]), np.array(["cat", "cat"]))
        array([1., 0.])
    """
    return np.asarray(predicted == truth, np.float64)


def guess_majority(truth: LabelArray) -> ScoreArray:
    """Score the best guess that knows the labels' shares and sees no image: chance, which an encoder has to beat.

    The guess is the most frequent label of the images that are tested, the same for all folds: a majority of the
    training part would be the rarest label of the rest where labels are equally frequent, and so below chance.

    Args:
        truth: The labels of the tested images, ``[n]``.

    Returns:
        Scores ``[n]``, whose mean is the share of the most frequent label: 1 for its images and 0 for others; of m
        labels that are equally frequent, 1 / m for the images of each.

    Example:
        >>> guess_majority(np.array(["cat", "dog", "cat", "cow"]))
        array([1., 0., 1., 0.])
        >>> guess_majority(np.array(["cat", "dog", "cat", "dog", "cow"])).tolist()  # two fifths of them are right
        [0.5, 0.5, 0.5, 0.5, 0.0]
    """
    _, coded, counts = np.unique(truth, return_inverse=True, return_counts=True)
    most = counts == counts.max()
    return np.asarray(np.where(most[coded], 1 / most.sum(), 0.0), np.float64)
