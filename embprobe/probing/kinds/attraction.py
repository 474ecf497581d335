"""Attraction: whether images that share an attribute are nearer to each other, whatever they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from embprobe.images.rows import Images
from embprobe.interventions.treatments import IMAGE, cross
from embprobe.measures.attraction import attraction, separable
from embprobe.measures.vectors import LabelArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import SHUFFLED, Key
from embprobe.probing.measure import Condition, Labels, Measure, Treatments, levels
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext


class Attraction(Measure):
    """How often, of two images of something else, the one that shares an image's attribute is the nearer one."""

    kind: Literal["attraction"]
    attribute: Labels
    """Labels of the attribute; the first that the images have counts. With treatments one name for it."""
    among: Labels
    """Labels of what images show; the first that they have counts. Both candidates have one other value of it."""
    treatments: Treatments = {}
    """What is done to images, by the value of the attribute; every image gets every treatment."""
    control_task: bool = False
    """Whether to measure again with the attribute's values shuffled among images that show the same: 0.5 for all."""

    def check(self) -> None:
        levels(self.treatments)

    def declared_keys(self) -> Sequence[Key]:
        conditions = [None, SHUFFLED] if self.control_task else [None]
        return [self._key(among, condition) for condition in conditions for among in self.among]

    def needed_labels(self, images: Images) -> Sequence[str]:
        labels = [self.among] if self.treatments else [self.attribute, self.among]
        chosen = [next((label for label in names if not images.lacks(label)), names[-1]) for names in labels]
        return [label for label in chosen if label != IMAGE]

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        self._label(context, self.among)
        chosen = context.select(self.images)
        if not self.treatments:
            self._label(context, self.attribute)
        yield Condition(self._treated(chosen, context) if self.treatments else context.everything)

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield for every image its influence value of the attraction."""
        among = self._label(context, self.among)
        chosen = context.select(self.images)
        if self.treatments:
            label = self.attribute[-1]
            embedded = context.embed(self._treated(chosen, context), label)
        else:
            label = self._label(context, self.attribute)
            embedded = context.untouched(chosen)
        attribute = embedded.label(label)
        content = self._content(embedded, among)
        if len(np.unique(attribute)) < 2:
            raise NotApplicable(f"all images have the {label} '{attribute[0]}', and there is no other to compare with")
        if not separable(attribute, content):
            raise NotApplicable(
                f"no {among} comes in two values of '{label}', or only one does, so {label} and {among} cannot be told "
                "apart"
            )
        yield from self._measured(self._key(among), embedded, attribute, content, context)
        if self.control_task:
            shuffled = _shuffled(attribute, content, context.session.seed)
            yield from self._measured(self._key(among, SHUFFLED), embedded, shuffled, content, context)

    def _treated(self, chosen: Images, context: ProbeContext) -> Images:
        """Return every image under every treatment."""
        dealt = {self.attribute[-1]: levels(self.treatments)}
        return cross(chosen, dealt, seed=context.session.seed, donors=context.images)

    def _measured(
        self, key: Key, embedded: EmbeddingSet, attribute: LabelArray, content: LabelArray, context: ProbeContext
    ) -> Iterator[Scores]:
        groups = context.groups(embedded.rows)
        values = {
            name: attraction(vectors, attribute, content, groups=groups) for name, vectors in embedded.vectors.items()
        }
        yield from context.scored(key, values, embedded.keys(), groups, unit="share of triplets", floor=0.5)

    def _label(self, context: ProbeContext, labels: Sequence[str]) -> str:
        """Return the first of the labels that the images have; every image must have it."""
        present = [label for label in labels if not context.images.lacks(label)]
        if not present and IMAGE in labels:
            return IMAGE
        if not present:
            names = " or ".join(f"'{label}'" for label in labels)
            raise NotApplicable(f"it needs the label {names}, which none of the images in '{context.images.name}' has")
        context.require(present[0])
        return present[0]

    def _content(self, embedded: EmbeddingSet, among: str) -> LabelArray:
        if among != IMAGE:
            return embedded.label(among)
        return np.array([row.labels.get(IMAGE, row.key) for row in embedded.rows.rows])

    def _key(self, among: str, condition: str | None = None) -> Key:
        return Key(kind=self.kind, target=self.attribute[-1], variant=f"another {among}", condition=condition)


def _shuffled(attribute: LabelArray, content: LabelArray, seed: int) -> LabelArray:
    """Shuffle the values of the attribute among the images of each content."""
    rng = np.random.default_rng(seed)
    shuffled = attribute.copy()
    for value in np.unique(content):
        rows = np.flatnonzero(content == value)
        shuffled[rows] = attribute[rng.permutation(rows)]
    return shuffled
