"""Scores over pairs: what images and pairs contribute is planted, so the variance of the mean is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embprobe.measures.displacement import displacement, displacement_influence
from embprobe.measures.mutual_knn import nearest_others, neighbor_overlap_effects
from embprobe.measures.natural_pairs import natural_pair_effects, natural_pairs
from embprobe.measures.pair_effects import PairEffects, PairTally, influence_scores
from embprobe.measures.rank_correlation import cosine_ranks, rank_correlation, rank_correlation_effects

Array = NDArray[np.float64]


def names(n: int, each: int = 1) -> list[str]:
    """Return a group for each image, some images in each."""
    return [f"{i // each:04d}" for i in range(n)]


def mean_of_pairs(pairs: Array, groups: list[str]) -> PairEffects:
    """Return the effects of the statistic that is the mean over all pairs of a symmetric matrix."""
    n = len(pairs)
    others = ~np.eye(n, dtype=bool)
    scores = (pairs * others).sum(1) / (n - 1)
    tally, rows = PairTally(groups), np.arange(n)
    tally.add(rows, np.broadcast_to(rows, pairs.shape), (pairs - scores[:, None]) * others)
    return tally.effects(scores, partners=n - 1)


def variance(effects: list[PairEffects], groups: list[str], weights: list[float]) -> float:
    """Return the variance of a weighted sum of means that bootstrapping the scores over groups would give."""
    scores = influence_scores(effects, groups) @ np.array(weights)
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], scores - scores.mean())
    return float(np.square(sums).sum() / len(scores) ** 2)


def test_what_an_image_adds_to_its_pairs_counts_twice() -> None:
    # pairs are a_i + a_j with a = 0, 1, 2, 6: their mean is 2 * 2.25 = 4.5, and its scores 2 a_i, as if a_i were drawn
    a = np.array([0.0, 1.0, 2.0, 6.0])
    effects = mean_of_pairs(a[:, None] + a, names(4))
    assert effects.scores == pytest.approx([3, 1 + 8 / 3, 2 + 7 / 3, 7])  # too near to each other: 2/3 of a_i
    assert np.abs(effects.shared).max() < 1  # of pairs nothing is left but what few images leave
    scores = influence_scores([effects], names(4))[:, 0]
    assert scores.mean() == pytest.approx(4.5)
    many = np.random.default_rng(0).normal(size=400)
    scores = influence_scores([mean_of_pairs(many[:, None] + many, names(400))], names(400))[:, 0]
    assert scores == pytest.approx(2 * many, abs=0.03)


def test_what_is_a_pairs_own_counts_once() -> None:
    # Pairs are independent, of variance 1: the mean of n (n - 1) / 2 of them has the variance 2 / (n (n - 1)). Squares
    # of the images' scores alone give half of it (each score is a mean of n - 1 pairs), influences without D twice it.
    rng, n = np.random.default_rng(1), 200
    expected = 2 / (n * (n - 1))
    upper = np.triu(rng.normal(size=(n, n)), 1)
    effects = mean_of_pairs(upper + upper.T, names(n))
    assert variance([effects], names(n), [1]) == pytest.approx(expected, rel=0.15)
    assert effects.scores.var() / n == pytest.approx(expected / 2, rel=0.15)
    assert (effects.scores + effects.received).var() / n == pytest.approx(expected * 2, rel=0.15)


@pytest.mark.parametrize("each", [1, 4])
def test_variances_of_means_and_of_a_difference_hold_at_once(each: int) -> None:
    # Two encoders share what images (or groups) add, and have pairs of their own: only these are in a difference.
    n, groups, of_pairs = 240, names(240, each), 9 * 2 / 240**2
    ratios = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        of_group = rng.normal(size=n // each)[np.arange(n) // each]
        own = [np.triu(3 * rng.normal(size=(n, n)), 1) for _ in range(2)]
        effects = [mean_of_pairs(of_group[:, None] + of_group + pairs + pairs.T, groups) for pairs in own]
        of_mean = 4 * of_group.var() * each / n + of_pairs  # a group of 4 is one of 60
        ratios.append(
            [variance(effects, groups, [1, 0]) / of_mean, variance(effects, groups, [1, -1]) / (2 * of_pairs)]
        )
    assert np.mean(ratios, axis=0) == pytest.approx([1, 1], abs=0.1)


def test_pairs_within_a_group_come_with_the_group_once() -> None:
    # within each group of two, the pair is c_g, all others 0. The mean over pairs is sum(c) / (n (n - 1) / 2): a mean
    # over independent groups, so its variance is var(c) * g / (n (n - 1) / 2)^2
    c, n = np.random.default_rng(3).normal(size=100), 200
    pairs = np.kron(np.diag(c), np.array([[0, 1], [1, 0]]))
    effects = mean_of_pairs(pairs, names(n, 2))
    expected = c.var() * 100 / (n * (n - 1) / 2) ** 2
    assert variance([effects], names(n, 2), [1]) == pytest.approx(expected, rel=0.05)


def planted(n: int, seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """Return an attribute, a control, and two encoders that see both."""
    rng = np.random.default_rng(seed)
    attribute, control = rng.normal(size=(n, 3)), rng.normal(size=(n, 3))
    first, second = (np.hstack([attribute, control]) + 0.8 * rng.normal(size=(n, 6)) for _ in range(2))
    return attribute, control, first, second


def test_the_estimate_is_the_mean_of_the_images_own_scores() -> None:
    attribute, control, *encoders = planted(60)
    groups = names(60, 3)
    attributes = {"a": attribute, "c": control}
    natural = [natural_pair_effects(x, attributes, "a", groups, partners=40, seed=3) for x in encoders]
    assert np.array_equal(natural[0].scores, natural_pairs(encoders[0], attributes, "a", partners=40, seed=3))
    first, second = encoders
    ranked = rank_correlation_effects(cosine_ranks(first), cosine_ranks(second), groups)
    assert ranked.scores == pytest.approx(rank_correlation(first, second))
    near = neighbor_overlap_effects(nearest_others(first, 10), nearest_others(second, 10), groups, k=5)
    for effects in (natural, [ranked], [near]):
        means = [each.scores.mean() for each in effects]
        assert influence_scores(effects, groups).mean(0) == pytest.approx(means)


@pytest.mark.parametrize("statistic", ["natural pairs", "rank correlation", "mutual k-NN"])
def test_influences_are_those_of_leaving_an_image_out(statistic: str) -> None:
    """The jackknife's pseudo-values n T - (n - 1) T_(-i), computed one by one."""
    n = 80
    attribute, control, first, second = planted(n)

    def effects(kept: NDArray[np.int64]) -> PairEffects:
        groups = names(len(kept))
        if statistic == "natural pairs":
            return natural_pair_effects(first[kept], {"a": attribute[kept], "c": control[kept]}, "a", groups)
        if statistic == "rank correlation":
            return rank_correlation_effects(cosine_ranks(first[kept]), cosine_ranks(second[kept]), groups)
        lists = nearest_others(first[kept], 20), nearest_others(second[kept], 20)
        return neighbor_overlap_effects(*lists, groups, k=10)

    whole = effects(np.arange(n))
    left_out = [effects(np.delete(np.arange(n), i)).scores.mean() for i in range(n)]
    pseudo = n * whole.scores.mean() - (n - 1) * np.array(left_out)
    influence = whole.scores + whole.received
    # a list of neighbours ends at one image, which its two neighbours in rank stand for
    exact = 0.8 if statistic == "mutual k-NN" else 0.98
    assert np.corrcoef(pseudo, influence)[0, 1] > exact
    assert influence.std() == pytest.approx(pseudo.std(), rel=0.03 if exact > 0.9 else 0.25)


