from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.variance import _bound, permutation_p, plain_shares, variance_shares
from embprobe.statistics import holm

Vectors = NDArray[np.float64]
Labels = NDArray[np.str_]
Factors = dict[str, Labels]
SEEDS = st.integers(0, 2**32 - 1)
NAMES = ("concept", "style", "color")


def design(*sizes: int) -> Factors:
    """Every combination once, the last factor running fastest; levels are numbers of two digits."""
    rows = np.array(list(itertools.product(*(range(size) for size in sizes))))
    return {name: np.array([f"{level:02d}" for level in column]) for name, column in zip(NAMES, rows.T, strict=False)}


def planted(seed: int, factors: Factors, shares: Mapping[str, float], *, d: int = 256) -> Vectors:
    """The sum of a random direction for each level, weighted by its share, and noise: squared length about 1."""
    rng = np.random.default_rng(seed)
    n = len(next(iter(factors.values())))
    x: Vectors = np.sqrt(1 - sum(shares.values())) * rng.normal(size=(n, d)) / np.sqrt(d)
    for name, share in shares.items():
        values, level = np.unique(factors[name], return_inverse=True)
        directions = rng.normal(size=(len(values), d))
        x += np.sqrt(share) * (directions / np.linalg.norm(directions, axis=1, keepdims=True))[level]
    return x


