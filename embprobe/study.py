"""Runs one probe card over some encoders: from rows to results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from embprobe.cards import Card, Decoding, Displacement
from embprobe.encoders.base import Encoder, Floats
from embprobe.errors import EmbprobeError
from embprobe.extraction import Progress, extract
from embprobe.images.rows import Images
from embprobe.interventions import find_intervention, intervene
from embprobe.measures.decoding import correct, predict_knn, predict_logistic, predict_majority
from embprobe.measures.displacement import displacement, displacement_percentile
from embprobe.results import Result, Results, Scores
from embprobe.statistics import Estimate, holm, mean_over_groups, paired_difference
from embprobe.workspace import Workspace

MAJORITY = "majority label"
"""Stands in the encoder column for the best guess without looking."""
IMAGE = "image"
"""Stands for a label where images themselves are resampled."""

ProgressBar = Callable[[str, int], AbstractContextManager[Progress | None]]
"""Called with what is being done and how many rows it has; gives what to call with the rows just finished."""


def no_progress(what: str, total: int) -> AbstractContextManager[Progress | None]:
    """A progress bar that shows nothing."""
    return nullcontext()


@dataclass(frozen=True)
class Embedded:
    """Rows, and by encoder name their vectors ``[n, d]``."""

    rows: Images
    vectors: dict[str, Floats]

    def at(self, keys: Iterable[str]) -> Embedded:
        """The rows with these keys, in this order; keys that are not there are passed over."""
        position = {row.key: i for i, row in enumerate(self.rows.rows)}
        chosen = [position[key] for key in keys if key in position]
        return Embedded(self.rows.take(chosen), {name: vectors[chosen] for name, vectors in self.vectors.items()})

    def restricted_to(self, *others: Embedded) -> Embedded:
        """The rows that the others have too."""
        shared = set.intersection(*({row.key for row in other.rows.rows} for other in others))
        return self.at(row.key for row in self.rows.rows if row.key in shared)


@dataclass(frozen=True)
class Session:
    """What every step of a run shares."""

    workspace: Workspace
    device: str = "cpu"
    seed: int = 0
    fast_decode: bool = False
    progress: ProgressBar = no_progress

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> Embedded:
        """Each encoder's vectors for the rows that all of them could be given, from stores that are made if needed."""
        with self.progress(what, len(images)) as progress:
            stores = extract(
                images,
                encoders,
                self.workspace,
                device=self.device,
                fast_decode=self.fast_decode,
                progress=progress,
            )
        parts = [Embedded(store.embedded(), {store.spec.name: store.vectors()}) for store in stores]
        first, *others = (part.restricted_to(*parts) for part in parts)
        return Embedded(first.rows, first.vectors | {name: v for part in others for name, v in part.vectors.items()})


def run_probe(
    card: Card, images: Images, encoders: Sequence[Encoder], references: Sequence[Encoder], session: Session
) -> Results:
    """Every measure of the card for every encoder, and the paired differences between encoders.

    ``references`` are measured like ``encoders`` but not compared with each other or with them. p-values are
    corrected together (Holm) over all differences of the card. Raises :class:`EmbprobeError` if the images lack a
    label that the card needs.
    """
    for measure in card.measures:  # before anything slow
        if isinstance(measure, Displacement):
            find_intervention(measure.intervention)
    scores: list[Scores] = []
    for measure in card.measures:
        everyone = [*encoders, *references]
        if isinstance(measure, Displacement):
            scores += _displacement(measure, card, images, everyone, session)
        else:
            scores += _decoding(measure, card, images, everyone, session)
    resampled = _resampled(images, card)
    rows = [
        _result(card.attribute, resampled, score, mean_over_groups(_values(score), score.groups, seed=session.seed))
        for score in scores
    ]
    differences = [
        _result(
            card.attribute, resampled, replace(a, encoder=f"{a.encoder} - {b.encoder}"), _paired(a, b, session.seed)
        )
        for a, b in _pairs(scores, [encoder.spec.name for encoder in encoders])
    ]
    adjusted = holm([row.p for row in differences if row.p is not None])
    rows += [replace(row, p_adjusted=p) for row, p in zip(differences, adjusted, strict=True)]
    manifest = {
        "card": card.model_dump(by_alias=True),
        "images": {"name": images.name, "fingerprint": images.fingerprint, "count": len(images)},
        "encoders": [{**asdict(e.spec), "fingerprint": e.spec.fingerprint} for e in [*encoders, *references]],
        "seed": session.seed,
        "fast_decode": session.fast_decode,
        "versions": {name: version(name) for name in ("embprobe", "torch", "numpy", "scikit-learn")},
    }
    return Results(manifest, rows, scores)


