"""Decoding: what a classifier reads from embeddings of images that it has not seen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.images.splits import official_split
from embprobe.interventions.treatments import Levels, Treatment, assign, repeat
from embprobe.measures.compression import check_compression
from embprobe.measures.control_task import control_labels
from embprobe.measures.decoding import balance, correct, guess_majority
from embprobe.measures.folds import FOLDS, group_folds
from embprobe.measures.gda import predict_gda
from embprobe.measures.held_out import TooFewGroups
from embprobe.measures.knn import predict_knn
from embprobe.measures.logistic import predict_logistic
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.probing.context import GUESSING, NotApplicable
from embprobe.probing.key import CHANGED, GAIN, SHOTS, SHUFFLED, Key
from embprobe.probing.measure import Condition, Labels, Measure, Treatments, levels
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.predictions import Predict, Test, divide_by_value, predict_from_few, predict_tests
from embprobe.probing.scores import Scores
from embprobe.probing.selection import Selection
from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

FEW = 2_000
"""Treated images that are enough to fit on; more are made of fewer."""
UNSEEN = "unseen images"
"""The test in folds, and of a data set's official split."""
RARE = 0.2
"""Labels with less than this share of the mean number of test images are left out of balanced accuracy: their recall is
of a handful of images, and would count as much as that of any other label."""
_VARIANTS = {"logistic": "linear probe", "knn": "k-NN", "gda": "GDA"}


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
    within: Labels | None = None
    """Labels, of which the first that the images have counts: an image is told apart only from images of its own value,
    by a classifier fitted on these alone. Knowing the value helps nobody."""
    across: Labels | None = None
    """Labels, of which the first that the images have counts: an image is predicted by a classifier that is fitted on
    images of all other values, as a domain is left out."""
    changed: list[str] = []
    """What is done to tested images alone, each in turn: ``noise 0.1``. The classifier is fitted on images as they are,
    and the numbers are its accuracy, and how much of it is lost."""
    held_out: Treatments = {}
    """Other treatments of the same values, for tests of a classifier that has never seen them."""
    controls: list[str] = []
    """Controls of the treatments, such as ``shuffled`` of ``word``: the same images get these instead, and a classifier
    is fitted to them. What it decodes is not what the treatments are about, and is subtracted image by image. A brief
    measure has the first alone."""
    control_task: bool = False
    """Whether the classifier is also fitted to shuffled labels; never where each group is a single fitted image, of
    which nothing but single images could be memorised."""
    balanced: bool = False
    """Whether every label counts the same however many test images have it: balanced accuracy, the mean recall."""
    trivial: list[str] = []
    """Encoders that have learned nothing: the accuracy beyond the best of them is a number of its own."""
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
        if self.controls and not self.treatments:
            raise ValueError("controls are those of treatments, and there are none")
        if self.changed and self.treatments:
            raise ValueError("changed is for labels that images have, and not for those of treatments")
        if "none" in self.changed or len(set(self.changed)) < len(self.changed):
            raise ValueError("changed lists what is done to tested images, each once, and never 'none'")
        if self.within and self.balanced:
            raise ValueError("accuracy within values of a label cannot be balanced over all labels")
        if self.shots and self.classifier == "logistic":
            raise ValueError("with shots the classifier is gda or knn: so few images leave none to choose C on")
        return self

    def check(self) -> None:
        Treatment.parse(self.under)
        levels(self.treatments)
        levels(self.held_out)
        for change in self.changed:
            Treatment.parse(change)
        for control in self.controls:
            self._controlled(control)
        for transform in self.transforms:
            check_compression(transform)

    def declared_keys(self) -> Sequence[Key]:
        """Return the keys of the card's tests; images that cannot be split into them are asked in folds."""
        return [
            self._key(test, condition, strength)
            for condition, strength in self._conditions
            for test in self._declared_tests
        ]

    @property
    def _declared_tests(self) -> list[str]:
        """The names of the card's tests, and of those under treatments that the classifier has never seen."""
        return [*self.tests, *(_held_out(test) for test in self.tests if self.held_out)]

    def needed_labels(self, images: Images) -> Sequence[str]:
        of_parts = [_first_present(labels, images) for labels in (self.within, self.across) if labels]
        return [*([] if self.treatments else [self.label]), *of_parts]

    def read_labels(self, images: Images) -> Sequence[str]:
        of_tests = [label for selection in (self.fit, *self.tests.values()) for label in selection.labels]
        return [*super().read_labels(images), *of_tests]

    def test_names(self, images: Images) -> Sequence[str]:
        """Return the names of the card's tests; of images that cannot be split into them, that of folds."""
        pool = images.where(**self.images.known_to(images).where)
        return self._declared_tests if len(pool) and self._are_told_apart(pool) else [UNSEEN]

    def _are_told_apart(self, pool: Images) -> bool:
        """Return whether the labels say which images the card fits on and which it tests on."""
        selections = [self.fit, *self.tests.values()]
        return all(each.known_to(pool) == each and len(pool.where(**each.where)) for each in selections)

    def brief(self, needed: Sequence[KeyPattern]) -> Self:
        """Return it with the needed ones of its controls, changes, control task, shots and transforms only."""
        declared = self.declared_keys()
        keys = [key for pattern in needed if (key := pattern.find(declared, folds=UNSEEN))]
        conditions = {(key.condition, key.strength) for key in keys}
        all_changed = not conditions.isdisjoint([(CHANGED, None), (_lost(CHANGED), None)])
        return self.model_copy(
            update={
                "changed": [
                    change for change in self.changed if all_changed or not conditions.isdisjoint(_names_of(change))
                ],
                "controls": [control for control in self.controls if self._names_of(control) & conditions],
                "control_task": self.control_task and (SHUFFLED, None) in conditions,
                "shots": [shots for shots in self.shots if (SHOTS, float(shots)) in conditions],
                "transforms": [transform for transform in self.transforms if (transform, None) in conditions],
            }
        )

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        parts = self._parts(context)
        for control in (None, *self.controls):
            treated = self._treated(parts.images, context, control)
            yield Condition(context.everything if treated is None else treated)
        for change in self.changed:
            yield Condition(self._changed(parts, change, context))
        if self.held_out and parts.tested:
            yield Condition(self._newly_treated(parts, context))

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield accuracy on every test beside guessing, and what is beyond trivial encoders and beyond controls.

        Then accuracy on changed tests, with shuffled labels, of smaller vectors, and from few images.
        """
        fit_rows, tests = self._split(context)
        labels, groups = fit_rows.label(self.label), np.array(context.groups(fit_rows.rows))
        self._check_labels(labels, context)
        unconverged: list[float] = []
        predict, device = self._classifier(context, unconverged), context.session.device
        truths = {test.name: test.rows.label(self.label) for test in tests}

        def accuracy(
            right: Callable[[str, Test], ScoreArray],
            truth: Mapping[str, LabelArray],
            condition: str | None = None,
            strength: float | None = None,
        ) -> Iterator[Scores]:
            for test in tests:
                values = {
                    encoder: self._balanced(right(encoder, test), truth[test.name]) for encoder in fit_rows.vectors
                }
                chance = float(self._chance(truth[test.name], test).mean())
                yield from self._scored(context, test, values, condition, strength, floor=chance)

        impossible: list[str] = []
        changed = self._changed_tests(context, tests, impossible)
        truths |= {test.name: test.rows.label(self.label) for by_test in changed.values() for test in by_test.values()}

        def fitted(
            fit_labels: LabelArray, truth: Mapping[str, LabelArray], transform: str | None = None
        ) -> Callable[[str, Test], ScoreArray]:
            plain = fit_labels is not labels or transform is not None  # changed tests have true labels and vectors only
            asked = tests if plain else [*tests, *_flat(changed)]
            predicted = predict_tests(predict, fit_rows.vectors, fit_labels, groups, asked, device, transform)
            return lambda encoder, test: correct(predicted[encoder][test.name], truth[test.name])

        try:
            right = fitted(labels, truths)
        except TooFewGroups as reason:
            raise NotApplicable(str(reason).removesuffix(".")) from None
        if self.balanced:
            of_tests = {test.name: truths[test.name] for test in tests}
            for name, value in ((name, value) for name, truth in of_tests.items() for value in _rare(truth)):
                count = int((truths[name] == value).sum())
                images = f"{count:,} image{'' if count == 1 else 's'} of the {name}"
                context.note(
                    f"{images} of {self.label} '{value}' from balanced accuracy: "
                    f"too few to count as much as every other {self.label}"
                )
        scores_as_they_are: dict[str, Mapping[str, ScoreArray]] = {}
        for test in tests:
            values = {encoder: self._balanced(right(encoder, test), truths[test.name]) for encoder in fit_rows.vectors}
            yield from self._beside_guessing(context, test, values, truths[test.name])
            yield from self._gains(context, test, values)
            scores_as_they_are[test.name] = values
        for control in self.controls:
            yield from self._beyond(context, predict, control, tests, scores_as_they_are)
        for test in tests:
            yield from self._under_changes(context, test, scores_as_they_are[test.name], changed, right)
        if self.control_task and len(np.unique(groups)) == len(groups):
            impossible.append(
                f"shuffled labels of {self.label}: of one fitted image each, a classifier could only memorise images"
            )
        elif self.control_task:
            # A group may have two labels, as a motif of two categories has: its images of each get one of their own.
            fitted_groups = list(zip(groups.tolist(), labels.tolist(), strict=True))
            dealt = control_labels(
                labels, np.array([repr(group) for group in fitted_groups]), seed=context.session.seed
            )
            of_group = dict(zip(fitted_groups, dealt.tolist(), strict=True))
            shuffled = {
                test.name: np.array(
                    [
                        of_group.get((group, own), own)
                        for group, own in zip(context.groups(test.rows.rows), truths[test.name].tolist(), strict=True)
                    ]
                )
                for test in tests
            }
            try:
                yield from accuracy(fitted(dealt, shuffled), shuffled, SHUFFLED)
            except EmbprobeError as reason:  # so few images that all fitted ones may be dealt one label
                impossible.append(f"the control task: {str(reason).removesuffix('.')}")
        for transform in self.transforms:
            try:
                transformed = fitted(labels, truths, transform)
            except EmbprobeError as reason:  # there are too few vectors, or too short ones
                impossible.append(str(reason).removesuffix("."))
                continue
            yield from accuracy(transformed, truths, transform)
        fewest = min(_fewest(labels[fit]) for fit, _ in tests[0].parts)
        for shots in (shots for shots in self.shots if shots <= fewest):
            few = predict_from_few(
                shots, labels, groups, fit_rows, tests, truths, predict, device, context.session.seed
            )
            yield from accuracy(few, truths, SHOTS, float(shots))
        if more := [str(shots) for shots in self.shots if shots > fewest]:
            images = f"{fewest} image{'' if fewest == 1 else 's'}"
            impossible.append(f"from {' or '.join(more)} of each {self.label} cannot be learned where one has {images}")
        if unconverged:
            context.note(
                f"C = {min(unconverged):g} and more in {len(unconverged)} of the fits of a linear probe of "
                f"{self.called or self.label}, which do not converge there: C is chosen below"
            )
        if impossible:
            raise NotApplicable("; ".join(impossible))

    def _scored(
        self,
        context: ProbeContext,
        test: Test,
        values: Mapping[str, ScoreArray],
        condition: str | None = None,
        strength: float | None = None,
        *,
        floor: float = 0.0,
        above: str = "",
    ) -> Iterator[Scores]:
        """Yield the scores of a test under a condition; ``above`` ends their unit."""
        key = self._key(test.name, condition, strength)
        unit = ("balanced accuracy" if self.balanced else "accuracy") + above
        keys, groups = test.rows.keys(), context.groups(test.rows.rows)
        yield from context.scored(key, values, keys, groups, unit=unit, floor=floor)

    def _beside_guessing(
        self,
        context: ProbeContext,
        test: Test,
        values: Mapping[str, ScoreArray],
        truth: LabelArray,
        condition: str | None = None,
    ) -> Iterator[Scores]:
        """Yield the scores of a test and those of guessing, whose mean a blind encoder has."""
        guessing = self._chance(truth, test)
        with_guessing = {**values, GUESSING: guessing}
        yield from self._scored(context, test, with_guessing, condition, floor=float(guessing.mean()))

    def _gains(self, context: ProbeContext, test: Test, values: Mapping[str, ScoreArray]) -> Iterator[Scores]:
        """Yield what is above the best of the trivial encoders on this test; its name is in the unit."""
        trivial = [name for name in self.trivial if name in values]
        if not trivial:
            return
        best = max(trivial, key=lambda name: float(np.nanmean(values[name])))
        gains = {encoder: each - values[best] for encoder, each in values.items()}
        yield from self._scored(context, test, gains, GAIN, above=f" above that of {best}")

    def _beyond(
        self,
        context: ProbeContext,
        predict: Predict,
        control: str,
        tests: Sequence[Test],
        values: Mapping[str, Mapping[str, ScoreArray]],
    ) -> Iterator[Scores]:
        """Yield accuracy where the same images have a control instead, and what is beyond it, image by image."""
        name, _ = self._controlled(control)
        fit_rows, controls = self._split(context, control)
        labels, groups = fit_rows.label(self.label), np.array(context.groups(fit_rows.rows))
        predicted = predict_tests(predict, fit_rows.vectors, labels, groups, controls, context.session.device)
        for test in (test for test in tests if test.name in [same.name for same in controls]):
            (same,) = (each for each in controls if each.name == test.name)
            truth, keys = same.rows.label(self.label), same.rows.keys()
            by_control = {
                encoder: self._balanced(correct(predictions[test.name], truth), truth)
                for encoder, predictions in predicted.items()
            }
            yield from self._beside_guessing(context, same, by_control, truth, name)
            position = {key: i for i, key in enumerate(test.rows.keys())}
            shared = [i for i, key in enumerate(keys) if key in position]
            plain = [position[keys[i]] for i in shared]
            beyond = {encoder: values[test.name][encoder][plain] - each[shared] for encoder, each in by_control.items()}
            both = replace(same, rows=same.rows.at(keys[i] for i in shared))
            yield from self._scored(context, both, beyond, f"beyond {name}", above=f" above that with {name}")

    def _under_changes(
        self,
        context: ProbeContext,
        test: Test,
        values: Mapping[str, ScoreArray],
        changed: Mapping[str, Mapping[str, Test]],
        right: Callable[[str, Test], ScoreArray],
    ) -> Iterator[Scores]:
        """Yield accuracy under each change and what is lost by it, image by image; then the means over all changes."""
        position = {key: i for i, key in enumerate(test.rows.keys())}
        under: list[tuple[str, float | None, Test, Mapping[str, ScoreArray]]] = []
        for change, by_test in changed.items():
            if (same := by_test.get(test.name)) is not None:
                treatment, truth = Treatment.parse(change), same.rows.label(self.label)
                of_change = {encoder: self._balanced(right(encoder, same), truth) for encoder in values}
                under.append((str(treatment.intervention), treatment.strength, same, of_change))
        if len(under) == len(self.changed) > 1:
            places = [{key: i for i, key in enumerate(same.rows.keys())} for _, _, same, _ in under]
            shared = [key for key in position if all(key in place for place in places)]
            rows = [[place[key] for key in shared] for place in places]
            means = {
                encoder: np.mean([each[3][encoder][at] for each, at in zip(under, rows, strict=True)], axis=0)
                for encoder in values
            }
            under.append((CHANGED, None, test.at(test.rows.at(shared), test.name), means))
        for name, strength, same, scores in under:
            named = replace(same, name=test.name)
            chance = float(self._chance(same.rows.label(self.label), same).mean())
            yield from self._scored(context, named, scores, name, strength, floor=chance)
            plain = list(map(position.__getitem__, same.rows.keys()))
            lost = {encoder: values[encoder][plain] - each for encoder, each in scores.items()}
            yield from self._scored(context, named, lost, _lost(name), strength, above=" lost")

    def _balanced(self, scores: ScoreArray, truth: LabelArray) -> ScoreArray:
        """Return the scores, balanced if the card says so: then NaN for labels too rare to count as much as others."""
        if not self.balanced:
            return scores
        kept = ~np.isin(truth, _rare(truth))
        values = np.full(len(truth), np.nan)
        values[kept] = balance(scores[kept], truth[kept])
        return values

    def _chance(self, truth: LabelArray, test: Test) -> ScoreArray:
        """Return the scores of the best constant guess: the most frequent label, the same for all folds.

        Where labels count the same it is 1 over their number. Treatments are ``dealt`` in equal shares, whichever test
        an image is in, so it is 1 over their number, too, unless one can be done to fewer images than another. Who
        knows the value of a label (``within``) guesses what is most frequent among images of that value.
        """
        dealt = test.dealt
        if test.known is not None and dealt is None:
            guessing = np.empty(len(truth))
            for value in np.unique(test.known):
                guessing[test.known == value] = guess_majority(truth[test.known == value])
            return guessing
        if self.balanced:
            return np.full(len(truth), 1 / (len(np.unique(truth)) - len(_rare(truth))))
        return guess_majority(truth) if dealt is None else np.full(len(truth), guess_majority(dealt).mean())

    def _controlled(self, control: str) -> tuple[str, Levels]:
        """Return the name of a control in results (``word/shuffled``) and the treatments with it."""
        changed = {
            value: [each if each.intervention is None else _control_of(each, control) for each in treatments]
            for value, treatments in levels(self.treatments).items()
        }
        names = {str(each.intervention) for treatments in changed.values() for each in treatments if each.intervention}
        return min(f"{name.partition('=')[0].partition('/')[0]}/{control}" for name in names), changed

    def _names_of(self, control: str) -> set[tuple[str | None, float | None]]:
        """Return the conditions of the numbers that a control gives."""
        name, _ = self._controlled(control)
        return {(name, None), (f"beyond {name}", None)}

    @property
    def _conditions(self) -> list[tuple[str | None, float | None]]:
        names: list[str | None] = [None, *([GAIN] if self.trivial else [])]
        for control in self.controls:
            name, _ = self._controlled(control)
            names += [name, f"beyond {name}"]
        changes = [Treatment.parse(change) for change in self.changed]
        under: list[tuple[str | None, float | None]] = [
            (name, each.strength)
            for each in changes
            for name in (str(each.intervention), _lost(str(each.intervention)))
        ]
        if len(changes) > 1:
            under += [(CHANGED, None), (_lost(CHANGED), None)]
        names += [*([SHUFFLED] if self.control_task else []), *self.transforms]
        return [*((name, None) for name in names), *under, *((SHOTS, float(shots)) for shots in self.shots)]

    def _key(self, test: str, condition: str | None = None, strength: float | None = None) -> Key:
        return Key(
            kind=self.kind,
            target=self.called or self.label,
            variant=_VARIANTS[self.classifier],
            test=test,
            condition=condition,
            strength=strength,
        )

    def _split(self, context: ProbeContext, control: str | None = None) -> tuple[EmbeddingSet, list[Test]]:
        """Return the rows that are fitted on, and the tests, whose parts a label may divide (within, across)."""
        fit_rows, tests = self._undivided(context, control)
        for names, same in ((self.within, True), (self.across, False)):
            if names:
                label, before = _first_present(names, context.images), sum(len(test.rows.rows) for test in tests)
                context.require(label)
                tests = divide_by_value(tests, fit_rows.label(label), fit_rows.label(self.label), label, same=same)
                which = f"the same {label}" if same else f"another {label}"
                reason = f"no two values of {self.label} to learn from images of {which}"
                if not tests:
                    raise NotApplicable(f"there are {reason}")
                if left := before - sum(len(test.rows.rows) for test in tests):
                    context.note(f"{left:,} images of the tests of {self.called or self.label}: there are {reason}")
        return fit_rows, tests

    def _undivided(self, context: ProbeContext, control: str | None = None) -> tuple[EmbeddingSet, list[Test]]:
        """Return the rows that are fitted on, and the tests.

        The card's labels tell them apart, else the official split of a data set; where neither does, folds.

        With ``control`` the same images get that control of the treatments instead.
        """
        parts = self._parts(context)
        if not parts.tested:
            return self._folds(parts.images, context, control)
        embedded = self._embed(parts.images, context, control)
        fit_rows = embedded.at(row.key for row in embedded.rows.rows if row.key in parts.fit)
        everything = np.arange(len(fit_rows.rows))
        rows = {name: embedded.at(keys) for name, keys in parts.tested.items()}
        dealt = dict.fromkeys(rows, embedded.label(self.label) if self.treatments else None)
        if self.held_out and control is None:
            new = context.embed(self._newly_treated(parts, context), f"{self.label}, held out")
            rows |= {_held_out(name): new.at(keys) for name, keys in parts.tested.items()}
            dealt |= dict.fromkeys(map(_held_out, parts.tested), new.label(self.label))
        fitted = set(fit_rows.label(self.label))
        if not any(fitted.intersection(each.label(self.label)) for each in rows.values()):
            raise NotApplicable(f"no test image has a {self.label} that images to fit on have")
        return fit_rows, [
            Test(name, each, [(everything, np.arange(len(each.rows)))], dealt[name])
            for name, each in rows.items()
            if len(each.rows)
        ]

    def _parts(self, context: ProbeContext) -> _Parts:
        """Return the images that are fitted on or tested, before anything is done to them."""
        if not self.treatments:
            context.require(self.label)
        pool = context.select(self.images)
        if not self._are_told_apart(pool):
            official = official_split(pool)
            if official is None:
                return _Parts(self._folded(pool, context))
            fit_selection, of_tests = (Selection(where={"split": [value]}) for value in official)
            limit = min((each.limit for each in self.tests.values() if each.limit), default=None)
            fit_selection = fit_selection.model_copy(update={"limit": self.fit.limit})
            selections = {UNSEEN: of_tests.model_copy(update={"limit": limit})}
        else:
            fit_selection, selections = self.fit, self.tests
        seed = context.session.seed
        fit = {row.key for row in fit_selection.of(pool, seed=seed).rows}
        tested = {name: [row.key for row in each.of(pool, seed=seed).rows] for name, each in selections.items()}
        for name, test_keys in tested.items():
            if both := fit.intersection(test_keys):
                raise UsageError(
                    f"The card '{context.card.title}' tests '{name}' on {len(both):,} images it is fitted on, such as "
                    f"'{visible(min(both))}': give fit and tests different images."
                )
        used_keys = fit.union(*tested.values())
        chosen = pool.take(i for i, row in enumerate(pool.rows) if row.key in used_keys)
        return _Parts(chosen, fit, tested)

    def _changed(self, parts: _Parts, change: str, context: ProbeContext) -> Images:
        """Return the images of all tests, those of folds are all, under a change."""
        keys = {key for test_keys in parts.tested.values() for key in test_keys}
        tested = parts.images.take(i for i, row in enumerate(parts.images.rows) if row.key in keys or not parts.tested)
        return context.treated(context.treated(tested, self.under), change)

    def _changed_tests(
        self, context: ProbeContext, tests: Sequence[Test], impossible: list[str]
    ) -> dict[str, dict[str, Test]]:
        """Return by change and name of a test the same test of changed images; add what cannot be done to a list."""
        changed: dict[str, dict[str, Test]] = {}
        if not self.changed:
            return changed
        parts = self._parts(context)
        for change in self.changed:
            try:
                rows = context.embed(self._changed(parts, change, context), f"{self.called or self.label}, {change}")
            except NotApplicable as reason:
                impossible.append(f"{change}: {reason}")
                continue
            of_change = {test.name: test.at(rows, f"{test.name}, {change}") for test in tests}
            changed[change] = {name: test for name, test in of_change.items() if len(test.rows.rows)}
        return changed

    def _newly_treated(self, parts: _Parts, context: ProbeContext) -> Images:
        """Return the test images under treatments that the classifier has never seen."""
        keys = {key for test_keys in parts.tested.values() for key in test_keys}
        under = context.treated(parts.images, self.under)
        others = under.take(i for i, row in enumerate(parts.images.rows) if row.key in keys)
        return assign(others, self.label, levels(self.held_out), seed=context.session.seed + 1, donors=context.images)

    def _folded(self, pool: Images, context: ProbeContext) -> Images:
        """Return the images that are divided into folds; where the label is done to images, few of them repeatedly."""
        if not self.treatments:
            pool = self._learnable(pool, context)
        times = min(2 * len(self.treatments), FEW // len(pool))
        return repeat(pool, times) if times > 1 else pool

    def _folds(
        self, images: Images, context: ProbeContext, control: str | None = None
    ) -> tuple[EmbeddingSet, list[Test]]:
        """Return all images as one test: each by a classifier fitted on the four folds it is not in.

        A group is never in two folds, and the groups of a label are shared out evenly among them (stratified folds,
        Kohavi 1995).
        """
        embedded = self._embed(images, context, control)
        groups = np.array(context.groups(embedded.rows))
        if len(np.unique(groups)) < FOLDS:
            raise NotApplicable(f"it needs at least {FOLDS} {context.resampled}s to fit on some and test on others")
        labels = None if self.treatments else embedded.label(self.label)  # every group may have all treatments
        fold = group_folds(groups, labels, seed=context.session.seed)
        parts = [(np.flatnonzero(fold != i), np.flatnonzero(fold == i)) for i in range(FOLDS)]
        return embedded, [Test(UNSEEN, embedded, parts, embedded.label(self.label) if self.treatments else None)]

    def _learnable(self, pool: Images, context: ProbeContext) -> Images:
        """Return the images without those whose label no other group has: they could not be learned from others."""
        labels, unit = pool.label(self.label), context.resampled
        groups_of = Counter(label for label, _ in set(zip(labels, context.groups(pool), strict=True)))
        kept = [i for i, label in enumerate(labels) if groups_of[label] > 1]
        if len(kept) == len(pool):
            return pool
        alone = len(pool) - len(kept)
        reason = f"{alone:,} of {len(pool):,} images have a {self.label} that no other {unit} has to learn it from"
        if len({labels[i] for i in kept}) < 2 or len(kept) < FOLDS:
            raise NotApplicable(reason)
        context.note(f"decoding of {self.label}: {reason}")
        return pool.take(kept)

    def _treated(self, images: Images, context: ProbeContext, control: str | None = None) -> Images | None:
        """Return the images with the treatments, or a control of theirs; None if nothing is done to them."""
        if not self.treatments and self.under == "none":
            return None
        images = context.treated(images, self.under)
        if not self.treatments:
            return images
        dealt = levels(self.treatments) if control is None else self._controlled(control)[1]
        return assign(images, self.label, dealt, seed=context.session.seed, donors=context.images)

    def _embed(self, chosen: Images, context: ProbeContext, control: str | None = None) -> EmbeddingSet:
        images = self._treated(chosen, context, control)
        if images is None:
            return context.untouched(chosen)
        embedded = context.embed(images, self.label if control is None else f"{self.label}, {control}")
        if self.treatments and (gone := set(images.label(self.label)) - set(embedded.label(self.label).tolist())):
            raise NotApplicable(f"no image with the {self.label} '{min(gone)}' has a vector by every encoder")
        return embedded

    def _check_labels(self, labels: LabelArray, context: ProbeContext) -> None:
        if len(np.unique(labels)) < 2:
            raise NotApplicable(
                f"all images of '{context.images.name}' that a classifier would be fitted on have {self.label} "
                f"'{labels[0]}': at least two different values are needed"
            )

    def _classifier(self, context: ProbeContext, unconverged: list[float]) -> Predict:
        """Return the classifier; it adds to ``unconverged`` each C at which the fit of a linear probe fails."""
        device, seed = context.session.device, context.session.seed
        if self.classifier == "knn":
            return lambda train, labels, groups, tests: [
                predict_knn(train, labels, test, k=self.k, device=device) for test in tests
            ]
        if self.classifier == "gda":
            return lambda train, labels, groups, tests: predict_gda(train, labels, tests)
        return lambda train, labels, groups, tests: predict_logistic(
            train, labels, groups, tests, seed=seed, device=device, on_unconverged=unconverged.append
        )


@dataclass(frozen=True)
class _Parts:
    """The images of a decoding, and the keys of those fitted on and of those of each test; no keys: folds."""

    images: Images
    fit: Set[str] = frozenset()
    tested: Mapping[str, Sequence[str]] = field(default_factory=dict)


def _control_of(treatment: Treatment, control: str) -> Treatment:
    """Return the treatment with a control of its intervention; raise :class:`UsageError` if there is none."""
    return Treatment.parse(str(replace(treatment, intervention=f"{treatment.intervention}/{control}")))


def _first_present(labels: Sequence[str], images: Images) -> str:
    """Return the first of the labels that an image has; the last of them if none has any."""
    return next((label for label in labels if not images.lacks(label)), labels[-1])


def _flat(tests: Mapping[str, Mapping[str, Test]]) -> list[Test]:
    return [test for by_name in tests.values() for test in by_name.values()]


def _lost(change: str) -> str:
    """Return the condition of what is lost by a change."""
    return f"lost by {change}"


def _names_of(change: str) -> set[tuple[str | None, float | None]]:
    """Return the conditions of the numbers that a change gives."""
    done = Treatment.parse(change)
    return {(done.intervention, done.strength), (_lost(str(done.intervention)), done.strength)}


def _held_out(test: str) -> str:
    """Return the name of a test under treatments that the classifier has never seen."""
    return f"{test}, unseen kinds"


def _rare(truth: LabelArray) -> list[str]:
    """Return the labels that have less than a fifth of the images they would have if all had as many."""
    values, counts = np.unique(truth, return_counts=True)
    rare: list[str] = values[counts < RARE * len(truth) / len(values)].tolist()
    return rare


def _fewest(labels: LabelArray) -> int:
    """Return the number of images of the label that has the fewest."""
    return int(np.unique(labels, return_counts=True)[1].min())
