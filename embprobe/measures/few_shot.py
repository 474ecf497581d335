"""Few-shot: what is read from an equal, small number of training images of every label, over several draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import rows_at
from embprobe.measures.decoding import correct
from embprobe.measures.nearest_mean import predict_nearest_mean
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors

Predict = Callable[[Vectors, LabelArray, Sequence[Vectors]], list[LabelArray]]
"""``(train [n, d], labels [n], tests) -> predictions``, one array a test."""


def draw_shots(labels: LabelArray, shots: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw ``shots`` random rows of every label.

    Args:
        labels: The label of each row, ``[n]``.
        shots: The number of rows to draw of each label.
        seed: The same seed gives the same rows.

    Returns:
        Positions of the drawn rows in ascending order, ``[labels x shots]``.

    Raises:
        EmbprobeError: If a label has fewer than ``shots`` rows.

    Example:
        >>> labels = np.array(["a", "b", "a", "b", "a"])
        >>> sorted(labels[draw_shots(labels, 2)].tolist())
        ['a', 'a', 'b', 'b']
    """
    values, coded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(few := np.flatnonzero(counts < shots)):
        raise EmbprobeError(
            f"'{values[few[0]]}' has {counts[few[0]]} images to fit on, fewer than the {shots} that were asked for: "
            "ask for fewer shots, or leave the value out."
        )
    order = np.random.default_rng(seed).permutation(len(labels))
    by_label = order[np.argsort(coded[order], kind="stable")]
    starts = np.cumsum(counts) - counts
    return np.sort(by_label[(starts[:, None] + np.arange(shots)).ravel()])


def few_shot(
    train: Vectors,
    labels: LabelArray,
    tests: Sequence[Vectors],
    truths: Sequence[LabelArray],
    *,
    shots: int,
    draws: int = 5,
    seed: int = 0,
    predict: Predict = predict_nearest_mean,
) -> list[ScoreArray]:
    """Score each test image with the share of draws of a few training images from which it is predicted right.

    Every draw takes ``shots`` rows of each label (:func:`draw_shots`, with the seeds ``seed``, ``seed + 1`` …), fits
    the classifier to them alone and predicts all tests. The mean of the scores is the mean accuracy over draws. Draws
    depend on labels and seed alone, so every encoder is fitted to the same images.

    Args:
        train: Training vectors, ``[n, d]``.
        labels: Their labels, ``[n]``.
        tests: Test sets, ``[m, d]`` each.
        truths: Their true labels, ``[m]`` each.
        shots: The number of rows of each label that a classifier is fitted to; 1, 4 and 16 are usual.
        draws: The number of draws.
        seed: The same seed gives the same draws.
        predict: The classifier: the nearest class mean, or for example :func:`~embprobe.measures.gda.predict_gda`.

    Returns:
        Scores of each test set, ``[m]``, multiples of 1 / ``draws`` from 0 to 1.

    Raises:
        EmbprobeError: If a label has fewer than ``shots`` rows, for fewer than one draw or shot, if tests and truths
            differ in number, and as the classifier raises it.

    Example:
        The third training vector of a lies where b is, and a draw of it misleads both tests: three of these ten.

        >>> train = np.array([[9.0, 1.0], [8.0, 1.0], [1.0, 9.0], [1.0, 8.0]])
        >>> labels, test, truth = np.array(list("aaab")), np.array([[1.0, 0.0], [0.0, 1.0]]), np.array(["a", "b"])
        >>> [scores] = few_shot(train, labels, [test], [truth], shots=1, draws=10)
        >>> scores.tolist()
        [0.7, 0.7]
    """
    if draws < 1 or shots < 1:
        raise EmbprobeError(f"Few-shot needs at least one image of each label and one draw, not {shots} and {draws}.")
    if len(tests) != len(truths) or any(len(test) != len(truth) for test, truth in zip(tests, truths, strict=True)):
        raise EmbprobeError("Every test embedding needs one true label: tests and truths differ in number.")

    def right(seed: int) -> list[ScoreArray]:
        chosen = draw_shots(labels, shots, seed=seed)
        return list(map(correct, predict(rows_at(train, chosen), labels[chosen], tests), truths))

    return mean_over_draws(right, draws=draws, seed=seed)


def mean_over_draws(score: Callable[[int], Sequence[ScoreArray]], *, draws: int, seed: int) -> list[ScoreArray]:
    """Average each array of scores over draws with the seeds ``seed``, ``seed + 1`` …; all right is exactly 1.

    Example:
        >>> mean_over_draws(lambda seed: [np.array([1.0, seed % 2])], draws=4, seed=0)
        [array([1. , 0.5])]
    """
    sums = [np.array(scores) for scores in score(seed)]
    for draw in range(1, draws):
        for total, scores in zip(sums, score(seed + draw), strict=True):
            total += scores
    return [total / draws for total in sums]  # ten tenths are not 1
