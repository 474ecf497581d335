from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from embprobe.statistics import Estimate, holm, mean_over_groups, paired_difference

Scores = NDArray[np.float64]


def own_groups(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def test_the_estimate_is_the_mean_over_images() -> None:
    # group a: 1 + 2 + 3 = 6; group b: 8; (6 + 8) / 4 = 3.5, not the mean of the groups' means (2 + 8) / 2 = 5
    found = mean_over_groups(np.array([1.0, 8.0, 2.0, 3.0]), ["a", "b", "a", "a"], seed=0)
    assert found.estimate == 3.5
    assert (found.images, found.groups, found.p) == (4, 2, None)


@pytest.mark.parametrize(("level", "low", "high"), [(0.95, 0.0, 1.0), (0.6, 0.0, 1.0), (0.4, 0.75, 0.75)])
def test_the_interval_of_two_groups_by_hand(level: float, low: float, high: float) -> None:
    # a has three images that score 1, b one that scores 0. Of the four resamples aa gives 3 of 3 = 1, ab and ba give
    # 3 of 4 = 0.75, bb gives 0: quantiles are 0 below 1/4, 0.75 up to 3/4, 1 above
    found = mean_over_groups(np.array([1.0, 1.0, 1.0, 0.0]), list("aaab"), seed=0, level=level)
    assert (found.low, found.estimate, found.high) == (low, 0.75, high)


def test_the_interval_of_single_images_is_scipys_bootstrap() -> None:
    scores = np.random.default_rng(0).exponential(size=40)
    error = scores.std(ddof=1) / np.sqrt(40)
    reference = stats.bootstrap((scores,), np.mean, method="percentile", n_resamples=50_000, rng=0).confidence_interval
    found = [mean_over_groups(scores, own_groups(40), seed=seed) for seed in range(10)]
    # the 2.5 % quantile of 2,000 resamples has a standard error of sqrt(0.025 * 0.975 / 2000) / 0.058 = 0.06 standard
    # errors of the mean, so the mean over ten seeds has 0.02; four of these are 0.08
    assert np.mean([each.low for each in found]) == pytest.approx(reference.low, abs=0.08 * error)
    assert np.mean([each.high for each in found]) == pytest.approx(reference.high, abs=0.08 * error)


def test_the_interval_of_unequal_groups_is_a_bootstrap_over_groups_written_out() -> None:
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, 12, 25)
    groups = np.repeat(np.arange(25), sizes)
    scores = rng.normal(size=25)[groups] + 0.3 * rng.normal(size=len(groups))
    resamples = rng.integers(0, 25, (20_000, 25))
    members = [scores[groups == g] for g in range(25)]
    means = np.array([np.concatenate([members[g] for g in resample]).mean() for resample in resamples])
    found = [mean_over_groups(scores, [str(g) for g in groups], seed=seed) for seed in range(10)]
    tolerance = 0.08 * means.std()  # as above
    assert np.mean([each.low for each in found]) == pytest.approx(np.quantile(means, 0.025), abs=tolerance)
    assert np.mean([each.high for each in found]) == pytest.approx(np.quantile(means, 0.975), abs=tolerance)


def test_more_images_of_the_same_groups_do_not_narrow_the_interval() -> None:
    scores = np.random.default_rng(0).normal(size=30)
    once = mean_over_groups(scores, own_groups(30), seed=0)
    five_times = mean_over_groups(np.tile(scores, 5), own_groups(30) * 5, seed=0)
    assert (five_times.images, five_times.groups) == (150, 30)
    assert [five_times.low, five_times.high] == pytest.approx([once.low, once.high])
    as_if_independent = mean_over_groups(np.tile(scores, 5), own_groups(150), seed=0)
    # five times the groups: the width shrinks by sqrt(5) = 2.24
    assert (once.high - once.low) / (as_if_independent.high - as_if_independent.low) == pytest.approx(2.24, rel=0.1)


def test_an_interval_covers_the_truth_in_95_of_100_studies() -> None:
    rng = np.random.default_rng(0)
    groups = [str(g) for g in range(60) for _ in range(2)]

    def covers(study: int) -> bool:
        scores = np.repeat(rng.normal(3, 1, 60), 2) + 0.5 * rng.normal(size=120)
        found = mean_over_groups(scores, groups, seed=study)
        return found.low <= 3 <= found.high

    # 300 studies: the standard deviation of the share is sqrt(0.95 * 0.05 / 300) = 0.013
    assert 0.92 <= np.mean([covers(study) for study in range(300)]) <= 0.98


def test_p_is_below_5_percent_in_5_of_100_studies_without_a_difference() -> None:
    rng = np.random.default_rng(0)
    groups = [str(g) for g in range(20) for _ in range(2)]

    def p(study: int) -> float:
        a, b = np.repeat(rng.normal(size=(2, 20)), 2, axis=1) + 0.5 * rng.normal(size=(2, 40))
        found = paired_difference(a, b, groups, seed=study).p
        assert found is not None
        return found

    below = np.array([p(study) for study in range(400)])
    # 400 studies: standard deviation sqrt(0.05 * 0.95 / 400) = 0.011; below 0.5, sqrt(0.25 / 400) = 0.025
    assert 0.02 <= (below < 0.05).mean() <= 0.08
    assert (below < 0.5).mean() == pytest.approx(0.5, abs=0.1)


