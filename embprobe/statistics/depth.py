"""Read curves over the layers of a network: where a number has risen, where it is sure, and which layer is best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.statistics.estimate import LEVEL, Estimate, Scores
from embprobe.statistics.resampling import Resampled, resample


@dataclass(frozen=True)
class Rise:
    """The position at which a curve first reaches half of its height, with its 95 % interval."""

    position: int
    low: int
    high: int


def half_rise(curve: Resampled, *, floor: float) -> Rise | None:
    """Return where a curve first reaches half of its greatest height above a floor; None if it is nowhere above.

    The interval holds the positions of 95 % of the resamples, whose curves have heights of their own: quantiles of a
    whole number, so it may hold more. Resamples that are nowhere above the floor count as the last position.

    Args:
        curve: Scores of the same images at each position, a column each, in order.
        floor: The value of an encoder that is blind to what is measured.

    Example:
        >>> scores = np.array([[0.0, 0.1, 0.9, 1.0], [0.0, 0.3, 0.7, 1.0], [0.1, 0.2, 0.8, 0.9]])
        >>> half_rise(resample(scores, ["a", "b", "c"], seed=0), floor=0.0)
        Rise(position=2, low=2, high=2)
    """
    means = curve.sums.sum(0) / curve.counts.sum()
    if means.max() <= floor:
        return None
    positions = _risen(curve.replicates, floor)
    low, high = np.quantile(positions, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf").tolist()
    return Rise(int(_risen(means[None], floor)[0]), int(low), int(high))


def sure_from(curve: Resampled, *, floor: float) -> int | None:
    """Return the first position from which on every interval lies above a floor; None if the last one does not.

    Positions are tested from the last backwards until one fails, each at the level of its interval: with the order
    fixed beforehand, no correction is needed (Maurer, Hothorn and Lehmacher 1995).

    Args:
        curve: Scores of the same images at each position, a column each, in order.
        floor: The value of an encoder that is blind to what is measured.
    """
    first = None
    for position in reversed(range(curve.sums.shape[1])):
        if curve.mean(position).low <= floor:
            break
        first = position
    return first


@dataclass(frozen=True)
class Best:
    """The best position, chosen on some groups and estimated on the others."""

    position: int
    estimate: Estimate
    """At this position, on the groups that did not choose it."""
    beyond_last: Estimate
    """How far it is above the last position there; with p, unless it is the last."""


def best_elsewhere(scores: Scores, groups: Sequence[str], *, seed: int, unit: str = "concept") -> Best | None:
    """Choose the position with the greatest mean on one half of the groups, and estimate it on the other half.

    The greatest of several estimates on the images that chose it is too great.

    Args:
        scores: ``[n, l]``: a row per image, a column per position.
        groups: The group of each image, ``[n]``.
        seed: Of the halves and of the bootstrap.
        unit: The word for a group in messages.

    Returns:
        The position; None if a half would have fewer than two groups.
    """
    names, coded = np.unique(np.asarray(groups), return_inverse=True)
    if len(names) < 4:
        return None
    choosing = np.isin(coded, np.random.default_rng(seed).permutation(len(names))[: len(names) // 2])
    position = int(scores[choosing].mean(0).argmax())
    others = [group for group, chooses in zip(groups, choosing, strict=True) if not chooses]
    drawn = resample(scores[~choosing], others, seed=seed, unit=unit)
    return Best(position, drawn.mean(position), drawn.difference(position, scores.shape[1] - 1))


def _risen(curves: Scores, floor: float) -> NDArray[np.int64]:
    """Return for each curve ``[b, l]`` the first position at half of its height, ``[b]``; the last if it has none."""
    heights = curves.max(1, keepdims=True) - floor
    first: NDArray[np.int64] = np.argmax(curves - floor >= heights / 2, axis=1)
    first[heights[:, 0] <= 0] = curves.shape[1] - 1
    return first
