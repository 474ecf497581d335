from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import spearmanr

from embprobe.errors import EmbprobeError
from embprobe.measures.rank_correlation import correlation_by_chance, cosine_ranks, rank_correlation
from tests.conftest import cosines
from tests.measures.pairs_of_encoders import SEEDS, at, related, rotation


@settings(max_examples=20)
@given(SEEDS)
def test_it_is_spearmans_of_each_row_without_the_image_itself(seed: int) -> None:
    a, b = related(seed, n=12)
    near, far = cosines(a, a), cosines(b, b)
    others = [[j for j in range(12) if j != i] for i in range(12)]
    expected = [spearmanr(near[i, rest], far[i, rest]).statistic for i, rest in enumerate(others)]
    assert rank_correlation(a, b) == pytest.approx(expected)


def test_ties_have_the_mean_of_their_ranks() -> None:
    # to the image at 0 those at 20 and -20 are equally near, then the one at 90: ranks 2.5, 2.5, 1, less 2
    row = np.array([0, 0.5, 0.5, -1]) / 1.5**0.5
    assert cosine_ranks(at(0, 20, -20, 90))[0] == pytest.approx(row)


def test_an_image_that_has_no_order_agrees_with_nothing() -> None:
    # a blank one in a direction of its own: cosines of 0 to all others, whose own order it ends in both encoders
    a, b = (np.hstack([at(*angles), np.zeros((4, 1))]) for angles in ([0, 10, 30, 70], [0, 10, 30, 70]))
    blank = np.array([[0.0, 0.0, 1.0]])
    assert rank_correlation(np.vstack([a, blank]), np.vstack([b, blank])) == pytest.approx([1, 1, 1, 1, 0])


@settings(max_examples=10)
@given(SEEDS)
def test_it_does_not_change_under_rotation_scaling_and_permutation(seed: int) -> None:
    a, b = related(seed)
    expected = rank_correlation(a, b)
    rng = np.random.default_rng(seed)
    rows, lengths = rng.permutation(30), 10 ** rng.uniform(-6, 6, (30, 1))
    assert rank_correlation(lengths * a, b @ rotation(seed, 8)) == pytest.approx(expected, abs=1e-6)
    assert rank_correlation(a[rows], b[rows]) == pytest.approx(expected[rows], abs=1e-6)
    assert rank_correlation(b, a) == pytest.approx(expected)
    assert rank_correlation(a, a) == pytest.approx([1] * 30)


def test_chance_by_matchings_is_that_of_matching_rows() -> None:
    a, b = related(0, n=5)
    every = [rank_correlation(a, b[list(order)]).mean() for order in itertools.permutations(range(5))]
    drawn = correlation_by_chance(cosine_ranks(a), cosine_ranks(b), matchings=3000)
    assert np.mean(every) == pytest.approx(0, abs=1e-9)  # each row's ranks sum to zero
    assert set(drawn.round(9)) == set(np.round(every, 9))  # 120 matchings, drawn 3,000 times


def test_what_has_no_ranks() -> None:
    a, b = related(0)
    with pytest.raises(EmbprobeError, match="one has 30 and the other 29"):
        rank_correlation(a, b[:-1])
    with pytest.raises(EmbprobeError, match="at least 4 images; there are 3"):
        rank_correlation(a[:3], b[:3])
    with pytest.raises(EmbprobeError, match="All 30 images are equally near to each other"):
        rank_correlation(a, np.ones((30, 2)))
    a[3] = 0
    with pytest.raises(EmbprobeError, match="1 of 30 embeddings are zero"):
        rank_correlation(a, b)