def test_a_paired_difference_by_hand() -> None:
    # differences per image 1; 1, 1; 2, 2: sums per group 1, 2, 4, mean 7 / 5 = 1.4
    a, b = np.array([2.0, 5.0, 5.0, 3.0, 3.0]), np.array([1.0, 4.0, 4.0, 1.0, 1.0])
    found = paired_difference(a, b, ["x", "y", "y", "z", "z"], seed=0)
    assert found.estimate == pytest.approx(1.4)
    assert (found.images, found.groups) == (5, 3)
    # +-1 +-2 +-4 is 7 away from zero in 2 of the 8 tosses; 9,999 draws: standard error sqrt(1/4 * 3/4 / 9999) = 0.0043
    assert found.p == pytest.approx(2 / 8, abs=4 * 0.0043)


@pytest.mark.parametrize("sums", [(1, 1, -1), (3, -1, 1), (5, 4, 4, 4), (2, 0, 1), (-0.7, 0.5, -0.1, -0.1, -0.2, 0.6)])
def test_p_is_the_share_of_all_sign_flips_that_are_as_extreme(sums: tuple[float, ...]) -> None:
    tenths = np.rint(10 * np.array(sums))  # whole numbers, so that ties are exact; in floats the last sums are not 0
    totals = np.abs([np.dot(signs, tenths) for signs in product((-1, 1), repeat=len(sums))])
    exact = (totals >= abs(tenths.sum())).mean()
    found = paired_difference(np.array(sums), np.zeros(len(sums)), own_groups(len(sums)), seed=0).p
    assert found == pytest.approx(exact, abs=0.02)  # 4 * sqrt(0.25 / 9999)


def test_p_is_never_zero_and_one_without_any_difference() -> None:
    # 40 groups all on one side: 2 of 2**40 tosses are as extreme, 9,999 draws meet none; (0 + 1) / (9999 + 1)
    assert paired_difference(np.ones(40), np.zeros(40), own_groups(40), seed=0).p == 1e-4
    assert paired_difference(np.ones(40), np.ones(40), own_groups(40), seed=0).p == 1


def test_swapping_the_encoders_mirrors_the_difference() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    groups = own_groups(25) * 2
    forth, back = paired_difference(a, b, groups, seed=3), paired_difference(b, a, groups, seed=3)
    assert [back.estimate, back.low, back.high] == pytest.approx([-forth.estimate, -forth.high, -forth.low])
    assert back.p == forth.p


def test_what_all_images_share_cancels_in_a_paired_difference() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30))
    shared = 100 * rng.normal(size=30)
    alone, together = (paired_difference(a + s, b + s, own_groups(30), seed=0) for s in (0 * shared, shared))
    assert [together.low, together.estimate, together.high] == pytest.approx([alone.low, alone.estimate, alone.high])
    assert together.p == alone.p


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_order_of_images_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, groups = rng.normal(size=20), [str(g) for g in rng.integers(0, 6, 20)]
    order = rng.permutation(20)
    first = mean_over_groups(scores, groups, seed=1)
    other = mean_over_groups(scores[order], [groups[i] for i in order], seed=1)
    assert [other.low, other.estimate, other.high] == pytest.approx([first.low, first.estimate, first.high])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 8))
def test_the_interval_holds_the_estimate_and_stays_among_the_scores(seed: int, n: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=n)
    found = mean_over_groups(scores, [str(g) for g in rng.integers(0, groups, n)], seed=0, level=0.99)
    assert scores.min() - 1e-9 <= found.low <= found.high <= scores.max() + 1e-9
    assert found.low <= found.estimate + 1e-9 and found.high >= found.estimate - 1e-9


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    first, again, other = (paired_difference(a, b, own_groups(30), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.estimate == other.estimate
    assert (first.low, first.high, first.p) != (other.low, other.high, other.p)


def test_a_single_group_has_its_estimate_for_an_interval() -> None:
    found = mean_over_groups(np.array([1.0, 2.0, 6.0]), ["a", "a", "a"], seed=0)
    assert found == Estimate(estimate=3.0, low=3.0, high=3.0, images=3, groups=1)


def test_holm_by_hand() -> None:
    # sorted 0.005 * 4 = 0.02, 0.01 * 3 = 0.03, 0.03 * 2 = 0.06, 0.04 * 1 raised to the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]  # 1.2 is cut to 1
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_its_definition_keeps_the_order_and_never_lowers_a_p_value(raw: list[float]) -> None:
    adjusted, m = holm(raw), len(raw)
    ascending = sorted(raw)
    for p, found in zip(raw, adjusted, strict=True):
        last = max(i for i in range(m) if ascending[i] == p)
        assert found == max(min(1.0, (m - i) * ascending[i]) for i in range(last + 1))
        assert p <= found <= 1
    for p, found in zip(raw, adjusted, strict=True):
        assert all(found <= other_found for q, other_found in zip(raw, adjusted, strict=True) if p < q)


def test_scores_and_groups_must_match_and_there_must_be_some() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        mean_over_groups(np.zeros(2), ["a"], seed=0)
    with pytest.raises(ValueError, match="at least one, got 0 and 0"):
        mean_over_groups(np.zeros(0), [], seed=0)
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        paired_difference(np.zeros(3), np.zeros(2), ["a", "b", "c"], seed=0)
