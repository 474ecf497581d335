"""Preference: which of two cues in conflict an encoder follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from embprobe.images.rows import Images
from embprobe.interventions import intervene
from embprobe.interventions.treatments import IMAGE, Treatment, assign, cross
from embprobe.interventions.vocabulary import parts_of
from embprobe.interventions.words import word_of
from embprobe.measures.preference import preference
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import BEYOND_CONTROL, Key
from embprobe.probing.measure import Condition, Measure, Treatments, levels
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

_CONFLICT, _CLEAN = "conflict", "clean"
_CONTROL = "control"
_THIRD = "a third concept"
_ATTEMPTS, _STRIDE = 20, 1_000_003
"""Draws of a third word until it differs from the first, and the distance between their seeds."""


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

    control: str | None = None
    """A control of the conflict, such as ``shuffled``, under which anchors are compared with the third concept, too."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.conflict and self.treatments:
            raise ValueError("a preference has either treatments or a conflict")
        if self.control and not self.conflict:
            raise ValueError("control is of a conflict")
        if len(self.treatments) == 1:
            raise ValueError("treatments must have at least two values")
        return self

    def check(self) -> None:
        levels(self.treatments)
        if self.conflict:
            Treatment.parse(self.conflict)
            if self.control:
                Treatment.parse(self._controlled(self.conflict))

    def needed_labels(self, images: Images) -> Sequence[str]:
        named = not self.conflict or any(word_of(row) for row in images.rows)
        return [*self._labels(), *([] if named else ["name"])]

    def read_labels(self, images: Images) -> Sequence[str]:
        return [*super().read_labels(images), *self.within, *self.apart]

    def declared_keys(self) -> Sequence[Key]:
        if self.conflict is None:
            return [self._key(self.concept, self.cue)]
        keys = [self._key(self.cue, rival) for rival in (_THIRD, self._object)]
        return [*keys, self._control_key(self.conflict), self._beyond_key] if self.control else keys

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        chosen = self._chosen(context)
        if self.conflict is not None:
            yield Condition(self._conflicting(self.conflict, self._named(chosen, context), context))
        else:
            yield Condition(self._treated(chosen, context) if self.treatments else context.everything)

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield for every anchor the share of triplets in which the first of the two is nearer."""
        chosen = self._chosen(context)
        if self.conflict is None:
            yield from self._between_labels(chosen, context)
        else:
            yield from self._between_words(self.conflict, chosen, context)

    def _chosen(self, context: ProbeContext) -> Images:
        context.require(*self._labels(), *self._present(self.within, context), *self._present(self.apart, context))
        return context.select(self.images)

    def _treated(self, chosen: Images, context: ProbeContext) -> Images:
        """Return the images with the treatments, each with one or with all."""
        dealt, seed = levels(self.treatments), context.session.seed
        if self.crossed:
            return cross(chosen, {self.cue: dealt}, seed=seed, donors=context.images)
        return assign(chosen, self.cue, dealt, seed=seed, donors=context.images)

    def _named(self, chosen: Images, context: ProbeContext) -> Images:
        """Return the images that have a name to draw."""
        named = chosen.take(i for i, row in enumerate(chosen.rows) if word_of(row))
        if len(named) < 2:
            raise NotApplicable(f"fewer than two images in '{context.images.name}' have a name to draw")
        return named

    def _conflicting(self, conflict: str, named: Images, context: ProbeContext) -> Images:
        """Return the images as they are, with the conflicting word, and with its control."""
        done = {_CONFLICT: Treatment.parse(conflict), _CLEAN: Treatment(None)}
        if self.control:
            done[_CONTROL] = Treatment.parse(self._controlled(conflict))
        factors = {"treatment": {name: [each] for name, each in done.items()}}
        return cross(named, factors, seed=context.session.seed, donors=named)

    def _between_labels(self, chosen: Images, context: ProbeContext) -> Iterator[Scores]:
        if self.treatments:
            embedded = context.embed(self._treated(chosen, context), self.cue)
        else:
            embedded = context.untouched(chosen)
        concepts, cues = embedded.label(self.concept), embedded.label(self.cue)
        everyone = np.ones(len(concepts), np.bool_)
        values = self._values(embedded, concepts, cues, everyone, context)
        (key,) = self.declared_keys()
        yield from _shares(key, values, embedded, context)

    def _between_words(self, conflict: str, chosen: Images, context: ProbeContext) -> Iterator[Scores]:
        """Anchors carry another concept's word; candidates are unchanged drawings of what it names, and of a rival.

        An encoder that cannot read prefers neither the word's concept nor a third one: 0.5. Under the control it is 0.5
        for every encoder, because no letter is left.
        """
        named = self._named(chosen, context)
        treatment = Treatment.parse(conflict)
        embedded = context.embed(self._conflicting(conflict, named, context), conflict)
        own = np.array([word_of(row) or "" for row in embedded.rows.rows])
        role = embedded.label("treatment")
        clean = role == _CLEAN
        drawn = np.array([row.labels.get("word", "") for row in embedded.rows.rows])
        words = np.where(clean, own, drawn)
        images = [row.labels[IMAGE] for row in embedded.rows.rows]
        by_image = _third_words(named, treatment, context.session.seed)
        third = np.where(clean, own, [by_image[image] for image in images])
        rivals = [(self._key(self.cue, _THIRD), _CONFLICT, third), (self._key(self.cue, self._object), _CONFLICT, own)]
        if self.control:
            rivals.append((self._control_key(conflict), _CONTROL, third))
        by_key: dict[Key, dict[str, ScoreArray]] = {}
        for key, anchors, concepts in rivals:
            values = self._values(embedded, concepts, words, role == anchors, context, candidates=clean)
            by_key[key] = {name: 1 - each for name, each in values.items()}
            yield from _shares(key, by_key[key], embedded, context)
        if self.control:
            (word, *_), (shuffled, *_) = rivals[0], rivals[-1]
            controls = {image: i for i, image in enumerate(images) if role[i] == _CONTROL}
            rows = np.array([controls.get(image, -1) for image in images])
            beyond = {
                name: np.where(rows < 0, np.nan, each - by_key[shuffled][name][rows])
                for name, each in by_key[word].items()
            }
            yield from _shares(self._beyond_key, beyond, embedded, context, floor=0.0)

    def _values(
        self,
        embedded: EmbeddingSet,
        concepts: LabelArray,
        cues: LabelArray,
        anchors: NDArray[np.bool_],
        context: ProbeContext,
        *,
        candidates: NDArray[np.bool_] | None = None,
    ) -> dict[str, ScoreArray]:
        """Return by encoder each anchor's share of triplets in which the concept wins; NaN where there is none."""
        within, apart = (_joined(embedded, self._present(labels, context)) for labels in (self.within, self.apart))
        seed = context.session.seed
        shares = {
            name: preference(vectors, concepts, cues, within=within, apart=apart, candidates=candidates, seed=seed)
            for name, vectors in embedded.vectors.items()
        }
        return {name: np.where(anchors, values, np.nan) for name, values in shares.items()}

    def _labels(self) -> list[str]:
        """Return the labels that images must have before anything is done to them."""
        cue = [] if self.treatments or self.conflict else [self.cue]
        return [*([] if self.conflict else [self.concept]), *cue]

    def _present(self, labels: Sequence[str], context: ProbeContext) -> list[str]:
        """Return those of the labels that an image has; what no image has holds no candidate back."""
        return [label for label in labels if not context.images.lacks(label)]

    @property
    def _object(self) -> str:
        return f"the {self.concept}"

    def _controlled(self, conflict: str) -> str:
        """Return the control of the conflict as a treatment: ``word-conflicts/shuffled 0.8``."""
        name, _, strength = conflict.partition(" ")
        return f"{name}/{self.control} {strength}"

    def _control_key(self, conflict: str) -> Key:
        done = Treatment.parse(self._controlled(conflict))
        return replace(self._key(self.cue, _THIRD), condition=done.intervention, strength=done.strength)

    @property
    def _beyond_key(self) -> Key:
        return self._key(self.cue, f"{_THIRD}, {BEYOND_CONTROL}")

    def _key(self, preferred: str, rival: str) -> Key:
        return Key(kind=self.kind, target=preferred, variant=rival)


