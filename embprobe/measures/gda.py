"""Gaussian discriminant analysis: a linear classifier in closed form, alone or added to zero-shot logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import ROWS, rows_at
from embprobe.measures.held_out import hold_out
from embprobe.measures.vectors import (
    LabelArray,
    ScoreArray,
    Vectors,
    add_by_label,
    check_directions,
    check_labels,
    l2_normalize,
    unit_blocks,
)
from embprobe.measures.zero_shot import check_classes
from embprobe.system.threads import matrix_product

LOGIT_SCALE = 100.0
"""The factor of cosines in zero-shot logits: the largest that CLIP's training allows (Radford et al. 2021, 2.5)."""
ALPHAS: tuple[float, ...] = (0.0, *np.logspace(-4, 4, 33).tolist())
"""Weights of GDA's logits that are tried: 0, which is zero-shot alone, and four a decade."""
_CELLS = 2**24
"""Scores of classes held at once: 128 MiB."""


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
    classes, weights, offsets = _fit(train, labels)
    return [classes[_best(test, weights, offsets)] for test in tests]


def predict_gda_with_text(
    train: Vectors,
    labels: LabelArray,
    groups: LabelArray,
    class_vectors: Vectors,
    classes: LabelArray,
    tests: Sequence[Vectors],
    *,
    seed: int = 0,
) -> list[LabelArray]:
    """Add the logits of GDA to those of the classes' names, and predict the class of the highest sum.

    logit(c) = 100 x·t_c + α (x P m_c − m_c P m_c / 2), with x of length 1, t_c the vector of the name of class c, of
    length 1, and P and m_c those of :func:`predict_gda` (Wang et al. 2024, "A Hard-to-Beat Baseline for Training-free
    CLIP-based Adaptation", ICLR, section 3; equal priors add the same to every class). α is chosen from ``ALPHAS`` by
    accuracy on a fifth of the training *groups*, which GDA is not fitted on then, and among ties by the likelihood of
    their labels; never on tests. GDA is then fitted again on all training rows.

    A class that no training row has is judged by its name: its GDA logit is the mean of those of the other classes.

    Args:
        train: Training vectors, ``[n, d]``.
        labels: Their labels, ``[n]``, all of them among ``classes``.
        groups: Their groups, such as concepts, ``[n]``; each image may be one by itself.
        class_vectors: One vector per class in the same space, ``[c, d]``, such as
            :func:`~embprobe.measures.zero_shot.class_vectors` returns.
        classes: The names of the classes, ``[c]``.
        tests: Test sets, ``[m, d]`` each; the classifier is fitted once for all of them.
        seed: Decides which groups are held out.

    Returns:
        The predicted classes of each test set, ``[m]``. Ties go to the class given first.

    Raises:
        TooFewGroups: Fewer than two groups, or fewer than two labels outside the held-out groups, are left to fit on.
        EmbprobeError: As :func:`predict_gda` does, also for the rows left to fit on while groups are held out, and as
            :func:`~embprobe.measures.zero_shot.predict_zero_shot` does; and for a label that is no class.

    Example:
        The names have a and b the wrong way round; the images know better.

        >>> train = np.array([[1.0, 5.0], [1.2, 5.0], [1.1, 5.0], [5.0, 1.0], [5.0, 1.2], [5.0, 1.1]])
        >>> labels, each = np.array(list("aaabbb")), np.array(list("123456"))
        >>> classes, names = np.array(["a", "b"]), np.array([[1.1, 1.0], [1.0, 1.1]])
        >>> predict_gda_with_text(train, labels, each, names, classes, [train])[0].tolist()
        ['a', 'a', 'a', 'b', 'b', 'b']
    """
    check_classes(train, class_vectors, classes)
    if strange := sorted(set(np.unique(labels).tolist()) - set(np.asarray(classes).tolist())):
        raise EmbprobeError(
            f"{len(strange)} of the labels of training images, such as '{strange[0]}', are none of the classes: "
            "give a vector of text for each."
        )
    _check_fitted(train, labels)
    names = LOGIT_SCALE * l2_normalize(class_vectors)
    fit, held_out = hold_out(labels, groups, seed=seed, choosing="the weight of GDA")
    gaussians = _of_all(classes, *_fit(rows_at(train, fit), labels[fit]))
    alpha = _choose(names, *gaussians, rows_at(train, held_out), _positions(labels[held_out], classes))
    weights, offsets = _of_all(classes, *_fit(train, labels))
    return [np.asarray(classes)[_best(test, names + alpha * weights, alpha * offsets)] for test in tests]


