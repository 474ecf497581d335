"""Means over data sets: by hand, against scipy, and over which source of error their intervals go."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from embprobe.errors import EmbprobeError
from embprobe.statistics import DatasetScores, Estimate, ResampledDatasets, resample, resample_datasets
from embprobe.statistics.over_datasets import Sets

Scores = NDArray[np.float64]
FIXED: Sets = "fixed"
DRAWN: Sets = "drawn"


def dataset(name: str, scores: Scores) -> DatasetScores:
    """A data set in which each image is its own group."""
    return DatasetScores(name, scores, [str(i) for i in range(len(scores))])


def simulated(sets: int, *, spread: float, seed: int = 0, images: int = 30, encoders: int = 3) -> list[DatasetScores]:
    """Draw normal scores; encoders share the difficulty, and the mean of each moves with the data set by ``spread``."""
    rng = np.random.default_rng(seed)
    return [
        dataset(
            f"set {i}",
            rng.normal(size=(images + 5 * i, 1))
            + spread * rng.normal(size=(1, encoders))
            + rng.normal(size=(images + 5 * i, encoders)),
        )
        for i in range(sets)
    ]


def ends(estimate: Estimate) -> list[float]:
    return [estimate.low, estimate.estimate, estimate.high]


def width(estimate: Estimate) -> float:
    return estimate.high - estimate.low


# --- estimates ---------------------------------------------------------------------------------------------------


def test_every_data_set_counts_alike_by_hand() -> None:
    # means of the first encoder 1 and 1/4, of the second 1/2 and 1/4: (1 + 1/4) / 2 and (1/2 + 1/4) / 2
    a = dataset("a", np.array([[1.0, 1.0], [1.0, 0.0]]))
    b = dataset("b", np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]))
    drawn = resample_datasets([a, b], seed=0)
    assert drawn.mean(0, sets=FIXED).estimate == pytest.approx(0.625)
    assert drawn.mean(1, sets=FIXED).estimate == pytest.approx(0.375)
    difference = drawn.difference(0, 1, sets=FIXED)
    assert difference.estimate == pytest.approx(0.25)
    assert (difference.images, difference.groups) == (6, 6)
    assert drawn.mean(0, sets=FIXED).p is None


def test_over_drawn_data_sets_it_is_the_t_test_of_their_means() -> None:
    sets = simulated(6, spread=3.0)
    means = np.array([each.scores.mean(0) for each in sets])
    test = stats.ttest_1samp(means[:, 0] - means[:, 1], 0.0)
    difference = resample_datasets(sets, seed=0).difference(0, 1)
    assert difference.p == pytest.approx(test.pvalue)
    assert ends(difference)[::2] == pytest.approx(list(test.confidence_interval()))
    assert (difference.groups, difference.images) == (6, sum(len(each.scores) for each in sets))


def test_over_images_alone_it_is_the_stratified_standard_error() -> None:
    sets = simulated(4, spread=3.0, images=60)
    differences = [each.scores[:, 0] - each.scores[:, 1] for each in sets]
    # of the mean of four means: a quarter of the root of the sum of each one's variance over its images
    error = np.sqrt(sum(each.var(ddof=1) / len(each) for each in differences)) / 4
    difference = resample_datasets(sets, seed=0).difference(0, 1, sets=FIXED)
    freedom = sum(len(each) - 1 for each in differences)
    assert difference.p == pytest.approx(2 * stats.t.sf(abs(difference.estimate) / error, freedom))
    # an end of 2,000 resamples is sure to sqrt(0.025 / 2000) / 0.058 = 0.06 standard errors, its bias to 0.04
    expected = difference.estimate + np.array([-1.97, 1.97]) * error
    assert ends(difference)[::2] == pytest.approx(expected.tolist(), abs=0.3 * error)


def test_one_data_set_has_nearly_the_interval_of_its_own() -> None:
    (only,) = simulated(1, spread=0.0, images=100)
    own = resample(only.scores, only.groups, seed=0).mean(0)
    over = resample_datasets([only], seed=0).mean(0, sets=FIXED)
    assert over.estimate == pytest.approx(own.estimate)
    assert ends(over) == pytest.approx(ends(own), abs=0.25 * (own.high - own.low) / 3.92)


def test_groups_are_drawn_not_images() -> None:
    sets = simulated(2, spread=0.0)
    often = [DatasetScores(each.name, np.tile(each.scores, (4, 1)), [*each.groups] * 4) for each in sets]
    once, four = (resample_datasets(those, seed=0).difference(0, 1, sets=FIXED) for those in (sets, often))
    assert ends(four) == pytest.approx(ends(once)) and four.p == pytest.approx(once.p)
    assert (four.images, four.groups) == (4 * once.images, once.groups)


# --- fixed and drawn ---------------------------------------------------------------------------------------------


def test_data_sets_that_disagree_widen_the_interval_over_data_sets_alone() -> None:
    alike, apart = (resample_datasets(simulated(8, spread=spread), seed=0) for spread in (0.0, 2.0))
    widths = {
        (name, sets): width(drawn.difference(0, 1, sets=sets))
        for name, drawn in (("alike", alike), ("apart", apart))
        for sets in (FIXED, DRAWN)
    }
    assert widths["apart", FIXED] == pytest.approx(widths["alike", FIXED], rel=1e-9)  # the same noise, shifted
    assert widths["apart", DRAWN] > 4 * widths["alike", DRAWN]


def test_data_sets_that_agree_by_chance_are_no_surer_than_their_images() -> None:
    # the same images under five names: their means do not spread, but 30 images are 30 images
    scores = np.random.default_rng(0).normal(size=(30, 2))
    drawn = resample_datasets([dataset(name, scores) for name in "abcde"], seed=0)
    fixed = drawn.difference(0, 1, sets=FIXED)
    over = drawn.difference(0, 1)
    assert (ends(over), over.p) == (ends(fixed), fixed.p) and over.groups == 5
    # draws of each data set are independent: a fifth of the variance of one
    one = resample_datasets([dataset("a", scores)], seed=0).difference(0, 1, sets=FIXED)
    assert width(one) / width(fixed) == pytest.approx(np.sqrt(5), rel=0.1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 8), st.sampled_from([0.0, 0.3, 3.0]))
def test_the_interval_over_data_sets_holds_that_over_images_and_both_hold_the_estimate(
    seed: int, count: int, spread: float
) -> None:
    drawn = resample_datasets(simulated(count, spread=spread, seed=seed, images=8), seed=seed, resamples=199)
    for over, fixed in (
        (drawn.mean(1), drawn.mean(1, sets=FIXED)),
        (drawn.difference(0, 2), drawn.difference(0, 2, sets=FIXED)),
        (drawn.rank(1), drawn.rank(1, sets=FIXED)),
    ):
        assert over.estimate == fixed.estimate
        assert over.low <= fixed.low <= fixed.estimate <= fixed.high <= over.high
    p, over_images = drawn.difference(0, 2).p, drawn.difference(0, 2, sets=FIXED).p
    assert p is not None and over_images is not None and p >= over_images
    assert drawn.rank(1).low >= 1 and drawn.rank(1).high <= 3


# --- ranks -------------------------------------------------------------------------------------------------------


def test_mean_ranks_by_hand() -> None:
    # means 0.75, 0.5, 0.5 and 0, 0.5, 0.25: ranks 1, 2.5, 2.5 and 3, 1, 2
    a = dataset("a", np.array([[1.0, 1, 1], [1, 1, 0], [1, 0, 1], [0, 0, 0]]))
    b = dataset("b", np.array([[0.0, 1, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    drawn = resample_datasets([a, b], seed=0)
    assert [drawn.rank(i, sets=FIXED).estimate for i in range(3)] == [2.0, 1.75, 2.25]


def test_ranks_without_overlap_are_sure_and_ranks_of_equals_tie() -> None:
    levels = np.array([0.9, 0.1, 0.5, 0.5])
    sets = [dataset(name, np.tile(levels, (10, 1))) for name in "abcde"]
    drawn = resample_datasets(sets, seed=0)
    assert [ends(drawn.rank(i)) for i in range(4)] == [[1] * 3, [4] * 3, [2.5] * 3, [2.5] * 3]
    assert drawn.rank(0).p is None


def test_the_interval_of_a_rank_is_that_of_resampled_ranks() -> None:
    (only,) = simulated(1, spread=0.0, images=40, encoders=4)
    rng = np.random.default_rng(5)
    ranks = [stats.rankdata(-only.scores[rng.integers(0, 40, 40)].mean(0))[2] for _ in range(2_000)]
    rank = resample_datasets([only], seed=0).rank(2, sets=FIXED)
    assert [rank.low, rank.high] == np.quantile(ranks, [0.025, 0.975]).tolist()  # whole numbers


# --- invariances -------------------------------------------------------------------------------------------------


def test_the_order_of_data_sets_and_of_encoders_does_not_matter() -> None:
    sets = simulated(5, spread=1.0)
    forth, back = resample_datasets(sets, seed=3), resample_datasets(sets[::-1], seed=3)
    assert ends(back.difference(0, 1)) == pytest.approx(ends(forth.difference(0, 1)))
    swapped = forth.difference(1, 0)
    assert ends(swapped) == pytest.approx([-end for end in reversed(ends(forth.difference(0, 1)))])
    assert swapped.p == pytest.approx(forth.difference(0, 1).p)
    others = resample_datasets([replace(each, scores=each.scores[:, [2, 0]]) for each in sets], seed=3)
    assert ends(others.difference(1, 0)) == pytest.approx(ends(forth.difference(0, 2)))


def test_equal_encoders_do_not_differ_at_all() -> None:
    # 0.1 + 0.2 and 0.3 are one score but for rounding
    sets = [dataset(name, np.repeat([[0.1 + 0.2, 0.3]], 7, axis=0)) for name in "abcde"]
    drawn = resample_datasets(sets, seed=0)
    for sets_ in (FIXED, DRAWN):
        difference = drawn.difference(0, 1, sets=sets_)
        assert (ends(difference), difference.p) == ([0, 0, 0], 1.0)
        assert ends(drawn.rank(0, sets=sets_)) == [1.5] * 3
        mean = drawn.mean(0, sets=sets_)
        assert mean.low == mean.high == mean.estimate == pytest.approx(0.3)


# --- what cannot be estimated ------------------------------------------------------------------------------------


def test_over_fewer_than_five_data_sets_there_is_no_interval() -> None:
    drawn = resample_datasets(simulated(4, spread=1.0), seed=0)
    too_few = "needs at least 5 of them, and there are 4"
    with pytest.raises(EmbprobeError, match=too_few):
        drawn.mean(0)
    with pytest.raises(EmbprobeError, match=too_few):
        drawn.difference(0, 1)
    with pytest.raises(EmbprobeError, match=too_few):
        drawn.rank(0)
    assert width(drawn.mean(0, sets=FIXED)) > 0


def test_bad_data_sets_are_refused_in_words() -> None:
    good = simulated(1, spread=0.0)[0]
    with pytest.raises(EmbprobeError, match="There is no data set"):
        resample_datasets([], seed=0)
    with pytest.raises(EmbprobeError, match="'set 0' is given twice"):
        resample_datasets([good, good], seed=0)
    with pytest.raises(EmbprobeError, match="Data set 'odd': 1 of 6 scores are not finite"):
        resample_datasets([good, dataset("odd", np.array([[1.0, 2, 3], [1, 2, np.nan]]))], seed=0)
    with pytest.raises(EmbprobeError, match=r"Data set 'odd': Only one image \('x'\)"):
        resample_datasets([DatasetScores("odd", np.ones((2, 1)), ["x", "x"])], seed=0)
    with pytest.raises(ValueError, match="the same encoders"):
        resample_datasets([good, dataset("narrow", np.ones((4, 2)))], seed=0)
    resampled = resample(good.scores, good.groups, seed=0)
    with pytest.raises(ValueError, match="a seed of its own"):
        ResampledDatasets((resampled, resampled))
