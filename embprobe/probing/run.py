"""Runs one probe card over some encoders: from rows to results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from embprobe.embeddings.session import Session
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.interventions.treatments import IMAGE
from embprobe.probing.card import Card
from embprobe.probing.conclusions import conclude
from embprobe.probing.context import Asked, NotApplicable
from embprobe.probing.kinds import decoding, displacement, geometry, natural_pairs, preference, variance, zero_shot
from embprobe.probing.results import Question, Result, Results, Scores
from embprobe.statistics import Estimate, Resampled, holm, resample

_KINDS: Mapping[str, tuple[Callable[[Any], None], Callable[[Any, Asked], Iterator[Scores]]]] = {
    "displacement": (displacement.check, displacement.ask),
    "decoding": (decoding.check, decoding.ask),
    "zero-shot": (zero_shot.check, zero_shot.ask),
    "preference": (preference.check, preference.ask),
    "variance": (variance.check, variance.ask),
    "natural-pairs": (natural_pairs.check, natural_pairs.ask),
    "geometry": (geometry.check, geometry.ask),
}


def run_probe(
    card: Card, images: Images, encoders: Sequence[Encoder], references: Sequence[Encoder], session: Session
) -> Results:
    """Every measure of the card for every encoder, the paired differences between encoders, and what follows.

    ``references`` are measured like ``encoders`` but not compared with each other or with them. p-values are
    corrected together (Holm) over all of the card. Measures that need a label no image has are left out, and the
    results say so. Raises :class:`NotApplicable` if none can be asked, :class:`EmbprobeError` if some images lack a
    label that others have, or if there are not at least two values to resample.
    """
    for measure in card.measures:  # before anything slow
        _KINDS[measure.kind][0](measure)
    asked = Asked(card, images, [*encoders, *references], session)
    _check_resampled(asked)
    answers = _ask(asked)
    subjects = [encoder.spec.name for encoder in encoders]
    statistics = {question: _resample(scores, asked) for question, scores in answers.items()}
    rows = [
        _result(asked, question, score.encoder, "estimate", score.unit, found.mean(i), p=score.p)
        for question, found in statistics.items()
        for i, score in enumerate(answers[question])
    ]
    rows += [row for question in statistics for row in _differences(asked, answers, statistics, question, subjects)]
    tested = [i for i, row in enumerate(rows) if row.p is not None]
    for i, p in zip(tested, holm([rows[i].p or 0.0 for i in tested]), strict=True):
        rows[i] = replace(rows[i], p_adjusted=p)
    conclusions = conclude(card, rows, statistics, answers, subjects)
    manifest = {
        "card": card.model_dump(by_alias=True),
        "images": {"name": images.name, "fingerprint": images.fingerprint, "count": len(images)},
        "encoders": [{**asdict(e.spec), "fingerprint": e.spec.fingerprint} for e in asked.encoders],
        "seed": session.seed,
        "fast_decode": session.fast_decode,
        "versions": {name: version(name) for name in ("embprobe", "torch", "numpy", "scikit-learn")},
    }
    return Results(
        manifest, rows, [score for scores in answers.values() for score in scores], conclusions, asked.left_out
    )


def _check_resampled(asked: Asked) -> None:
    if len(asked.images) < 2:
        raise EmbprobeError(
            f"A probe needs at least two images; there are {len(asked.images)} in '{asked.images.name}'. Give more."
        )
    unit = asked.resampled
    values = set(asked.groups(asked.images)) if unit != IMAGE else {row.key for row in asked.images.rows}
    if len(values) < 2:
        raise EmbprobeError(
            f"All images of '{asked.images.name}' have the same {unit}, '{next(iter(values))}': an interval needs at "
            f"least two {unit}s. Give more images."
        )


def _ask(asked: Asked) -> dict[Question, list[Scores]]:
    """Every encoder's scores by question; what could not be asked is noted."""
    answers: dict[Question, list[Scores]] = {}
    for measure in asked.card.measures:
        new: dict[Question, list[Scores]] = {}
        try:
            for score in _KINDS[measure.kind][1](measure, asked):
                before = new.setdefault(score.question, [])
                if score.question in answers or score.encoder in [each.encoder for each in before]:
                    raise UsageError(
                        f"The card '{asked.card.title}' asks for '{score.question}' twice: leave one out, or, of two "
                        "decodings, say 'called' in one of them."
                    )
                before.append(score)
        except NotApplicable as reason:
            asked.left_out.append(f"{measure.kind}: {reason}")
        answers |= new
    if not answers:
        raise NotApplicable(
            f"Nothing of the probe '{asked.card.title}' can be asked of '{asked.images.name}': "
            f"{'; '.join(asked.left_out)}."
        )
    return answers


def _resample(scores: Sequence[Scores], asked: Asked) -> Resampled:
    first = scores[0]
    if any(list(score.keys) != list(first.keys) for score in scores):
        raise EmbprobeError(f"The encoders were not measured on the same images for '{first.measure}'.")
    matrix = np.array([score.values for score in scores], np.float64).T
    return resample(matrix, first.groups, seed=asked.session.seed, unit=asked.resampled)


def _differences(
    asked: Asked,
    answers: Mapping[Question, Sequence[Scores]],
    statistics: Mapping[Question, Resampled],
    question: Question,
    subjects: Sequence[str],
) -> Iterator[Result]:
    column = {score.encoder: i for i, score in enumerate(answers[question])}
    unit = answers[question][0].unit
    for a, b in itertools.combinations([name for name in subjects if name in column], 2):
        found = statistics[question].difference(column[a], column[b])
        yield _result(asked, question, a, "difference", unit, found, against=b, p=found.p)


def _result(
    asked: Asked,
    question: Question,
    encoder: str,
    kind: str,
    unit: str,
    found: Estimate,
    *,
    against: str | None = None,
    p: float | None = None,
) -> Result:
    return Result(
        attribute=asked.card.attribute,
        measure=question.measure,
        intervention=question.intervention,
        strength=question.strength,
        encoder=encoder,
        against=against,
        kind=kind,
        resampled=asked.resampled,
        groups=found.groups,
        images=found.images,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=p,
        unit=unit,
    )
