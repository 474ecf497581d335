"""From scores to an estimate, its interval and its p-value. Knows about groups and pairs, not about embeddings.

Images of one concept are not independent, so what is resampled is always the group (the concept), never the image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float64]
RESAMPLES = 2_000
FLIPS = 9_999
_CHUNK = 500


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval; ``p`` is of the hypothesis that it is zero, where that was asked."""

    estimate: float
    low: float
    high: float
    images: int
    groups: int
    p: float | None = None


def mean_over_groups(scores: Scores, groups: Sequence[str], *, seed: int, level: float = 0.95) -> Estimate:
    """The mean of the scores ``[n]`` and its percentile bootstrap interval over groups.

    A resample draws as many groups as there are, with replacement, and takes the mean over all their images (Davison
    and Hinkley 1997, section 3.8). With a single group the interval is the estimate itself; do not believe it.
    """
    sums, counts = _by_group(scores, groups)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    for start in range(0, RESAMPLES, _CHUNK):
        size = min(_CHUNK, RESAMPLES - start)
        weights = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=size)
        means[start : start + size] = (weights @ sums) / (weights @ counts)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(float(sums.sum() / counts.sum()), float(low), float(high), len(scores), len(sums))


def paired_difference(a: Scores, b: Scores, groups: Sequence[str], *, seed: int) -> Estimate:
    """The mean of ``a - b`` on the same images, its interval over groups, and a sign-flip p-value.

    Under the hypothesis of no difference the sign of a group's summed difference is a coin toss; p is the share of
    tosses with a mean at least as far from zero, two-sided, the observed one counted in (Phipson and Smyth 2010).
    """
    if a.shape != b.shape:
        raise ValueError(f"paired scores must have one shape, got {a.shape} and {b.shape}")
    found = mean_over_groups(a - b, groups, seed=seed)
    sums, _ = _by_group(a - b, groups)
    rng = np.random.default_rng(seed)
    observed = abs(sums.sum()) - 1e-12 * np.abs(sums).sum()  # sums of floats that ought to tie differ a little
    extreme = 0
    for start in range(0, FLIPS, _CHUNK):
        signs = rng.integers(0, 2, size=(min(_CHUNK, FLIPS - start), len(sums)), dtype=np.int8) * 2.0 - 1
        extreme += int((np.abs(signs @ sums) >= observed).sum())
    p = (extreme + 1) / (FLIPS + 1)
    return Estimate(found.estimate, found.low, found.high, found.images, found.groups, p)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given: the family-wise error stays below any level.

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


def _by_group(scores: Scores, groups: Sequence[str]) -> tuple[Scores, Scores]:
    """The sum of the scores and the number of images in each group."""
    if len(scores) != len(groups) or not len(scores):
        raise ValueError(f"need one group per score and at least one, got {len(scores)} and {len(groups)}")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite numbers")
    _, coded = np.unique(np.asarray(groups), return_inverse=True)
    return np.bincount(coded, weights=scores).astype(np.float64), np.bincount(coded).astype(np.float64)
