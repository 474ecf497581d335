"""Predict the images of tests by classifiers that are fitted to other images, side by side for all encoders."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.blocks import rows_at
from embprobe.measures.compression import fit_compression
from embprobe.measures.decoding import correct
from embprobe.measures.few_shot import draw_shots, mean_over_draws
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.system.threads import side_by_side

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet

Predict = Callable[[Vectors, LabelArray, LabelArray, Sequence[Vectors]], list[LabelArray]]
"""``(train [n, d], labels [n], groups [n], tests) -> predictions``, one array a test."""
Positions = NDArray[np.int64]
DRAWS = 10
"""Of few images; each image's score is its mean over them."""
_HELD = 16
"""Bytes that a fit holds for each number of the vectors: them, the part fitted on, and that part in its eigenbasis."""


@dataclass(frozen=True)
class Test:
    """Rows to be predicted, by name, and for each of its parts what the classifier is fitted on."""

    name: str
    rows: EmbeddingSet
    parts: Sequence[tuple[Positions, Positions]]
    """Positions in the rows that are fitted on, and in ``rows``."""
    dealt: LabelArray | None = None
    """The labels of all rows that treatments were dealt to, also of fitted ones; None where images bring labels."""
    known: LabelArray | None = None
    """By row the value that the classifier is told, because it is fitted on images of that value alone."""

    def at(self, rows: EmbeddingSet, name: str) -> Test:
        """Return a test of other vectors of some of its images, by their keys, with the same parts."""
        position = {key: i for i, key in enumerate(rows.keys())}
        keys = self.rows.keys()
        kept = [i for i, key in enumerate(keys) if key in position]
        return replace(self._of(np.array(kept, np.int64)), name=name, rows=rows.at(keys[i] for i in kept))

    def _of(self, kept: Positions) -> Test:
        """Return the test of some of its rows, by their positions in ascending order."""
        parts = [(fit, np.searchsorted(kept, rows[np.isin(rows, kept)])) for fit, rows in self.parts]
        known = None if self.known is None else self.known[kept]
        return replace(self, rows=self.rows.take(kept.tolist()), parts=parts, known=known)


def divide_by_value(
    tests: Sequence[Test], fitted: LabelArray, labels: LabelArray, label: str, *, same: bool
) -> list[Test]:
    """Divide the parts of tests by a label, so that each classifier knows one value of it, or all others.

    Args:
        tests: The tests; all of them have the same parts to fit on.
        fitted: By row that is fitted on the value of the label, ``[n]``.
        labels: What is decoded of these rows, ``[n]``.
        label: The label, which the tests' rows have, too.
        same: Whether an image is predicted from images of its own value, or of all other values.

    Returns:
        The tests without images for which no two values of what is decoded are left to fit on, or only single images.
    """
    values = {test.name: test.rows.label(label) for test in tests}
    every = np.unique(np.concatenate(list(values.values()))).tolist()
    chosen = [
        (part, value, rows)
        for part, (fit, _) in enumerate(tests[0].parts)
        for value in every
        if _fittable(labels[rows := fit[(fitted[fit] == value) == same]])
    ]

    def divided(test: Test) -> Test:
        own = values[test.name]
        parts = [(rows, (tested := test.parts[part][1])[own[tested] == value]) for part, value, rows in chosen]
        known = own if test.known is None else np.array([f"{a}, {b}" for a, b in zip(test.known, own, strict=True)])
        left = np.sort(np.concatenate([np.empty(0, np.int64), *(rows for _, rows in parts)]))
        return replace(test, parts=parts, known=known if same else test.known)._of(left)

    return [test for test in map(divided, tests) if len(test.rows.rows)]


def _fittable(labels: LabelArray) -> bool:
    """Return whether there are two labels, and more than one row of one of them."""
    counts = np.unique(labels, return_counts=True)[1]
    return len(counts) > 1 and bool(counts.max() > 1)


def predict_tests(
    predict: Predict,
    vectors: Mapping[str, Vectors],
    labels: LabelArray,
    groups: LabelArray,
    tests: Sequence[Test],
    device: str,
    transform: str | None = None,
) -> dict[str, dict[str, LabelArray]]:
    """Return by encoder and test the predicted labels; one fit serves all tests that are fitted on the same rows.

    The fits of all encoders and parts are independent, so they run side by side.
    """

    def fitted(task: tuple[str, int]) -> list[LabelArray]:
        encoder, part = task
        fit = tests[0].parts[part][0]
        train = rows_at(vectors[encoder], fit)
        change: Callable[[Vectors], Vectors] = fit_compression(transform, train) if transform else _unchanged
        parts = [(test.rows.vectors[encoder], test.parts[part][1]) for test in tests]
        new = [change(rows_at(of_test, rows)) for of_test, rows in parts if len(rows)]
        predicted = iter(predict(change(train), labels[fit], groups[fit], new))
        return [next(predicted) if len(rows) else labels[:0] for _, rows in parts]

    tasks = list(itertools.product(vectors, range(len(tests[0].parts))))
    memory = _HELD * len(labels) * max(each.shape[1] for each in vectors.values())
    predictions = {
        encoder: {test.name: np.empty(len(test.rows.rows), labels.dtype) for test in tests} for encoder in vectors
    }
    for (encoder, part), predicted in zip(
        tasks, side_by_side(fitted, tasks, memory=memory, device=device), strict=True
    ):
        for test, each in zip(tests, predicted, strict=True):
            predictions[encoder][test.name][test.parts[part][1]] = each
    return predictions


def _unchanged(vectors: Vectors) -> Vectors:
    return vectors


def predict_from_few(
    shots: int,
    labels: LabelArray,
    groups: LabelArray,
    fit_rows: EmbeddingSet,
    tests: Sequence[Test],
    truths: Mapping[str, LabelArray],
    predict: Predict,
    device: str,
    seed: int,
) -> Callable[[str, Test], ScoreArray]:
    """Return each image's share of right predictions over draws of few images, the same draws for all encoders."""
    each = [(name, test.name) for name in fit_rows.vectors for test in tests]

    def right(seed: int) -> list[ScoreArray]:
        drawn = [_drawn(test, labels, shots, seed) for test in tests]
        predicted = predict_tests(predict, fit_rows.vectors, labels, groups, drawn, device)
        return [correct(predicted[name][test], truths[test]) for name, test in each]

    scores = dict(zip(each, mean_over_draws(right, draws=DRAWS, seed=seed), strict=True))
    return lambda encoder, test: scores[encoder, test.name]


def _drawn(test: Test, labels: LabelArray, shots: int, seed: int) -> Test:
    parts = [(fit[draw_shots(labels[fit], shots, seed=seed)], rows) for fit, rows in test.parts]
    return replace(test, parts=parts)
