"""Differences of recipes over images and seeds: by hand, against the dual bootstrap by draws, with a known truth."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from embprobe.errors import EmbprobeError
from embprobe.statistics import compare_recipes

Scores = NDArray[np.float64]


def own_groups(n: int) -> list[str]:
    return [str(i) for i in range(n)]


def simulated(
    rng: np.random.Generator, *, images: int, seeds: tuple[int, int], of_run: float, of_both: float
) -> tuple[Scores, Scores]:
    """Scores of an image's difficulty, a recipe's view of it (0.5), a run's quality, and noise of image and run."""
    difficulty = rng.normal(size=(images, 1))
    first, second = (
        difficulty
        + 0.5 * rng.normal(size=(images, 1))
        + of_run * rng.normal(size=(1, many))
        + of_both * rng.normal(size=(images, many))
        for many in seeds
    )
    return first, second


def test_a_difference_by_hand() -> None:
    # networks of means 0.9 and 0.7, and 0.5 and 0.5, without images that differ: 0.8 - 0.5 = 0.3.
    # variances of the means 0.02 and 0, over two seeds 0.01 and 0: standard error 0.1, one degree of freedom: 12.71
    first, second = np.tile([0.9, 0.7], (6, 1)), np.tile([0.5, 0.5], (6, 1))
    found = compare_recipes(first, second, own_groups(6), seed=0)
    assert found.both.estimate == pytest.approx(0.3)
    assert (found.error, found.freedom) == pytest.approx((0.1, 1.0))
    assert [found.both.low, found.both.high] == pytest.approx([0.3 - 1.2706, 0.3 + 1.2706], abs=1e-4)
    assert found.both.p == pytest.approx(2 * stats.t.sf(3.0, 1))
    assert found.spread == pytest.approx((np.sqrt(0.02), 0.0))
    assert [found.images.low, found.images.high] == pytest.approx([0.3, 0.3])
    assert (found.seeds.low, found.seeds.p) == (found.both.low, found.both.p)
    assert (found.both.groups, found.both.images, found.seeds.groups) == (6, 6, 4)


def test_where_images_do_not_differ_it_is_welchs_t_test_of_the_networks() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.5, 0.1, 3), rng.normal(0.3, 0.02, 5)
    found = compare_recipes(np.tile(first, (9, 1)), np.tile(second, (9, 1)), own_groups(9), seed=0)
    welch = stats.ttest_ind(first, second, equal_var=False)
    for estimate in (found.both, found.seeds):
        assert estimate.p == pytest.approx(welch.pvalue)
        assert [estimate.low, estimate.high] == pytest.approx(list(welch.confidence_interval()))
    assert found.freedom == pytest.approx(welch.df)


def test_where_seeds_do_not_differ_it_is_the_t_test_of_paired_images() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(0.2, 1, (2, 30, 1))
    found = compare_recipes(np.tile(first, (1, 3)), np.tile(second, (1, 2)), own_groups(30), seed=0)
    paired = stats.ttest_rel(first[:, 0], second[:, 0])
    assert found.both.p == pytest.approx(paired.pvalue)
    assert [found.both.low, found.both.high] == pytest.approx(list(paired.confidence_interval()))
    assert found.spread == (0.0, 0.0)
    assert found.seeds.low == found.seeds.high == found.seeds.estimate