def pair_by_pair(x: Vectors, factors: Factors) -> dict[str, float]:
    """The definition, over all pairs of distinct rows, in squared distances: it needs no origin and no sums."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    half = np.square(x[:, None] - x[None]).sum(2) / 2
    same = np.stack([labels[:, None] == labels[None] for labels in factors.values()])
    total = half[~same.any(0)].mean()
    shares = {}
    for i, name in enumerate(factors):
        alone = same[i] & ~np.delete(same, i, axis=0).any(0)
        shares[name] = float((total - half[alone].mean()) / total)
    return {**shares, "rest": 1 - sum(shares.values())}


def test_shares_by_hand() -> None:
    # 2 concepts x 2 styles, rows a, b, -b, -a with a = (0.6, 0.8), b = (0.6, -0.8): 0.6 times the concept's sign on one
    # axis, 0.8 times (concept x style) on the other.
    #   a.a = 1, a.b = 0.36 - 0.64 = -0.28
    #   share nothing:       a.(-a) and b.(-b) = -1               total = 1 - (-1) = 2
    #   the concept alone:   a.b               = -0.28            (-0.28 + 1) / 2  = 0.36 = 0.6^2
    #   the style alone:     a.(-b)            = 0.28             ( 0.28 + 1) / 2  = 0.64
    # The style has a share, since with two levels each a product of two signs shared by style is 0.64, too; in this
    # design (-b, -a) is the style's sign itself: row 3 = -b = (-0.6, 0.8) has the style and the second axis of row 1.
    x = np.array([[0.6, 0.8], [0.6, -0.8], [-0.6, 0.8], [-0.6, -0.8]])
    assert plain_shares(x, design(2, 2)) == pytest.approx({"concept": 0.36, "style": 0.64, "rest": 0})


def test_an_interaction_is_nobodys_share() -> None:
    # 2 x 2 x 2 with one axis that holds the product of concept's and style's signs, one that holds the colour's:
    # (cs, k), each sign +-1, so length sqrt(2), and products over pairs are (cs c's' + kk') / 2
    #   share nothing:        c' = -c, s' = -s, k' = -k:  (1 - 1) / 2 = 0       total = 1
    #   the concept alone:    s' = -s, k' = -k:           (-1 - 1) / 2 = -1     share -1
    #   the style alone:      likewise                                          share -1
    #   the colour alone:     c' = -c, s' = -s:           (1 + 1) / 2 = 1       share 1
    # rest = 1 - (-1 - 1 + 1) = 2. With two fixed levels an interaction is as far from random as can be, and negative
    # components say so; with many levels it goes to the rest (see the test below).
    factors = design(2, 2, 2)
    c, s, k = (np.where(labels == "00", 1.0, -1.0) for labels in factors.values())
    shares = plain_shares(np.stack([c * s, k], axis=1), factors)
    assert shares == pytest.approx({"concept": -1, "style": -1, "color": 1, "rest": 2})


def test_random_interactions_go_to_the_rest() -> None:
    factors = design(40, 6)
    pair = np.array([a + b for a, b in zip(*factors.values(), strict=True)])
    x = planted(0, {**factors, "pair": pair}, {"concept": 0.3, "style": 0.2, "pair": 0.5})
    assert plain_shares(x, factors) == pytest.approx({"concept": 0.3, "style": 0.2, "rest": 0.5}, abs=0.04)


def test_planted_shares_come_out() -> None:
    factors, shares = design(40, 5, 4), {"concept": 0.45, "style": 0.2, "color": 0.1}
    estimates = [plain_shares(planted(seed, factors, shares), factors) for seed in range(4)]
    means = {name: np.mean([each[name] for each in estimates]) for name in estimates[0]}
    assert means == pytest.approx({**shares, "rest": 0.25}, abs=0.02)


def test_a_common_direction_takes_no_share() -> None:
    # what all embeddings of a narrow cone have in common is not variance; lengths stay equal, so the cone only scales
    factors = design(12, 4)
    x = planted(1, factors, {"concept": 0.5, "style": 0.2})
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cone = np.hstack([x, np.full((len(x), 1), 100.0)])
    assert plain_shares(cone, factors) == pytest.approx(plain_shares(x, factors), abs=1e-8)


@settings(max_examples=20)
@given(SEEDS, st.lists(st.integers(2, 5), min_size=2, max_size=3))
def test_sums_agree_with_all_pairs(seed: int, sizes: list[int]) -> None:
    factors = design(*sizes)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(len(factors["concept"]), 7)) + 3 * rng.normal(size=7)
    order = rng.permutation(len(x))
    shuffled = {name: labels[order] for name, labels in factors.items()}
    assert plain_shares(x, shuffled) == pytest.approx(pair_by_pair(x, shuffled), abs=1e-9)


@pytest.mark.parametrize("unit", NAMES)
def test_pseudo_values_are_the_jackknife(unit: str) -> None:
    factors = design(6, 3, 4)
    x = planted(2, factors, {"concept": 0.4, "style": 0.2, "color": 0.2}, d=16)
    shares = variance_shares(x, factors, unit=unit)
    levels = np.unique(factors[unit])
    everything = pair_by_pair(x, factors)
    for position, level in enumerate(levels):
        kept = factors[unit] != level
        without = pair_by_pair(x[kept], {name: labels[kept] for name, labels in factors.items()})
        for name in (*NAMES, "rest"):
            c = len(levels)
            assert shares[name][position] == pytest.approx(c * everything[name] - (c - 1) * without[name], abs=1e-9)
    assert list(shares) == [*NAMES, "rest"]


def test_the_interval_of_the_pseudo_values_covers_the_share() -> None:
    # 95 % of intervals mean +- t s / sqrt(C) ought to hold the planted share; 200 draws, so 88 to 100 % (3.3 s.e. of
    # 1.5 %, and what the skewness of 20 concepts takes). Concepts' effects have lengths of their own.
    factors, held = design(20, 4), 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        concept = np.repeat(rng.normal(size=(20, 24)), 4, axis=0)
        style = np.tile(np.linalg.qr(rng.normal(size=(24, 4)))[0].T * np.sqrt(24 / 2), (20, 1))
        # E|concept|^2 = 24, half the squared distance of two styles 12, noise 12: 1/2, 1/4, 1/4. Bringing rows of 24
        # dimensions to length 1 moves the quarter by 0.002, a twentieth of the margin.
        x = concept + style + rng.normal(size=(80, 24)) * np.sqrt(0.5)
        scores = variance_shares(x, factors, unit="concept")["style"]
        margin = 2.093 * scores.std(ddof=1) / np.sqrt(20)
        held += abs(scores.mean() - 0.25) < margin
    assert 0.88 <= held / 200 <= 1.0


@settings(max_examples=10)
@given(SEEDS)
def test_shares_follow_from_directions_alone(seed: int) -> None:
    factors = design(5, 3)
    rng = np.random.default_rng(seed)
    x = planted(seed, factors, {"concept": 0.4, "style": 0.2}, d=12)
    rotation, _ = np.linalg.qr(rng.normal(size=(12, 12)))
    expected = variance_shares(x, factors, unit="concept")
    p = permutation_p(x, factors, "style", permutations=49)
    for same in (x @ rotation, x[:, rng.permutation(12)], x * 10 ** rng.uniform(-6, 6, (15, 1))):
        shares = variance_shares(same, factors, unit="concept")
        for name, scores in expected.items():
            np.testing.assert_allclose(shares[name], scores, atol=1e-6)
        assert permutation_p(same, factors, "style", permutations=49) == p


def test_the_order_of_rows_and_factors_does_not_matter() -> None:
    factors = design(5, 3, 2)
    x = planted(3, factors, {"concept": 0.4, "style": 0.2}, d=12)
    order = np.random.default_rng(0).permutation(30)
    turned = {name: factors[name][order] for name in reversed(factors)}
    expected, shares = variance_shares(x, factors, unit="style"), variance_shares(x[order], turned, unit="style")
    for name, scores in expected.items():
        np.testing.assert_allclose(shares[name], scores, atol=1e-9)


def test_half_precision_is_widened_before_anything_is_summed() -> None:
    factors = design(40, 6)
    x = planted(4, factors, {"concept": 0.5}).astype(np.float16)
    assert plain_shares(x, factors) == plain_shares(x.astype(np.float64), factors)


def test_p_by_hand() -> None:
    # Two levels in four cells: 2^4 ways to permute, and the observed scatter, all differences in line, is reached by
    # itself and by its mirror image: p is about 2/16. 999 permutations: 0.125 +- 4 * sqrt(0.125 * 0.875 / 999) = 0.042
    x = np.array([[1.0, 0.0], [0.0, 1.0]] * 4)
    assert permutation_p(x, design(4, 2), "style") == pytest.approx(0.125, abs=0.042)
    # two cells: 2 of 4, and the other two have none at all
    assert permutation_p(x[:4], design(2, 2), "style") == pytest.approx(0.5, abs=0.064)


def test_p_agrees_with_every_permutation_listed() -> None:
    # 3 levels in 4 cells: 6^4 = 1,296 permutations, listed
    factors, rng = design(4, 3), np.random.default_rng(7)
    x = rng.normal(size=(12, 3)) + np.tile(0.5 * rng.normal(size=(3, 3)), (4, 1))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    cells = x.reshape(4, 3, 3)
    orders = np.array(list(itertools.permutations(range(3))))
    scatter = []
    for chosen in itertools.product(orders, repeat=4):
        means = np.mean([cell[list(order)] for cell, order in zip(cells, chosen, strict=True)], axis=0)
        scatter.append(np.square(means - means.mean(0)).sum())
    means = cells.mean(0)
    exact = np.mean(np.array(scatter) >= np.square(means - means.mean(0)).sum() - 1e-12)
    assert 0.01 < exact < 0.5
    p = permutation_p(x, factors, "style", permutations=3999)
    assert p == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 3999))


def test_p_is_uniform_where_the_factor_does_nothing() -> None:
    # concept explains much, style nothing. 300 p-values of 1/40 .. 40/40: mean 0.5125, standard error 0.289 / sqrt(300)
    factors = design(8, 3)
    p_values = np.array(
        [
            permutation_p(planted(seed, factors, {"concept": 0.7}, d=6), factors, "style", permutations=39, seed=seed)
            for seed in range(300)
        ]
    )
    assert p_values.mean() == pytest.approx(0.5125, abs=4 * 0.0167)
    for level in (0.05, 0.1, 0.25, 0.5):
        assert np.mean(p_values <= level) == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / 300))


def test_p_is_tiny_where_the_factor_does_something() -> None:
    factors = design(30, 4)
    x = planted(5, factors, {"concept": 0.6, "style": 0.05})
    assert permutation_p(x, factors, "style") < 1e-6
    assert permutation_p(x, factors, "concept") < 1e-6


def test_where_no_permutation_reaches_the_scatter_a_bound_takes_its_place() -> None:
    # Two levels in 24 cells, all differences in line: 2 of 2^24 permutations are as extreme, p = 1.2e-7. With s the
    # summed squares of the differences, the scatter is 24 times the one weight, and the least of
    # exp(-24 t) / sqrt(1 - 2 t) is at 1 - 2t = 1 / 24: exp(-11.5) sqrt(24) = 4.96e-5
    x = np.array([[1.0, 0.0], [0.0, 1.0]] * 24)
    assert permutation_p(x, design(24, 2), "style") == pytest.approx(np.exp(-11.5) * np.sqrt(24), rel=1e-6)
    assert permutation_p(x, design(24, 2), "style", permutations=99_999) == pytest.approx(1e-5)  # as they are fewer


@pytest.mark.parametrize(("cells", "levels"), [(12, 2), (12, 3), (30, 4), (60, 10)])
@pytest.mark.parametrize("alike", [False, True])
def test_the_bound_is_no_smaller_than_the_share_of_permutations(cells: int, levels: int, alike: bool) -> None:
    # alike: of each cell's levels one is unlike all others, which is where permutation sums are the least normal
    rng = np.random.default_rng(cells)
    outlier = np.eye(levels)[np.zeros(cells, int)][..., None]
    table = outlier if alike else rng.normal(size=(cells, levels, 5))
    table = table - table.mean(1, keepdims=True)
    order = rng.permuted(np.broadcast_to(np.arange(levels), (20_000, cells, levels)), axis=2)
    sums = sum(table[c][order[:, c]] for c in range(cells))
    scatter = np.sort(np.square(sums).reshape(20_000, -1).sum(1))
    rows = table.reshape(cells * levels, -1)
    for share in (0.05, 0.01, 0.001):
        at = scatter[int(20_000 * (1 - share))]
        assert _bound(float(at), rows, levels) > (scatter >= at * (1 - 1e-9)).mean()


def test_effects_stay_significant_among_thousands_of_tests() -> None:
    factors = design(60, 3)
    x = planted(6, factors, {"concept": 0.5, "style": 0.05})
    p = permutation_p(x, factors, "style")
    assert holm([p, *[0.5] * 7_000])[0] < 0.001


def test_an_encoder_blind_to_the_factor_has_p_of_one() -> None:
    # only the one factor changes a vector, wherever it stands among the others
    for seed, seen in enumerate(NAMES):
        factors = design(5, 4, 6)
        level = np.unique(factors[seen], return_inverse=True)[1]
        x = np.random.default_rng(seed).normal(size=(6, 7))[level]
        p_values = {name: permutation_p(x, factors, name, permutations=99) for name in factors}
        assert {name: p for name, p in p_values.items() if name != seen} == {name: 1 for name in NAMES if name != seen}
        assert p_values[seen] <= 0.01


def test_permutations_in_several_batches_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = design(10, 4)
    x = planted(6, factors, {"concept": 0.5, "style": 0.01}, d=8)
    whole = permutation_p(x, factors, "style", permutations=500, seed=3)
    monkeypatch.setattr("embprobe.measures.variance._BATCH", 1000)
    assert permutation_p(x, factors, "style", permutations=500, seed=3) == whole
    assert 0.002 < whole < 0.9
    assert permutation_p(x, factors, "style", permutations=500, seed=4) != whole


def without(factors: Factors, *rows: int) -> tuple[Vectors, Factors]:
    kept = np.delete(np.arange(len(factors["concept"])), rows)
    return np.random.default_rng(0).normal(size=(len(kept), 4)), {name: each[kept] for name, each in factors.items()}


def test_a_missing_combination_is_named() -> None:
    x, factors = without(design(4, 3), 7, 10)
    for call in (lambda: variance_shares(x, factors, unit="concept"), lambda: permutation_p(x, factors, "style")):
        with pytest.raises(EmbprobeError, match="2 of 12 combinations have no image, e.g. concept '02', style '01'"):
            call()


def test_a_double_combination_is_named() -> None:
    factors = {name: np.append(labels, labels[4]) for name, labels in design(4, 3).items()}
    with pytest.raises(EmbprobeError, match="There are 2 images with concept '01', style '01'"):
        plain_shares(np.random.default_rng(0).normal(size=(13, 4)), factors)


def test_many_factors_of_many_values_do_not_overflow() -> None:
    labels = np.arange(5000).astype(str)
    factors = {str(i): labels for i in range(6)}  # 5000^6 combinations
    with pytest.raises(EmbprobeError, match="combinations have no image"):
        plain_shares(np.random.default_rng(0).normal(size=(5000, 2)), factors)


def test_bad_input_is_named() -> None:
    factors = design(4, 3)
    x = np.random.default_rng(0).normal(size=(12, 4))
    with pytest.raises(EmbprobeError, match="no factor 'colour'; there are 'concept', 'style'"):
        variance_shares(x, factors, unit="colour")
    with pytest.raises(EmbprobeError, match="no factor 'colour'"):
        permutation_p(x, factors, "colour")
    with pytest.raises(EmbprobeError, match="two factors or more; there are 1"):
        plain_shares(x, {"concept": np.arange(12).astype(str)})
    with pytest.raises(EmbprobeError, match="may be called 'rest'"):
        plain_shares(x, {"concept": factors["concept"], "rest": factors["style"]})
    with pytest.raises(EmbprobeError, match="'concept' needs at least 3 different values; it has 2"):
        variance_shares(x[:6], design(2, 3), unit="concept")
    with pytest.raises(EmbprobeError, match="'style' needs at least 2 different values; it has 1"):
        plain_shares(x, design(12, 1))
    with pytest.raises(EmbprobeError, match="12 embeddings, but 11 values of 'style'"):
        plain_shares(x, {**factors, "style": factors["style"][1:]})
    with pytest.raises(EmbprobeError, match="at least one permutation"):
        permutation_p(x, factors, "style", permutations=0)
    x[3] = 0
    with pytest.raises(EmbprobeError, match="1 of 12 embeddings are zero or not finite"):
        plain_shares(x, factors)


def test_coinciding_embeddings_have_no_variance_to_share() -> None:
    factors = design(4, 3)
    x = np.ones((12, 8)) * (1 + 1e-7 * np.random.default_rng(0).normal(size=(12, 8)))
    with pytest.raises(EmbprobeError, match="collapsed"):
        plain_shares(x, factors)
    with pytest.raises(EmbprobeError, match="collapsed"):
        permutation_p(x, factors, "style")
    x[:3] = np.random.default_rng(1).normal(size=(3, 8))  # one concept differs, and is left out in its turn
    with pytest.raises(EmbprobeError, match="Without one level"):
        variance_shares(x, factors, unit="concept")
