"""The bootstrap over groups of images: scores become an estimate with its interval and p-value.

Images of one concept are not independent, so the bootstrap always resamples the group (the concept, the source image),
never the image. One set of resamples serves every encoder, so that differences and ratios are paired.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.statistics.estimate import LEAST_P, LEVEL, ROUNDING, Estimate, Scores

RESAMPLES = 2_000
"""Bootstrap resamples by default."""
FLIPS, MOST_FLIPS = 9_999, 49_999
"""Least and most random sign flips; between them as many as 50 million signs allow. Where a difference is so large that
no flip reaches it, a bound takes over."""
_CELLS = 2**21  # resamples x groups held at a time, 16 MiB: with fewer, BLAS threads spend their time waiting
_SIGNS = 50_000_000
_COUNTED = 2**17  # resamples x groups drawn and counted at a time, 1 MiB: a core's cache


def resample(
    scores: Scores, groups: Sequence[str], *, seed: int, resamples: int = RESAMPLES, unit: str = "concept"
) -> Resampled:
    """Bootstrap the scores of one or more encoders on the same images, over groups of images.

    A resample draws as many groups as there are, with replacement, and takes the mean over all their images (Davison
    and Hinkley 1997, section 3.8).

    Args:
        scores: ``[n, m]``: a row per image, a column per encoder (or per any other set of scores).
        groups: The group of each image, such as its concept, ``[n]``.
        seed: The same seed gives the same numbers.
        resamples: The number of resamples.
        unit: The word for a group in messages.

    Returns:
        The resampled means, from which estimates with intervals are taken by column.

    Raises:
        EmbprobeError: If there are no scores, if one of them is not finite, if groups and scores differ in number, and
            if there are fewer than two groups.
        ValueError: If ``scores`` has not two dimensions.

    Example:
        >>> concepts = [f"concept {i // 2}" for i in range(40)]  # two images each
        >>> better = np.arange(40) % 4 / 4
        >>> drawn = resample(np.stack([better, better - 0.125], axis=1), concepts, seed=0)
        >>> mean = drawn.mean(0)
        >>> mean.estimate, mean.images, mean.groups, mean.low < 0.375 < mean.high
        (0.375, 40, 20, True)
        >>> drawn.difference(0, 1).estimate  # paired: the same images, the same resamples
        0.125
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2:
        raise ValueError(f"scores must be [images, sets of scores], got an array of shape {scores.shape}")
    _check(scores, groups, unit)
    _, coded = np.unique(np.asarray(groups), return_inverse=True)
    counts = np.bincount(coded).astype(np.float64)
    sums = np.stack([np.bincount(coded, weights=column).astype(np.float64) for column in scores.T], axis=1)
    both = np.column_stack([sums, counts])
    totals = np.concatenate([weights @ both for weights in _draws(len(counts), resamples, seed)])
    return Resampled(sums, counts, totals[:, :-1] / totals[:, -1:], seed)