def test_the_variance_is_that_of_the_dual_bootstrap_by_draws() -> None:
    """The formula of rsatoolbox 0.3.2, ``inference_util._dual_bootstrap``, for two factors of G and S values."""
    rng = np.random.default_rng(3)
    seeds, counts = 3, np.tile([1, 2, 3, 2], 10)
    groups = np.repeat(np.arange(40), counts)
    first, second = (
        0.5 * rng.normal(size=(40, 1))[groups] + 0.1 * rng.normal(size=seeds) + rng.normal(size=(80, seeds))
        for _ in range(2)
    )
    draws = 20_000
    weights = rng.multinomial(40, np.full(40, 1 / 40), draws)
    sums = np.stack([np.hstack([first, second])[groups == g].sum(0) for g in range(40)])
    resampled = (weights @ sums) / (weights @ counts)[:, None]  # [draws, networks]
    shares = np.hstack([rng.multinomial(seeds, np.full(seeds, 1 / seeds), draws) / seeds for _ in range(2)])
    shares[:, seeds:] *= -1
    plain = np.repeat([1 / seeds, -1 / seeds], seeds)
    means = sums.sum(0) / 80
    by_image, by_seed, by_both = (resampled @ plain).var(), (shares @ means).var(), (shares * resampled).sum(1).var()
    of_images, of_seeds = 40 / 39, seeds / (seeds - 1)
    dual = of_images * by_image + of_seeds * by_seed - of_images * of_seeds * (by_both - by_image - by_seed)
    found = compare_recipes(first, second, [str(g) for g in groups], seed=0)
    # a variance of 20,000 draws is sure to sqrt(2 / 20000) = 1 %, the sum of the five to about 3 %; and of groups of
    # unequal sizes a mean moves by a little more than the sum of their influences
    assert found.error**2 == pytest.approx(dual, rel=0.08)
    assert found.error**2 < by_both  # which counts the noise of image and run three times


def test_the_standard_error_is_near_the_truth_and_neither_source_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.statistics.resampling.FLIPS", 99)
    monkeypatch.setattr("embprobe.statistics.resampling.MOST_FLIPS", 99)
    rng = np.random.default_rng(1)
    images, seeds, of_run, of_both, studies = 40, (3, 4), 0.1, 0.6, 600
    # 2 * 0.25 / 40 of the recipes' views, and (0.01 + 0.36 / 40) (1 / 3 + 1 / 4) of runs and of noise
    true = 2 * 0.25 / images + (of_run**2 + of_both**2 / images) * (1 / 3 + 1 / 4)
    found = []
    for study in range(studies):
        scores = simulated(rng, images=images, seeds=seeds, of_run=of_run, of_both=of_both)
        found.append(compare_recipes(*scores, own_groups(images), seed=study, resamples=199))
    # a variance of about 16 degrees of freedom has a standard deviation of a third; the mean of 600 of 1.5 %
    assert np.mean([each.error**2 for each in found]) == pytest.approx(true, rel=0.06)
    assert np.var([each.both.estimate for each in found]) == pytest.approx(true, rel=0.25)  # four times 6 %
    covered = {
        name: np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
        for name, estimates in {
            "both": [each.both for each in found],
            "images": [each.images for each in found],
            "seeds": [each.seeds for each in found],
        }.items()
    }
    assert 0.92 <= covered["both"] <= 0.98  # standard error 0.9 %
    # images alone miss 0.01 * 7 / 12 of 0.0236, seeds alone 2 * 0.25 / 40
    assert covered["images"] < 0.92 and covered["seeds"] < 0.92


def test_it_is_not_less_than_that_over_images_or_over_seeds_alone() -> None:
    # each network is right about images of its own: what was drawn twice is more than what seeds add.
    # means 1/2 each; influences of (1, 0), (0, 1): +-1/4 for each image, none in the mean over seeds
    crossed = np.array([[1.0, 0.0], [0.0, 1.0]])
    found = compare_recipes(crossed, np.zeros((2, 2)), ["x", "y"], seed=0)
    assert (found.both.estimate, found.error) == (0.5, 0.0)
    first, second = simulated(np.random.default_rng(4), images=20, seeds=(2, 2), of_run=0.0, of_both=2.0)
    noisy = compare_recipes(first, second, own_groups(20), seed=0)
    alone = stats.ttest_rel(first.mean(1), second.mean(1))
    assert noisy.error >= abs(noisy.both.estimate / alone.statistic) * (1 - 1e-9)
    assert noisy.error >= np.sqrt(sum(spread**2 / 2 for spread in noisy.spread)) * (1 - 1e-9)


