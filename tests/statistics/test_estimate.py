"""Intervals of Student's t, and the least difference that could be found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from embprobe.statistics import least_detectable_difference
from embprobe.statistics.estimate import student_interval, student_p, without_rounding


def test_the_least_detectable_difference_by_hand() -> None:
    # an interval of 2 * 1.96 standard errors of 0.1: 2.8 of them are 0.28
    assert least_detectable_difference(-0.196, 0.196) == pytest.approx(0.28)
    assert least_detectable_difference(0.3, 0.3) == 0.0


def test_a_difference_that_large_is_shown_with_a_probability_of_eight_in_ten() -> None:
    # of 100,000 estimates with a standard error of 0.5, those beyond 1.96 of it; standard error of the share 0.0013
    true = least_detectable_difference(-1.96 * 0.5, 1.96 * 0.5)
    estimates = np.random.default_rng(0).normal(true, 0.5, 100_000)
    assert np.mean(estimates > 1.96 * 0.5) == pytest.approx(0.8, abs=0.005)


@given(st.floats(-5, 5), st.floats(1e-3, 10), st.floats(1, 500))
def test_intervals_and_p_are_scipys_and_agree(estimate: float, error: float, freedom: float) -> None:
    low, high = student_interval(estimate, error, freedom)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, freedom, estimate, error), rel=1e-6)
    p = student_p(estimate, error, freedom)
    assert p == pytest.approx(2 * stats.t.sf(abs(estimate) / error, freedom), rel=1e-6)
    if abs(p - 0.05) > 1e-6:
        assert (p < 0.05) == (low > 0 or high < 0)


def test_without_an_error_the_interval_is_the_estimate_and_p_is_all_or_nothing() -> None:
    assert student_interval(0.25, 0.0, 3) == (0.25, 0.25)
    assert student_p(0.0, 0.0, 3) == 1.0
    assert 0 < student_p(0.25, 0.0, 3) < 1e-200
    assert 0 < student_p(1e6, 1.0, np.inf) < 1e-200


def test_rounding_errors_are_zero_and_small_numbers_are_not() -> None:
    assert without_rounding(np.array([1e-13, -1e-13, 1e-11, 2.0]), 1.0).tolist() == [0, 0, 1e-11, 2.0]
