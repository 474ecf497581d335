"""Scores over pairs, and scores per image that resample as their mean does.

Natural pairs, rank correlation, mutual k-NN and the percentile of a displacement score each image over its pairs with
others, and the estimate is the mean of these scores. But a pair counts for both of its images: another image in a
resample would be a row *and* a partner of all other rows. Their spread over images knows the row alone, so intervals
from the scores themselves are too narrow.

With s_i the score of image i, and K_ij the influence of partner j on s_i (the empirical influence function: the
derivative of s_i as the weight of j among the partners of i grows), the influence of an image on the mean is

    v_i = s_i - mean(s) + mean over rows j of K_ji                                     (row, and partner of other rows)

(Hoeffding 1948, the projection of a U-statistic; Jaeckel 1972, the infinitesimal jackknife). Pairs within a resampled
group are in the group's rows once and come with no other group, so for them K_ji is left out.

The squares of the v_i, added up over groups g, are too large: a pair's own deviation b_gh, that part which neither of
its groups explains, is in v of both groups but in the mean once. With D = sum over pairs of groups of b_gh²,

    n² Var(mean) = Σ_g v_g² - D          (Efron and Stein 1981, section 4: the jackknife's bias)

D is up to half of the first sum where encoders differ by noise only, so a difference needs it more than a mean.
:func:`influence_scores` returns scores that have this variance, and the covariances between encoders with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.measures.vectors import ScoreArray

Positions = NDArray[np.int64]
_SAMPLED_IMAGES = 2_000
"""Pairs among groups of so many images tell how large D is; of more groups, some are drawn."""
_SAMPLED_GROUPS = 30, 1_000
"""At least and at most so many groups, however large they are."""


@dataclass(frozen=True, eq=False)
class PairEffects:
    """The scores of one statistic over pairs, with the effects of images as partners.

    Attributes:
        scores: The score of each row, ``[n]``; the statistic is their mean. NaN: the row has none.
        received: The mean influence of each image on the scores of other groups' rows, ``[n]``.
        shared: The deviations b_gh of pairs of groups that neither explains, ``[g, g]``; of some of the groups, drawn.
        weight: The number of pairs for each one among the drawn groups.
    """

    scores: ScoreArray
    received: ScoreArray
    shared: ScoreArray
    weight: float


class PairTally:
    """Add up influences K_ij of partners on rows, some rows at a time, without holding all pairs."""

    def __init__(self, groups: Sequence[str], *, seed: int = 0) -> None:
        """Start with no pair; ``groups`` has the resampled group of each image, ``[n]``, and ``seed`` draws some."""
        self._group = np.unique(np.asarray(groups), return_inverse=True)[1]
        sizes = np.bincount(self._group)
        order = np.random.default_rng(seed).permutation(len(sizes))
        least, most = _SAMPLED_GROUPS
        fitting = int((np.cumsum(sizes[order]) <= _SAMPLED_IMAGES).sum())
        drawn = np.sort(order[: min(max(fitting, least), most)])
        slots = np.full(len(sizes), -1)
        slots[drawn] = np.arange(len(drawn))
        self._slot, self._drawn = slots[self._group], len(drawn)
        self._received = np.zeros(len(self._group))
        self._sums, self._counts = np.zeros((2, len(drawn), len(drawn)))
        self._pairs = 0

    def add(self, rows: Positions, partners: Positions, influence: ScoreArray) -> None:
        """Add the influence of some rows' partners: ``[r]``, ``[r, p]`` and ``[r, p]``; its mean over a row is 0."""
        self._add(rows, partners, influence, counted=True)

    def add_sparse(self, rows: Positions, partners: Positions, influence: ScoreArray, others: ScoreArray) -> None:
        """Add the influence of a few partners ``[r, p]`` beyond ``others`` ``[r]``, that of every other image alike."""
        self._add(rows, partners, influence, counted=False)
        alike, images = np.bincount(self._group[rows], others, len(set(self._group))), np.bincount(self._group)
        self._received += alike.sum() - alike[self._group]
        drawn = self._slot[rows] >= 0
        slot = self._slot[rows][drawn]
        row_sums, row_counts = (np.bincount(slot, w, self._drawn) for w in (others[drawn], np.ones(len(slot))))
        size = np.bincount(self._slot[self._slot >= 0], minlength=self._drawn)
        self._sums += np.outer(row_sums, size)
        self._counts += np.outer(row_counts, size)
        self._pairs += int((len(self._group) - images[self._group[rows]]).sum())

    def effects(self, scores: ScoreArray, *, partners: int) -> PairEffects:
        """Return the effects of all pairs added, each row having had so many ``partners``."""
        sums, counts = self._sums + self._sums.T, self._counts + self._counts.T
        np.fill_diagonal(sums, 0)
        np.fill_diagonal(counts, 0)
        of_group = sums.sum(1) / np.maximum(counts.sum(1), 1)
        overall = sums.sum() / max(counts.sum(), 1)
        shared = (sums - counts * (of_group[:, None] + of_group - overall)) / partners
        return PairEffects(scores, self._received / partners, shared, self._pairs / max(counts.sum() / 2, 1))

    def _add(self, rows: Positions, partners: Positions, influence: ScoreArray, *, counted: bool) -> None:
        foreign = self._group[rows][:, None] != self._group[partners]
        weights = np.where(foreign, influence, 0.0)
        self._received += np.bincount(partners.ravel(), weights.ravel(), len(self._received))
        drawn = self._slot[rows] >= 0
        slot = self._slot[partners[drawn]]
        both = (slot >= 0) & foreign[drawn]
        cells = (self._slot[rows][drawn][:, None] * self._drawn + slot)[both]
        shape = self._sums.shape
        self._sums += np.bincount(cells, weights[drawn][both], self._sums.size).reshape(shape)
        if counted:
            self._counts += np.bincount(cells, minlength=self._sums.size).reshape(shape)
            self._pairs += int(foreign.sum())


