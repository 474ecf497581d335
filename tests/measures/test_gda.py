from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from embprobe.errors import EmbprobeError
from embprobe.measures import gda
from embprobe.measures.gda import predict_gda
from embprobe.measures.vectors import LabelArray

Vectors = NDArray[np.float64]

A_B = np.array(["a", "a", "b", "b"])


def drawn(seed: int, n: int, d: int, classes: int, *, spread: float = 1.0) -> tuple[Vectors, LabelArray]:
    """Gaussians of one uneven covariance round the means of classes of uneven size."""
    rng = np.random.default_rng(seed)
    mean, mixing = rng.normal(size=(classes, d)), rng.normal(size=(d, d)) / np.sqrt(d)
    label = np.concatenate([np.repeat(np.arange(classes), 2), rng.geometric(0.4, n).clip(max=classes) - 1])[:n]
    return mean[label] + spread * rng.normal(size=(n, d)) @ mixing, np.array([f"class {i:02d}" for i in label])


def transcribed(train: Vectors, labels: LabelArray, test: Vectors) -> tuple[Vectors, LabelArray]:
    """The formulas of the paper as they stand, with a pseudo-inverse: scores ``[m, c]`` and the classes."""
    x = train / np.linalg.norm(train, axis=1, keepdims=True)
    (n, d), classes = x.shape, np.unique(labels)
    means = np.array([x[labels == c].mean(0) for c in classes])
    centred = np.concatenate([x[labels == c] - mean for c, mean in zip(classes, means, strict=True)])
    covariance = np.cov(centred, rowvar=False)
    precision = d * np.linalg.pinv((n - 1) * covariance + np.trace(covariance) * np.eye(d))
    bias = np.log(1 / len(classes)) - np.einsum("cd,de,ce->c", means, precision, means) / 2
    return test / np.linalg.norm(test, axis=1, keepdims=True) @ precision @ means.T + bias, classes


def test_a_case_by_hand() -> None:
    # means a (0.8, 0.4) and b (0, -0.8); about them a: +-(0.2, -0.4), b: +-(0.6, 0)
    # scatter (N - 1) S = [[0.8, -0.16], [-0.16, 0.32]]; tr S = 1.12 / 3 = 0.3733, so [[1.1733, -0.16], [-0.16, 0.6933]]
    # its inverse is proportional to [[0.6933, 0.16], [0.16, 1.1733]]; times a - b = (0.8, 1.2): w = (0.7467, 1.536)
    # a wins where w x > w (0.4, -0.2) = -0.0085
    train = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-0.6, -0.8]])
    # (-15, 8) / 17: w x = 0.064, so a. The nearest mean is b: (0.8, 1.2) x = -0.141 < (0.8, 1.2) (0.4, -0.2) = 0.08
    # (-12, 5) / 13: w x = -0.098, so b. Without shrinking w would be (0.448, 1.088), w x 0.005 > -0.038, so a
    tests = [np.array([[-15.0, 8.0], [-12.0, 5.0]]), np.array([[0.0, -1.0]])]
    assert [predicted.tolist() for predicted in predict_gda(train, A_B, tests)] == [["a", "b"], ["b"]]


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1), st.sampled_from([(60, 5), (30, 50)]))  # more and fewer rows than dimensions
def test_it_is_the_papers_formula(seed: int, shape: tuple[int, int]) -> None:
    x, labels = drawn(seed, 200 + shape[0], shape[1], 5)
    train, test, labels = x[: shape[0]], x[shape[0] :], labels[: shape[0]]
    score, classes = transcribed(train, labels, test)
    first, second = -np.sort(-score, axis=1)[:, :2].T
    clear = first - second > 1e-6 * np.abs(score).max()
    (predicted,) = predict_gda(train, labels, [test])
    assert clear.mean() > 0.95
    assert predicted[clear].tolist() == classes[score.argmax(1)][clear].tolist()
    assert len(np.unique(predicted)) > 1


