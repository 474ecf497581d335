from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures import disagreement
from embprobe.measures.disagreement import (
    ContrastingPairs,
    Limits,
    contrasting_pairs,
    count_pairs,
    draw_samples,
)
from embprobe.measures.pairs import pair_cosines, percentile, random_pairs
from tests.conftest import cosines
from tests.measures.pairs_of_encoders import SEEDS, at, related

Array = NDArray[np.float64]
LOOSE = Limits(0.7, 0.5), Limits(0.8, 0.4)


def contrasted(
    a: Array, b: Array, limits: tuple[Limits, Limits] = LOOSE, *, most: int = 1000, seed: int = 0
) -> tuple[ContrastingPairs, ContrastingPairs]:
    random = random_pairs(len(a))
    return contrasting_pairs(
        a,
        b,
        limits,
        samples=draw_samples(len(a), most, seed=seed),
        among=(pair_cosines(a, random), pair_cosines(b, random)),
        seed=seed,
    )


def test_the_pair_that_one_calls_the_same_and_the_other_does_not() -> None:
    # by a 0 and 1 are nearest (5 degrees), then 2 and 3 (20); by b 0 and 1 are the farthest (120), 2 and 3 nearest
    a, b = at(0, 5, 60, 80), at(0, 120, 60, 61)
    one, other = contrasted(a, b, (Limits(0.7, 0.0), Limits(0.99, 0.95)))
    assert (one.found, one.positions.tolist()) == (1, [[0, 1]])
    (pair,) = one.farthest
    assert pair.cosines == pytest.approx((np.cos(np.deg2rad(5)), -0.5))
    # of the six pairs none is nearer by a: five and a half of six; none is farther by b: half of one
    assert pair.percentiles == pytest.approx((5.5 / 6, 0.5 / 6)) and pair.difference == pytest.approx(5 / 6)
    assert other.positions.tolist() == [[2, 3]]  # cos(1) = 0.9998 by b, cos(20) = 0.94 by a
    assert other.farthest[0].cosines == pytest.approx((np.cos(np.deg2rad(1)), np.cos(np.deg2rad(20))))


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_every_pair_beyond_the_limits_is_found(seed: int) -> None:
    a, b = related(seed, n=40)
    first, second = cosines(a, a), cosines(b, b)
    for found, near, far, limits in zip(contrasted(a, b), (first, second), (second, first), LOOSE, strict=True):
        expected = [
            [i, j]
            for i, j in itertools.combinations(range(40), 2)
            if near[i, j] > limits.near and far[i, j] < limits.far
        ]
        assert found.positions.tolist() == expected and found.found == len(expected)
        differences = [pair.difference for pair in found.farthest]
        assert differences == sorted(differences, reverse=True) and len(differences) == len(expected)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_blocks_change_nothing(seed: int) -> None:
    a, b = related(seed, n=50)
    whole = contrasted(a, b)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disagreement, "_ROWS", 7)
        patch.setattr(disagreement, "_COLUMNS", 11)
        parts = contrasted(a, b)
    for one, other in zip(whole, parts, strict=True):
        assert one.positions.tolist() == other.positions.tolist() and list(one.farthest) == list(other.farthest)


def test_pairs_of_two_samples_are_between_them() -> None:
    a, b = related(1, n=90)
    first, second = draw_samples(90, 40, seed=1)
    assert len(first) == len(second) == 40 and not set(first.tolist()) & set(second.tolist())
    assert count_pairs((first, second)) == 1600 and count_pairs(draw_samples(90)) == 90 * 89 // 2
    one, _ = contrasted(a, b, most=40, seed=1)
    near, far = cosines(a, a), cosines(b, b)
    expected = {
        (min(i, j), max(i, j)) for i in first.tolist() for j in second.tolist() if near[i, j] > 0.7 and far[i, j] < 0.5
    }
    assert {tuple(pair) for pair in one.positions.tolist()} == expected and expected