def _choose(
    names: ScoreArray, weights: ScoreArray, offsets: ScoreArray, held_out: Vectors, truth: NDArray[np.int64]
) -> float:
    """Return the α of the most right answers on held-out rows ``[m, d]``, of several the one of highest likelihood."""
    right, likelihood = np.zeros(len(ALPHAS), np.int64), np.zeros(len(ALPHAS))
    for rows, x in unit_blocks(held_out, min_rows=1, rows=_rows_of(4 * len(names))):
        by_name, by_images = matrix_product(x, names.T), matrix_product(x, weights.T) - offsets
        own = np.arange(len(x)), truth[rows]
        for i, alpha in enumerate(ALPHAS):
            logits = by_name + alpha * by_images
            right[i] += int((logits.argmax(1) == truth[rows]).sum())
            logits -= logits.max(1, keepdims=True)
            likelihood[i] += float((logits[own] - np.log(np.exp(logits).sum(1))).sum())
    return ALPHAS[max(range(len(ALPHAS)), key=lambda i: (right[i], likelihood[i], -i))]


def _of_all(
    classes: LabelArray, fitted: LabelArray, weights: ScoreArray, offsets: ScoreArray
) -> tuple[ScoreArray, ScoreArray]:
    """Return weights ``[c, d]`` and offsets ``[c]`` of all classes at the paper's scale; means for those not fitted."""
    d, at = weights.shape[1], _positions(fitted, classes)
    every, of_every = np.tile(weights.mean(0), (len(classes), 1)), np.full(len(classes), offsets.mean())
    every[at], of_every[at] = weights, offsets
    return d * every, d * of_every


def _positions(labels: LabelArray, classes: LabelArray) -> NDArray[np.int64]:
    """Return the position of each label among the classes, in whatever order they are. ``[n], [c] -> [n]``."""
    order = np.argsort(classes)
    return np.asarray(order[np.searchsorted(classes, labels, sorter=order)])


def _check_fitted(train: Vectors, labels: LabelArray) -> None:
    if len(labels) != len(train):
        raise EmbprobeError(f"There are {len(train)} embeddings to fit on, but {len(labels)} labels for them.")
    check_labels(labels)
    check_directions(train, min_rows=2)


def _fit(train: Vectors, labels: LabelArray) -> tuple[LabelArray, ScoreArray, ScoreArray]:
    """Return the classes ``[c]``, P m_c ``[c, d]`` and m_c P m_c / 2 ``[c]``, both up to the factor d."""
    _check_fitted(train, labels)
    classes, coded, counts = np.unique(labels, return_inverse=True, return_counts=True)
    sums, scatter = np.zeros((len(classes), train.shape[1])), np.zeros((train.shape[1], train.shape[1]))
    for rows, x in unit_blocks(train):
        add_by_label(sums, coded[rows], x)
    means = sums / counts[:, None]
    for rows, x in unit_blocks(train):
        deviations = x - means[coded[rows]]
        scatter += matrix_product(deviations.T, deviations)
    weights = _weights(scatter, means, n=len(train))
    return classes, weights, (weights * means).sum(1) / 2


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
    blocks = unit_blocks(test, min_rows=1, rows=_rows_of(len(weights)))
    return np.concatenate([(matrix_product(x, weights.T) - offsets).argmax(1) for _, x in blocks])


def _rows_of(classes: int) -> int:
    """Return how many rows are scored at once."""
    return max(1, min(_CELLS // classes, ROWS))
