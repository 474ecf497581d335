"""Curves over layers: where they rise, where they are sure, which layer is best; numbers to check by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embprobe.statistics import Rise, best_elsewhere, half_rise, resample, sure_from

CONCEPTS = [f"concept {i}" for i in range(60)]


def curve(*means: float, noise: float = 0.2, seed: int = 0) -> NDArray[np.float64]:
    """Return scores of 60 images at each position, around these means exactly."""
    scores = np.random.default_rng(seed).normal(0, noise, (60, len(means)))
    return np.asarray(scores - scores.mean(0) + np.array(means), np.float64)


def test_half_of_the_height_is_measured_from_the_floor() -> None:
    drawn = resample(curve(0.25, 0.30, 0.60, 0.75, noise=0.01), CONCEPTS, seed=0)
    assert half_rise(drawn, floor=0.25) == Rise(2, 2, 2)  # the height is 0.5, half of it above 0.25 is 0.50
    assert half_rise(drawn, floor=0.0) == Rise(2, 2, 2)  # 0.375
    assert half_rise(drawn, floor=-0.5) == Rise(0, 0, 0)  # 0.125
    assert half_rise(drawn, floor=0.76) is None


def test_a_curve_that_falls_is_at_its_height_at_once() -> None:
    assert half_rise(resample(curve(0.9, 0.5, 0.2, noise=0.01), CONCEPTS, seed=0), floor=0.0) == Rise(0, 0, 0)


def test_a_position_that_is_unsure_has_an_interval_of_positions() -> None:
    rise = half_rise(resample(curve(0.0, 0.15, 0.2, 0.3, noise=0.3), CONCEPTS, seed=0), floor=0.0)
    assert rise is not None and (rise.low, rise.position) == (1, 1) and rise.high > 1


@pytest.mark.parametrize("truth", [1, 3])
def test_the_interval_holds_the_true_position(truth: int) -> None:
    means, held = np.zeros(5), 0
    means[truth:] = 0.4
    for seed in range(100):
        scores = np.random.default_rng(seed).normal(means, 0.5, (60, 5))
        rise = half_rise(resample(scores, CONCEPTS, seed=seed, resamples=400), floor=0.0)
        held += rise is not None and rise.low <= truth <= rise.high
    assert held >= 93


def test_sure_from_the_last_backwards() -> None:
    drawn = resample(curve(0.5, 0.0, 0.3, 0.4), CONCEPTS, seed=0)  # standard errors of 0.026
    assert [sure_from(drawn, floor=floor) for floor in (-0.2, 0.0, 0.39)] == [0, 2, None]


def test_where_nothing_is_there_a_layer_is_rarely_sure() -> None:
    sure = 0
    for seed in range(200):
        scores = np.random.default_rng(seed).normal(0, 1, (60, 6))
        sure += sure_from(resample(scores, CONCEPTS, seed=seed, resamples=400), floor=0.0) is not None
    assert sure <= 200 * 0.06  # of layers that are tested one after another 2.5 % at most


def test_the_best_position_is_estimated_on_the_groups_that_did_not_choose_it() -> None:
    scores = curve(0.1, 0.5, 0.3, noise=0.05)
    best = best_elsewhere(scores, CONCEPTS, seed=0)
    assert best is not None and best.position == 1 and best.estimate.groups == 30
    assert best.estimate.low < 0.5 < best.estimate.high
    assert best.beyond_last.low < 0.2 < best.beyond_last.high and best.beyond_last.p is not None
    assert best_elsewhere(scores[:3], CONCEPTS[:3], seed=0) is None


def test_choosing_on_other_groups_is_not_too_optimistic() -> None:
    greatest, honest = [], []
    for seed in range(60):  # twelve layers that are all alike
        scores = np.random.default_rng(seed).normal(0, 1, (40, 12))
        best = best_elsewhere(scores, CONCEPTS[:40], seed=seed)
        assert best is not None
        greatest.append(scores.mean(0).max())
        honest.append(best.estimate.estimate)
    assert np.mean(greatest) > 0.2 and abs(np.mean(honest)) < 0.08
