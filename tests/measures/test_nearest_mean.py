from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from embprobe.errors import EmbprobeError
from embprobe.measures import nearest_mean
from embprobe.measures.knn import predict_knn
from embprobe.measures.nearest_mean import predict_nearest_mean

A_B = np.array(["a", "a", "b"])


def test_a_case_by_hand() -> None:
    # a: (1, 0) and (0, 1), mean (0.5, 0.5), whatever their lengths; b: (0.8, 0.6)
    # of (3, 1): cosines 4 / (sqrt 2 sqrt 10) = 0.894 and 3 / sqrt 10 = 0.949, b; of (1, 1): 1 and 0.990, a
    train = np.array([[5.0, 0.0], [0.0, 0.1], [4.0, 3.0]])
    predicted = predict_nearest_mean(train, A_B, [np.array([[3.0, 1.0], [1.0, 1.0]]), np.array([[0.0, 9.0]])])
    assert [each.tolist() for each in predicted] == [["b", "a"], ["a"]]


@given(st.integers(0, 2**32 - 1))
def test_it_is_the_nearest_neighbour_among_the_means_of_unit_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(60, 5)) + 1, np.array(list("abcdef"))[rng.permutation(60) % 6]
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    means = np.array([unit[:40][labels[:40] == c].mean(0) for c in np.unique(labels[:40])])
    reference = KNeighborsClassifier(1, metric="cosine").fit(means, np.unique(labels[:40]))
    (predicted,) = predict_nearest_mean(x[:40], labels[:40], [x[40:]])
    assert predicted.tolist() == reference.predict(unit[40:]).tolist()


def test_with_one_vector_of_each_label_it_is_the_nearest_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    train, labels, test = rng.normal(size=(9, 4)), np.array(list("abcdefghi")), rng.normal(size=(50, 4))
    expected = predict_knn(train, labels, test, k=1).tolist()
    monkeypatch.setattr(nearest_mean, "_CELLS", 7 * 9)  # seven rows at a time
    assert predict_nearest_mean(train, labels, [test])[0].tolist() == expected


@pytest.mark.parametrize(
    ("train", "labels", "test", "message"),
    [
        (np.array([[1.0, 0], [-1, 0], [0, 1]]), A_B, np.eye(2), "1 of 2 labels, such as 'a', cancel out"),
        (np.eye(3), A_B, np.eye(2), "Class means of 3 dimensions cannot judge embeddings of 2"),
        (np.eye(3), np.array(["a"] * 3), np.eye(3), "all are 'a'"),
        (np.eye(3), A_B[:2], np.eye(3), "3 embeddings to fit on, but 2 labels"),
        (np.zeros((3, 3)), A_B, np.eye(3), "3 of 3 embeddings are zero"),
        (np.eye(3), A_B, np.full((1, 3), np.nan), "1 of 1 embeddings are zero or not finite"),
    ],
)
def test_what_has_no_nearest_mean_is_an_error(
    train: NDArray[np.float64], labels: NDArray[np.str_], test: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(EmbprobeError, match=message):
        predict_nearest_mean(train, labels, [test])
