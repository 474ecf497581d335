"""Numbers of pairs: what the pairs that are near for only one of two encoders have in common, beyond random pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embprobe.claims.numbers import RunNumbers
from embprobe.comparing.pairs import find_pairs, pair_attributes, share
from embprobe.comparing.result import MEASURED, ComparisonSettings
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.encoders import load_encoder
from embprobe.encoders.spec import Encoder
from embprobe.images.groups import choose_grouping
from embprobe.images.rows import Images
from embprobe.images.unlabelled import without_unlabelled
from embprobe.measures.disagreement import draw_samples
from embprobe.measures.pairs import pair_cosines, random_pairs
from embprobe.measures.vectors import ScoreArray, Vectors
from embprobe.probing.key import ALIKE, SAME, Key
from embprobe.probing.results import Result
from embprobe.probing.scores import Scores
from embprobe.statistics import Estimate, resample

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session

CARD = "pairs"
"""The attribute of these results, in the place of a card's."""
_DRAWN = 100_000
"""Random pairs whose cosines give the limits: the 95th percentile is good to 0.001."""
Answer = RunNumbers | str
"""Numbers of encoders, or why there are none."""


@dataclass(frozen=True)
class PairQuestion:
    """What the pairs near for only one of two encoders have in common."""

    a: Encoder
    b: Encoder
    attribute: str

    @property
    def names(self) -> tuple[str, str]:
        """Return the names of the encoders."""
        return self.a.spec.name, self.b.spec.name


def measure_pairs(
    questions: Sequence[PairQuestion], images: Images, session: Session
) -> dict[tuple[str, str, str], Answer]:
    """Answer questions about pairs, by the names of both encoders and the attribute.

    Every two encoders' pairs are sought once. A number is the share of pairs that have a label in common, or for a
    distance its negative, less that of random pairs of the same images: more is more in common.
    """
    labels = [each.attribute for each in questions if each.attribute not in MEASURED and images.has(each.attribute)]
    kept, _ = without_unlabelled(images, labels, most=session.max_unlabelled)
    measuring = {
        attribute: load_encoder(name, device=session.device)
        for attribute, name in MEASURED.items()
        if images.has_pictures and any(each.attribute == attribute for each in questions)
    }
    encoders = {each.spec.name: each for question in questions for each in (question.a, question.b)}
    encoders |= {each.spec.name: each for each in measuring.values()}
    embedded = session.directed(session.embed(images, list(encoders.values()), "extracting").at(kept.keys))
    measured = {attribute: embedded.vectors[encoder.spec.name] for attribute, encoder in measuring.items()}
    answers: dict[tuple[str, str, str], Answer] = {}
    for names in dict.fromkeys(question.names for question in questions):
        wanted = [question.attribute for question in questions if question.names == names]
        found = _between(*names, wanted, embedded, measured, session.seed)
        answers |= {(*names, attribute): answer for attribute, answer in found.items()}
    return answers


def _between(
    a: str, b: str, wanted: Sequence[str], embedded: EmbeddingSet, measured: Mapping[str, Vectors], seed: int
) -> dict[str, Answer]:
    """Answer questions about the pairs of two encoders by attribute."""
    rows = embedded.rows
    vectors = embedded.vectors[a], embedded.vectors[b]
    settings, n = ComparisonSettings(), len(rows)
    if n < 2:
        return dict.fromkeys(wanted, "there are fewer than two images")
    drawn = random_pairs(n, seed=seed, most=_DRAWN)
    random = pair_cosines(vectors[0], drawn), pair_cosines(vectors[1], drawn)
    both = find_pairs(vectors, random, settings, draw_samples(n, settings.sampled, seed=seed), seed=seed)
    grouping = choose_grouping(rows)
    groups = grouping.of(rows)
    every = pair_attributes(rows, wanted, measured)
    attributes = {name: every[name] for name in wanted if name in every}
    found = share(both, attributes, groups)
    answers: dict[str, Answer] = {}
    for name in wanted:
        if name not in every:
            answers[name] = f"no two of the images have a label '{name}' in common"
        elif name not in found or None in found[name].sharing:
            counts = " and ".join(f"{len(pairs.positions):,}" for pairs in both)
            answers[name] = f"{counts} pairs are near for only one of {a} and {b}: too few"
        else:
            distance = name in measured
            scores = -found[name].beyond if distance else found[name].beyond
            answers[name] = _numbers((a, b), name, scores, rows, groups, grouping.label, seed, distance=distance)
    return answers


def _numbers(
    names: tuple[str, str],
    attribute: str,
    scores: ScoreArray,
    rows: Images,
    groups: Sequence[str],
    resampled: str,
    seed: int,
    *,
    distance: bool,
) -> RunNumbers:
    """Return the numbers of both encoders with the scores behind them."""
    key = Key(kind="pairs", target=attribute, variant=ALIKE if distance else SAME, dataset=rows.name)
    unit = "distance less than of random pairs" if distance else "share of pairs beyond random ones"
    drawn = resample(scores, groups, seed=seed, unit=resampled)
    made = [
        (_result(key, name, drawn.mean(i), resampled, unit), _scores(key, name, scores[:, i], rows, groups, unit))
        for i, name in enumerate(names)
    ]
    return RunNumbers(([made[0][0]], [made[1][0]]), ([made[0][1]], [made[1][1]]))


def _result(key: Key, encoder: str, estimate: Estimate, resampled: str, unit: str) -> Result:
    return Result(
        attribute=CARD,
        key=key,
        encoder=encoder,
        role="subject",
        resampled=resampled,
        groups=estimate.groups,
        images=estimate.images,
        estimate=estimate.estimate,
        low=estimate.low,
        high=estimate.high,
        unit=unit,
        floor=0.0,
    )


def _scores(key: Key, encoder: str, values: ScoreArray, rows: Images, groups: Sequence[str], unit: str) -> Scores:
    return Scores(
        key=key,
        encoder=encoder,
        role="subject",
        unit=unit,
        keys=rows.keys,
        groups=groups,
        values=np.ascontiguousarray(values),
        floor=0.0,
    )
