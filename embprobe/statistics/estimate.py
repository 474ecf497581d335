"""An estimate with its interval, Student's t from a standard error, and the least difference that could be found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
LEVEL = 0.95
"""Confidence level of intervals."""
LEAST_P = 1e-300
"""A p-value or a bound that is smaller than a float is not zero."""
ROUNDING = 1e-12
"""Relative difference below which two sums of floats tie."""
_CENTRAL, _POWERFUL = 1.96, 0.84  # standard normal quantiles at 0.975 and 0.8


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval, in the unit of the scores.

    Attributes:
        estimate: The mean, the difference or the ratio.
        low: The lower end of the interval.
        high: The upper end of the interval.
        images: The number of images with a score.
        groups: The number of resampled groups.
        p: The two-sided p-value, from 0 to 1, where a hypothesis was tested.
    """

    estimate: float
    low: float
    high: float
    images: int
    groups: int
    p: float | None = None


def student_interval(estimate: float, error: float, freedom: float) -> tuple[float, float]:
    """Return the ends of the 95 % interval of Student's t.

    Args:
        estimate: The centre of the interval.
        error: Its standard error, in the same unit.
        freedom: The degrees of freedom; ``inf`` for a normal distribution.

    Example:
        >>> [round(end, 2) for end in student_interval(0.0, 1.0, 4)]
        [-2.78, 2.78]
    """
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + LEVEL) / 2)) * error if error else 0.0
    return estimate - half, estimate + half


def student_p(estimate: float, error: float, freedom: float) -> float:
    """Return the two-sided p-value of the hypothesis that the estimated number is 0, by Student's t.

    Arguments are those of :func:`student_interval`. Without any error, p is 1 where the estimate is 0, else next to 0.

    Example:
        >>> round(student_p(2.78, 1.0, 4), 2)
        0.05
    """
    from scipy.special import stdtr

    if not error:
        return LEAST_P if estimate else 1.0
    return max(2 * float(stdtr(freedom, -abs(estimate) / error)), LEAST_P)


def least_detectable_difference(low: float, high: float) -> float:
    """Return the least true difference that as many images would have shown with a probability of 0.8.

    It is (1.96 + 0.84) standard errors (Cohen 1988, section 2.4), for p < 0.05 before it is corrected. The standard
    error is that of the interval: its width over 2 * 1.96. An interval of Student's t with
    few degrees of freedom is wider for its standard error: with 4 of them, as over 5 data sets, the result is 7 % too
    large.

    Args:
        low: The lower end of the 95 % interval of a paired difference.
        high: Its upper end, in the same unit.

    Example:
        >>> round(least_detectable_difference(-0.019, 0.031), 3)
        0.036
    """
    return (_CENTRAL + _POWERFUL) * (high - low) / (2 * _CENTRAL)


def without_rounding(values: NDArray[np.float64] | np.float64 | float, size: float) -> Scores:
    """Return values with 0 in the place of those that are rounding errors of numbers of that ``size``.

    Example:
        >>> without_rounding(np.array([0.1 + 0.2 - 0.3, 0.1]), 0.3)
        array([0. , 0.1])
    """
    return np.where(np.abs(values) <= ROUNDING * size, 0.0, values)
