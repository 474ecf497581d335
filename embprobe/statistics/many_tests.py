"""Many tests at once: p-values that are corrected for their number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CERTAIN = 0.05
"""A corrected p below this decides."""


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct p-values for multiple tests by Holm's step-down procedure (1979).

    The family-wise error stays below any level, however the tests depend on each other.

    Args:
        p_values: The p-values of all tests of the family.

    Returns:
        The corrected p-values in the order given, at most 1.

    Example:
        >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = np.argsort(p_values)
    adjusted = np.empty(len(p_values))
    worst = 0.0
    for rank, position in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = worst
    return [float(p) for p in adjusted]
