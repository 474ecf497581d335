"""What can be read from embeddings of images that a classifier has not seen: what a card's ``decoding`` asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.interventions.treatments import Treatment, assign, repeat
from embprobe.measures.compression import check_compression, fit_compression
from embprobe.measures.control_task import control_labels
from embprobe.measures.decoding import correct, predict_majority
from embprobe.measures.few_shot import draw_shots
from embprobe.measures.gda import predict_gda
from embprobe.measures.knn import predict_knn
from embprobe.measures.logistic import predict_logistic
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.probing.card import Decoding
from embprobe.probing.context import GUESS, Asked, NotApplicable, levels, scored
from embprobe.probing.results import CONTROL, Scores
from embprobe.system.text import visible

FOLDS = 5
"""Where images have no labels that say what is fitted and what is tested on."""
FEW = 2_000
"""Treated images that are enough to fit on; more are made of fewer."""
UNSEEN = "unseen images"
DRAWS = 10
"""Of few images; each image's score is its mean over them."""
Predict = Callable[[Vectors, LabelArray, LabelArray, Sequence[Vectors]], list[LabelArray]]
"""``(train [n, d], labels [n], groups [n], tests) -> predictions``, one array a test."""
_HOW = {"logistic": "decoding", "knn": "k-NN", "gda": "GDA"}
Positions = NDArray[np.int64]


@dataclass(frozen=True)
class Test:
    """Rows to be predicted, by name, and for each of its parts what the classifier is fitted on."""

    name: str
    rows: EmbeddingSet
    parts: Sequence[tuple[Positions, Positions]]
    """Positions in the rows that are fitted on, and in ``rows``."""


def ask(measure: Decoding, asked: Asked) -> Iterator[Scores]:
    """Accuracy on every test beside guessing; with shuffled labels, from few images, with vectors made smaller."""
    known_rows, tests = _split(measure, asked)
    labels, groups = known_rows.label(measure.label), np.array(asked.groups(known_rows.rows))
    _check(measure, labels, asked)
    name = called(measure)
    predict = _classifier(measure, asked)

    def answer(
        what: str, right: Callable[[str, Test], ScoreArray], *, guess: bool = False, **condition: object
    ) -> Iterator[Scores]:
        for test in tests:
            values = {encoder: right(encoder, test) for encoder in known_rows.vectors}
            if guess:
                values[GUESS] = _guess(measure, labels, test)
            yield from scored(
                f"{what}, {test.name}",
                values,
                test.rows.keys(),
                asked.groups(test.rows.rows),
                unit="accuracy",
                **condition,  # type: ignore[arg-type]
            )

    def plainly(
        fitted_to: LabelArray, truth: Mapping[str, LabelArray], transform: str | None = None
    ) -> Callable[[str, Test], ScoreArray]:
        predicted = {
            encoder: _predictions(predict, vectors, fitted_to, groups, tests, encoder, transform)
            for encoder, vectors in known_rows.vectors.items()
        }
        return lambda encoder, test: correct(predicted[encoder][test.name], truth[test.name])

    truths = {test.name: test.rows.label(measure.label) for test in tests}
    yield from answer(name, plainly(labels, truths), guess=True)
    if measure.control_task:
        dealt = control_labels(labels, groups, seed=asked.session.seed)
        of_group = dict(zip(groups.tolist(), dealt.tolist(), strict=True))
        control = {
            test.name: np.array(
                [
                    of_group.get(group, own)
                    for group, own in zip(asked.groups(test.rows.rows), truths[test.name], strict=True)
                ]
            )
            for test in tests
        }
        yield from answer(f"{name}{CONTROL}", plainly(dealt, control))
    unasked = []
    for transform in measure.transforms:
        try:
            transformed = plainly(labels, truths, transform)
        except EmbprobeError as reason:  # there are too few vectors, or too short ones
            unasked.append(str(reason).removesuffix("."))
            continue
        yield from answer(name, transformed, intervention=transform)
    fewest = min(_fewest(labels[fit]) for fit, _ in tests[0].parts)
    for shots in (shots for shots in measure.shots if shots <= fewest):
        few = _few(shots, labels, groups, known_rows, tests, truths, predict, asked.session.seed)
        yield from answer(f"{name} from few", few, intervention="shots", strength=float(shots))
    if more := [str(shots) for shots in measure.shots if shots > fewest]:
        images = f"{fewest} image{'' if fewest == 1 else 's'}"
        unasked.append(f"from {' or '.join(more)} of each {measure.label} cannot be learned where one has {images}")
    if unasked:
        raise NotApplicable("; ".join(unasked))


