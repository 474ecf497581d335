"""Find the pairs that are near for only one of two encoders, and score images by what such pairs share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embprobe.comparing.result import ComparisonSettings
from embprobe.images.groups import CONCEPT
from embprobe.images.rows import Images
from embprobe.measures.disagreement import ContrastingPairs, Limits, contrasting_pairs, count_pairs
from embprobe.measures.knn import Positions
from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.pair_sharing import MIN_PAIRS, Sharing, links_between, pair_sharing
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.system.threads import side_by_side

WORD = "word"
"""The label of a word that is written in an image."""
Attributes = Mapping[str, LabelArray | Vectors]
"""What pairs may share, by name: a label of each row ``[n]``, or vectors ``[n, d]`` whose distance is taken."""


def find_pairs(
    vectors: tuple[Vectors, Vectors],
    random: tuple[ScoreArray, ScoreArray],
    settings: ComparisonSettings,
    samples: tuple[Positions, Positions],
    *,
    seed: int,
) -> tuple[ContrastingPairs, ContrastingPairs]:
    """Find the pairs near for the first encoder only, and those near for the second only.

    Args:
        vectors: Those of both encoders, ``[n, d]`` and ``[n, e]``.
        random: Cosines of random pairs by each.
        settings: The limits, and how many pairs of an image count.
        samples: The rows whose pairs are looked at.
        seed: Decides which of very many pairs are kept.
    """
    near_far, far_near, looked_at = settings.near_far, settings.far_near, count_pairs(samples)
    first, second = (
        Limits.at_percentiles(*way, pairs=looked_at, percentiles=settings.percentiles) for way in (random, random[::-1])
    )
    limits = (
        Limits(*near_far) if near_far else first,
        Limits(far_near[1], far_near[0]) if far_near else second,
    )
    one, other = contrasting_pairs(*vectors, limits, samples=samples, among=random, seed=seed)
    if settings.most_per_image:
        rows = len(vectors[0])
        return one.limited(settings.most_per_image, rows), other.limited(settings.most_per_image, rows)
    return one, other


def pair_attributes(rows: Images, labels: Sequence[str], measured: Mapping[str, Vectors]) -> Attributes:
    """Return what pairs of rows may share: labels that some rows have in common, and distances.

    Args:
        rows: The rows.
        labels: Labels to take if rows have them, beside the concept and the word in an image.
        measured: Vectors by attribute that distances are taken of.
    """
    values = {name: rows.label(name) for name in dict.fromkeys([*labels, CONCEPT, WORD]) if rows.has(name)}
    shared = {name: np.array(each, np.str_) for name, each in values.items() if 1 < len(set(each)) < len(rows)}
    return {**shared, **measured}


@dataclass(frozen=True, eq=False)
class AttributeSharing:
    """How much the pairs of each direction share of one attribute; None of a direction with too few pairs.

    Attributes:
        sharing: Means over the pairs near for the first encoder only, and over those near for the second only.
        shares: Scores whose means these are, a column for each direction that has one, ``[n, 1 or 2]``.
        beyond: The same, less what random pairs of the same images share.
    """

    sharing: tuple[Sharing | None, Sharing | None]
    shares: ScoreArray
    beyond: ScoreArray


def share(
    both: tuple[ContrastingPairs, ContrastingPairs], attributes: Attributes, groups: Sequence[str]
) -> dict[str, AttributeSharing]:
    """Compute what the pairs of both directions share of each attribute; none where both have too few pairs."""
    links = links_between(np.concatenate([pairs.positions for pairs in both]), groups)
    enough = [len(pairs.positions) >= MIN_PAIRS for pairs in both]

    def shared(attribute: LabelArray | Vectors) -> AttributeSharing:
        one, other = (
            pair_sharing(pairs.positions, attribute, groups, links=links) if of_enough else None
            for pairs, of_enough in zip(both, enough, strict=True)
        )
        known = [each for each in (one, other) if each is not None]
        return AttributeSharing(
            (one, other),
            influence_scores([each.effects for each in known], groups),
            influence_scores([each.beyond for each in known], groups),
        )

    if not any(enough):
        return {}
    return dict(zip(attributes, side_by_side(shared, attributes.values()), strict=True))
