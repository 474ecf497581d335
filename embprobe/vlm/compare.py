"""Accuracy of vision-language models by group of questions, and the differences between every two of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import Any, Protocol

import numpy as np

from embprobe.errors import EmbprobeError, UsageError
from embprobe.statistics import (
    CERTAIN,
    RESAMPLES,
    DatasetScores,
    Estimate,
    ResampledDatasets,
    holm,
    resample,
    resample_datasets,
)
from embprobe.statistics.estimate import Scores
from embprobe.system.text import listed, visible
from embprobe.vlm.answers import Answers
from embprobe.vlm.common_questions import Row, common_questions
from embprobe.vlm.vmcbench import VMCBENCH, sets_of

SCHEMA = 1


@dataclass(frozen=True)
class ComparedGroup:
    """A group of questions that all models have answered."""

    name: str
    questions: int
    pairs: int
    """The number of pairs that count as one each; 0 where each question counts."""
    resampled: str
    """The word for the resampled values: ``concept``, ``pair`` or ``question``."""
    units: int
    """The number of these values."""
    chance: float | None
    """The accuracy of guessing; None where the numbers of options are unknown."""
    kinds: tuple[str, ...]
    """The sets whose accuracies are averaged; none where the group's accuracy is the mean of its questions."""


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of one model in one group."""

    model: str
    group: str
    accuracy: Estimate
    """The mean of the scores."""
    every: Estimate
    """The share of the questions that were right in all turns of their options; the same where each was asked once."""


@dataclass(frozen=True)
class Difference:
    """The accuracy of model ``a`` less that of ``b`` in one group, on the same questions."""

    a: str
    b: str
    group: str
    difference: Estimate
    p_adjusted: float
    """Holm-corrected over all groups and pairs of models."""


@dataclass(frozen=True, kw_only=True)
class VlmComparison:
    """The accuracies of models by group of questions, and the differences between every two of them."""

    asked: str
    """The name of the set of questions; "" where no file has it."""
    models: tuple[str, ...]
    references: tuple[str, ...]
    """Those of them that the others are read against, such as a blind one."""
    groups: tuple[ComparedGroup, ...]
    accuracies: tuple[Accuracy, ...]
    """Of every group in its order, every model in its order."""
    differences: tuple[Difference, ...]
    seed: int
    notes: tuple[str, ...] = ()

    def accuracy(self, model: str, group: str) -> Accuracy:
        """Return the accuracy of a model in a group; ``KeyError`` if there is none."""
        for each in self.accuracies:
            if (each.model, each.group) == (model, group):
                return each
        raise KeyError((model, group))

    def difference(self, a: str, b: str, group: str) -> Difference:
        """Return the accuracy of ``a`` less that of ``b`` in a group; ``KeyError`` if there is none."""
        for each in self.differences:
            if (each.a, each.b, each.group) == (a, b, group):
                return each
            if (each.a, each.b, each.group) == (b, a, group):
                d = each.difference
                turned = replace(d, estimate=-d.estimate, low=-d.high, high=-d.low)
                return replace(each, a=a, b=b, difference=turned)
        raise KeyError((a, b, group))

    def headline(self) -> str:
        """Return a sentence for every two models that differ in a group, and one for those that do not.

        They differ where p < 0.05, Holm-corrected over all groups and pairs of models.
        """
        certain = [each for each in self.differences if each.p_adjusted < CERTAIN]
        lines = []
        for each in certain:
            d = each.difference
            a, b = (each.a, each.b) if d.estimate > 0 else (each.b, each.a)
            low, high = (d.low, d.high) if d.estimate > 0 else (-d.high, -d.low)
            lines.append(
                f"{each.group or 'all questions'}: {a} is above {b} by {abs(d.estimate):.3f} ({low:.3f} to {high:.3f})."
            )
        if open_ones := len(self.differences) - len(certain):
            lines.append(f"{open_ones:,} of {len(self.differences):,} differences are within chance.")
        return "\n".join(lines or [self._alone(each) for each in self.accuracies])

    @staticmethod
    def _alone(each: Accuracy) -> str:
        found = each.accuracy
        return f"{each.group or 'all questions'}: {found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})."

    def as_json(self) -> dict[str, Any]:
        """Return all numbers for JSON."""
        return {"schema": SCHEMA, **asdict(self)}


def compare_answers(
    answers: Sequence[Answers], *, references: Collection[str] = (), seed: int = 0, resamples: int = RESAMPLES
) -> VlmComparison:
    """Compare the answers of models to the same questions, group by group.

    Questions are matched by key, and those that some model has not answered are left out and counted. The two questions
    of a pair, as MMVP's, count as one that is right where both are. The accuracy of a group is the mean over its
    questions; of VMCBench's four groups, the mean over their sets of each set's mean, so that a set counts the same
    whatever its number of questions.

    Intervals are of a bootstrap over concepts where the questions have them, else over pairs or questions
    (:func:`embprobe.statistics.resample`). A mean over sets is resampled within each set by itself, the sets being
    fixed (a stratified bootstrap; :func:`embprobe.statistics.resample_datasets`). Drawing questions across sets with
    weights 1 / (K n_k) in its place would let the numbers of questions of the sets vary, which they do not when the
    benchmark is asked again. All models share the resamples, so that differences are paired.

    Args:
        answers: One entry a model, all with different names.
        references: The names of models that the others are read against, such as a blind one or an untrained twin:
            they are not compared with each other, which leaves fewer tests to correct for.
        seed: The same seed gives the same numbers.
        resamples: The number of resamples.

    Raises:
        UsageError: The answers are of different sets of questions
            (:func:`~embprobe.vlm.common_questions.common_questions`), or a reference is none of the models.
        EmbprobeError: No group has two concepts, pairs or questions to resample.
    """
    rows, notes = common_questions(answers)
    models = tuple(each.name for each in answers)
    if unknown := [name for name in references if name not in models]:
        raise UsageError(f"The reference '{visible(unknown[0])}' is none of the models: {visible(', '.join(models))}.")
    pairs = [
        (i, j)
        for i, j in combinations(range(len(models)), 2)
        if not (models[i] in references and models[j] in references)
    ]
    groups: list[ComparedGroup] = []
    accuracies: list[Accuracy] = []
    differences: list[Difference] = []
    remarks = [f"{visible(each.name)}: {note}" for each in answers for note in each.notes]
    remarks += notes
    for name in dict.fromkeys(row.group for row in rows):
        found = _resampled(name, [row for row in rows if row.group == name], seed, resamples)
        if isinstance(found, str):
            remarks.append(found)
            continue
        group, means, few = found
        remarks += few
        groups.append(group)
        accuracies += [
            Accuracy(model, name, means.mean(i), means.mean(len(models) + i)) for i, model in enumerate(models)
        ]
        differences += [Difference(models[i], models[j], name, means.difference(i, j), 1.0) for i, j in pairs]
    if not groups:
        raise EmbprobeError(f"No group has enough questions for an interval: {'; '.join(remarks)}.")
    adjusted = holm([each.difference.p or 0.0 for each in differences])
    return VlmComparison(
        asked=next((each.asked for each in answers if each.asked), ""),
        models=models,
        references=tuple(name for name in models if name in references),
        groups=tuple(groups),
        accuracies=tuple(accuracies),
        differences=tuple(replace(each, p_adjusted=p) for each, p in zip(differences, adjusted, strict=True)),
        seed=seed,
        notes=tuple(remarks),
    )


class _Means(Protocol):
    """Resampled means by column: the scores of each model, then whether all turns were right."""

    def mean(self, i: int, /) -> Estimate: ...
    def difference(self, i: int, j: int, /) -> Estimate: ...


@dataclass(frozen=True)
class _OverSets:
    """Means over sets that are fixed: only their questions are drawn."""

    drawn: ResampledDatasets

    def mean(self, i: int, /) -> Estimate:
        return self.drawn.mean(i, sets="fixed")

    def difference(self, i: int, j: int, /) -> Estimate:
        return self.drawn.difference(i, j, sets="fixed")


def _resampled(
    name: str, rows: Sequence[Row], seed: int, resamples: int
) -> tuple[ComparedGroup, _Means, list[str]] | str:
    """Bootstrap a group; the reason where it cannot be."""
    called = f"'{visible(name)}'" if name else "the questions"
    kinds = sets_of(name, [row.kind for row in rows])
    notes = []
    if kinds:
        by_kind = {kind: [row for row in rows if row.kind == kind] for kind in kinds}
        few = [kind for kind in kinds if len({row.resampled for row in by_kind[kind]}) < 2]
        kinds = tuple(kind for kind in kinds if kind not in few)
        rows = [row for row in rows if row.kind in kinds]
        if lost := [kind for kind, group in VMCBENCH.items() if group == name and kind not in kinds]:
            notes.append(f"{called} is the mean of its sets but {listed(lost)}, with fewer than two questions")
    units = len({row.resampled for row in rows})
    word = _word(rows)
    if units < 2:
        return f"{called} left out: an interval needs two {word}s, and there is {'one' if rows else 'none'}"
    means: _Means
    if kinds:
        of_sets = [[row for row in rows if row.kind == kind] for kind in kinds]
        parts = [DatasetScores(kind, *_columns(part)) for kind, part in zip(kinds, of_sets, strict=True)]
        means = _OverSets(resample_datasets(parts, seed=seed, resamples=resamples, unit=word))
        units = sum(len({row.resampled for row in part}) for part in of_sets)
        chances = [_chance(part) for part in of_sets]
        chance = None if None in chances else float(np.mean([each for each in chances if each is not None]))
    else:
        means = resample(*_columns(rows), seed=seed, resamples=resamples, unit=word)
        chance = _chance(rows)
    group = ComparedGroup(
        name=name,
        questions=sum(row.questions for row in rows),
        pairs=sum(row.questions > 1 for row in rows),
        resampled=word,
        units=units,
        chance=chance,
        kinds=kinds,
    )
    return group, means, notes


def _word(rows: Sequence[Row]) -> str:
    """Return the word for the resampled values: that of the rows if they agree, else the one that fits all."""
    words = {row.unit for row in rows}
    return words.pop() if len(words) == 1 else "question"


def _columns(rows: Sequence[Row]) -> tuple[Scores, list[str]]:
    """Return the scores of every model, then whether all turns were right, ``[n, 2 m]``, and what is resampled."""
    return np.array([np.concatenate([row.scores, row.every]) for row in rows]), [row.resampled for row in rows]


def _chance(rows: Sequence[Row]) -> float | None:
    known = [row.chance for row in rows if row.chance is not None]
    return float(np.mean(known)) if len(known) == len(rows) else None
