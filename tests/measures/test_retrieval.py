from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import ortho_group

from embprobe.errors import EmbprobeError
from embprobe.measures.retrieval import recall_at_k
from embprobe.measures.vectors import LabelArray

Vectors = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def names(numbers: NDArray[np.integer]) -> LabelArray:
    return np.array([f"label {i}" for i in numbers])


def from_all_scores(scores: Vectors, positive: NDArray[np.bool_], k: int) -> Vectors:
    """CLIP_benchmark's definition, written out: is any share of the positives among the k best? ``[m, n] -> [m]``."""
    best = np.argsort(-scores, axis=1)[:, :k]
    share = np.take_along_axis(positive, best, 1).sum(1) / positive.sum(1)
    return np.asarray(share > 0, np.float64)


def test_a_case_by_hand() -> None:
    # from 0 degrees: keys at 10 (dog), 20 (cat), 30 (cat), 90 (dog): a cat is second
    # from 80 degrees: at 90 (dog), 30 (cat), 20 (cat), 10 (dog): a dog is first
    queries, keys = at(0, 80), 3 * at(10, 20, 30, 90)
    query_labels, key_labels = np.array(["cat", "dog"]), np.array(["dog", "cat", "cat", "dog"])
    assert recall_at_k(queries, keys, query_labels, key_labels, k=1).tolist() == [0, 1]
    assert recall_at_k(queries, keys, query_labels, key_labels, k=2).tolist() == [1, 1]
    assert recall_at_k(queries, keys, np.array(["dog", "cat"]), key_labels, k=1).tolist() == [1, 0]


def test_a_query_does_not_find_itself() -> None:
    # 0 (a): next is 10 (b), then 30 (a); 10 (b): 0 (a), 30 (a), 60 (b); 30 (a): 10 (b), then 0 (a) and 60 (b) tie
    # 60 (b): 30 (a), 10 (b)
    x, labels = at(0, 10, 30, 61), np.array(["a", "b", "a", "b"])
    itself = np.arange(4)
    assert recall_at_k(x, x, labels, labels, k=1).tolist() == [1, 1, 1, 1]
    assert recall_at_k(x, x, labels, labels, k=1, exclude=itself).tolist() == [0, 0, 0, 0]
    assert recall_at_k(x, x, labels, labels, k=2, exclude=itself).tolist() == [1, 0, 1, 1]


def test_excluding_is_leaving_out_one_key_even_among_copies() -> None:
    x = np.repeat(at(0, 50), 3, axis=0)  # three copies each: the query may come after others, or not be met at all
    labels = np.array(["a", "b", "c", "a", "b", "c"])
    recall = recall_at_k(x, x, labels, labels, k=2, exclude=np.arange(6))
    # both others of the three copies have other labels
    assert recall.tolist() == [0] * 6
    alike = np.array(["a", "b", "b", "a", "a", "b"])
    assert recall_at_k(x, x, alike, alike, k=2, exclude=np.arange(6)).tolist() == [0, 1, 1, 1, 1, 0]
    same = np.tile([[1.0, 0.0]], (30, 1))  # far more copies than are looked at: 0 to 3, and of them k = 3
    label = names(np.arange(30) % 10)
    recall = recall_at_k(same, same, label, label, k=3, exclude=np.arange(30))
    assert recall.tolist() == [0] * 10 + ([1] * 3 + [0] * 7) * 2  # 10, 11, 12 find 0, 1, 2; 13 comes after 3


@settings(max_examples=20)
@given(seeds, st.integers(1, 20), st.booleans())
def test_it_is_clip_benchmarks_definition_both_ways(seed: int, k: int, texts_ask: bool) -> None:
    rng = np.random.default_rng(seed)
    pictured, written = (
        rng.permutation(np.arange(60) % 12),
        rng.permutation(np.arange(24) % 12),
    )  # 5 images, 2 texts each
    centre = rng.normal(size=(12, 8))
    images, texts = centre[pictured] + rng.normal(size=(60, 8)), centre[written] + rng.normal(size=(24, 8))
    queries, keys, query_labels, key_labels = (
        (texts, images, written, pictured) if texts_ask else (images, texts, pictured, written)
    )
    a, b = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (queries, keys))
    expected = from_all_scores(a @ b.T, query_labels[:, None] == key_labels, k)
    assert recall_at_k(queries, keys, names(query_labels), names(key_labels), k=k).tolist() == expected.tolist()


