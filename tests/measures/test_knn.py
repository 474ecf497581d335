from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group
from sklearn.neighbors import KNeighborsClassifier

from embprobe.errors import EmbprobeError
from embprobe.measures import knn
from embprobe.measures.knn import nearest, predict_knn
from embprobe.measures.vectors import LabelArray

Vectors = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def names(numbers: NDArray[np.integer]) -> LabelArray:
    return np.array([f"class {i}" for i in numbers])


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """All of them, in float64."""
    dot = a @ b.T
    return np.asarray(dot / np.linalg.norm(a, axis=1)[:, None] / np.linalg.norm(b, axis=1))


def test_the_nearest_come_first() -> None:
    # from 0 degrees: cos 60 = 0.5, cos 90 = 0, cos 0 = 1, cos 180 = -1; from 75: cos 15 = 0.966, 0.966, 0.259, -0.259
    similarity, position = nearest(at(0, 75), 7 * at(60, 90, 0, 180), 4)
    assert position.tolist() == [[2, 0, 1, 3], [0, 1, 2, 3]]
    assert similarity[0] == pytest.approx([1, 0.5, 0, -1], abs=1e-6)
    assert similarity[1] == pytest.approx([0.9659, 0.9659, 0.2588, -0.2588], abs=1e-4)
    assert nearest(at(0, 75), at(60, 90, 0, 180), 1)[1].tolist() == [[2], [0]]


@pytest.mark.parametrize("queries", [3, 60])  # FAISS takes another way for a few
def test_equal_keys_come_in_the_order_of_their_positions(queries: int) -> None:
    keys = np.eye(3)[[1, 0, 1, 0, 2, 0]]
    _, position = nearest(np.tile([[3.0, 2.0, 1.0]], (queries, 1)), keys, 6)
    assert position.tolist() == [[1, 3, 5, 0, 2, 4]] * queries


@pytest.mark.parametrize("queries", [5, 100])
def test_it_agrees_with_sorting_every_cosine(queries: int) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(queries, 20)), rng.normal(size=(700, 20))
    similarity, position = nearest(a, b, 30)
    every = cosines(a, b)
    assert np.abs(similarity - -np.sort(-every, axis=1)[:, :30]).max() < 1e-6
    assert np.abs(np.take_along_axis(every, position, 1) - similarity).max() < 1e-6
    assert all(len(set(row)) == 30 for row in position.tolist())
    assert (position == np.argsort(-every, axis=1)[:, :30]).mean() > 0.999  # but for cosines 1e-7 apart


def test_torch_finds_what_faiss_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(50, 8)), rng.normal(size=(90, 8))
    expected = nearest(a, b, 10)
    monkeypatch.setattr(knn, "_CELLS", 7 * 90)  # seven queries at a time, one in the last block
    monkeypatch.setattr(knn, "_by_faiss", lambda queries, keys, k: knn._by_torch(queries, keys, k, "cpu"))
    similarity, position = nearest(a, b, 10)
    assert (position == expected[1]).all()
    assert np.abs(similarity - expected[0]).max() < 1e-6
    assert similarity.dtype == np.float32


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_finds_what_the_cpu_finds() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(300, 64)), rng.normal(size=(5_000, 64))
    similarity, position = nearest(a, b, 20, device="cuda")
    expected = nearest(a, b, 20)
    assert np.abs(similarity - expected[0]).max() < 1e-6
    assert (position == expected[1]).mean() > 0.999


@settings(max_examples=20)
@given(seeds, st.floats(1e-6, 1e6))
def test_rotating_permuting_and_scaling_the_space_change_no_cosine(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(30, 6)), rng.normal(size=(40, 6))
    similarity, position = nearest(a, b, 5)
    order = rng.permutation(6)
    for turn in (ortho_group.rvs(6, random_state=seed), np.eye(6)[order], scale * np.eye(6)):
        turned, turned_position = nearest(a @ turn, b @ turn, 5)
        assert np.abs(turned - similarity).max() < 1e-6
        assert np.abs(np.take_along_axis(cosines(a, b), turned_position, 1) - similarity).max() < 1e-6
        assert (turned_position == position).mean() > 0.95


def test_half_precision_is_no_trouble() -> None:
    wide = 300 * at(0, 60, 90)  # the squares of 300 are beyond float16
    assert nearest(wide.astype(np.float16), wide.astype(np.float16), 1)[1].ravel().tolist() == [0, 1, 2]


@pytest.mark.parametrize("k", [0, 4, -1])
def test_more_neighbours_than_keys_or_none_are_an_error(k: int) -> None:
    with pytest.raises(EmbprobeError, match=f"^{k} nearest neighbours were asked for, among 3"):
        nearest(at(0), at(0, 1, 2), k)


