"""Decoding: what a classifier reads from embeddings of images that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.interventions.treatments import Treatment, assign, repeat
from embprobe.measures.compression import check_compression, fit_compression
from embprobe.measures.control_task import control_labels
from embprobe.measures.decoding import correct, guess_majority
from embprobe.measures.few_shot import draw_shots
from embprobe.measures.gda import predict_gda
from embprobe.measures.knn import predict_knn
from embprobe.measures.logistic import predict_logistic
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.probing.context import GUESSING, NotApplicable
from embprobe.probing.key import SHOTS, SHUFFLED, Key
from embprobe.probing.measure import Measure, Treatments, levels
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.scores import Scores
from embprobe.probing.selection import Selection
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.encoders.spec import Floats
    from embprobe.probing.context import ProbeContext

FOLDS = 5
"""Of images whose labels do not say which of them are fitted on and which are tests."""
FEW = 2_000
"""Treated images that are enough to fit on; more are made of fewer."""
UNSEEN = "unseen images"
"""The test in folds."""
DRAWS = 10
"""Of few images; each image's score is its mean over them."""
_VARIANTS = {"logistic": "linear probe", "knn": "k-NN", "gda": "GDA"}
Predict = Callable[[Vectors, LabelArray, LabelArray, Sequence[Vectors]], list[LabelArray]]
"""``(train [n, d], labels [n], groups [n], tests) -> predictions``, one array a test."""
Positions = NDArray[np.int64]


