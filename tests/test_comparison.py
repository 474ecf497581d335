from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.comparison import cka, mutual_knn, overlap_at_k
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import cosines

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
K_OF_TWENTY = st.integers(1, 12).flatmap(
    lambda k: st.tuples(*[st.permutations([str(i) for i in range(20)]).map(lambda order: order[:k])] * 2)
)


def at(*degrees: float) -> Array:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def related(seed: int, n: int = 30, d: int = 5, e: int = 8) -> tuple[Array, Array]:
    """Two encoders that agree in part, about points that are not the origin."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, d))
    return a + 1, a @ rng.normal(size=(d, e)) + rng.normal(size=(n, e)) - 2


def rotation(seed: int, d: int) -> Array:
    return np.asarray(np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))[0])


def hsic_with_matrices(x: Array, y: Array) -> float:
    """Song et al. 2012, written with the n x n matrices."""
    n = len(x)
    k, m = x @ x.T, y @ y.T
    np.fill_diagonal(k, 0)
    np.fill_diagonal(m, 0)
    one = np.ones(n)
    corrected = np.trace(k @ m) + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * (one @ k @ m @ one) / (n - 2)
    return float(corrected / (n * (n - 3)))


def cka_with_matrices(x: Array, y: Array) -> float:
    return float(hsic_with_matrices(x, y) / np.sqrt(hsic_with_matrices(x, x) * hsic_with_matrices(y, y)))


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
    found = mutual_knn(a, a, k=3)
    assert found.tolist() == [1] * 14
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


def test_cka_by_hand() -> None:
    # One dimension, n = 4. For x = (1, -1, 1, -1) the off-diagonal products are 1 for pairs 13 and 24, -1 for the
    # others; for y = (1, 1, -1, -1) 1 for 12 and 34, -1 for the others. Rows of both sum to -1, all to -4.
    # tr(KL): ordered pairs 12, 13, 24, 34 have -1 (8 of them), 14 and 23 have 1 (4): -4. 1'KL1 = 4. HSIC(x, y) =
    # (-4 + 16 / 6 - 2 * 4 / 2) / 4 = -4/3; HSIC(x, x) = (12 + 16 / 6 - 4) / 4 = 8/3, as of y. -4/3 / 8/3 = -1/2
    x, y = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert cka(x, y) == pytest.approx(-0.5)
    assert cka(x, -3 * x + 7) == pytest.approx(1)


@settings(max_examples=25)
@given(SEEDS, st.integers(4, 40), st.integers(1, 10), st.integers(1, 10))
def test_cka_agrees_with_the_formula_of_matrices(seed: int, n: int, d: int, e: int) -> None:
    a, b = related(seed, n, d, e)
    assert cka(a, b) == pytest.approx(cka_with_matrices(a, b), abs=1e-6)
    assert abs(cka(a, b)) <= 1 + 1e-9


@settings(max_examples=15)
@given(SEEDS, st.sampled_from([1e-6, 1.0, 1e6, 1e120]))
def test_cka_does_not_change_under_rotation_scaling_and_permutation(seed: int, factor: float) -> None:
    a, b = related(seed)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(30)
    expected = cka(a, b)
    assert cka(a, a) == pytest.approx(1)
    assert cka(a, factor * (a @ rotation(seed, 5))) == pytest.approx(1)
    assert cka(factor * a, b @ rotation(seed, 8)) == pytest.approx(expected, abs=1e-6)
    assert cka(a[:, rng.permutation(5)] + 10, b) == pytest.approx(expected, abs=1e-6)
    assert cka(a[rows], b[rows]) == pytest.approx(expected, abs=1e-6)
    assert cka(b, a) == pytest.approx(expected, abs=1e-6)


def test_unrelated_encoders_have_a_cka_of_zero_in_the_mean() -> None:
    a, b = related(0, n=5)
    every = [cka(a, b[list(order)]) for order in itertools.permutations(range(5))]
    assert np.mean(every) == pytest.approx(0, abs=1e-9)
    # and in more dimensions than images, where the CKA that is not debiased is near 1
    noise = np.random.default_rng(0).normal(size=(60, 2, 20, 100))
    found = np.array([cka(x, y) for x, y in noise])
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(60)
    assert found.std() < 0.1
    x, y = (each - each.mean(0) for each in noise[0])
    biased = np.square(x.T @ y).sum() / np.sqrt(np.square(x.T @ x).sum() * np.square(y.T @ y).sum())
    assert biased > 0.8


def test_cka_falls_as_noise_grows() -> None:
    a, _ = related(0, n=200)
    noise = np.random.default_rng(1).normal(size=a.shape)
    falling = [cka(a, a + amount * noise) for amount in (0, 0.3, 1, 3, 10)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(1)
    assert falling[-1] < 0.1


def test_half_precision_is_widened_before_anything_is_summed() -> None:
    a, b = (x.astype(np.float16) for x in related(0))
    assert cka(a, b) == cka(a.astype(np.float64), b.astype(np.float64))


def test_encoders_that_have_no_cka() -> None:
    a, b = related(0)
    with pytest.raises(EmbprobeError, match="one has 30 and the other 29"):
        cka(a, b[:-1])
    with pytest.raises(EmbprobeError, match="at least 4 images; there are 3"):
        cka(a[:3], b[:3])
    for constant in (np.zeros((30, 8)), np.ones((30, 8)), np.ones((30, 8)) + 1e-7 * b):
        for pair in ((a, constant), (constant, a)):
            with pytest.raises(EmbprobeError, match="coincide"):
                cka(*pair)
    with pytest.raises(EmbprobeError, match="equally far from each other"):
        cka(np.eye(30), b)
    a[3, 2] = np.nan
    with pytest.raises(EmbprobeError, match="not finite"):
        cka(a, b)
