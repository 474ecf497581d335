"""Say how much pairs of images share, beside random pairs of the same images.

With d_i the number of pairs that image i is in, and f_ij how much i and j share (1 where a label is the same, or their
distance), the estimates over the p pairs and over all pairs drawn in proportion to d_i d_j are

    T = sum over pairs of f_ij / p          R = sum over i ≠ j of d_i d_j f_ij / sum over i ≠ j of d_i d_j

so that an image counts as often in R as in T, and what hubs share with everything is in both.

A bootstrap that draws images (or groups of them) draws a pair as often as both of its images together. The influence of
image m on T is n times the sum over its pairs of (f - T) / p, and on R, with r_i = 2 (g_i - R h_i) / sum of d_i d_j,
g_i = sum of d_j f_ij and h_i = sum of d_j over j ≠ i,

    n (r_m d_m + sum over the partners i of m of r_i)

Squares of these, added up over groups, count a pair's own deviation in both of its groups. Without that they are the
variance for dyadic data (Aronow, Samii and Assenova 2015, "Cluster-robust variance estimation for dyadic data", eq. 3),
which :func:`embprobe.measures.pair_effects.influence_scores` makes of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from embprobe.measures.knn import Positions
from embprobe.measures.pair_effects import PairEffects
from embprobe.measures.pairs import pair_cosines
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, unit_blocks

MIN_PAIRS = 20
"""Of fewer pairs nothing is estimated."""


@dataclass(frozen=True, eq=False)
class Sharing:
    """How much pairs share, as :func:`pair_sharing` computes it.

    Attributes:
        share: The mean over pairs, T.
        matched: The mean over random pairs of the same images, R.
        effects: Scores of images whose mean is T.
        beyond: Scores of images whose mean is T - R.
    """

    share: float
    matched: float
    effects: PairEffects
    beyond: PairEffects


def pair_sharing(
    pairs: Positions, attribute: LabelArray | Vectors, groups: Sequence[str], *, links: Positions | None = None
) -> Sharing:
    """Compute how often pairs have the same label, or how far apart they are by an encoder, beside random pairs.

    Args:
        pairs: The rows of each pair, ``[p, 2]``, p > 0.
        attribute: A label of each row, ``[n]``: the share of pairs that have the same one, from 0 to 1. Or vectors of
            each row, ``[n, d]``: the mean of 1 - cosine, from 0 to 2.
        groups: The resampled group of each row, ``[n]``.
        links: All pairs of groups that this will be compared over, ``[q, 2]`` numbers of groups in alphabetical order,
            as :func:`links_between` gives them; by default those of these pairs.

    Returns:
        Both means, and scores from which :func:`embprobe.measures.pair_effects.influence_scores` makes those that are
        resampled.

    Example:
        >>> labels = np.array(["cat", "cat", "cat", "dog", "dog", "dog"])
        >>> pairs = np.array([[0, 1], [2, 3], [4, 5]])  # two of three are of one kind, each row is in one
        >>> found = pair_sharing(pairs, labels, list("abcdef"))
        >>> round(found.share, 3), found.matched  # a row has two others of its kind and three of the other
        (0.667, 0.4)
    """
    n = len(attribute)
    shared = _shared(pairs, attribute)
    degree = np.bincount(pairs.ravel(), minlength=n).astype(np.float64)
    same_others = _weighted_shares(attribute, degree)
    others = degree.sum() - degree
    norm = float(degree @ others)
    matched = float(degree @ same_others) / norm if norm else 0.0
    share = float(shared.mean())
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    links = links_between(pairs, groups) if links is None else links
    slope = 2 * (same_others - matched * others) / norm if norm else np.zeros(n)
    both_ways = np.concatenate([pairs, pairs[:, ::-1]])
    of_matched = n * (slope * degree + np.bincount(both_ways[:, 0], slope[both_ways[:, 1]], n))
    inside = codes[pairs[:, 0]] == codes[pairs[:, 1]]

    def effects(mean: float, deviations: ScoreArray, minus: ScoreArray | float) -> PairEffects:
        weights = deviations * np.where(inside, 0.5, 1.0)  # a pair inside a group comes and goes with it, once
        own = n / len(pairs) * np.bincount(both_ways[:, 0], np.concatenate([weights, weights]), n)
        between = _by_link(pairs[~inside], deviations[~inside], codes, links) * n / len(pairs)
        return PairEffects(
            np.asarray(mean + own - minus, np.float64), np.zeros(n), np.concatenate([between, between]), 1.0
        )

    deviations = shared - share
    return Sharing(share, matched, effects(share, deviations, 0.0), effects(share - matched, deviations, of_matched))


def links_between(pairs: Positions, groups: Sequence[str]) -> Positions:
    """List the pairs of different groups that pairs of rows link, each once, lower one first. ``[p, 2] -> [q, 2]``."""
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    linked = np.sort(codes[pairs], axis=1)
    return np.unique(linked[linked[:, 0] != linked[:, 1]], axis=0)


def _by_link(pairs: Positions, deviations: ScoreArray, codes: Positions, links: Positions) -> ScoreArray:
    """Add up deviations by the pair of groups that they link, ``[q]``."""
    most = int(codes.max()) + 1 if len(codes) else 1
    linked = np.sort(codes[pairs], axis=1)
    at = np.searchsorted(links[:, 0] * most + links[:, 1], linked[:, 0] * most + linked[:, 1])
    return np.bincount(at, deviations, len(links)).astype(np.float64)


def _shared(pairs: Positions, attribute: LabelArray | Vectors) -> ScoreArray:
    """Return how much each pair shares, ``[p]``."""
    if attribute.ndim == 1:
        labels = np.asarray(attribute)
        return np.asarray(labels[pairs[:, 0]] == labels[pairs[:, 1]], np.float64)
    return np.asarray(1 - pair_cosines(cast(Vectors, attribute), pairs))


def _weighted_shares(attribute: LabelArray | Vectors, weights: ScoreArray) -> ScoreArray:
    """Return for each row the sum over the others of their weight times what they share with it, ``[n]``."""
    if attribute.ndim == 1:
        codes = np.unique(np.asarray(attribute), return_inverse=True)[1]
        return np.asarray(np.bincount(codes, weights)[codes] - weights)
    vectors = cast(Vectors, attribute)
    total = np.zeros(vectors.shape[1])
    for place, block in unit_blocks(vectors):
        total += weights[place] @ block
    cosines = np.empty(len(weights))
    for place, block in unit_blocks(vectors):
        cosines[place] = block @ total
    return np.asarray(weights.sum() - cosines)  # its own share with itself is 0, a distance of 0