class Decoding(Measure):
    """How well a label is decoded from embeddings of images that the classifier has not seen.

    The label is one the images have, or one that they get by what is done to them (``treatments``).
    """

    kind: Literal["decoding"]
    label: str
    called: str | None = None
    """What the label is called in results, if not by its name."""
    classifier: Literal["knn", "logistic", "gda"]
    k: Annotated[int, Field(ge=1)] = 20
    """Neighbours of the k-NN classifier."""
    fit: Selection
    tests: Annotated[dict[str, Selection], Field(min_length=1)]
    treatments: Treatments = {}
    """What is done to images, by the label's value; as many images get each."""
    under: str = "none"
    """What is done to all images first, so that it cannot help: ``recolor 1``."""
    held_out: Treatments = {}
    """Other treatments of the same values, for tests of a classifier that has never seen them."""
    control_task: bool = False
    """Whether the classifier is also fitted to shuffled labels."""
    shots: list[Annotated[int, Field(ge=1)]] = []
    """Images of each value that the classifier is fitted on, instead of all of them."""
    transforms: list[str] = []
    """How vectors are truncated or quantised, beside as they are: ``pca:32``, ``int8``."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if set(self.held_out) - set(self.treatments):
            raise ValueError("held_out may only have values that treatments has")
        if len(self.treatments) == 1:
            raise ValueError("treatments must have at least two values")
        if self.shots and self.classifier == "logistic":
            raise ValueError("with shots the classifier is gda or knn: so few images leave none to choose C on")
        return self

    def check(self) -> None:
        Treatment.parse(self.under)
        levels(self.treatments)
        levels(self.held_out)
        for transform in self.transforms:
            check_compression(transform)

    def declared_keys(self) -> Sequence[Key]:
        """Return the keys of the card's tests; images that cannot be split into them are asked in folds."""
        return [
            self._key(test, condition, strength)
            for condition, strength in self._conditions
            for test in [*self.tests, *(_held_out(test) for test in self.tests if self.held_out)]
        ]

    def brief(self, needed: Sequence[KeyPattern]) -> Self:
        """Return it with the needed ones of its control task, its shots and its transforms only."""
        declared = self.declared_keys()
        keys = [key for pattern in needed if (key := pattern.find(declared, folds=UNSEEN))]
        conditions = {(key.condition, key.strength) for key in keys}
        return self.model_copy(
            update={
                "control_task": self.control_task and (SHUFFLED, None) in conditions,
                "shots": [shots for shots in self.shots if (SHOTS, float(shots)) in conditions],
                "transforms": [transform for transform in self.transforms if (transform, None) in conditions],
            }
        )

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield accuracy on every test beside guessing; with shuffled labels, from few images, of smaller vectors."""
        fit_rows, tests = self._split(context)
        labels, groups = fit_rows.label(self.label), np.array(context.groups(fit_rows.rows))
        self._check_labels(labels, context)
        predict = self._classifier(context)

        truths = {test.name: test.rows.label(self.label) for test in tests}
        control: dict[str, LabelArray] = {}

        def accuracy(
            right: Callable[[str, Test], ScoreArray],
            condition: str | None = None,
            strength: float | None = None,
        ) -> Iterator[Scores]:
            for test in tests:
                values = {encoder: right(encoder, test) for encoder in fit_rows.vectors}
                guess = self._guess((control if condition == SHUFFLED else truths)[test.name])
                if condition is None:
                    values[GUESSING] = guess
                keys, test_groups = test.rows.keys(), context.groups(test.rows.rows)
                key = self._key(test.name, condition, strength)
                floor = float(guess.mean())
                yield from context.scored(key, values, keys, test_groups, unit="accuracy", floor=floor)

        def fitted(
            fit_labels: LabelArray, truth: Mapping[str, LabelArray], transform: str | None = None
        ) -> Callable[[str, Test], ScoreArray]:
            predicted = {
                encoder: _predictions(predict, vectors, fit_labels, groups, tests, encoder, transform)
                for encoder, vectors in fit_rows.vectors.items()
            }
            return lambda encoder, test: correct(predicted[encoder][test.name], truth[test.name])

        yield from accuracy(fitted(labels, truths))
        if self.control_task:
            dealt = control_labels(labels, groups, seed=context.session.seed)
            of_group = dict(zip(groups.tolist(), dealt.tolist(), strict=True))
            control |= {
                test.name: np.array(
                    [
                        of_group.get(group, own)
                        for group, own in zip(context.groups(test.rows.rows), truths[test.name], strict=True)
                    ]
                )
                for test in tests
            }
            yield from accuracy(fitted(dealt, control), SHUFFLED)
        impossible = []
        for transform in self.transforms:
            try:
                transformed = fitted(labels, truths, transform)
            except EmbprobeError as reason:  # there are too few vectors, or too short ones
                impossible.append(str(reason).removesuffix("."))
                continue
            yield from accuracy(transformed, transform)
        fewest = min(_fewest(labels[fit]) for fit, _ in tests[0].parts)
        for shots in (shots for shots in self.shots if shots <= fewest):
            few = _few(shots, labels, groups, fit_rows, tests, truths, predict, context.session.seed)
            yield from accuracy(few, SHOTS, float(shots))
        if more := [str(shots) for shots in self.shots if shots > fewest]:
            images = f"{fewest} image{'' if fewest == 1 else 's'}"
            impossible.append(f"from {' or '.join(more)} of each {self.label} cannot be learned where one has {images}")
        if impossible:
            raise NotApplicable("; ".join(impossible))

    @property
    def _conditions(self) -> list[tuple[str | None, float | None]]:
        shuffled: list[tuple[str | None, float | None]] = [(SHUFFLED, None)] if self.control_task else []
        transforms = [(transform, None) for transform in self.transforms]
        return [(None, None), *shuffled, *transforms, *((SHOTS, float(shots)) for shots in self.shots)]

    def _key(self, test: str, condition: str | None = None, strength: float | None = None) -> Key:
        return Key(
            kind=self.kind,
            target=self.called or self.label,
            variant=_VARIANTS[self.classifier],
            test=test,
            condition=condition,
            strength=strength,
        )

    def _split(self, context: ProbeContext) -> tuple[EmbeddingSet, list[Test]]:
        """Return the rows that are fitted on, and the tests; in folds where no labels tell them apart."""
        if not self.treatments:
            context.require(self.label)
        pool = context.select(self.images)
        selections = [self.fit, *self.tests.values()]
        if not all(each.known_to(pool) == each and len(pool.where(**each.where)) for each in selections):
            return self._folds(pool, context)
        seed = context.session.seed
        fit = {row.key for row in self.fit.of(pool, seed=seed).rows}
        tested = {name: [row.key for row in each.of(pool, seed=seed).rows] for name, each in self.tests.items()}
        for name, test_keys in tested.items():
            if both := fit.intersection(test_keys):
                raise UsageError(
                    f"The card '{context.card.title}' tests '{name}' on {len(both):,} images it is fitted on, such as "
                    f"'{visible(min(both))}': give fit and tests different images."
                )
        used_keys = fit.union(*tested.values())
        chosen = pool.take(i for i, row in enumerate(pool.rows) if row.key in used_keys)
        embedded = self._embed(chosen, context)
        fit_rows = embedded.at(row.key for row in embedded.rows.rows if row.key in fit)
        everything = np.arange(len(fit_rows.rows))
        rows = {name: embedded.at(keys) for name, keys in tested.items()}
        if self.held_out:
            keys = {key for test_keys in tested.values() for key in test_keys}
            under = context.treated(chosen, self.under)
            others = under.take(i for i, row in enumerate(chosen.rows) if row.key in keys)
            treated = assign(others, self.label, levels(self.held_out), seed=seed + 1, donors=context.images)
            new = context.embed(treated, f"{self.label}, held out")
            rows |= {_held_out(name): new.at(keys) for name, keys in tested.items()}
        return fit_rows, [
            Test(name, each, [(everything, np.arange(len(each.rows)))]) for name, each in rows.items() if len(each.rows)
        ]

    def _folds(self, pool: Images, context: ProbeContext) -> tuple[EmbeddingSet, list[Test]]:
        """Return all images as one test: each by a classifier fitted on the four folds it is not in.

        A group is never in two folds. Where the label is what is done to images, few images have it done several times.
        """
        times = min(2 * len(self.treatments), FEW // len(pool))
        embedded = self._embed(repeat(pool, times) if times > 1 else pool, context)
        names, coded = np.unique(context.groups(embedded.rows), return_inverse=True)
        if len(names) < FOLDS:
            raise NotApplicable(f"it needs at least {FOLDS} {context.resampled}s to fit on some and test on others")
        fold = (np.random.default_rng(context.session.seed).permutation(len(names)) % FOLDS)[coded]
        parts = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(FOLDS)]
        return embedded, [Test(UNSEEN, embedded, parts)]

    def _embed(self, images: Images, context: ProbeContext) -> EmbeddingSet:
        images = context.treated(images, self.under)
        if self.treatments:
            dealt = levels(self.treatments)
            images = assign(images, self.label, dealt, seed=context.session.seed, donors=context.images)
        elif self.under == "none":
            return context.untouched(images)
        return context.embed(images, self.label)

    def _check_labels(self, labels: LabelArray, context: ProbeContext) -> None:
        if len(np.unique(labels)) < 2:
            raise EmbprobeError(
                f"All images of '{context.images.name}' that a classifier would be fitted on have {self.label} "
                f"'{labels[0]}': at least two different values are needed."
            )

    def _classifier(self, context: ProbeContext) -> Predict:
        device, seed = context.session.device, context.session.seed
        if self.classifier == "knn":
            return lambda train, labels, groups, tests: [
                predict_knn(train, labels, test, k=self.k, device=device) for test in tests
            ]
        if self.classifier == "gda":
            return lambda train, labels, groups, tests: predict_gda(train, labels, tests)
        return lambda train, labels, groups, tests: predict_logistic(
            train, labels, groups, tests, seed=seed, device=device
        )

    def _guess(self, truth: LabelArray) -> ScoreArray:
        """Return the scores of guessing: of treatments, as many images get each; else of the most frequent label."""
        return np.full(len(truth), 1 / len(self.treatments)) if self.treatments else guess_majority(truth)


@dataclass(frozen=True)
class Test:
    """Rows to be predicted, by name, and for each of its parts what the classifier is fitted on."""

    name: str
    rows: EmbeddingSet
    parts: Sequence[tuple[Positions, Positions]]
    """Positions in the rows that are fitted on, and in ``rows``."""


def _held_out(test: str) -> str:
    """Return the name of a test under treatments that the classifier has never seen."""
    return f"{test}, unseen kinds"


def _fewest(labels: LabelArray) -> int:
    """Return the number of images of the label that has the fewest."""
    return int(np.unique(labels, return_counts=True)[1].min())


def _predictions(
    predict: Predict,
    vectors: Floats,
    labels: LabelArray,
    groups: LabelArray,
    tests: Sequence[Test],
    encoder: str,
    transform: str | None = None,
) -> dict[str, LabelArray]:
    """Return by test the predicted labels; one fit serves all tests that are fitted on the same rows."""
    predictions = {test.name: np.empty(len(test.rows.rows), labels.dtype) for test in tests}
    for part in range(len(tests[0].parts)):
        fit = tests[0].parts[part][0]
        change = fit_compression(transform, vectors[fit]) if transform else np.asarray
        positions = [test.parts[part][1] for test in tests]
        new = [change(test.rows.vectors[encoder][rows]) for test, rows in zip(tests, positions, strict=True)]
        predicted = predict(change(vectors[fit]), labels[fit], groups[fit], new)
        for test, rows, each in zip(tests, positions, predicted, strict=True):
            predictions[test.name][rows] = each
    return predictions


def _few(
    shots: int,
    labels: LabelArray,
    groups: LabelArray,
    fit_rows: EmbeddingSet,
    tests: Sequence[Test],
    truths: Mapping[str, LabelArray],
    predict: Predict,
    seed: int,
) -> Callable[[str, Test], ScoreArray]:
    """Return each image's share of right predictions over draws of few images, the same draws for all encoders."""
    right = {(name, test.name): np.zeros(len(test.rows.rows)) for name in fit_rows.vectors for test in tests}
    for draw in range(DRAWS):
        drawn = [_drawn(test, labels, shots, seed + draw) for test in tests]
        for name, vectors in fit_rows.vectors.items():
            predicted = _predictions(predict, vectors, labels, groups, drawn, name)
            for test in tests:
                right[name, test.name] += correct(predicted[test.name], truths[test.name])
    return lambda encoder, test: right[encoder, test.name] / DRAWS  # ten tenths are not 1


def _drawn(test: Test, labels: LabelArray, shots: int, seed: int) -> Test:
    parts = [(fit[draw_shots(labels[fit], shots, seed=seed)], rows) for fit, rows in test.parts]
    return replace(test, parts=parts)