def test_keys_of_another_dimension_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="2 and 3 dimensions .* same encoder"):
        nearest(at(0), np.eye(3), 1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_vector_without_direction_is_an_error(bad: float) -> None:
    vectors = np.eye(3)
    vectors[1] *= bad if bad == 0 else 1
    vectors[1, 1] = bad
    for queries, keys in ((vectors, np.eye(3)), (np.eye(3), vectors)):
        with pytest.raises(EmbprobeError, match="1 of 3 embeddings are zero or not finite"):
            nearest(queries, keys, 1)


def test_near_neighbours_weigh_more_than_many() -> None:
    # cosines to the test vector at 0 degrees: 1 (near), cos 20 = 0.940 twice (far); opposite: -1
    # temperature 0.07: far 2 * exp(-0.0603 / 0.07) = 0.845 < 1 = near; temperature 0.1: 2 * exp(-0.603) = 1.094 > 1
    train, labels = at(0, 20, -20, 180), np.array(["near", "far", "far", "opposite"])
    assert predict_knn(train, labels, at(0), k=3).tolist() == ["near"]
    assert predict_knn(train, labels, at(0), k=3, temperature=0.1).tolist() == ["far"]


def test_only_k_neighbours_vote() -> None:
    # from 0: east (cos 5 = 0.996) is nearest; north has 3 at cos 10 = 0.985, exp(-0.011 / 0.07) = 0.85 each
    train, labels = at(5, 10, -10, 10), np.array(["east", "north", "north", "north"])
    assert predict_knn(train, labels, at(0), k=1).tolist() == ["east"]
    assert predict_knn(train, labels, at(0), k=3).tolist() == ["north"]
    assert predict_knn(train, labels, at(0), k=1_000).tolist() == ["north"]  # cut to 4


def test_a_tie_goes_to_the_first_in_the_alphabet() -> None:
    assert predict_knn(at(90, 0), np.array(["b", "a"]), at(45, 45), k=2).tolist() == ["a", "a"]


@settings(max_examples=20)
@given(seeds, st.integers(1, 60), st.sampled_from([0.05, 0.07, 0.5]))
def test_it_agrees_with_sklearn(seed: int, k: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(120, 6)), rng.normal(size=(80, 6))
    labels = names(rng.integers(0, 4, 120))
    reference = KNeighborsClassifier(
        k, metric="cosine", algorithm="brute", weights=lambda distance: np.exp((1 - distance) / temperature)
    ).fit(train, labels)
    score = np.sort(reference.predict_proba(test), axis=1)
    clear = score[:, -1] - score[:, -2] > 1e-4  # float32 may settle the others either way
    predicted = predict_knn(train, labels, test, k=k, temperature=temperature)
    assert clear.mean() > 0.9
    assert predicted[clear].tolist() == reference.predict(test)[clear].tolist()


def test_votes_counted_in_blocks_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    train, test, labels = rng.normal(size=(90, 4)), rng.normal(size=(50, 4)), names(rng.integers(0, 12, 90))
    at_once = predict_knn(train, labels, test)
    assert len(np.unique(at_once)) > 5
    monkeypatch.setattr(knn, "_VOTES", 7 * 12)  # seven test vectors at a time
    assert predict_knn(train, labels, test).tolist() == at_once.tolist()


@settings(max_examples=20)
@given(seeds)
def test_it_does_not_see_the_lengths_of_vectors(seed: int) -> None:
    rng = np.random.default_rng(seed)
    train, test = rng.normal(size=(50, 6)), rng.normal(size=(30, 6))
    labels = names(rng.integers(0, 3, 50))
    longer, shorter = 10 ** rng.uniform(0, 6, (50, 1)), 10 ** rng.uniform(-6, 0, (30, 1))
    scaled = predict_knn(train * longer, labels, test * shorter, k=5)
    assert scaled.tolist() == predict_knn(train, labels, test, k=5).tolist()


@pytest.mark.parametrize("away", [2, 100])
def test_it_survives_the_smallest_temperature(away: float) -> None:
    # exp(1 / 0.001) overflows even float64, and exp((cos 98 - 1) / 0.001) is 0; the nearest must win all the same
    predicted = predict_knn(
        at(away - 2, away - 40, away - 40), np.array(["near", "far", "far"]), at(2 * away), k=3, temperature=0.001
    )
    assert predicted.tolist() == ["near"]


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan])
def test_a_temperature_that_is_not_above_zero_is_an_error(temperature: float) -> None:
    with pytest.raises(EmbprobeError, match="must be above 0"):
        predict_knn(at(0, 90), np.array(["a", "b"]), at(0), temperature=temperature)


def test_one_label_cannot_be_decoded() -> None:
    with pytest.raises(EmbprobeError, match="at least two different values of the label: all are 'a'"):
        predict_knn(np.eye(4), np.array(["a"] * 4), np.eye(4))


def test_labels_for_other_rows_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="2 embeddings to fit on, but 3 labels"):
        predict_knn(at(0, 90), np.array(["a", "b", "b"]), at(0))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("where", ["train", "test"])
def test_embeddings_that_are_not_finite_cannot_be_decoded(bad: float, where: str) -> None:
    vectors = {"train": np.random.default_rng(0).normal(size=(20, 3)), "test": np.ones((2, 3))}
    vectors[where][1, 2] = bad
    with pytest.raises(EmbprobeError, match="not finite"):
        predict_knn(vectors["train"], np.array(["a", "b"] * 10), vectors["test"])