def test_with_many_rows_it_is_linear_discriminant_analysis_with_equal_priors() -> None:
    x, labels = drawn(0, 30_000, 4, 3)  # 39 % of them in the first class, 24 % in the second
    train, test = x[:25_000], x[25_000:]
    unit_train, unit_test = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (train, test))
    # told of equal priors it would pool the covariances of the classes equally too, so they are taken off afterwards
    reference = LinearDiscriminantAnalysis(solver="lsqr").fit(unit_train, labels[:25_000])
    equal = (reference.decision_function(unit_test) - np.log(reference.priors_)).argmax(1)
    (predicted,) = predict_gda(train, labels[:25_000], [test])
    assert (predicted == reference.classes_[equal]).mean() > 0.999
    assert (predicted == reference.predict(unit_test)).mean() < 0.98  # so that agreement says something


def test_it_decodes_what_is_separable_with_fewer_rows_than_dimensions() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    x = 4 * np.eye(100)[truth] + 0.2 * rng.normal(size=(60, 100))
    (predicted,) = predict_gda(x[:12], truth[:12].astype(str), [x[12:]])
    assert predicted.tolist() == truth[12:].astype(str).tolist()


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.floats(1e-6, 1e6))
def test_rotating_permuting_and_scaling_the_space_change_nothing(seed: int, scale: float) -> None:
    x, labels = drawn(seed, 140, 6, 4)
    train, test, labels = x[:80], x[80:], labels[:80]
    score, _ = transcribed(train, labels, test)
    first, second = -np.sort(-score, axis=1)[:, :2].T
    clear = first - second > 1e-6 * np.abs(score).max()
    (predicted,) = predict_gda(train, labels, [test])
    for turn in (ortho_group.rvs(6, random_state=seed), np.eye(6)[::-1], scale * np.eye(6)):
        (turned,) = predict_gda(train @ turn, labels, [test @ turn])
        assert turned[clear].tolist() == predicted[clear].tolist()


def test_what_is_predicted_for_one_test_set_does_not_depend_on_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    x, labels = drawn(1, 200, 6, 4)
    train, test, labels = x[:100], x[100:], labels[:100]
    (alone,) = predict_gda(train, labels, [test])
    monkeypatch.setattr(gda, "_CELLS", 7 * 4)  # seven rows at a time
    first, second = predict_gda(train, labels, [test[:10], test[10:]])
    assert [*first, *second] == alone.tolist()
    assert predict_gda(train, labels, []) == []


def test_the_training_vectors_are_not_changed() -> None:
    x, labels = drawn(1, 50, 4, 3)
    before = x.copy()
    predict_gda(x, labels, [x])
    assert (x == before).all()


@pytest.mark.parametrize("train", [np.eye(4), np.eye(4)[[0, 0, 1, 1]]])  # an image a label; twice the same
def test_labels_that_do_not_vary_are_an_error(train: Vectors) -> None:
    labels = np.array(["a", "b", "c", "d"]) if len(np.unique(train, axis=0)) == 4 else A_B
    with pytest.raises(EmbprobeError, match="two different embeddings.*give more images"):
        predict_gda(train, labels, [train])


def test_one_label_is_an_error() -> None:
    with pytest.raises(EmbprobeError, match="all are 'a'"):
        predict_gda(np.eye(4), np.array(["a"] * 4), [np.eye(4)])


def test_labels_for_other_rows_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="3 embeddings to fit on, but 4 labels"):
        predict_gda(np.eye(3), A_B, [])


def test_a_test_of_another_dimension_is_an_error() -> None:
    with pytest.raises(EmbprobeError, match="4 dimensions and cannot judge those of 3"):
        predict_gda(np.eye(4), A_B, [np.eye(3)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("where", ["train", "test"])
def test_a_vector_without_direction_is_an_error(bad: float, where: str) -> None:
    vectors = {"train": np.eye(4), "test": np.eye(4)}
    vectors[where][1, 1] = bad
    with pytest.raises(EmbprobeError, match="1 of 4 embeddings are zero or not finite"):
        predict_gda(vectors["train"], A_B, [vectors["test"]])
