from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.mutual_knn import (
    mutual_knn,
    nearest_others,
    neighbor_overlap,
    neighbor_overlap_by_chance,
    overlap_at_k,
    ranked_others,
)
from tests.conftest import cosines
from tests.measures.pairs_of_encoders import SEEDS, at, related, rotation

K_OF_TWENTY = st.integers(1, 12).flatmap(
    lambda k: st.tuples(*[st.permutations([str(i) for i in range(20)]).map(lambda order: order[:k])] * 2)
)


def test_overlap_by_hand() -> None:
    assert overlap_at_k(["a", "b", "c", "d"], ["d", "x", "a", "c"]) == 0.75  # a, c and d are common
    assert overlap_at_k(["a"], ["a"]) == 1
    assert overlap_at_k(["a", "b"], ["c", "d"]) == 0


@settings(deadline=None)
@given(K_OF_TWENTY)
def test_overlap_counts_each_common_neighbour_and_not_its_rank(lists: tuple[list[str], list[str]]) -> None:
    a, b = lists
    assert overlap_at_k(a, b) == sum(key in b for key in a) / len(a)
    assert overlap_at_k(a, b) == overlap_at_k(b, a) == overlap_at_k(a[::-1], b)
    assert overlap_at_k(a, a) == 1


def test_lists_of_different_lengths_or_none_cannot_overlap() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        overlap_at_k(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        overlap_at_k([], [])


def test_mutual_knn_by_hand() -> None:
    # two nearest of 0, 10, 31, 60, 100, by row: 12, 02, 13, 24, 23; with the first and the last swapped:
    # 23, 24, 13, 02, 12; in common: 2; 2; 1 and 3; 2; 2
    a, b = at(0, 10, 31, 60, 100), at(100, 10, 31, 60, 0)
    assert mutual_knn(a, b, k=2).tolist() == [0.5, 0.5, 1, 0.5, 0.5]
    # the nearest one: 1, 0, 1, 2, 3 and 3, 4, 1, 2, 1
    assert mutual_knn(a, b, k=1).tolist() == [0, 0, 1, 1, 0]


@settings(max_examples=20)
@given(SEEDS, st.integers(14, 60), st.integers(1, 12))
def test_mutual_knn_agrees_with_its_definition(seed: int, n: int, k: int) -> None:
    a, b = related(seed, n)
    similar = [cosines(x, x) for x in (a, b)]
    for each in similar:
        np.fill_diagonal(each, -np.inf)
    near = [np.argsort(-each, axis=1)[:, :k] for each in similar]
    expected = [overlap_at_k([str(i) for i in x], [str(i) for i in y]) for x, y in zip(*near, strict=True)]
    assert mutual_knn(a, b, k=k) == pytest.approx(expected)


def test_chance_is_the_mean_over_all_matchings_of_the_rows() -> None:
    a, b = related(0, n=5)
    shares = [mutual_knn(a, b[list(order)], k=2).mean() for order in itertools.permutations(range(5))]
    assert np.mean(shares) == pytest.approx(2 / 4)  # k / (n - 1)


@settings(max_examples=15)
@given(SEEDS)
def test_neighbours_do_not_change_under_rotation_scaling_and_permutation(seed: int) -> None:
    a, b = related(seed)
    rng = np.random.default_rng(seed)
    expected = mutual_knn(a, b, k=5)
    rows, lengths = rng.permutation(30), 10 ** rng.uniform(-6, 6, (30, 1))
    assert np.array_equal(mutual_knn(lengths * a, b @ rotation(seed, 8), k=5), expected)
    assert np.array_equal(mutual_knn(a[:, rng.permutation(5)], b, k=5), expected)
    assert np.array_equal(mutual_knn(a[rows], b[rows], k=5), expected[rows])
    assert np.array_equal(mutual_knn(b, a, k=5), expected)
    assert mutual_knn(a, a, k=5).tolist() == [1] * 30


def test_an_image_is_not_its_own_neighbour_even_among_many_duplicates() -> None:
    # ten times the same and four others: an image's k + 1 nearest need not hold itself
    a = np.concatenate([np.tile([[1.0, 0.0, 0.0]], (10, 1)), related(0, 4, 3, 3)[0]])
    overlap = mutual_knn(a, a, k=3)
    assert overlap.tolist() == [1] * 14
    b = np.concatenate([related(1, 10, 3, 3)[0], np.tile([[1.0, 0.0, 0.0]], (4, 1))])
    assert ((mutual_knn(a, b, k=3) >= 0) & (mutual_knn(a, b, k=3) <= 1)).all()


def test_neighbours_that_cannot_be_compared() -> None:
    a, b = related(0)
    with pytest.raises(EmbprobeError, match="one has 30 and the other 29"):
        mutual_knn(a, b[:-1])
    with pytest.raises(
        EmbprobeError, match="at least 12 images; there are 11"
    ):  # with 11, all others are the 10 nearest
        mutual_knn(a[:11], b[:11])
    assert mutual_knn(a[:12], b[:12]).shape == (12,)
    with pytest.raises(UsageError, match="at least 1; it is 0"):
        mutual_knn(a, b, k=0)
    for bad in (0.0, np.nan, np.inf):
        a[3] = bad
        with pytest.raises(EmbprobeError, match="1 of 30 embeddings are zero or not finite"):
            mutual_knn(a, b)


def test_neighbours_of_some_rows_are_among_all() -> None:
    a, b = related(0)
    rows = np.array([3, 17, 4])
    assert np.array_equal(nearest_others(a, 5, at=rows), nearest_others(a, 5)[rows])
    overlap = neighbor_overlap(nearest_others(a, 5, at=rows), nearest_others(b, 5, at=rows))
    assert np.array_equal(overlap, mutual_knn(a, b, k=5)[rows])


def test_chance_by_matchings_is_that_of_matching_rows() -> None:
    a, b = related(0, n=6)
    lists = nearest_others(a, 2), nearest_others(b, 2)
    every = [mutual_knn(a, b[list(order)], k=2).mean() for order in itertools.permutations(range(6))]
    drawn = neighbor_overlap_by_chance(*lists, n=6, matchings=4000)
    assert set(drawn.round(9)) == set(np.round(every, 9))  # 720 matchings, drawn 4,000 times
    assert drawn.mean() == pytest.approx(2 / 5, abs=0.01) and drawn.std() == pytest.approx(np.std(every), rel=0.05)


def test_chance_of_some_rows_is_near_that_of_all() -> None:
    a, b = related(0, n=300)
    rows = np.random.default_rng(0).permutation(300)[:100]
    lists = nearest_others(a, 10, at=rows), nearest_others(b, 10, at=rows)
    drawn = neighbor_overlap_by_chance(*lists, n=300, at=rows)
    assert drawn.mean() == pytest.approx(10 / 299, rel=0.05)
    assert neighbor_overlap(*lists).mean() > 3 * drawn.max()  # these two are related
    unrelated = nearest_others(b[::-1], 10, at=rows)
    assert abs(neighbor_overlap(lists[0], unrelated).mean() - drawn.mean()) < 4 * drawn.std()


def test_the_nearest_others_with_their_cosines_by_hand() -> None:
    vectors = np.array([[1, 0], [0, 2], [3, 4]], np.float32)  # cosines: 0-1 0, 0-2 0.6, 1-2 0.8
    cosine, position = ranked_others(vectors, 1)
    assert position.tolist() == [[2], [2], [1]] and cosine[:, 0].tolist() == pytest.approx([0.6, 0.8, 0.8])
    assert ranked_others(vectors, 2)[1].tolist() == [[2, 1], [2, 0], [1, 0]]  # all others
    _, position = ranked_others(np.ones((5, 2), np.float32), 2)
    assert position.shape == (5, 2) and not (position == np.arange(5)[:, None]).any()