def called(measure: Decoding) -> str:
    """What its results are called, before the name of the test."""
    return f"{measure.called or measure.label} {_HOW[measure.classifier]}"


def check(measure: Decoding) -> None:
    """Raise :class:`UsageError` for a treatment or a transform that does not exist."""
    Treatment.parse(measure.under)
    levels(measure.treatments)
    levels(measure.held_out)
    for transform in measure.transforms:
        check_compression(transform)


def _split(measure: Decoding, asked: Asked) -> tuple[EmbeddingSet, list[Test]]:
    """What is fitted on, and the tests; in folds where images have no labels that tell them apart."""
    if not measure.treatments:
        asked.require(measure.label)
    pool = asked.select(measure.images)
    selections = [measure.fit, *measure.tests.values()]
    if not all(each.known_to(pool) == each and len(pool.where(**each.where)) for each in selections):
        return _folds(measure, pool, asked)
    seed = asked.session.seed
    fit = {row.key for row in measure.fit.of(pool, seed=seed).rows}
    tested = {name: [row.key for row in each.of(pool, seed=seed).rows] for name, each in measure.tests.items()}
    for name, test_keys in tested.items():
        if both := fit.intersection(test_keys):
            raise UsageError(
                f"The card '{asked.card.title}' tests '{name}' on {len(both):,} images it is fitted on, such as "
                f"'{visible(min(both))}': give fit and tests different images."
            )
    wanted = fit.union(*tested.values())
    chosen = pool.take(i for i, row in enumerate(pool.rows) if row.key in wanted)
    embedded = _embed(measure, chosen, asked)
    known_rows = embedded.at(row.key for row in embedded.rows.rows if row.key in fit)
    everything = np.arange(len(known_rows.rows))
    rows = {name: embedded.at(keys) for name, keys in tested.items()}
    if measure.held_out:
        keys = {key for test_keys in tested.values() for key in test_keys}
        others = asked.treated(chosen, measure.under).take(i for i, row in enumerate(chosen.rows) if row.key in keys)
        treated = assign(others, measure.label, levels(measure.held_out), seed=seed + 1, donors=asked.images)
        new = asked.embed(treated, f"{measure.label}, held out")
        rows |= {f"{name}, unseen kinds": new.at(keys) for name, keys in tested.items()}
    return known_rows, [
        Test(name, each, [(everything, np.arange(len(each.rows)))]) for name, each in rows.items() if len(each.rows)
    ]


def _folds(measure: Decoding, pool: Images, asked: Asked) -> tuple[EmbeddingSet, list[Test]]:
    """Every image is tested by a classifier fitted on the four folds it is not in; a group is never in two.

    Where the label is what is done to images, few images have it done several times.
    """
    times = min(2 * len(measure.treatments), FEW // len(pool))
    embedded = _embed(measure, repeat(pool, times) if times > 1 else pool, asked)
    names, coded = np.unique(asked.groups(embedded.rows), return_inverse=True)
    if len(names) < FOLDS:
        raise NotApplicable(f"it needs at least {FOLDS} {asked.resampled}s to fit on some and test on others")
    fold = (np.random.default_rng(asked.session.seed).permutation(len(names)) % FOLDS)[coded]
    parts = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(FOLDS)]
    return embedded, [Test(UNSEEN, embedded, parts)]


