"""The bootstrap over groups: by hand, against scipy, and what nothing may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import astuple
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from embprobe.errors import EmbprobeError
from embprobe.statistics import Estimate, Resampled, resample

Scores = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


def own_groups(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def mean(scores: Scores, groups: list[str], *, seed: int = 0) -> Estimate:
    return resample(scores[:, None], groups, seed=seed).mean(0)


def difference(a: Scores, b: Scores, groups: list[str], *, seed: int = 0) -> Estimate:
    return resample(np.column_stack([a, b]), groups, seed=seed).difference(0, 1)


def ratio(a: Scores, b: Scores, groups: list[str], *, seed: int = 0) -> Estimate:
    estimate = resample(np.column_stack([a, b]), groups, seed=seed).ratio(0, 1)
    assert estimate is not None
    return estimate


def ends(estimate: Estimate) -> list[float]:
    return [estimate.low, estimate.estimate, estimate.high]


# --- estimates and intervals ---------------------------------------------------------------------------------------


def test_the_estimate_is_the_mean_over_images() -> None:
    # group a: 1 + 2 + 3 = 6; group b: 8; (6 + 8) / 4 = 3.5, not the mean of the groups' means (2 + 8) / 2 = 5
    estimate = mean(np.array([1.0, 8.0, 2.0, 3.0]), ["a", "b", "a", "a"])
    assert estimate.estimate == 3.5
    assert (estimate.images, estimate.groups, estimate.p) == (4, 2, None)


def test_the_resamples_of_two_groups_by_hand() -> None:
    # a has three images that score 1, b one that scores 0. Of the four resamples aa gives 3 of 3 = 1, ab and ba give
    # 3 of 4 = 0.75, bb gives 0
    resampled = resample(np.array([[1.0], [1.0], [1.0], [0.0]]), list("aaab"), seed=0, resamples=10_000)
    values, counts = np.unique(resampled.replicates[:, 0], return_counts=True)
    assert values.tolist() == [0, 0.75, 1]
    # standard error sqrt(1/4 * 3/4 / 10000) = 0.0043
    assert counts / 10_000 == pytest.approx([0.25, 0.5, 0.25], abs=4 * 0.005)
    # with one degree of freedom t is 12.7, so the interval of two groups is all that resamples can give
    assert ends(resampled.mean(0)) == [0, 0.75, 1]


def test_estimates_of_two_encoders_by_hand() -> None:
    # images 2, 5, 5, 3, 3 and 1, 4, 4, 1, 1: means 18 / 5 and 11 / 5, difference 7 / 5, ratio 18 / 11
    resampled = resample(np.array([[2.0, 1], [5, 4], [5, 4], [3, 1], [3, 1]]), ["x", "y", "y", "z", "z"], seed=0)
    assert resampled.mean(0).estimate == pytest.approx(3.6)
    assert resampled.difference(0, 1).estimate == pytest.approx(1.4)
    of_means = resampled.ratio(0, 1)
    assert of_means is not None
    assert of_means.estimate == pytest.approx(18 / 11)
    assert (of_means.images, of_means.groups) == (5, 3)


STATISTICS: dict[str, Callable[[Scores], Scores]] = {  # of the means [..., 2] of two sets of scores
    "mean": lambda means: means[..., 0],
    "difference": lambda means: means[..., 0] - means[..., 1],
    "ratio": lambda means: means[..., 0] / means[..., 1],
}


def estimate_of(resampled: Resampled, kind: str) -> Estimate:
    estimate = resampled.mean(0) if kind == "mean" else getattr(resampled, kind)(0, 1)
    assert isinstance(estimate, Estimate)
    return estimate


@pytest.mark.parametrize("kind", STATISTICS)
def test_the_interval_of_six_unequal_groups_is_bca_over_all_their_resamples(kind: str) -> None:
    rng = np.random.default_rng(1)
    counts = np.array([1.0, 4, 2, 2, 7, 3])
    groups = np.repeat(np.arange(6), counts.astype(int))
    scores = rng.gamma(1.0, size=(6, 2))[groups] + rng.gamma(1.0, size=(len(groups), 2))
    sums = np.stack([scores[groups == g].sum(0) for g in range(6)])
    statistic = STATISTICS[kind]

    def of(weights: Scores) -> Scores:
        return statistic((weights @ sums) / (weights @ counts)[..., None])

    every = np.array(list(product(range(6), repeat=6)))  # 6^6 = 46,656 equally likely resamples
    replicates = np.sort(of(np.stack([(every == g).sum(1) for g in range(6)], axis=1).astype(np.float64)))
    estimate = float(of(np.ones(6)))
    # influence of a group: the derivative by its weight; acceleration: a sixth of the skewness of the influences
    influence = np.array([(of(np.ones(6) + 1e-5 * e) - of(np.ones(6) - 1e-5 * e)) / 2e-5 for e in np.eye(6)])
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    tied = np.isclose(replicates, estimate, rtol=1e-9)
    bias = stats.norm.ppf(((replicates < estimate) & ~tied).mean() + tied.mean() / 2)
    resamples = 100_000
    result = estimate_of(resample(scores, [str(g) for g in groups], seed=0, resamples=resamples), kind)
    assert result.estimate == pytest.approx(estimate)
    for end, z in ((result.low, -1), (result.high, 1)):
        shifted = bias + z * stats.t.ppf(0.975, 5) * np.sqrt(6 / 5)
        level = stats.norm.cdf(bias + shifted / (1 - acceleration * shifted))
        # standard error of the level: of the quantile itself, and of the bias counted twice
        error = np.sqrt(level * (1 - level) / resamples) + 2 * stats.norm.pdf(stats.norm.ppf(level)) / np.sqrt(
            resamples
        )
        around = np.quantile(replicates, np.clip([level - 4 * error, level + 4 * error], 0, 1))
        assert around[0] - 1e-9 <= end <= around[1] + 1e-9


@pytest.mark.parametrize("kind", STATISTICS)
def test_the_interval_of_single_images_is_scipys_bca(kind: str) -> None:
    rng = np.random.default_rng(0)
    scores = rng.gamma(1.0, size=(40, 1)) + rng.gamma(1.0, size=(40, 2))
    # the level at which a normal quantile is as far out as Student's for 40 groups, widened by sqrt(40 / 39)
    level = 2 * stats.norm.cdf(stats.t.ppf(0.975, 39) * np.sqrt(40 / 39)) - 1

    def statistic(a: Scores, b: Scores, axis: int) -> Scores:
        return STATISTICS[kind](np.stack([a.mean(axis), b.mean(axis)], axis=-1))

    reference = stats.bootstrap(
        tuple(scores.T), statistic, paired=True, method="BCa", confidence_level=level, n_resamples=30_000, rng=0
    )
    estimate = estimate_of(resample(scores, own_groups(40), seed=1, resamples=30_000), kind)
    # in standard errors of the estimate: a quantile at 0.02 has sqrt(0.02 / 30000) / 0.048 = 0.017, the bias adds
    # 2 * sqrt(0.25 / 30000) / 0.4 = 0.014; two of each: 0.031. The bias and acceleration move the ends by 0.2
    tolerance = 4 * 0.031 * reference.standard_error
    assert estimate.low == pytest.approx(reference.confidence_interval.low, abs=tolerance)
    assert estimate.high == pytest.approx(reference.confidence_interval.high, abs=tolerance)


def test_more_images_of_the_same_groups_do_not_narrow_the_interval_but_more_groups_do() -> None:
    scores = np.random.default_rng(0).normal(size=30)
    once = mean(scores, own_groups(30))
    five_times = mean(np.tile(scores, 5), own_groups(30) * 5)
    assert (five_times.images, five_times.groups) == (150, 30)
    assert ends(five_times) == pytest.approx(ends(once))
    as_if_independent = mean(np.tile(scores, 5), own_groups(150))
    # five times the groups: the width shrinks by sqrt(5) = 2.24, and t with the root from 2.080 to 1.983
    expected = 2.24 * 2.080 / 1.983
    assert (once.high - once.low) / (as_if_independent.high - as_if_independent.low) == pytest.approx(expected, rel=0.1)


def test_what_all_images_share_cancels_in_a_difference_and_in_a_ratio() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 30))
    shared = 100 * rng.normal(size=30)
    alone, together = (difference(a + s, b + s, own_groups(30)) for s in (0 * shared, shared))
    assert ends(together) == pytest.approx(ends(alone))
    assert together.p == alone.p
    # every image scores three times as much: 3 in all resamples, however much images differ
    positive = np.exp(shared / 50)
    assert ends(ratio(3 * positive, positive, own_groups(30))) == pytest.approx([3, 3, 3])


def test_swapping_the_encoders_mirrors_the_difference() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 50))
    groups = own_groups(25) * 2
    forth, back = difference(a, b, groups, seed=3), difference(b, a, groups, seed=3)
    assert ends(back) == pytest.approx([-end for end in reversed(ends(forth))])
    assert back.p == forth.p


def test_each_encoders_numbers_do_not_depend_on_the_others() -> None:
    scores = np.random.default_rng(0).gamma(1.0, size=(40, 4))
    groups = own_groups(20) * 2
    together, two = resample(scores, groups, seed=0), resample(scores[:, [3, 1]], groups, seed=0)
    for one, other in (
        (together.mean(3), two.mean(0)),
        (together.difference(3, 1), two.difference(0, 1)),
        (together.ratio(1, 3), two.ratio(1, 0)),
        (together.against(1, 0.9), two.against(1, 0.9)),
    ):
        assert one is not None and other is not None
        assert ends(one) == pytest.approx(ends(other))
        assert one.p == other.p


# --- cases without spread, and few groups --------------------------------------------------------------------------


@pytest.mark.parametrize("score", [0.0, 1.0, 0.1, 1e-300, -7e9])
@pytest.mark.parametrize("groups", ["ab", "aab", "abcabc", "aabcddd"])
def test_where_all_scores_are_equal_the_interval_is_the_estimate(score: float, groups: str) -> None:
    resampled = resample(np.full((len(groups), 2), score), list(groups), seed=0)
    for each in (resampled.mean(0), resampled.against(0, 0.5)):
        assert ends(each) == pytest.approx([score] * 3, rel=1e-12)
        assert each.low == each.high == each.estimate
    assert astuple(resampled.difference(0, 1))[:3] == (0, 0, 0)
    assert resampled.difference(0, 1).p == 1
    assert (resampled.ratio(0, 1) is None) == (score <= 0)


def test_the_interval_of_one_success_in_200_by_hand() -> None:
    # successes in a resample are Poisson of mean 1: 0 with 0.37, 1 with 0.37, at most 4 with 0.9963, 5 with 0.9994.
    # bias: 0.37 + 0.37 / 2 = 0.55, so 0.13; acceleration: one influence alone gives 1 / 6; t and the root: 1.977.
    # low: 0.13 - 1.85 / (1 + 1.85 / 6) = -1.28, level 0.10: no success.
    # high: 0.13 + 2.11 / (1 - 2.11 / 6) = 3.38, level 0.9996: 6 successes, or 5 with as few resamples as 2,000
    estimate = mean(np.eye(200)[0], own_groups(200))
    assert estimate.low == 0
    assert 5 / 200 <= estimate.high <= 6 / 200


def test_there_is_no_ratio_to_what_may_be_nothing() -> None:
    rng = np.random.default_rng(0)
    positive, around_zero, zero = 1 + rng.random(30), rng.normal(size=30), np.zeros(30)
    resampled = resample(np.column_stack([positive, around_zero, zero, -positive]), own_groups(30), seed=0)
    assert resampled.ratio(0, 0) is not None
    assert [resampled.ratio(0, j) for j in (1, 2, 3)] == [None] * 3
    assert [resampled.ratio(i, 0) for i in (1, 2, 3)] == [None] * 3


@settings(max_examples=50)
@given(seeds, st.integers(2, 30), st.integers(2, 8), st.booleans())
def test_the_interval_holds_the_estimate_and_stays_among_the_scores(
    seed: int, n: int, groups: int, binary: bool
) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 2, n).astype(np.float64) if binary else rng.lognormal(0, 2, n)
    estimate = mean(scores, ["0", "1", *(str(g) for g in rng.integers(0, groups, n - 2))])
    assert scores.min() * (1 - 1e-9) <= estimate.low <= estimate.high <= scores.max() * (1 + 1e-9)
    assert estimate.low <= estimate.estimate * (1 + 1e-9) and estimate.high >= estimate.estimate * (1 - 1e-9)


# --- p-values ------------------------------------------------------------------------------------------------------


def test_p_of_a_difference_by_hand() -> None:
    # differences per image 1; 1, 1; 2, 2: sums per group 1, 2, 4. +-1 +-2 +-4 is 7 away from zero in 2 of 8 flips
    a, b = np.array([2.0, 5.0, 5.0, 3.0, 3.0]), np.array([1.0, 4.0, 4.0, 1.0, 1.0])
    assert difference(a, b, ["x", "y", "y", "z", "z"]).p == 2 / 8


def test_p_against_a_value_by_hand() -> None:
    # against 0.5: a has 3 of 3 images right, 1.5 more than chance; b 1 of 2, 0 more; c 0 of 1, 0.5 fewer; together 1.
    # 1.5 + 0.5 = 2 and 1.5 - 0.5 = 1 are as far from zero, whatever the signs: all flips
    scores, groups = np.array([[1.0], [1], [1], [1], [0], [0]]), list("aaabbc")
    estimate = resample(scores, groups, seed=0).against(0, 0.5)
    assert estimate.estimate == pytest.approx(4 / 6)
    assert estimate.p == 1
    # against 0: 3, 1, 0, together 4: 3 and 1 must agree, and c's sign does not matter: 4 of 8 flips
    assert resample(scores, groups, seed=0).against(0, 0.0).p == 4 / 8
    # against its own mean 4 / 6, nothing is nearer to zero than the observed
    assert resample(scores, groups, seed=0).against(0, 4 / 6).p == 1
    assert ends(estimate) == ends(resample(scores, groups, seed=0).mean(0))


@pytest.mark.parametrize("sums", [(1, 1, -1), (3, -1, 1), (5, 4, 4, 4), (2, 0, 1), (-0.7, 0.5, -0.1, -0.1, -0.2, 0.6)])
@pytest.mark.parametrize("zeros", [0, 12])
def test_p_is_the_share_of_all_sign_flips_that_are_as_extreme(sums: tuple[float, ...], zeros: int) -> None:
    tenths = np.rint(10 * np.array(sums))  # whole numbers, so that ties are exact; in floats the last sums are not 0
    totals = np.abs([np.dot(signs, tenths) for signs in product((-1, 1), repeat=len(sums))])
    exact = (totals >= abs(tenths.sum())).mean()
    padded = np.array([*sums, *[0.0] * zeros])  # groups without a difference change nothing, but make flips random
    p = difference(padded, np.zeros(len(padded)), own_groups(len(padded))).p
    # standard error sqrt(0.25 / 9999) = 0.005; up to 13 groups nothing is random
    assert p == pytest.approx(exact, abs=0.02 if zeros else 1e-15)


def test_p_of_many_groups_is_that_of_a_normal_sum() -> None:
    sums = np.random.default_rng(2).normal(0.1, 1, 150)  # over two machine words of signs
    z = sums.sum() / np.sqrt((sums**2).sum())
    expected = 2 * stats.norm.sf(abs(z))
    assert 0.05 < expected < 0.95
    p_values = [difference(sums, np.zeros(150), own_groups(150), seed=seed).p for seed in range(4)]
    assert np.mean(np.array(p_values, np.float64)) == pytest.approx(
        expected, abs=0.012
    )  # 4 * sqrt(0.25 / 40000), rounded


def test_p_is_never_zero_and_one_without_any_difference() -> None:
    # Groups all on one side: 2 of 2**g flips are as extreme, 49,999 draws meet none. For 20 groups 1 / (49999 + 1)
    # is less than the bound, 2 exp(-20 / 2) = 9.1e-5; for 40 it is 2 exp(-20) = 4.1e-9, more than 2 / 2**40 = 1.8e-12.
    assert difference(np.ones(20), np.zeros(20), own_groups(20)).p == 2e-5
    p = difference(np.ones(40), np.zeros(40), own_groups(40)).p
    assert p == pytest.approx(2 * np.exp(-20), rel=1e-9)
    assert difference(np.ones(2000), np.zeros(2000), own_groups(2000)).p != 0
    assert difference(np.ones(40), np.ones(40), own_groups(40)).p == 1


def test_p_of_a_ratio_is_that_of_the_difference() -> None:
    a, b = 2 + np.random.default_rng(0).random((2, 30))
    assert ratio(a, b, own_groups(30)).p == difference(a, b, own_groups(30)).p


# --- invariances ---------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(seeds, st.floats(-50, 50), st.floats(0.01, 100))
def test_scores_shifted_and_scaled_shift_and_scale_the_interval(seed: int, shift: float, scale: float) -> None:
    rng = np.random.default_rng(seed)
    groups = own_groups(15) + [str(g) for g in rng.integers(0, 15, 10)]
    scores = rng.gamma(1.0, size=(25, 2))
    before, after = resample(scores, groups, seed=1), resample(shift + scale * scores, groups, seed=1)
    expected = [shift + scale * end for end in ends(before.mean(0))]
    assert ends(after.mean(0)) == pytest.approx(expected, abs=1e-9 * (scale + abs(shift)))
    expected = [scale * end for end in ends(before.difference(0, 1))]
    assert ends(after.difference(0, 1)) == pytest.approx(expected, abs=1e-9 * (scale + abs(shift)))
    assert after.difference(0, 1).p == before.difference(0, 1).p
    value = 0.9
    assert after.against(0, shift + scale * value).p == before.against(0, value).p
    scaled, unscaled = resample(scale * scores, groups, seed=1).ratio(0, 1), before.ratio(0, 1)
    assert scaled is not None and unscaled is not None
    assert ends(scaled) == pytest.approx(ends(unscaled))


@settings(max_examples=20)
@given(seeds)
def test_the_order_of_images_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, groups = rng.normal(size=(20, 2)), ["0", "1", *(str(g) for g in rng.integers(0, 6, 18))]
    order = rng.permutation(20)
    first = resample(scores, groups, seed=1)
    other = resample(scores[order], [groups[i] for i in order], seed=1)
    assert ends(other.mean(0)) == pytest.approx(ends(first.mean(0)))
    assert ends(other.difference(0, 1)) == pytest.approx(ends(first.difference(0, 1)))
    assert other.difference(0, 1).p == first.difference(0, 1).p


@settings(max_examples=20)
@given(seeds, st.integers(2, 4))
def test_an_image_counted_several_times_in_every_group_changes_nothing(seed: int, times: int) -> None:
    rng = np.random.default_rng(seed)
    scores, groups = rng.gamma(1.0, size=(20, 2)), ["0", "1", *(str(g) for g in rng.integers(0, 6, 18))]
    once = resample(scores, groups, seed=1)
    often = resample(np.tile(scores, (times, 1)), groups * times, seed=1)
    assert ends(often.mean(0)) == pytest.approx(ends(once.mean(0)))
    assert ends(often.difference(0, 1)) == pytest.approx(ends(once.difference(0, 1)))
    assert often.difference(0, 1).p == once.difference(0, 1).p


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 30))
    first, again, other = (difference(a, b, own_groups(30), seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.estimate == other.estimate
    assert (first.low, first.high, first.p) != (other.low, other.high, other.p)


@pytest.mark.parametrize(("cells", "counted"), [(1, 1), (1000, 70), (70 * 99, 70 * 12), (2**30, 2**30)])
def test_how_many_resamples_are_in_memory_at_a_time_does_not_matter(
    cells: int, counted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 70))
    expected = difference(a, b, own_groups(70))
    monkeypatch.setattr("embprobe.statistics.resampling._CELLS", cells)
    monkeypatch.setattr("embprobe.statistics.resampling._COUNTED", counted)
    estimate = difference(a, b, own_groups(70))
    assert ends(estimate) == pytest.approx(ends(expected), rel=1e-12)
    assert estimate.p == expected.p


# --- what cannot be estimated --------------------------------------------------------------------------------------


def test_bad_scores_and_groups_are_refused_in_words() -> None:
    with pytest.raises(EmbprobeError, match="There are 2 images with scores but 1 with a concept"):
        resample(np.zeros((2, 1)), ["a"], seed=0)
    with pytest.raises(EmbprobeError, match="There are no scores"):
        resample(np.zeros((0, 1)), [], seed=0)
    with pytest.raises(EmbprobeError, match="There are no scores"):
        resample(np.zeros((2, 0)), ["a", "b"], seed=0)
    with pytest.raises(EmbprobeError, match="2 of 4 scores are not finite"):
        resample(np.array([[1, np.nan], [np.inf, 1]]), ["a", "b"], seed=0)
    with pytest.raises(EmbprobeError, match=r"Only one concept \('cat'\) has scores: an interval needs at least two"):
        resample(np.zeros((3, 1)), ["cat"] * 3, seed=0)
    with pytest.raises(EmbprobeError, match=r"Only one image \('a'\)"):
        resample(np.zeros((1, 1)), ["a"], seed=0, unit="image")
    with pytest.raises(ValueError, match=r"shape \(2,\)"):
        resample(np.zeros(2), ["a", "b"], seed=0)
    with pytest.raises(ValueError, match="nan"):
        resample(np.zeros((2, 1)), ["a", "b"], seed=0).against(0, np.nan)
