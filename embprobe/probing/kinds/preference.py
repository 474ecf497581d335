"""Preference: which of two cues in conflict an encoder follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from embprobe.images.rows import Images
from embprobe.interventions.treatments import Treatment, assign, cross
from embprobe.interventions.words import word_of
from embprobe.measures.preference import preference
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.measure import Measure, Treatments, levels
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

_CONFLICT, _CLEAN = "conflict", "clean"
_THIRD = "a third concept"


class Preference(Measure):
    """Whether the same concept is nearer, or the same word, colour or style."""

    kind: Literal["preference"]
    concept: str
    cue: str
    within: list[str] = []
    """Labels that all three images of a triplet share."""
    apart: list[str] = []
    """Labels in which both candidates differ from the anchor."""
    treatments: Treatments = {}
    """What is done to images, by the value of the cue; as many images get each."""
    crossed: bool = False
    """Whether instead every image gets every treatment."""
    conflict: str | None = None
    """A treatment that draws another concept's word into the anchor; the candidates are unchanged drawings of both."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.conflict and self.treatments:
            raise ValueError("a preference has either treatments or a conflict")
        if len(self.treatments) == 1:
            raise ValueError("treatments must have at least two values")
        return self

    def check(self) -> None:
        levels(self.treatments)
        if self.conflict:
            Treatment.parse(self.conflict)

    def declared_keys(self) -> Sequence[Key]:
        if self.conflict is None:
            return [self._key(self.concept, self.cue)]
        return [self._key(self.cue, rival) for rival in (_THIRD, f"the {self.concept}")]

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield for every anchor the share of triplets in which the first of the two is nearer."""
        context.require(*self._labels())
        chosen = context.select(self.images)
        if self.conflict is None:
            yield from self._between_labels(chosen, context)
        else:
            yield from self._between_words(self.conflict, chosen, context)

    def _between_labels(self, chosen: Images, context: ProbeContext) -> Iterator[Scores]:
        if self.treatments:
            dealt, seed = levels(self.treatments), context.session.seed
            if self.crossed:
                treated = cross(chosen, {self.cue: dealt}, seed=seed, donors=context.images)
            else:
                treated = assign(chosen, self.cue, dealt, seed=seed, donors=context.images)
            embedded = context.embed(treated, self.cue)
        else:
            embedded = context.untouched(chosen)
        concepts, cues = embedded.label(self.concept), embedded.label(self.cue)
        everyone = np.ones(len(concepts), np.bool_)
        values = self._values(embedded, concepts, cues, everyone, context)
        (key,) = self.declared_keys()
        yield from _shares(key, values, embedded, context)

    def _between_words(self, conflict: str, chosen: Images, context: ProbeContext) -> Iterator[Scores]:
        """Anchors carry another concept's word; candidates are unchanged drawings of what it names, and of a rival.

        An encoder that cannot read prefers neither the word's concept nor a third one: 0.5.
        """
        named = chosen.take(i for i, row in enumerate(chosen.rows) if word_of(row))
        if len(named) < 2:
            raise NotApplicable(f"fewer than two images in '{context.images.name}' have a name to draw")
        both = {_CONFLICT: [Treatment.parse(conflict)], _CLEAN: [Treatment(None)]}
        treated = cross(named, {"treatment": both}, seed=context.session.seed, donors=named)
        embedded = context.embed(treated, conflict)
        own = np.array([word_of(row) or "" for row in embedded.rows.rows])
        anchors = embedded.label("treatment") == _CONFLICT
        drawn = np.array([row.labels.get("word", "") for row in embedded.rows.rows])
        words = np.where(anchors, drawn, own)
        third = np.where(anchors, _third_words(own, words, anchors, context.session.seed), own)
        for key, concepts in zip(self.declared_keys(), (third, own), strict=True):
            values = self._values(embedded, concepts, words, anchors, context)
            by_word = {name: 1 - each for name, each in values.items()}
            yield from _shares(key, by_word, embedded, context)

    def _values(
        self,
        embedded: EmbeddingSet,
        concepts: LabelArray,
        cues: LabelArray,
        anchors: NDArray[np.bool_],
        context: ProbeContext,
    ) -> dict[str, ScoreArray]:
        """Return by encoder each anchor's share of triplets in which the concept wins; NaN where there is none."""
        within, apart = _joined(embedded, self.within), _joined(embedded, self.apart)
        seed = context.session.seed
        shares = {
            name: preference(vectors, concepts, cues, within=within, apart=apart, seed=seed)
            for name, vectors in embedded.vectors.items()
        }
        return {name: np.where(anchors, values, np.nan) for name, values in shares.items()}

    def _labels(self) -> list[str]:
        """Return the labels that images must have before anything is done to them."""
        cue = [] if self.treatments or self.conflict else [self.cue]
        return [*([] if self.conflict else [self.concept]), *cue, *self.within, *self.apart]

    def _key(self, preferred: str, rival: str) -> Key:
        return Key(kind=self.kind, target=preferred, variant=rival)


def _third_words(own: LabelArray, words: LabelArray, anchors: NDArray[np.bool_], seed: int) -> LabelArray:
    """Return for every anchor a word that was drawn into another: neither what it shows nor what is written in it."""
    rng = np.random.default_rng(seed)
    drawn, third = words[anchors], words.copy()
    for i in np.flatnonzero(anchors):
        others = drawn[(drawn != words[i]) & (drawn != own[i])]
        if len(others):  # else it stays its own word, which leaves it without a triplet
            third[i] = rng.choice(others)
    return third


def _shares(key: Key, values: dict[str, ScoreArray], embedded: EmbeddingSet, context: ProbeContext) -> Iterator[Scores]:
    groups = context.groups(embedded.rows)
    return context.scored(key, values, embedded.keys(), groups, unit="share of triplets", floor=0.5)


def _joined(embedded: EmbeddingSet, labels: list[str]) -> LabelArray | None:
    """Join several labels into one."""
    if not labels:
        return None
    return np.array(["\0".join(each) for each in zip(*(embedded.label(name) for name in labels), strict=True)])
