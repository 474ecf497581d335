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

    The guess is the most frequent label of the images that are tested, the same for all folds, and its accuracy is
    max_c n_c / n, where n_c of the n tested images have label c: the best that any constant answer has. A majority of
    the training part would be the rarest label of the rest where labels are equally frequent, and so below chance.

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


def balance(scores: ScoreArray, truth: LabelArray) -> ScoreArray:
    """Weigh scores such that every label counts the same: their mean is the balanced accuracy, the mean recall.

    An image of a label that n_c of n images have, with K labels in all, weighs w = n / (K n_c) (Brodersen et al. 2010,
    "The balanced accuracy and its posterior distribution"). With m the mean of w times score, its score becomes
    m + w (score - m): the mean stays m, and a bootstrap of it is that of a weighted mean, whose weights are resampled,
    too (the linearised ratio of Davison and Hinkley 1997, section 3.8).

    Args:
        scores: The score of each image, ``[n]``.
        truth: The true label of each image, ``[n]``.

    Returns:
        Scores ``[n]``; they may be below 0 and above 1, their mean may not.

    Example:
        >>> truth = np.array(["cat", "cat", "cat", "dog"])  # recalls of 1 and 0, weights 4 / (2 * 3) and 4 / (2 * 1)
        >>> balance(correct(np.array(["cat"] * 4), truth), truth)  # 0.5 + 0.667 (1 - 0.5), 0.5 + 2 (0 - 0.5)
        array([ 0.83333333,  0.83333333,  0.83333333, -0.5       ])
    """
    values, coded, counts = np.unique(truth, return_inverse=True, return_counts=True)
    weights = len(truth) / (len(values) * counts[coded])
    mean = (weights * scores).mean()
    return np.asarray(mean + weights * (scores - mean), np.float64)