@dataclass(frozen=True, eq=False)
class Resampled:
    """Scores that were bootstrapped by :func:`resample`: means, differences and ratios of its columns, with intervals.

    Intervals are bias-corrected and accelerated (BCa; Efron 1987), with the quantiles of Student's t in place of the
    normal's, which makes up for what a bootstrap of few groups is too narrow by (Hesterberg 2015, section 4.3). Where
    all resamples agree, the interval is the estimate itself.

    In simulated studies with 1 to 8 images a concept (at least 2,000 each, standard error 0.5 %; normal, gamma and
    lognormal scores of a skewness up to 2, accuracies of 0.1 to 0.9) 94 to 95.5 % of the intervals of means,
    differences and ratios held the truth with 200 concepts, 92.5 to 95.5 % with 60 or 100, but 91 to 97 % with 20: too
    few to rely on. A mean of scores of a skewness of 6 (lognormal, sigma 1) was held by 93 % with 200 concepts, 91 %
    with 60, 89 % with 20. Where 10 to 20 single answers are right, intervals are too wide and hold 97 to 98 %.

    p-values of means and differences come from flipping the signs of the groups' sums: under the hypothesis each is as
    likely as its opposite, and p is the two-sided share of flips with a mean at least as far from zero. Up to 13
    groups all flips are tried; above, 9,999 to 49,999 random ones, the observed counted in (Phipson and Smyth 2010).
    If none of those is as far, p is the smaller of that and of Hoeffding's (1963, theorem 2) bound for all flips,
    2 exp(-t² / 2 Σ x²) with x the groups' sums and t their total. So p of a large difference is small enough for any
    number of tests, and never too small.

    Attributes:
        sums: The sum of the scores of each group, ``[g, m]``.
        counts: The number of images of each group, ``[g]``.
        replicates: The mean of each resample, ``[b, m]``.
        seed: The seed that drew the groups; the flips depend on it, too.

    Example:
        >>> scores = np.array([[2.0, 1.0], [5.0, 4.0], [3.0, 1.0]])
        >>> resample(scores, ["a", "b", "c"], seed=0).difference(0, 1).estimate
        1.3333333333333335
    """

    sums: Scores
    counts: Scores
    replicates: Scores
    seed: int

    def mean(self, i: int) -> Estimate:
        """Estimate the mean over images of column ``i``.

        Example:
            >>> scores = np.array([[1.0], [2.0], [3.0], [8.0]])  # of a: 1 + 2 + 3 = 6; of b: 8
            >>> resample(scores, ["a", "a", "a", "b"], seed=0).mean(0)  # means of a 2, of both 14 / 4, of b 8
            Estimate(estimate=3.5, low=2.0, high=8.0, images=4, groups=2, p=None)
        """
        mean = self._mean(i)
        influence = self.sums[:, i] - mean * self.counts
        return self._estimate(mean, self.replicates[:, i], influence, scale=self._size(i))

    def against(self, i: int, value: float) -> Estimate:
        """Estimate the mean of column ``i`` and test the hypothesis that it is ``value``, e.g. chance.

        The flips suppose that groups lie as often as far above the value as below. Around a small chance they do not:
        p is then too small for means below it and too large for means above. Of 1,500 simulated studies with 100
        concepts exactly at chance, p < 0.05 came about in 3 to 6.5 % for a chance of 0.1 to 0.5; for one of 0.05 in 7
        to 8 % with several images a concept and in 12 % with one, but with the mean above chance in less than 1 %.
        With 20 concepts it was 13 % around 0.1, nearly all of it below chance.

        Example:
            >>> resample(np.array([[1.0], [2.0], [3.0]]), ["a", "b", "c"], seed=0).against(0, 0).p  # 2 of 8 flips
            0.25
        """
        if not np.isfinite(value):
            raise ValueError(f"a mean is tested against a finite number, not {value}")
        flipped = self._flipped[:, i] - value * self._flipped[:, -1]
        sums = self.sums[:, i] - value * self.counts
        return self._tested(self.mean(i), flipped, sums, scale=self._size(i) + abs(value))

    def difference(self, i: int, j: int) -> Estimate:
        """Estimate the mean of column ``i`` less that of column ``j`` and test the hypothesis of no difference.

        Example:
            >>> scores = np.array([[2.0, 1.0], [5.0, 4.0], [3.0, 1.0]])  # differences 1, 1, 2
            >>> resample(scores, ["a", "b", "c"], seed=0).difference(0, 1).p  # 2 of 8 flips are 4 away from zero
            0.25
        """
        difference = self._mean(i) - self._mean(j)
        sums = self.sums[:, i] - self.sums[:, j]
        replicates = self.replicates[:, i] - self.replicates[:, j]
        scale = self._size(i) + self._size(j)
        estimate = self._estimate(difference, replicates, sums - difference * self.counts, scale=scale)
        return self._tested(estimate, self._flipped[:, i] - self._flipped[:, j], sums, scale=scale)

    def ratio(self, i: int, j: int, *, above: float = 0.0) -> Estimate | None:
        """Estimate the mean of column ``i`` over that of column ``j`` and test the hypothesis of no difference.

        With ``above`` it is the ratio of what both means have above that value, such as the rate of guessing. None
        unless all resamples of both means lie above it, and their intervals with them: a ratio to a mean that may be 0
        has no meaning.

        Example:
            >>> scores = np.array([[0.5, 0.3], [0.7, 0.4], [0.6, 0.5]])  # means 0.6 and 0.4, 0.4 and 0.2 above 0.2
            >>> round(resample(scores, ["a", "b", "c"], seed=0).ratio(0, 1, above=0.2).estimate, 3)
            2.0
        """
        replicates = self.replicates[:, [i, j]] - above
        if replicates.min() <= 0:
            return None
        ratio = (self._mean(i) - above) / (self._mean(j) - above)
        influence = self.sums[:, i] - ratio * self.sums[:, j] - above * (1 - ratio) * self.counts
        estimate = self._estimate(ratio, replicates[:, 0] / replicates[:, 1], influence, scale=ratio)
        sums, scale = self.sums[:, i] - self.sums[:, j], self._size(i) + self._size(j)
        return self._tested(estimate, self._flipped[:, i] - self._flipped[:, j], sums, scale=scale)

    def _mean(self, i: int) -> float:
        return float(self.sums[:, i].sum() / self.counts.sum())

    def _size(self, i: int) -> float:
        """Return the size of the summed numbers per image, which rounding errors are relative to."""
        return float(np.abs(self.sums[:, i]).sum() / self.counts.sum())

    def _estimate(self, estimate: float, replicates: Scores, influence: Scores, *, scale: float) -> Estimate:
        tied = np.abs(replicates - estimate) <= ROUNDING * scale
        low, high = bca(estimate, np.where(tied, estimate, replicates), influence)
        return Estimate(estimate, low, high, int(self.counts.sum()), len(self.counts))

    def _tested(self, estimate: Estimate, flipped: Scores, sums: Scores, *, scale: float) -> Estimate:
        """Add the p-value: the share of flipped totals at least as far from zero as that of the groups' ``sums``."""
        total = abs(float(sums.sum()))
        extreme = int((np.abs(flipped) >= total - ROUNDING * scale * self.counts.sum()).sum())
        if _all_flips(len(self.counts)):  # they contain the observed signs
            return replace(estimate, p=extreme / len(flipped))
        p = (extreme + 1) / (len(flipped) + 1)
        if not extreme:
            bound = 2 * np.exp(-(total**2) / (2 * np.square(sums).sum()))
            p = min(p, max(float(bound), LEAST_P))
        return replace(estimate, p=p)

    @cached_property
    def _flipped(self) -> Scores:
        """The totals of scores and of images under every flip of the groups' signs, ``[flips, m + 1]``.

        Every test statistic is a linear combination of them, so one set of flips serves every pair and every value.
        """
        both = np.column_stack([self.sums, self.counts])
        return np.concatenate([2 * (heads @ both) - both.sum(0) for heads in _flips(len(both), self.seed)])


