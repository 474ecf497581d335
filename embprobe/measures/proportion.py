"""An interval of a share of few images in closed form: of a class, where there are too many classes to resample."""

from __future__ import annotations

import math

_Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""


def wilson_interval(share: float, count: float) -> tuple[float, float]:
    """Return the 95 % score interval of a share (Wilson 1927, "Probable Inference", p. 209).

    Of scores between 0 and 1 it is too wide rather than too narrow: none with this mean vary more than zeros and ones.

    Args:
        share: The mean score, from 0 to 1.
        count: The number of independent images or groups, above 0.

    Returns:
        The lower and the upper bound, from 0 to 1.

    Raises:
        ValueError: Either is out of range.

    Example:
        >>> [round(bound, 3) for bound in wilson_interval(0.5, 10)]
        [0.237, 0.763]
    """
    if not 0 <= share <= 1 or not count > 0:
        raise ValueError(f"a share from 0 to 1 of a count above 0, not {share} of {count}")
    square = _Z**2
    middle = (share + square / (2 * count)) / (1 + square / count)
    half = _Z / (1 + square / count) * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    return max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share))
