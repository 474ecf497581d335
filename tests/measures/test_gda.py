from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.model_selection import GroupShuffleSplit

from embprobe.errors import EmbprobeError
from embprobe.measures import gda
from embprobe.measures.gda import ALPHAS, predict_gda, predict_gda_with_text
from embprobe.measures.held_out import TooFewGroups
from embprobe.measures.vectors import LabelArray
from embprobe.measures.zero_shot import predict_zero_shot

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


# --- with the names of classes ---------------------------------------------------------------------------------------


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def by_formula(
    train: Vectors, labels: LabelArray, groups: LabelArray, names: Vectors, test: Vectors, seed: int
) -> tuple[Vectors, float]:
    """Logits ``[m, c]`` of 100 x t + alpha (GDA), and alpha by accuracy, then likelihood, on a fifth of the groups."""
    fit, held = next(GroupShuffleSplit(1, test_size=0.2, random_state=seed).split(train, labels, groups))

    def logits(fitted: Vectors, of: LabelArray, x: Vectors, alpha: float) -> Vectors:
        scores, _ = transcribed(fitted, of, x)
        return np.asarray(100 * unit(x) @ unit(names).T + alpha * scores)

    classes = np.unique(labels)
    tried = []
    for alpha in ALPHAS:
        each = logits(train[fit], labels[fit], train[held], alpha)
        each -= each.max(1, keepdims=True)
        own = each[np.arange(len(held)), np.searchsorted(classes, labels[held])]
        tried.append(((classes[each.argmax(1)] == labels[held]).sum(), (own - np.log(np.exp(each).sum(1))).sum()))
    alpha = ALPHAS[max(range(len(tried)), key=tried.__getitem__)]
    return logits(train, labels, test, alpha), alpha


@pytest.mark.parametrize("seed", range(6))
def test_with_names_it_is_the_sum_of_both_logits(seed: int) -> None:
    x, labels = drawn(seed, 400, 12, 4, spread=1.5)
    classes = np.unique(labels)
    rng = np.random.default_rng(seed)
    names = np.array([unit(x[labels == c]).mean(0) for c in classes]) + 0.3 * rng.normal(size=(len(classes), 12))
    train, test, own = x[:100], x[100:], labels[:100]
    assert set(own) == set(classes)
    groups = rng.integers(0, 40, 100).astype(str)
    expected, alpha = by_formula(train, own, groups, names, test, seed)
    first, second = -np.sort(-expected, axis=1)[:, :2].T
    clear = first - second > 1e-6 * np.abs(expected).max()
    (predicted,) = predict_gda_with_text(train, own, groups, names, classes, [test], seed=seed)
    assert clear.mean() > 0.95
    assert predicted[clear].tolist() == classes[expected.argmax(1)][clear].tolist()
    alone = predict_gda(train, own, [test])[0], predict_zero_shot(test, names, classes)
    assert alpha == 0 or any((predicted != each).any() for each in alone)  # else the sum would say nothing


def test_names_and_images_know_more_together() -> None:
    """The first dimension of an image tells a from b, which the names have; the second tells c from d."""
    rng = np.random.default_rng(0)
    x, label = rng.normal(size=(600, 8)), rng.integers(0, 4, 600)
    corners = np.array([[1, 1], [-1, 1], [1, -1], [-1, -1]])
    x[:, :2] = 3 * corners[label] + rng.normal(size=(600, 2))
    classes, names = np.array(list("abcd")), np.zeros((4, 8))
    names[:, 0] = corners[:, 0]
    names[:, 2:] = 0.001 * np.arange(4)[:, None]
    labels = classes[label]
    train, test, truth = x[:40], x[40:], labels[40:]
    (both,) = predict_gda_with_text(train, labels[:40], np.arange(40).astype(str), names, classes, [test])
    (images,) = predict_gda(train, labels[:40], [test])
    right = {"both": (both == truth).mean(), "images": (images == truth).mean()}
    assert right["both"] >= right["images"] - 0.01 and right["both"] > 0.9
    assert (predict_zero_shot(test, names, classes) == truth).mean() < 0.6


def test_wrong_names_are_overruled_and_right_ones_are_kept() -> None:
    rng = np.random.default_rng(1)
    labels, each, classes = np.array(list("ab") * 100), np.arange(200).astype(str), np.array(["b", "a"])
    x = np.where((labels == "a")[:, None], 1.0, -1.0) + 0.1 * rng.normal(size=(200, 6))
    right = np.array([-np.ones(6), np.ones(6)])  # the classes are in an order of their own
    for names in (right, -right):
        (predicted,) = predict_gda_with_text(x, labels, each, names, classes, [x])
        assert (predicted == labels).all()


def test_a_class_without_images_is_named_by_its_text() -> None:
    """d has no image to fit on, and its logit of GDA is the mean of the others'."""
    rng = np.random.default_rng(2)
    classes, names = np.array(list("dabc")), np.eye(4)
    truth = np.repeat(np.arange(1, 4), 20)
    train = names[truth] + 0.1 * rng.normal(size=(60, 4))
    test = names + 0.05
    (predicted,) = predict_gda_with_text(train, classes[truth], np.arange(60).astype(str), names, classes, [test])
    assert predicted.tolist() == list("dabc")


def test_tests_do_not_choose_the_weight() -> None:
    x, labels = drawn(3, 200, 6, 3)
    classes, groups = np.unique(labels), np.arange(100).astype(str)
    names = np.random.default_rng(0).normal(size=(len(classes), 6))
    train, test = x[:100], x[100:]
    (alone,) = predict_gda_with_text(train, labels[:100], groups, names, classes, [test])
    first, second = predict_gda_with_text(train, labels[:100], groups, names, classes, [test[:7], test[7:]])
    assert [*first, *second] == alone.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": np.array(["a", "c"])}, "1 of the labels of training images, such as 'b', are none of the classes"),
        ({"classes": np.array(["a", "b", "b"]), "class_vectors": np.eye(3)}, "given twice"),
        ({"class_vectors": np.eye(3)}, "2 classes, but vectors for 3"),
        ({"class_vectors": np.eye(2)}, "Images have 3 dimensions and texts 2"),
        ({"class_vectors": np.zeros((2, 3))}, "zero or not finite"),
        ({"labels": np.array(["a"] * 4)}, "all are 'a'"),
        ({"labels": np.array(["a"] * 3)}, "4 embeddings to fit on, but 3 labels"),
        ({"train": np.full((4, 3), np.nan)}, "4 of 4 embeddings are zero or not finite"),
    ],
)
def test_what_cannot_be_fitted_with_names_is_an_error(change: dict[str, Vectors], message: str) -> None:
    given = {
        "train": np.array([[1.0, 0, 0], [1.0, 0.2, 0], [0, 1.0, 0], [0, 1.0, 0.2]]),
        "labels": A_B,
        "groups": np.array(list("1234")),
        "class_vectors": np.eye(2, 3),
        "classes": np.array(["a", "b"]),
    }
    with pytest.raises(EmbprobeError, match=message):
        predict_gda_with_text(**given | change, tests=[np.eye(3)])  # type: ignore[arg-type]


def test_with_one_group_nothing_is_left_to_choose_the_weight_on() -> None:
    with pytest.raises(TooFewGroups, match="Choosing the weight of GDA holds some groups out, and too few remain"):
        predict_gda_with_text(np.eye(4), A_B, np.array(["1"] * 4), np.eye(2, 4), np.array(["a", "b"]), [])