def _check(scores: Scores, groups: Sequence[str], unit: str) -> None:
    """Raise :class:`EmbprobeError` unless the scores can be resampled over the groups."""
    if len(scores) != len(groups):
        raise EmbprobeError(
            f"There are {len(scores):,} images with scores but {len(groups):,} with a {unit}: give each image one."
        )
    if not scores.size:
        raise EmbprobeError("There are no scores, so nothing can be estimated.")
    bad = int((~np.isfinite(scores)).sum())
    if bad:
        raise EmbprobeError(f"{bad:,} of {scores.size:,} scores are not finite, so they have no mean.")
    if len(set(groups)) < 2:
        raise EmbprobeError(
            f"Only one {unit} ('{groups[0]}') has scores: an interval needs at least two. "
            f"Measure images of more, or resample something else."
        )


def _draws(groups: int, resamples: int, seed: int) -> Iterator[Scores]:
    """Yield how often each resample draws each group, ``[chunk, groups]``, some resamples at a time."""
    rng = np.random.default_rng(seed)
    for rows in _chunks(resamples, groups, _CELLS):
        weights = np.empty((rows, groups))
        done = 0
        for size in _chunks(rows, groups, _COUNTED):
            drawn = rng.integers(0, groups, (size, groups))
            drawn += groups * np.arange(size)[:, None]  # each resample counts in cells of its own
            counts = np.bincount(drawn.ravel(), minlength=size * groups)
            weights[done : done + size] = counts.reshape(size, groups)
            done += size
        yield weights


def _flips(groups: int, seed: int) -> Iterator[Scores]:
    """Yield 1 for the groups that keep their sign, else 0, ``[chunk, groups]``: all combinations, or random ones."""
    if _all_flips(groups):
        yield (np.arange(2**groups)[:, None] >> np.arange(groups) & 1).astype(np.float64)
        return
    rng = np.random.default_rng([seed, FLIPS])  # not the stream that drew the groups
    words = -(-groups // 64)
    for size in _chunks(min(max(_SIGNS // groups, FLIPS), MOST_FLIPS), groups, _CELLS):
        bits = rng.integers(0, 2**64, (size, words), np.uint64).astype("<u8", copy=False).view(np.uint8)
        yield np.unpackbits(bits, axis=1, count=groups).astype(np.float64)


def _all_flips(groups: int) -> bool:
    """Return whether that number of groups has few enough combinations of signs to try them all."""
    return bool(2**groups <= FLIPS)


def _chunks(rows: int, columns: int, cells: int) -> Iterator[int]:
    """Cut ``rows`` into numbers of rows that have at most ``cells`` cells, but at least one row."""
    size = max(1, cells // columns)
    for start in range(0, rows, size):
        yield min(size, rows - start)


def bca(estimate: float, replicates: Scores, influence: Scores) -> tuple[float, float]:
    """Return the ends of the BCa interval from the influence ``[g]`` of each group on the estimate, in any unit.

    The acceleration is Efron's (1987), equation 7.3; for a mean it equals that of the jackknife.
    """
    from scipy.special import ndtr, ndtri, stdtrit

    groups, last = len(influence), len(replicates) - 1
    ordered = np.sort(replicates)
    below = sum(np.searchsorted(ordered, estimate, side) for side in ("left", "right")) / 2  # ties count half
    bias = ndtri(np.clip(below, 0.5, last + 0.5) / len(ordered))
    squares = (influence * influence).sum()
    acceleration = (influence * influence * influence).sum() / (6 * squares**1.5) if squares > 0 else 0.0
    widest = stdtrit(groups - 1, (1 + LEVEL) / 2) * np.sqrt(groups / (groups - 1))
    shifted = bias + np.array([-widest, widest])
    divisor = np.maximum(1 - acceleration * shifted, 1e-9)  # at the limit the level has reached 0 or 1
    low, high = np.interp(last * ndtr(bias + shifted / divisor), np.arange(last + 1), ordered)
    return float(low), float(high)