def _displacement(
    measure: Displacement, card: Card, images: Images, encoders: Sequence[Encoder], session: Session
) -> list[Scores]:
    selection = measure.images if images.has(card.resample) else measure.images.without_labels()
    chosen = selection.of(images, seed=session.seed)
    changed = [
        intervene(chosen, measure.intervention, strength, seed=session.seed, donors=images)
        for strength in measure.strengths
    ]
    before = session.embed(chosen, encoders, "as they are")
    scores: list[Scores] = []
    for strength, images_after in zip(measure.strengths, changed, strict=True):
        after = session.embed(images_after, encoders, f"{measure.intervention} {strength:g}").restricted_to(before)
        original = before.restricted_to(after)
        groups = _groups(after.rows, _resampled(images, card))
        keys = [row.key for row in after.rows.rows]
        for name, moved in after.vectors.items():
            found = {
                "displacement": displacement(original.vectors[name], moved),
                "displacement percentile": displacement_percentile(original.vectors[name], moved, seed=session.seed),
            }
            for kind, values in found.items():
                scores.append(Scores(kind, measure.intervention, strength, name, keys, groups, values.tolist()))
    return sorted(scores, key=lambda score: score.measure)  # one question after the other, each for all strengths


def _decoding(
    measure: Decoding, card: Card, images: Images, encoders: Sequence[Encoder], session: Session
) -> Iterator[Scores]:
    fit = measure.fit.of(images, seed=session.seed)
    tests = {name: selection.of(images, seed=session.seed) for name, selection in measure.tests.items()}
    images.label(measure.label)
    resampled = _resampled(images, card)
    embedded = session.embed(images, encoders, "all images")
    known = embedded.at(row.key for row in fit.rows)
    unseen = {name: embedded.at(row.key for row in test.rows) for name, test in tests.items()}
    labels = np.array(known.rows.label(measure.label))
    answers: dict[str, list[NDArray[np.str_]]] = {}
    for name, train in known.vectors.items():
        vectors = [test.vectors[name] for test in unseen.values()]
        if measure.classifier == "knn":
            answers[name] = [predict_knn(train, labels, test, k=measure.k) for test in vectors]
        else:
            answers[name] = predict_logistic(
                train, labels, np.array(_groups(known.rows, resampled)), vectors, seed=session.seed
            )
    answers[MAJORITY] = [predict_majority(labels, n=len(test.rows)) for test in unseen.values()]
    for name, predictions in answers.items():
        for (test_name, test), predicted in zip(unseen.items(), predictions, strict=True):
            kind = f"{measure.label} decoding, {test_name}"
            values = correct(predicted, np.array(test.rows.label(measure.label)))
            keys = [row.key for row in test.rows.rows]
            yield Scores(kind, None, None, name, keys, _groups(test.rows, resampled), values.tolist())


def _resampled(images: Images, card: Card) -> str:
    """The label whose values are resampled: the card's, or where not all images have it, each image by itself."""
    return card.resample if images.has(card.resample) else IMAGE


def _groups(rows: Images, resampled: str) -> list[str]:
    return [row.key for row in rows.rows] if resampled == IMAGE else rows.label(resampled)


def _pairs(scores: Iterable[Scores], names: Sequence[str]) -> Iterator[tuple[Scores, Scores]]:
    """The scores of every two of these encoders for the same measure."""
    by_question: dict[tuple[object, ...], dict[str, Scores]] = {}
    for score in scores:
        by_question.setdefault((score.measure, score.intervention, score.strength), {})[score.encoder] = score
    for answers in by_question.values():
        for a, b in itertools.combinations(names, 2):
            yield answers[a], answers[b]


def _paired(a: Scores, b: Scores, seed: int) -> Estimate:
    if list(a.keys) != list(b.keys):
        raise EmbprobeError(f"{a.encoder} and {b.encoder} were not measured on the same images.")
    return paired_difference(_values(a), _values(b), a.groups, seed=seed)


def _values(score: Scores) -> NDArray[np.float64]:
    return np.asarray(score.values, np.float64)


_UNITS = {
    "displacement": "distance to an unrelated image",
    "displacement percentile": "share of unrelated images nearer",
}


def _result(attribute: str, resampled: str, score: Scores, found: Estimate) -> Result:
    return Result(
        attribute=attribute,
        measure=score.measure,
        intervention=score.intervention,
        strength=score.strength,
        encoder=score.encoder,
        resampled=resampled,
        groups=found.groups,
        images=found.images,
        estimate=found.estimate,
        low=found.low,
        high=found.high,
        p=found.p,
        unit=_UNITS.get(score.measure, "accuracy"),
    )
