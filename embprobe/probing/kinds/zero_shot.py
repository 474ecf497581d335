"""Zero-shot: which name an encoder with text gives an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from pydantic import Field

from embprobe.images.rows import Images
from embprobe.interventions.treatments import Treatment
from embprobe.measures.decoding import correct, guess_majority
from embprobe.measures.retrieval import recall_at_k
from embprobe.measures.vectors import LabelArray, Vectors
from embprobe.measures.zero_shot import class_vectors, predict_zero_shot
from embprobe.probing.context import GUESSING, NotApplicable
from embprobe.probing.key import ACCURACY, Key
from embprobe.probing.measure import Condition, Labels, Measure
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

Classes = Mapping[str, Vectors]
"""By encoder, one vector per name, ``[c, d]``."""


class ZeroShot(Measure):
    """Which name an encoder with text gives an image, and which image it finds for a name."""

    kind: Literal["zero-shot"]
    label: str
    templates: Labels = ["{}"]
    k: list[Annotated[int, Field(ge=1)]] = [1, 5]
    """For recall@k of names by images and of images by names."""
    treatments: Labels = ["none"]
    """What is done to the images."""

    def check(self) -> None:
        for treatment in self.treatments:
            Treatment.parse(treatment)

    def needed_labels(self, images: Images) -> Sequence[str]:
        return [self.label]

    def declared_keys(self) -> Sequence[Key]:
        keys = []
        for treatment in map(Treatment.parse, self.treatments):
            keys.append(self._accuracy(treatment))
            if treatment.intervention is None:
                keys += [key for k in self.k for key in self._recalls(k)]
        return keys

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        chosen = self._chosen(context)
        for text in self.treatments:
            treated = self._treated(chosen, text, context)
            yield Condition(context.everything if treated is None else treated)

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield accuracy under every treatment, of encoders with text; on unchanged images also recall@k both ways."""
        chosen = self._chosen(context)
        names = np.unique(chosen.label(self.label))
        texts = context.texts([template.replace("{}", name) for name in names.tolist() for template in self.templates])
        classes = {
            encoder: class_vectors(each.reshape(len(names), len(self.templates), -1)) for encoder, each in texts.items()
        }
        for text in self.treatments:
            treatment = Treatment.parse(text)
            treated = self._treated(chosen, text, context)
            embedded = context.untouched(chosen) if treated is None else context.embed(treated, text)
            yield from self._named(treatment, embedded, classes, names, context)
            if treatment.intervention is None:
                yield from self._retrieved(embedded, classes, names, context)

    def _chosen(self, context: ProbeContext) -> Images:
        context.require(self.label)
        if not any(encoder.spec.has_text for encoder in context.encoders):
            raise NotApplicable("none of the encoders has a text side")
        return context.select(self.images)

    def _treated(self, chosen: Images, text: str, context: ProbeContext) -> Images | None:
        """Return the images under a treatment; None if they are embedded as they are, with all others.

        Of few images the vectors of all are not needed.
        """
        plain = Treatment.parse(text).intervention is None and self.images.limit is None
        return None if plain else context.treated(chosen, text)

    def _named(
        self, treatment: Treatment, embedded: EmbeddingSet, classes: Classes, names: LabelArray, context: ProbeContext
    ) -> Iterator[Scores]:
        truth = embedded.label(self.label)
        values = {
            encoder: correct(predict_zero_shot(embedded.vectors[encoder], vectors, names), truth)
            for encoder, vectors in classes.items()
        }
        values[GUESSING] = guess_majority(truth)
        floor = float(values[GUESSING].mean())
        groups = context.groups(embedded.rows)
        key = self._accuracy(treatment)
        yield from context.scored(key, values, embedded.keys(), groups, unit="accuracy", floor=floor)

    def _retrieved(
        self, embedded: EmbeddingSet, classes: Classes, names: LabelArray, context: ProbeContext
    ) -> Iterator[Scores]:
        truth, groups = embedded.label(self.label), context.groups(embedded.rows)
        of_name = dict(zip(truth.tolist(), groups, strict=True))
        kept = np.flatnonzero(np.isin(names, truth))
        queries = names[kept].tolist()
        for k in (k for k in self.k if k < min(len(names), len(truth))):  # of so few, every k-th finds everything
            by_images, by_names = self._recalls(k)
            values = {e: recall_at_k(embedded.vectors[e], v, truth, names, k=k) for e, v in classes.items()}
            yield from context.scored(by_images, values, embedded.keys(), groups, unit="share of images")
            values = {e: recall_at_k(v[kept], embedded.vectors[e], names[kept], truth, k=k) for e, v in classes.items()}
            groups_of_names = [of_name[name] for name in queries]
            yield from context.scored(by_names, values, queries, groups_of_names, unit="share of names")

    def _accuracy(self, treatment: Treatment) -> Key:
        condition = treatment.intervention
        strength = None if condition is None else treatment.strength
        return Key(kind=self.kind, target=self.label, variant=ACCURACY, condition=condition, strength=strength)

    def _recalls(self, k: int) -> tuple[Key, Key]:
        by_images, by_names = f"recall@{k} of names by images", f"recall@{k} of images by names"
        return (
            Key(kind=self.kind, target=self.label, variant=by_images),
            Key(kind=self.kind, target=self.label, variant=by_names),
        )