def test_of_very_many_pairs_random_ones_and_the_farthest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = related(2, n=120)
    limits = Limits(0.0, 0.9), Limits(0.0, 0.9)
    every, _ = contrasted(a, b, limits)
    monkeypatch.setattr(disagreement, "KEPT", 50)
    monkeypatch.setattr(disagreement, "FARTHEST", 30)
    monkeypatch.setattr(disagreement, "_ROWS", 16)
    some, _ = contrasted(a, b, limits)
    assert some.found == every.found > 1000 and len(some.positions) == 50
    assert {tuple(pair) for pair in some.positions.tolist()} <= {tuple(pair) for pair in every.positions.tolist()}
    gaps = [pair.cosines[1] - pair.cosines[0] for pair in every.farthest]
    kept = {(pair.first, pair.second) for pair in some.farthest}
    farthest = sorted(range(len(gaps)), key=gaps.__getitem__)[:5]
    assert {(every.farthest[i].first, every.farthest[i].second) for i in farthest} <= kept and len(kept) == 30
    again, _ = contrasted(a, b, limits)
    assert again.positions.tolist() == some.positions.tolist()
    mean = np.mean(every.positions), np.mean(some.positions)  # the random ones are of all rows
    assert abs(mean[0] - mean[1]) < 15


def test_each_group_is_in_one_pair_at_most() -> None:
    a, b = related(0, n=60)
    groups = [str(i // 4) for i in range(60)]
    one, _ = contrasted(a, b)
    distinct = one.distinct(100, groups)
    shown = [{groups[pair.first], groups[pair.second]} for pair in distinct]
    assert len(shown) > 3 and sum(map(len, shown)) == len(set().union(*shown))
    assert distinct[0] == one.farthest[0] and len(one.distinct(2, groups)) == 2
    images = [image for pair in one.distinct(100) for image in (pair.first, pair.second)]
    assert len(images) == len(set(images)) > len(shown)


def test_hubs_are_limited() -> None:
    a, b = related(3, n=60)
    one, _ = contrasted(a, b)
    limited = one.limited(2, 60)
    assert np.bincount(one.positions.ravel()).max() > 2 and np.bincount(limited.positions.ravel()).max() == 2
    assert limited.farthest[0] == one.farthest[0] and limited.found == one.found


def test_limits_at_percentiles_have_the_shares_of_their_name() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(2, 100_000))
    limits = Limits.at_percentiles(near, far, pairs=10**6)
    assert np.mean(near > limits.near) == pytest.approx(0.05, abs=1e-4)
    assert np.mean(far < limits.far) == pytest.approx(0.5, abs=1e-4)
    # of 2,000 pairs the nearest 200; of 66 the nearer half
    assert np.mean(near > Limits.at_percentiles(near, far, pairs=2000).near) == pytest.approx(0.1, abs=1e-4)
    assert np.mean(near > Limits.at_percentiles(near, far, pairs=66).near) == pytest.approx(0.5, abs=1e-4)


def test_encoders_that_agree_have_no_such_pairs() -> None:
    a, _ = related(0)
    one, other = contrasted(a, 3 * a, (Limits(0.5, 0.5), Limits(0.5, 0.5)))
    assert one.found == other.found == 0 and one.positions.shape == (0, 2) and not one.distinct(5)
    assert percentile(np.array([]), np.array([1.0])).shape == (0,)


def test_rows_that_do_not_fit() -> None:
    a, b = related(0)
    samples, among = draw_samples(30), (np.linspace(-1, 1, 9),) * 2
    with pytest.raises(EmbprobeError, match="one has 30 and the other 29"):
        contrasting_pairs(a, b[:-1], LOOSE, samples=samples, among=among)
    b[2] = 0
    with pytest.raises(EmbprobeError, match="zero or not finite"):
        contrasting_pairs(a, b, LOOSE, samples=samples, among=among)
