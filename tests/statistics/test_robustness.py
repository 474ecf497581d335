"""Effective robustness: a line by hand, against scipy's, and what has none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.special import logit

from embprobe.errors import EmbprobeError
from embprobe.statistics import effective_robustness


def test_a_line_of_odds_by_hand() -> None:
    # odds 1, 4, 9 without the shift and 1/4, 1, 9/4 under it: a quarter each, so slope 1 and intercept log(1/4).
    # Two more at odds 4, where the line has 1 / (1 + 1) = 0.5: accuracies 0.6 and 0.3
    found = effective_robustness([0.5, 0.8, 0.9, 0.8, 0.8], [0.2, 0.5, 9 / 13, 0.6, 0.3], baselines=[0, 1, 2])
    assert (found.slope, found.intercept, found.r2) == pytest.approx((1.0, np.log(0.25), 1.0))
    assert found.effective == pytest.approx([0, 0, 0, 0.1, -0.2])
    assert found.expected([0.5, 0.9]) == pytest.approx([0.2, 9 / 13])


def test_a_slope_and_a_rest_by_hand() -> None:
    # logits 0, 1, 2 and 0, 3, 3: slope ((-1)(-2) + 0 + (1)(1)) / 2 = 1.5, mean 2 at 1: 0.5.
    # on the line 0.5, 2, 3.5: rests -0.5, 1, -0.5, squares 1.5; total (-2)^2 + 1 + 1 = 6: r2 = 1 - 1.5 / 6
    inside, shifted = (1 / (1 + np.exp(-np.array(values))) for values in ([0.0, 1.0, 2.0], [0.0, 3.0, 3.0]))
    found = effective_robustness(inside, shifted)
    assert (found.slope, found.intercept, found.r2) == pytest.approx((1.5, 0.5, 0.75))
    assert found.effective[0] == pytest.approx(0.5 - 1 / (1 + np.exp(-0.5)))


accuracies = st.lists(st.tuples(st.floats(0.02, 0.98), st.floats(0.02, 0.98)), min_size=3, max_size=12)


@given(accuracies)
def test_it_is_scipys_line_through_logits(pairs: list[tuple[float, float]]) -> None:
    inside, shifted = np.array(pairs).T
    if np.ptp(inside) < 1e-3 or np.ptp(shifted) < 1e-3:
        return
    found = effective_robustness(inside, shifted)
    line = stats.linregress(logit(inside), logit(shifted))
    assert (found.slope, found.intercept) == pytest.approx((line.slope, line.intercept), abs=1e-8)
    assert found.r2 == pytest.approx(line.rvalue**2, abs=1e-8)
    assert found.effective == pytest.approx(shifted - found.expected(inside))
    assert np.sum(logit(shifted) - logit(found.expected(inside))) == pytest.approx(0, abs=1e-6)


def test_all_right_and_all_wrong_are_half_an_image_away_from_it() -> None:
    found = effective_robustness([1.0, 0.5, 0.2], [0.9, 0.0, 0.1], images=(10, 20))
    other = effective_robustness([0.95, 0.5, 0.2], [0.9, 0.025, 0.1])
    assert (found.slope, found.r2) == pytest.approx((other.slope, other.r2))
    assert found.effective == pytest.approx(other.effective)
    with pytest.raises(EmbprobeError, match="An accuracy of 0 or 1 has no logit"):
        effective_robustness([1.0, 0.5, 0.2], [0.9, 0.3, 0.1])


def test_of_equal_accuracies_there_is_nothing_to_explain() -> None:
    found = effective_robustness([0.2, 0.5, 0.8], [0.3, 0.3, 0.3])
    assert found.slope == pytest.approx(0.0) and found.r2 is None
    assert found.effective == pytest.approx([0, 0, 0])


def test_too_few_encoders_have_no_line() -> None:
    with pytest.raises(EmbprobeError, match="accuracies of 2 encoders says nothing"):
        effective_robustness([0.5, 0.6], [0.3, 0.4])
    with pytest.raises(EmbprobeError, match="accuracies of 2 encoders says nothing"):
        effective_robustness([0.5, 0.6, 0.7, 0.8], [0.3, 0.4, 0.5, 0.6], baselines=[0, 3])
    with pytest.raises(EmbprobeError, match="accuracies of 0 encoders"):
        effective_robustness([], [])
    with pytest.raises(EmbprobeError, match="the same accuracy without the shift"):
        effective_robustness([0.7, 0.7, 0.7], [0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("inside", "shifted", "baselines", "message"),
    [
        ([0.5, 0.6, 1.2], [0.3, 0.4, 0.5], None, "from 0 to 1"),
        ([0.5, 0.6, np.nan], [0.3, 0.4, 0.5], None, "from 0 to 1"),
        ([0.5, 0.6, 0.7], [0.3, 0.4], None, "same shape"),
        ([0.5, 0.6, 0.7], [0.3, 0.4, 0.5], [0, 1, 1], "different places"),
        ([0.5, 0.6, 0.7], [0.3, 0.4, 0.5], [0, 1, 3], "from 0 to 2"),
        ([0.5, 0.6, 0.7], [0.3, 0.4, 0.5], [0, 1, -1], "from 0 to 2"),
    ],
)
def test_accuracies_that_are_none_are_refused(
    inside: list[float], shifted: list[float], baselines: list[int] | None, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        effective_robustness(inside, shifted, baselines=baselines)
