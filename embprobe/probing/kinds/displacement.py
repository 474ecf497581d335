"""Displacement: how far embeddings move when images are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Self

from embprobe.interventions import check_strength, find_intervention
from embprobe.measures.displacement import displacement_influence, displacement_percentile_effects
from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.key import BEYOND_CONTROL, CONTROL, PERCENTILE, Key
from embprobe.probing.measure import Measure, Strengths
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

DISTANCE = "distance to an unrelated image"
_SHARE = "share of unrelated images nearer"


class Displacement(Measure):
    """How far embeddings move under an intervention, for each of its strengths, and under its control."""

    kind: Literal["displacement"]
    intervention: str
    strengths: Strengths
    control: str | None = None
    """Of the intervention's controls, the one whose displacement is subtracted image by image."""

    def check(self) -> None:
        intervention = find_intervention(self.intervention + (f"/{self.control}" if self.control else ""))
        for strength in self.strengths:
            check_strength(intervention, strength)

    def declared_keys(self) -> Sequence[Key]:
        return [self._key(variant, strength) for variant in self._variants for strength in self.strengths]

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield one key after the other, each for all strengths."""
        chosen = context.select(self.images)
        names = [self.intervention] + ([f"{self.intervention}/{self.control}"] if self.control else [])
        changed = {s: [context.intervene(chosen, name, s) for name in names] for s in self.strengths}
        before = context.embed(chosen, "as they are")
        by_variant: dict[str | None, list[Scores]] = {variant: [] for variant in self._variants}
        for strength, images in changed.items():
            activities = [f"{name} {strength:g}" for name in names]
            afters = [context.embed(each, activity) for each, activity in zip(images, activities, strict=True)]
            shared = before.restricted_to(*afters)
            groups = context.groups(shared.rows)
            values = _values(shared, [after.at(shared.keys()) for after in afters], groups, context.session.seed)
            for variant, scores in values.items():
                by_variant[variant] += context.scored(
                    self._key(variant, strength),
                    scores,
                    shared.keys(),
                    groups,
                    unit=_SHARE if variant == PERCENTILE else DISTANCE,
                )
        for scores_of_variant in by_variant.values():
            yield from scores_of_variant

    def brief(self, strength: float | None) -> Self:
        return self.model_copy(update={"strengths": [strength]}) if strength in self.strengths else self

    @property
    def _variants(self) -> list[str | None]:
        return [BEYOND_CONTROL, None, CONTROL, PERCENTILE] if self.control else [None, PERCENTILE]

    def _key(self, variant: str | None, strength: float) -> Key:
        return Key(kind=self.kind, target=self.intervention, variant=variant, strength=strength)


def _values(
    before: EmbeddingSet, afters: list[EmbeddingSet], groups: Sequence[str], seed: int
) -> dict[str | None, dict[str, ScoreArray]]:
    """Return scores by variant and encoder, from the vectors under the intervention and, if any, under its control."""
    values: dict[str | None, dict[str, ScoreArray]] = {}
    percentiles = {}
    for name in afters[0].vectors:
        original = before.vectors[name]
        moved = [displacement_influence(original, after.vectors[name]) for after in afters]
        values.setdefault(None, {})[name] = moved[0]
        percentiles[name] = displacement_percentile_effects(original, afters[0].vectors[name], groups, seed=seed)
        if len(moved) > 1:
            values.setdefault(CONTROL, {})[name] = moved[1]
            values.setdefault(BEYOND_CONTROL, {})[name] = moved[0] - moved[1]
    scores = influence_scores(list(percentiles.values()), groups)
    values[PERCENTILE] = dict(zip(percentiles, scores.T, strict=True))
    return values