def _third_words(images: Images, conflict: Treatment, seed: int) -> dict[str, str]:
    """Return for every image, by its key, the word of a third concept; where there is none, the word drawn into it.

    It is another draw of the word that conflicts with the image. So the two words may as well be exchanged, and an
    encoder that cannot read is as near to what the one names as to what the other names, whatever else it sees: both
    name nothing of the object's category, and are of similar length.
    """

    def draw(seed: int) -> list[str]:
        changed = intervene(images, conflict.intervention or "", conflict.strength, seed=seed, donors=images)
        return [row.labels.get("word", "") for row in changed.rows]

    drawn = draw(seed)
    third = list(drawn)
    for attempt in range(1, _ATTEMPTS):
        if all(word != other for word, other in zip(drawn, third, strict=True)):
            break
        for i, other in enumerate(draw(seed + attempt * _STRIDE)):
            if third[i] == drawn[i] and not parts_of(other) & parts_of(drawn[i]):
                third[i] = other
    return {row.key: word for row, word in zip(images.rows, third, strict=True)}


def _shares(
    key: Key, values: dict[str, ScoreArray], embedded: EmbeddingSet, context: ProbeContext, *, floor: float = 0.5
) -> Iterator[Scores]:
    groups = context.groups(embedded.rows)
    return context.scored(key, values, embedded.keys(), groups, unit="share of triplets", floor=floor)


def _joined(embedded: EmbeddingSet, labels: list[str]) -> LabelArray | None:
    """Join several labels into one."""
    if not labels:
        return None
    return np.array(["\0".join(each) for each in zip(*(embedded.label(name) for name in labels), strict=True)])
