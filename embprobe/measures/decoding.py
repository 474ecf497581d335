"""Decoding: scores of a classifier's predictions on images it has not seen, and the majority baseline."""

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