def test_the_units_influence_is_that_of_leaving_an_image_out() -> None:
    rng, n = np.random.default_rng(4), 80
    x = rng.normal(size=(n, 4)) + [1, 0, 0, 0]
    y = x + rng.normal(size=(n, 4)) * rng.exponential(size=(n, 1))
    scores = displacement_influence(x, y)
    assert scores.mean() == pytest.approx(displacement(x, y).mean())
    left_out = [displacement(np.delete(x, i, 0), np.delete(y, i, 0)).mean() for i in range(n)]
    pseudo = n * displacement(x, y).mean() - (n - 1) * np.array(left_out)
    assert scores == pytest.approx(pseudo, abs=0.1)
    assert abs(displacement(x, y) - pseudo).max() > 0.3


def test_an_image_without_a_score_by_one_encoder_has_none_by_any() -> None:
    attribute, _, *encoders = planted(40)
    effects = [natural_pair_effects(x, {"a": attribute}, "a", names(40)) for x in encoders]
    effects[1].scores[[3, 7]] = np.nan
    scores = influence_scores(effects, names(40))
    assert np.isnan(scores[[3, 7]]).all() and np.isfinite(np.delete(scores, [3, 7], 0)).all()
    kept = np.delete(np.arange(40), [3, 7])
    assert scores[kept].mean(0) == pytest.approx([each.scores[kept].mean() for each in effects])


def test_encoders_that_are_the_same_do_not_differ_and_the_ruler_is_one() -> None:
    attribute, control, x, y = planted(50)
    attributes = {"a": attribute, "c": control}
    same = [natural_pair_effects(vectors, attributes, "a", names(50)) for vectors in (x, 2 * x, attribute, y)]
    scores = influence_scores(same, names(50))
    assert scores[:, 0] == pytest.approx(scores[:, 1]) and scores[:, 2] == pytest.approx(np.ones(50))
    alone = influence_scores(same[:1], names(50))[:, 0]
    assert scores[:, 0].std() == pytest.approx(alone.std(), rel=0.05)  # whoever else is there


def test_pairs_among_some_groups_tell_of_all(monkeypatch: pytest.MonkeyPatch) -> None:
    attribute, _, x, y = planted(400)
    groups = names(400, 2)

    def difference() -> float:
        effects = [natural_pair_effects(each, {"a": attribute}, "a", groups, partners=60) for each in (x, y)]
        return variance(effects, groups, [1, -1])

    whole = difference()
    monkeypatch.setattr("embprobe.measures.pair_effects._SAMPLED_IMAGES", 120)
    assert difference() == pytest.approx(whole, rel=0.1)
