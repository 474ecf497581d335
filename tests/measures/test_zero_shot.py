from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group

from embprobe.errors import EmbprobeError
from embprobe.measures import zero_shot
from embprobe.measures.zero_shot import class_vectors, predict_zero_shot

Vectors = NDArray[np.float64]

CAT_DOG = np.array(["cat", "dog"])
seeds = st.integers(0, 2**32 - 1)


def test_class_vectors_by_hand() -> None:
    # cat: units (1, 0) and (0.6, 0.8), mean (0.8, 0.4) of length sqrt(0.8): (0.8944, 0.4472)
    # dog: (0, 1) alone
    means = class_vectors([np.array([[50.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 2.0]])])
    assert means == pytest.approx(np.array([[0.8944, 0.4472], [0.0, 1.0]]), abs=1e-4)


def test_one_array_for_all_classes_is_the_same_as_one_for_each() -> None:
    texts = np.random.default_rng(0).normal(size=(4, 3, 5))
    assert (class_vectors(texts) == class_vectors(list(texts))).all()
    # the formula, in one line each
    units = texts / np.linalg.norm(texts, axis=2, keepdims=True)
    mean = units.mean(1)
    assert class_vectors(texts) == pytest.approx(mean / np.linalg.norm(mean, axis=1, keepdims=True))


def test_predictions_by_hand() -> None:
    # of class vectors at 0 and 90 degrees, (3, 1) is nearer to the first, (1, 3) to the second; (-1, -2): -0.45, -0.89
    images = np.array([[3.0, 1.0], [1.0, 3.0], [-1.0, -2.0]])
    assert predict_zero_shot(images, np.eye(2), CAT_DOG).tolist() == ["cat", "dog", "cat"]
    # a class vector's length says nothing
    assert predict_zero_shot(images, np.diag([1.0, 9.0]), CAT_DOG).tolist() == ["cat", "dog", "cat"]


def test_a_tie_goes_to_the_class_given_first() -> None:
    assert predict_zero_shot(np.ones((1, 2)), np.eye(2), CAT_DOG[::-1]).tolist() == ["dog"]


def test_templates_help_where_each_alone_is_noisy() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    centre = rng.normal(size=(5, 30))
    images = centre[truth] + rng.normal(size=(200, 30))
    texts = centre[:, None] + 2 * rng.normal(size=(5, 40, 30))
    names = np.array([f"class {i}" for i in range(5)])
    right = [(predict_zero_shot(images, class_vectors(t), names) == names[truth]).mean() for t in (texts[:, :1], texts)]
    assert right[1] > 0.95 > right[0]


@settings(max_examples=20)
@given(seeds, st.floats(1e-6, 1e6))
def test_rotating_permuting_and_scaling_the_space_change_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    images, texts = rng.normal(size=(50, 6)), rng.normal(size=(4, 3, 6))
    names, vectors = np.array(["a", "b", "c", "d"]), class_vectors(texts)
    predicted = predict_zero_shot(images, vectors, names)
    score = np.sort(images / np.linalg.norm(images, axis=1, keepdims=True) @ vectors.T, axis=1)
    clear = score[:, -1] - score[:, -2] > 1e-6
    for turn in (ortho_group.rvs(6, random_state=seed), np.eye(6)[::-1], scale * np.eye(6)):
        turned = class_vectors(texts @ turn)
        assert turned == pytest.approx(vectors @ turn / np.linalg.norm(vectors @ turn, axis=1, keepdims=True), abs=1e-6)
        assert predict_zero_shot(images @ turn, turned, names)[clear].tolist() == predicted[clear].tolist()
    longer = 10 ** rng.uniform(-3, 3, (50, 1))
    assert predict_zero_shot(images * longer, vectors, names)[clear].tolist() == predicted[clear].tolist()


def test_the_order_of_classes_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    images, vectors, names = rng.normal(size=(60, 5)), rng.normal(size=(4, 5)), np.array(["a", "b", "c", "d"])
    predicted = predict_zero_shot(images, vectors, names)
    assert set(predicted) == set(names)
    assert predict_zero_shot(images, vectors[::-1], names[::-1]).tolist() == predicted.tolist()
    monkeypatch.setattr(zero_shot, "_CELLS", 7 * 4)  # seven images at a time
    assert predict_zero_shot(images, vectors, names).tolist() == predicted.tolist()


def test_texts_that_make_no_class_are_an_error() -> None:
    one = np.ones((1, 2))
    with pytest.raises(EmbprobeError, match="no classes"):
        class_vectors([])
    with pytest.raises(EmbprobeError, match="1 of 2 classes have no text"):
        class_vectors([one, one[:0]])
    with pytest.raises(EmbprobeError, match="2 and 3 dimensions"):
        class_vectors([one, np.ones((1, 3))])
    with pytest.raises(EmbprobeError, match="1 of 2 classes cancel out"):
        class_vectors([one, np.array([[1.0, 2.0], [-2.0, -4.0]])])
    with pytest.raises(EmbprobeError, match="1 of 2 embeddings are zero or not finite"):
        class_vectors([one, np.array([[1.0, 0.0], [np.nan, 1.0]])])


def test_classes_that_cannot_be_told_apart_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="two different values of the class: all are 'cat'"):
        predict_zero_shot(np.eye(2), np.eye(2)[:1], CAT_DOG[:1])
    with pytest.raises(EmbprobeError, match="given twice"):
        predict_zero_shot(np.eye(3), np.eye(3), np.array(["cat", "dog", "cat"]))
    with pytest.raises(EmbprobeError, match="2 classes, but vectors for 3"):
        predict_zero_shot(np.eye(3), np.eye(3), CAT_DOG)


def test_images_and_texts_of_two_encoders_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="Images have 3 dimensions and texts 2"):
        predict_zero_shot(np.eye(3), np.eye(2), CAT_DOG)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("where", ["images", "classes"])
def test_a_vector_without_direction_is_an_error(bad: float, where: str) -> None:
    vectors = {"images": np.eye(2), "classes": np.eye(2)}
    vectors[where][1, 1] = bad
    with pytest.raises(EmbprobeError, match="1 of 2 embeddings are zero or not finite"):
        predict_zero_shot(vectors["images"], vectors["classes"], CAT_DOG)
