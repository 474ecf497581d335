"""Decoding: can the attribute be read from frozen embeddings of images the classifier has not seen?"""

from __future__ import annotations

import numpy as np

from embprobe.measures.vectors import LabelArray, ScoreArray


def correct(predicted: LabelArray, truth: LabelArray) -> ScoreArray:
    """1 where the prediction is right, else 0: one score per image, ``[n]``.

    >>> correct(np.array(["cat", "dog"]), np.array(["cat", "cat"]))
    array([1., 0.])
    """
    return np.asarray(predicted == truth, np.float64)


def predict_majority(labels: LabelArray, *, n: int) -> LabelArray:
    """The most frequent training label, ``n`` times: what an encoder has to beat. Ties go to the first in the alphabet.

    >>> predict_majority(np.array(["b", "a", "b"]), n=2).tolist()
    ['b', 'b']
    """
    values, counts = np.unique(labels, return_counts=True)
    return np.repeat(values[counts.argmax()], n)