def _embed(measure: Decoding, images: Images, asked: Asked) -> EmbeddingSet:
    images = asked.treated(images, measure.under)
    if measure.treatments:
        dealt = levels(measure.treatments)
        images = assign(images, measure.label, dealt, seed=asked.session.seed, donors=asked.images)
    elif measure.under == "none":
        return asked.untouched(images)
    return asked.embed(images, measure.label)


def _check(measure: Decoding, labels: LabelArray, asked: Asked) -> None:
    if len(np.unique(labels)) < 2:
        raise EmbprobeError(
            f"All images of '{asked.images.name}' that a classifier would be fitted on have {measure.label} "
            f"'{labels[0]}': at least two different values are needed."
        )


def _fewest(labels: LabelArray) -> int:
    """Images of the label that has the fewest."""
    return int(np.unique(labels, return_counts=True)[1].min())


def _classifier(measure: Decoding, asked: Asked) -> Predict:
    device, seed = asked.session.device, asked.session.seed
    if measure.classifier == "knn":
        return lambda train, labels, groups, tests: [
            predict_knn(train, labels, test, k=measure.k, device=device) for test in tests
        ]
    if measure.classifier == "gda":
        return lambda train, labels, groups, tests: predict_gda(train, labels, tests)
    return lambda train, labels, groups, tests: predict_logistic(train, labels, groups, tests, seed=seed, device=device)


def _predictions(
    predict: Predict,
    vectors: Floats,
    labels: LabelArray,
    groups: LabelArray,
    tests: Sequence[Test],
    encoder: str,
    transform: str | None = None,
) -> dict[str, LabelArray]:
    """By test, the predicted labels; one fit serves all tests that are fitted on the same rows."""
    found = {test.name: np.empty(len(test.rows.rows), labels.dtype) for test in tests}
    for part in range(len(tests[0].parts)):
        fit = tests[0].parts[part][0]
        change = fit_compression(transform, vectors[fit]) if transform else np.asarray
        there = [test.parts[part][1] for test in tests]
        new = [change(test.rows.vectors[encoder][rows]) for test, rows in zip(tests, there, strict=True)]
        predicted = predict(change(vectors[fit]), labels[fit], groups[fit], new)
        for test, rows, each in zip(tests, there, predicted, strict=True):
            found[test.name][rows] = each
    return found


def _few(
    shots: int,
    labels: LabelArray,
    groups: LabelArray,
    known_rows: EmbeddingSet,
    tests: Sequence[Test],
    truths: Mapping[str, LabelArray],
    predict: Predict,
    seed: int,
) -> Callable[[str, Test], ScoreArray]:
    """Each image's share of right predictions over draws of few images; all encoders are fitted on the same draws."""
    right = {(name, test.name): np.zeros(len(test.rows.rows)) for name in known_rows.vectors for test in tests}
    for draw in range(DRAWS):
        drawn = [_drawn(test, labels, shots, seed + draw) for test in tests]
        for name, vectors in known_rows.vectors.items():
            predicted = _predictions(predict, vectors, labels, groups, drawn, name)
            for test in tests:
                right[name, test.name] += correct(predicted[test.name], truths[test.name])
    return lambda encoder, test: right[encoder, test.name] / DRAWS  # ten tenths are not 1


def _drawn(test: Test, labels: LabelArray, shots: int, seed: int) -> Test:
    parts = [(fit[draw_shots(labels[fit], shots, seed=seed)], rows) for fit, rows in test.parts]
    return Test(test.name, test.rows, parts)


def _guess(measure: Decoding, labels: LabelArray, test: Test) -> ScoreArray:
    """Of treatments, as many images get each; else what guessing the most frequent label gives."""
    if measure.treatments:
        return np.full(len(test.rows.rows), 1 / len(measure.treatments))
    truth, values = test.rows.label(measure.label), np.empty(len(test.rows.rows))
    for fit, rows in test.parts:
        values[rows] = correct(predict_majority(labels[fit], n=len(rows)), truth[rows])
    return values
