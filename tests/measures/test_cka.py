from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.measures.cka import chance_cka, cka
from embprobe.measures.vectors import Vectors
from tests.measures.pairs_of_encoders import SEEDS, Array, related, rotation


def theta(a: Vectors, b: Vectors) -> float:
    return float(cka(a, b).mean())


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


def test_cka_by_hand() -> None:
    # One dimension, n = 4. For x = (1, -1, 1, -1) the off-diagonal products are 1 for pairs 13 and 24, -1 for the
    # others; for y = (1, 1, -1, -1) 1 for 12 and 34, -1 for the others. Rows of both sum to -1, all to -4.
    # tr(KL): ordered pairs 12, 13, 24, 34 have -1 (8 of them), 14 and 23 have 1 (4): -4. 1'KL1 = 4. HSIC(x, y) =
    # (-4 + 16 / 6 - 2 * 4 / 2) / 4 = -4/3; HSIC(x, x) = (12 + 16 / 6 - 4) / 4 = 8/3, as of y. -4/3 / 8/3 = -1/2
    x, y = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert theta(x, y) == pytest.approx(-0.5)
    assert theta(x, -3 * x + 7) == pytest.approx(1)


@settings(max_examples=25)
@given(SEEDS, st.integers(4, 40), st.integers(1, 10), st.integers(1, 10))
def test_cka_agrees_with_the_formula_of_matrices(seed: int, n: int, d: int, e: int) -> None:
    a, b = related(seed, n, d, e)
    assert theta(a, b) == pytest.approx(cka_with_matrices(a, b), abs=1e-6)
    assert abs(theta(a, b)) <= 1 + 1e-9


@settings(max_examples=15)
@given(SEEDS, st.sampled_from([1e-6, 1.0, 1e6, 1e120]))
def test_cka_does_not_change_under_rotation_scaling_and_permutation(seed: int, factor: float) -> None:
    a, b = related(seed)
    rng = np.random.default_rng(seed)
    rows = rng.permutation(30)
    expected = theta(a, b)
    assert theta(a, a) == pytest.approx(1)
    assert theta(a, factor * (a @ rotation(seed, 5))) == pytest.approx(1)
    assert theta(factor * a, b @ rotation(seed, 8)) == pytest.approx(expected, abs=1e-6)
    assert theta(a[:, rng.permutation(5)] + 10, b) == pytest.approx(expected, abs=1e-6)
    assert theta(a[rows], b[rows]) == pytest.approx(expected, abs=1e-6)
    assert theta(b, a) == pytest.approx(expected, abs=1e-6)


def test_unrelated_encoders_have_a_cka_of_zero_in_the_mean() -> None:
    a, b = related(0, n=5)
    every = [theta(a, b[list(order)]) for order in itertools.permutations(range(5))]
    assert np.mean(every) == pytest.approx(0, abs=1e-9)
    # and in more dimensions than images, where the CKA that is not debiased is near 1
    noise = np.random.default_rng(0).normal(size=(60, 2, 20, 100))
    values = np.array([theta(x, y) for x, y in noise])
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(60)
    assert values.std() < 0.1
    x, y = (each - each.mean(0) for each in noise[0])
    biased = np.square(x.T @ y).sum() / np.sqrt(np.square(x.T @ x).sum() * np.square(y.T @ y).sum())
    assert biased > 0.8


def test_cka_falls_as_noise_grows() -> None:
    a, _ = related(0, n=200)
    noise = np.random.default_rng(1).normal(size=a.shape)
    falling = [theta(a, a + amount * noise) for amount in (0, 0.3, 1, 3, 10)]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == pytest.approx(1)
    assert falling[-1] < 0.1


def test_half_precision_is_widened_before_anything_is_summed() -> None:
    a, b = (x.astype(np.float16) for x in related(0))
    assert theta(a, b) == theta(a.astype(np.float64), b.astype(np.float64))


def test_encoders_that_have_no_cka() -> None:
    a, b = related(0)
    with pytest.raises(EmbprobeError, match="one has 30 and the other 29"):
        theta(a, b[:-1])
    with pytest.raises(EmbprobeError, match="at least 4 images; there are 3"):
        theta(a[:3], b[:3])
    for constant in (np.zeros((30, 8)), np.ones((30, 8)), np.ones((30, 8)) + 1e-7 * b):
        for pair in ((a, constant), (constant, a)):
            with pytest.raises(EmbprobeError, match="coincide"):
                theta(*pair)
    with pytest.raises(EmbprobeError, match="equally far from each other"):
        theta(np.eye(30), b)
    a[3, 2] = np.nan
    with pytest.raises(EmbprobeError, match="not finite"):
        theta(a, b)


@settings(max_examples=20)
@given(SEEDS, st.integers(1, 9))
def test_blocks_change_nothing(seed: int, rows: int) -> None:
    a, b = related(seed)
    expected = cka(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["embprobe.measures.cka"], "_ROWS", rows)  # embprobe.measures.cka is the function
        assert cka(a, b) == pytest.approx(expected, abs=1e-9)


def test_the_scores_are_what_leaving_an_image_out_says() -> None:
    # a jackknife pseudo-value n t - (n - 1) t(without i) is the influence score but for terms of 1 / n
    a, b = related(3, n=300)
    scores = cka(a, b)
    pseudo = [300 * scores.mean() - 299 * theta(np.delete(a, i, 0), np.delete(b, i, 0)) for i in range(300)]
    assert np.corrcoef(scores, pseudo)[0, 1] > 0.999
    assert scores.std() == pytest.approx(np.std(pseudo), rel=0.05)


def test_the_spread_of_chance_is_exact_for_any_two_encoders() -> None:
    # over all 720 matchings of six rows; sqrt(2 / (6 * 3)) = 1/3
    assert chance_cka(6) == pytest.approx(1 / 3)
    for d, e in ((1, 1), (2, 7), (9, 3)):
        a, b = related(d, 6, d, e)
        every = np.array([theta(a, b[list(order)]) for order in itertools.permutations(range(6))])
        assert every.mean() == pytest.approx(0, abs=1e-9) and every.std() == pytest.approx(1 / 3)
    with pytest.raises(EmbprobeError, match="at least 4 images; there are 3"):
        chance_cka(3)