def influence_scores(effects: Sequence[PairEffects], groups: Sequence[str]) -> ScoreArray:
    """Return scores per image whose mean is each statistic and whose spread over groups is that of the statistic.

    The covariance of groups' sums is that of the v_i less D, for all statistics and all differences between them at
    once: sums are brought to unit covariance, scaled by the root of what D leaves of it, and brought back. So the
    scores of an encoder depend a little on which other encoders they are compared with, but not their mean or spread.

    Args:
        effects: Those of each encoder on the same rows.
        groups: The resampled group of each row, ``[n]``.

    Returns:
        Scores ``[n, encoders]``; a row without a score by one of them is NaN for all. Single scores have no meaning of
        their own: they may lie outside the statistic's range.

    Example:
        >>> from embprobe.measures.pair_effects import PairEffects, influence_scores
        >>> scores, received = np.array([0.0, 0.2, 0.4, 0.6]), np.array([-0.1, 0.0, 0.0, 0.1])
        >>> effects = PairEffects(scores, received, np.zeros((4, 4)), 1.0)  # no deviation of pairs
        >>> influence_scores([effects], ["a", "b", "c", "d"])[:, 0].round(6)
        array([-0.1,  0.2,  0.4,  0.7])
    """
    scores = np.stack([each.scores for each in effects], axis=1)
    kept = np.isfinite(scores).all(1)
    result = np.full(scores.shape, np.nan)
    if not kept.any():
        return result
    mean = scores[kept].mean(0)
    own = scores[kept] + np.stack([each.received for each in effects], axis=1)[kept]
    own -= own.mean(0)
    _, coded = np.unique(np.asarray(groups)[kept], return_inverse=True)
    sums = np.stack([np.bincount(coded, column) for column in own.T], axis=1)
    scale = np.sqrt(np.square(sums).sum(0))
    scale[scale <= 1e-12 * np.sqrt(np.square(own).sum())] = np.inf  # no spread, as of an encoder that is the ruler
    shared = np.stack([each.shared.ravel() for each in effects], axis=1)
    twice = shared.T @ shared * effects[0].weight  # each pair of groups stands in both of its rows
    values, axes = np.linalg.eigh((sums / scale).T @ (sums / scale))
    varies = values > 1e-10
    axes, roots = axes[:, varies], np.sqrt(values[varies])
    white = axes / roots / scale[:, None]  # [encoders, r]: sums @ white have unit covariance
    shares, turn = np.linalg.eigh(white.T @ (twice / 2) @ white)
    # Where pairs' own deviations are all there is, they are half of the covariance, so more is the noise of D.
    left = turn * np.sqrt(1 - np.clip(shares, 0, 0.5)) @ turn.T
    finite = np.where(np.isfinite(scale), scale, 0.0)
    result[kept] = mean + own @ white @ left @ (axes * roots).T * finite
    return result
