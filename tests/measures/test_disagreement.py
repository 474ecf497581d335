from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import example, given, settings

from embprobe.errors import EmbprobeError
from embprobe.measures.disagreement import disagreement_pairs, pair_cosines, percentile, random_pairs
from embprobe.measures.mutual_knn import nearest_others
from tests.conftest import cosines
from tests.measures.pairs_of_encoders import SEEDS, at, related


def test_the_pair_that_one_calls_the_same_and_the_other_does_not() -> None:
    # by a 0 and 1 are nearest (5 degrees), then 2 and 3 (20); by b 0 and 1 are the farthest (120), 2 and 3 nearest
    a, b = at(0, 5, 60, 80), at(0, 120, 60, 61)
    disagreements = disagreement_pairs(a, b, nearest_others(a, 2))
    assert [(pair.first, pair.second) for pair in disagreements] == [(0, 1)]
    (pair,) = disagreements
    assert pair.cosines == pytest.approx((np.cos(np.deg2rad(5)), -0.5))
    # of the six pairs none is nearer by a: five and a half of six; none is farther by b: half of one
    assert pair.percentiles == pytest.approx((5.5 / 6, 0.5 / 6)) and pair.difference == pytest.approx(5 / 6)
    # the other way: by b 2 and 3 are nearest, by a the second nearest; nothing else is left without 2 and 3
    (other,) = disagreement_pairs(b, a, nearest_others(b, 2), most=1)
    assert other.difference > 0


@settings(max_examples=15, deadline=None)
@given(SEEDS)
@example(28580)
def test_the_first_pair_has_the_largest_difference_of_all(seed: int) -> None:
    a, b = related(seed, n=15)
    pairs = random_pairs(15)
    assert pairs.tolist() == [list(pair) for pair in itertools.combinations(range(15), 2)]
    ranked = [percentile(pair_cosines(x, pairs), pair_cosines(x, pairs)) for x in (a, b)]
    disagreements = disagreement_pairs(
        a, b, nearest_others(a, 13), most=100
    )  # with 13 of 14 others, all but the farthest
    gaps = ranked[0] - ranked[1]  # of ranks, so several pairs may have the largest
    first = sorted((disagreements[0].first, disagreements[0].second))
    assert gaps[pairs.tolist().index(first)] == gaps.max()
    differences = [pair.difference for pair in disagreements]
    assert differences == sorted(differences, reverse=True) and min(differences) > 0
    shown = [image for pair in disagreements for image in (pair.first, pair.second)]
    assert len(shown) == len(set(shown))  # no image twice


def test_each_group_is_in_one_pair_at_most() -> None:
    a, b = related(0, n=60)
    groups = [str(i // 4) for i in range(60)]
    disagreements = disagreement_pairs(a, b, nearest_others(a, 30), groups=groups)
    shown = [{groups[pair.first], groups[pair.second]} for pair in disagreements]
    assert len(shown) > 3 and sum(map(len, shown)) == len(set().union(*shown))
    assert len(disagreement_pairs(a, b, nearest_others(a, 30), most=2)) == 2


def test_blind_pairs_are_above_and_below_these_cosines() -> None:
    a, b = related(1, n=80)
    near, far = cosines(a, a), cosines(b, b)
    disagreements = disagreement_pairs(a, b, nearest_others(a, 20), cosines=(0.7, 0.4), most=1000)
    assert disagreements
    for pair in disagreements:
        assert near[pair.first, pair.second] > 0.7 and far[pair.first, pair.second] < 0.4
        assert pair.cosines == pytest.approx((near[pair.first, pair.second], far[pair.first, pair.second]))
    assert disagreement_pairs(a, b, nearest_others(a, 20), cosines=(1.0, -1.0)) == []


def test_encoders_that_agree_have_no_such_pairs() -> None:
    a, _ = related(0)
    assert disagreement_pairs(a, 3 * a, nearest_others(a, 10)) == []


def test_pairs_of_many_rows_are_drawn_and_of_different_rows() -> None:
    pairs = random_pairs(5000)
    assert pairs.shape == (1_000_000, 2) and (pairs[:, 0] != pairs[:, 1]).all()
    assert pairs.min() == 0 and pairs.max() == 4999
    assert np.array_equal(pairs, random_pairs(5000)) and not np.array_equal(pairs, random_pairs(5000, seed=1))


def test_rows_that_do_not_fit() -> None:
    a, b = related(0)
    with pytest.raises(EmbprobeError, match="one has 30 and the other 29"):
        disagreement_pairs(a, b[:-1], nearest_others(a, 5))
    b[2] = 0
    with pytest.raises(EmbprobeError, match="zero or not finite"):
        disagreement_pairs(a, b, nearest_others(a, 5))