@settings(max_examples=20)
@given(seeds, st.integers(1, 10))
def test_excluding_is_the_same_as_asking_the_others(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    x, label = rng.normal(size=(30, 5)), rng.permutation(np.arange(30) % 6)
    subset = rng.permutation(30)[:7]  # queries need be neither all keys nor in their order
    a = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = a[subset] @ a.T
    cosines[np.arange(7), subset] = -2
    positive = label[subset, None] == label
    positive[np.arange(7), subset] = False
    recall = recall_at_k(x[subset], x, names(label[subset]), names(label), k=k, exclude=subset)
    assert recall.tolist() == from_all_scores(cosines, positive, k).tolist()


def test_noise_finds_its_own_by_chance() -> None:
    rng = np.random.default_rng(0)
    queries, keys, label = rng.normal(size=(2_000, 16)), rng.normal(size=(40, 16)), np.arange(2_000) % 40
    recall = recall_at_k(queries, keys, names(label), names(np.arange(40)), k=4)
    # one key of 40 is right: 4 / 40 = 0.1, standard deviation sqrt(0.1 * 0.9 / 2000) = 0.007, four of them 0.027
    assert recall.mean() == pytest.approx(0.1, abs=0.027)


@settings(max_examples=10)
@given(seeds, st.floats(1e-6, 1e6))
def test_rotating_permuting_and_scaling_the_space_change_nothing(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    label = np.arange(40) % 8
    x, y = rng.normal(size=(40, 6)), rng.normal(size=(40, 6))
    recall = recall_at_k(x, y, names(label), names(label), k=3)
    every = np.sort(x / np.linalg.norm(x, axis=1, keepdims=True) @ (y / np.linalg.norm(y, axis=1, keepdims=True)).T)
    clear = every[:, -3] - every[:, -4] > 1e-6
    for turn in (ortho_group.rvs(6, random_state=seed), np.eye(6)[::-1], scale * np.eye(6)):
        turned = recall_at_k(x @ turn, y @ turn, names(label), names(label), k=3)
        assert turned[clear].tolist() == recall[clear].tolist()


def test_a_query_with_nothing_to_find_is_an_error() -> None:
    query_labels = np.array(["cat", "cow", "cow", "hen"])
    with pytest.raises(EmbprobeError, match="3 of 4 queries have nothing to find: .* 'cow' and 1 more label"):
        recall_at_k(np.eye(4), np.eye(4), query_labels, np.array(["cat", "dog", "dog", "dog"]), k=1)
    with pytest.raises(EmbprobeError, match="1 of 4 queries have nothing to find: no other .* 'hen'\\.$"):
        recall_at_k(
            np.eye(4), np.eye(4), query_labels[[1, 1, 2, 3]], query_labels[[1, 1, 2, 3]], k=1, exclude=np.arange(4)
        )


@pytest.mark.parametrize(("k", "exclude"), [(0, None), (4, None), (3, np.arange(4))])
def test_a_k_that_every_query_passes_is_an_error(k: int, exclude: NDArray[np.int64] | None) -> None:
    labels = np.array(["a", "b", "a", "b"])
    with pytest.raises(EmbprobeError, match=f"Recall at {k} among {4 if exclude is None else 3}"):
        recall_at_k(np.eye(4), np.eye(4), labels, labels, k=k, exclude=exclude)


def test_labels_and_positions_that_do_not_fit_are_errors() -> None:
    labels = np.array(["a", "b", "a", "b"])
    with pytest.raises(EmbprobeError, match="4 queries with 3 labels"):
        recall_at_k(np.eye(4), np.eye(4), labels[:3], labels, k=1)
    for exclude in (np.arange(3), np.array([0, 1, 2, 4]), np.array([0, 1, 2, -1])):
        with pytest.raises(EmbprobeError, match="own position among the 4 keys"):
            recall_at_k(np.eye(4), np.eye(4), labels, labels, k=1, exclude=exclude)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
@pytest.mark.parametrize("where", ["queries", "keys"])
def test_a_vector_without_direction_is_an_error(bad: float, where: str) -> None:
    vectors, labels = {"queries": np.eye(4), "keys": np.eye(4)}, np.array(["a", "b", "a", "b"])
    vectors[where][1, 1] = bad
    with pytest.raises(EmbprobeError, match="1 of 4 embeddings are zero or not finite"):
        recall_at_k(vectors["queries"], vectors["keys"], labels, labels, k=1)
