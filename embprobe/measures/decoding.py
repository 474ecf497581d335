"""Decoding: can the attribute be read from frozen embeddings of images the classifier has not seen?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError

Vectors = NDArray[np.floating]
Labels = NDArray[np.str_]
Scores = NDArray[np.float64]

TOLERANCE = 1e-3
"""Of the gradient of the mean loss, at which a fit stops."""
C_GRID = (0.001, 0.01, 0.1)
"""Inverse strengths of regularisation that :func:`predict_logistic` chooses from."""


def correct(predicted: Labels, truth: Labels) -> Scores:
    """1 where the prediction is right, else 0: one score per image, ``[n]``.

    >>> correct(np.array(["cat", "dog"]), np.array(["cat", "cat"]))
    array([1., 0.])
    """
    return np.asarray(predicted == truth, np.float64)


def predict_majority(labels: Labels, *, n: int) -> Labels:
    """The most frequent training label, ``n`` times: what an encoder has to beat. Ties go to the first in the alphabet.

    >>> predict_majority(np.array(["b", "a", "b"]), n=2).tolist()
    ['b', 'b']
    """
    values, counts = np.unique(labels, return_counts=True)
    return np.repeat(values[counts.argmax()], n)


def predict_knn(train: Vectors, labels: Labels, test: Vectors, *, k: int = 20, temperature: float = 0.07) -> Labels:
    """The weighted k-NN classifier of DINO. ``[n, d], [n], [m, d] -> [m]``.

    score(c) = sum of exp(s / temperature) over those of the k nearest training vectors that have label c, with s the
    cosine (Wu et al. 2018; Caron et al. 2021, section 4.1). ``k`` is cut to the number of training vectors.

    >>> x = np.array([[1.0, 0.0], [0.0, 1.0]])
    >>> predict_knn(x, np.array(["east", "north"]), np.array([[2.0, 1.0]]), k=1).tolist()
    ['east']
    """
    import faiss

    from embprobe.index import normalize

    _check(labels, train, test)
    classes, coded = np.unique(labels, return_inverse=True)
    k = min(k, len(train))
    similarity, position = faiss.knn(normalize(test), normalize(train), k, metric=faiss.METRIC_INNER_PRODUCT)
    weight = np.exp((similarity - 1) / temperature)  # minus 1: the same ranking, without overflow
    scores = np.zeros((len(test), len(classes)))
    np.add.at(scores, (np.arange(len(test))[:, None], coded[position]), weight)
    predicted: Labels = classes[scores.argmax(1)]
    return predicted


def predict_logistic(
    train: Vectors, labels: Labels, groups: Labels, tests: Sequence[Vectors], *, seed: int = 0
) -> list[Labels]:
    """Multinomial logistic regression on standardised features, fitted once for all ``tests``. ``[n, d] -> [m]`` each.

    The strength of regularisation is chosen from ``C_GRID`` on a fifth of the training *groups* (concepts), never on
    test data; then the classifier is fitted again on all of them.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupShuffleSplit
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    _check(labels, train, *tests)

    def classifier() -> Any:
        """Warm-started: each strength of the grid begins where the one before ended."""
        return LogisticRegression(max_iter=300, tol=TOLERANCE, warm_start=True)

    def fitted(model: Any, rows: NDArray[np.int64], c: float) -> Any:
        return make_pipeline(StandardScaler(), model.set_params(C=c)).fit(train[rows], labels[rows])

    split = GroupShuffleSplit(n_splits=1, test_size=0.2, random_state=seed)
    few = "Choosing the regularisation holds some concepts out, and too few remain: at least two labels are needed."
    if len(np.unique(groups)) < 2:
        raise EmbprobeError(few)
    fit, held_out = next(split.split(train, labels, groups))
    if len(np.unique(labels[fit])) < 2:
        raise EmbprobeError(few)
    choosing = classifier()
    accuracy = [fitted(choosing, fit, c).score(train[held_out], labels[held_out]) for c in C_GRID]
    final = fitted(classifier(), np.arange(len(train)), C_GRID[int(np.argmax(accuracy))])
    return [final.predict(test) for test in tests]


def _check(labels: Labels, *vectors: Vectors) -> None:
    if len(np.unique(labels)) < 2:
        raise EmbprobeError("Decoding needs at least two different labels among the images it is fitted on.")
    if not all(np.isfinite(each).all() for each in vectors):
        raise EmbprobeError("Some embeddings are not finite numbers, so nothing can be decoded from them.")