def test_more_images_do_not_make_up_for_few_seeds() -> None:
    rng = np.random.default_rng(2)
    widths = []
    for images in (50, 5_000):
        scores = simulated(rng, images=images, seeds=(3, 3), of_run=0.0, of_both=0.3)
        runs = np.array([-0.2, 0.0, 0.2])
        found = compare_recipes(scores[0] + runs, scores[1] + runs, own_groups(images), seed=0)
        widths.append([np.ptp([each.low, each.high]) for each in (found.both, found.images)])
    assert widths[1][1] < 0.15 * widths[0][1]
    # standard error 0.2 * sqrt(2 / 3) = 0.163, four degrees of freedom: 2 * 2.776 * 0.163
    assert widths[1][0] == pytest.approx(0.907, rel=0.1)


def test_swapping_the_recipes_mirrors_the_difference_and_seeds_have_no_order() -> None:
    first, second = simulated(np.random.default_rng(0), images=30, seeds=(3, 4), of_run=0.2, of_both=0.4)
    forth = compare_recipes(first, second, own_groups(30), seed=0)
    back = compare_recipes(second, first[:, ::-1], own_groups(30), seed=0)
    assert back.both.low == pytest.approx(-forth.both.high) and back.both.p == pytest.approx(forth.both.p)
    assert (back.error, back.freedom) == pytest.approx((forth.error, forth.freedom))
    assert back.spread == pytest.approx(forth.spread[::-1])


def test_one_recipe_twice_does_not_differ() -> None:
    scores = np.full((5, 3), 0.1) * [1, 3, 3]
    found = compare_recipes(scores, np.full((5, 3), 0.3) * [1 / 3, 1, 1], own_groups(5), seed=0)
    assert (found.both.estimate, found.both.p) == (0.0, 1.0)
    flat = compare_recipes(np.full((5, 3), 0.1), np.full((5, 2), 0.1), own_groups(5), seed=0)
    assert (flat.both.low, flat.both.high, flat.both.p, flat.error) == (0.0, 0.0, 1.0, 0.0)


def test_what_cannot_be_compared_is_refused_in_words() -> None:
    two = np.zeros((4, 2))
    with pytest.raises(EmbprobeError, match="The second recipe has one seed"):
        compare_recipes(two, two[:, :1], own_groups(4), seed=0)
    with pytest.raises(EmbprobeError, match="1 of 16 scores|1 of 8 scores"):
        compare_recipes(np.array([[np.nan, 0], [0, 0], [0, 0], [0, 0]]), two, own_groups(4), seed=0)
    with pytest.raises(EmbprobeError, match="Only one concept"):
        compare_recipes(two, two, ["a"] * 4, seed=0)
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        compare_recipes(two, two[:3], own_groups(4), seed=0)
    with pytest.raises(ValueError, match=r"\(4,\)"):
        compare_recipes(two[:, 0], two, own_groups(4), seed=0)


def test_p_against_a_value_is_that_of_a_difference_from_it() -> None:
    # as in the first test: 0.3 with a standard error of 0.1 and one degree of freedom
    first, second = np.tile([0.9, 0.7], (6, 1)), np.tile([0.5, 0.5], (6, 1))
    found = compare_recipes(first, second, own_groups(6), seed=0)
    assert found.p_against(0.0) == pytest.approx(found.both.p)
    assert found.p_against(0.1) == pytest.approx(2 * stats.t.sf(2.0, 1))
    assert found.p_against(0.5) == pytest.approx(found.p_against(0.1))  # as far on the other side
    assert found.p_against(0.3) == pytest.approx(1.0)
    shifted = compare_recipes(first - 0.1, second, own_groups(6), seed=0)
    assert found.p_against(0.1) == pytest.approx(shifted.both.p)
    for value in (np.inf, np.nan):
        with pytest.raises(ValueError, match="finite number"):
            found.p_against(value)
