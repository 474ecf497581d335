"""Decoding: scores of predictions on unseen images, scores that balance labels, and the majority baseline."""

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


def predict_majority(labels: LabelArray, *, n: int) -> LabelArray:
    """Predict the most frequent training label for every image: the majority baseline that an encoder has to beat.

    Args:
        labels: The training labels.
        n: The number of images to predict for.

    Returns:
        One label, ``n`` times: ``[n]``. Ties go to the first in the alphabet.

    Example:
        >>> predict_majority(np.array(["b", "a", "b"]), n=2).tolist()
        ['b', 'b']
    """
    values, counts = np.unique(labels, return_counts=True)
    return np.repeat(values[counts.argmax()], n)
