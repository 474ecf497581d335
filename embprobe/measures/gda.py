"""Gaussian discriminant analysis: a linear classifier in closed form, with nothing to tune."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import ROWS
from embprobe.measures.vectors import (
    LabelArray,
    ScoreArray,
    Vectors,
    add_by_label,
    check_directions,
    check_labels,
    unit_blocks,
)
from embprobe.system.threads import matrix_product

_CELLS = 2**24
"""Class scores held at once: 128 MiB."""


def predict_gda(train: Vectors, labels: LabelArray, tests: Sequence[Vectors]) -> list[LabelArray]:
    """Fit one Gaussian per label and predict, for every test vector, the label under which it is likeliest.

    All labels share one covariance and are equally likely beforehand, however many training rows each has:
    score(c) = x P m_c − m_c P m_c / 2, with m_c the mean of label c and P = d ((N − 1) S + tr(S) I)⁻¹, where S is the
    covariance of the N training rows about the mean of their label, over N − 1: the more rows, the less tr(S) shrinks
    it (Wang et al. 2024, "A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation", section 3, and its code,
    for the equal priors; without the zero-shot logits that can be added). Vectors are divided by their length first, as
    there.

    Args:
        train: Training vectors, ``[n, d]``.
        labels: Their labels, ``[n]``.
        tests: Test sets, ``[m, d]`` each; the classifier is fitted once for all of them.

    Returns:
        The predicted labels of each test set, ``[m]``. Ties go to the first label in the alphabet.

    Raises:
        EmbprobeError: For fewer than two labels, zero or non-finite vectors, unequal d, and if no label has two
            different vectors.

    Example:
        >>> train = np.array([[5.0, 0.0], [3.0, 4.0], [3.0, -4.0], [-3.0, -4.0]])
        >>> [predicted] = predict_gda(train, np.array(["a", "a", "b", "b"]), [np.array([[1.0, 1.0], [0.0, -1.0]])])
        >>> predicted.tolist()
        ['a', 'b']
    """
    if len(labels) != len(train):
        raise EmbprobeError(f"There are {len(train)} embeddings to fit on, but {len(labels)} labels for them.")
    check_labels(labels)
    check_directions(train, min_rows=2)
    classes, coded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums, scatter = np.zeros((len(classes), train.shape[1])), np.zeros((train.shape[1], train.shape[1]))
    for rows, x in unit_blocks(train):
        add_by_label(sums, coded[rows], x)
    means = sums / counts[:, None]
    for rows, x in unit_blocks(train):
        deviations = x - means[coded[rows]]
        scatter += matrix_product(deviations.T, deviations)
    weights = _weights(scatter, means, n=len(train))
    offsets = (weights * means).sum(1) / 2
    return [classes[_best(test, weights, offsets)] for test in tests]


def _weights(scatter: ScoreArray, means: ScoreArray, *, n: int) -> ScoreArray:
    """Compute P m_c as rows, up to the factor d, which scales all scores alike. ``[d, d], [c, d] -> [c, d]``."""
    from scipy.linalg import solve

    if np.trace(scatter) < 1e-12 * n:
        raise EmbprobeError(
            "GDA needs a label with two different embeddings, to see how far images of one label vary: "
            "give more images of each label."
        )
    shrunk = scatter + np.trace(scatter) / (n - 1) * np.eye(len(scatter))
    return np.asarray(solve(shrunk, means.T, assume_a="pos").T)


def _best(test: Vectors, weights: ScoreArray, offsets: ScoreArray) -> NDArray[np.int64]:
    """Return the position of the label with the highest score for each row. ``[m, d], [c, d], [c] -> [m]``."""
    if test.shape[1] != weights.shape[1]:
        raise EmbprobeError(
            f"GDA was fitted on embeddings of {weights.shape[1]} dimensions and cannot judge those of {test.shape[1]}."
        )
    blocks = unit_blocks(test, min_rows=1, rows=max(1, min(_CELLS // len(weights), ROWS)))
    return np.concatenate([(matrix_product(x, weights.T) - offsets).argmax(1) for _, x in blocks])
