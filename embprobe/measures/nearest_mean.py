"""Nearest class mean: an image belongs to the class whose mean direction is nearest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import ROWS
from embprobe.measures.vectors import LabelArray, Vectors, add_by_label, check_labels, l2_normalize, unit_blocks
from embprobe.system.threads import matrix_product

_CELLS = 2**24
"""Similarities held at once: 128 MiB."""
_CANCELLED = 1e-6
"""A mean of unit vectors that is shorter has no direction."""


def predict_nearest_mean(train: Vectors, labels: LabelArray, tests: Sequence[Vectors]) -> list[LabelArray]:
    """Predict for every test vector the label with the highest cosine between it and the mean of the label's vectors.

    Vectors are divided by their length before the mean is taken, so each counts the same (the nearest prototype of
    Snell et al. 2017, "Prototypical Networks for Few-shot Learning", equation 1, for cosines). With one vector of each
    label it is 1-NN. Nothing is tuned, and how many vectors a label has changes nothing.

    Args:
        train: Training vectors, ``[n, d]``.
        labels: Their labels, ``[n]``.
        tests: Test sets, ``[m, d]`` each.

    Returns:
        The predicted labels of each test set, ``[m]``. Ties go to the first label in the alphabet.

    Raises:
        EmbprobeError: For fewer than two labels, zero or non-finite vectors, unequal d, and a label whose vectors
            cancel out.

    Example:
        >>> train = np.array([[2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])  # the mean of a lies at 45 degrees, b at 180
        >>> predict_nearest_mean(train, np.array(["a", "a", "b"]), [np.array([[1.0, 9.0], [-9.0, 1.0]])])[0].tolist()
        ['a', 'b']
    """
    if len(labels) != len(train):
        raise EmbprobeError(f"There are {len(train)} embeddings to fit on, but {len(labels)} labels for them.")
    check_labels(labels)
    classes, coded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums = np.zeros((len(classes), train.shape[1]))
    for rows, x in unit_blocks(train):
        add_by_label(sums, coded[rows], x)
    means = sums / counts[:, None]
    if len(cancelled := np.flatnonzero(np.linalg.norm(means, axis=1) < _CANCELLED)):
        raise EmbprobeError(
            f"The embeddings of {len(cancelled)} of {len(classes)} labels, such as '{classes[cancelled[0]]}', cancel "
            "out: their mean has no direction. Give other images of it, or leave it out."
        )
    directions = l2_normalize(means)
    predicted = []
    for test in tests:
        if test.shape[1] != train.shape[1]:
            raise EmbprobeError(
                f"Class means of {train.shape[1]} dimensions cannot judge embeddings of {test.shape[1]}: "
                "both must come from the same encoder."
            )
        blocks = unit_blocks(test, min_rows=1, rows=max(1, min(_CELLS // len(classes), ROWS)))
        predicted.append(classes[np.concatenate([matrix_product(x, directions.T).argmax(1) for _, x in blocks])])
    return predicted
