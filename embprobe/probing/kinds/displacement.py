"""Displacement: how far embeddings move when images are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Self

from embprobe.images.rows import Images
from embprobe.interventions import check_strength, find_intervention
from embprobe.interventions.treatments import Treatment
from embprobe.measures.displacement import displacement_influence, displacement_percentile_effects
from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import BEYOND_CONTROL, CONTROL, PERCENTILE, Key
from embprobe.probing.measure import Condition, Measure, Strengths
from embprobe.probing.pattern import KeyPattern
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
    """The change whose displacement is subtracted image by image: one of the intervention's controls (``blur``), at
    the same strength, or a treatment with a strength of its own (``noise 0.05``)."""

    def check(self) -> None:
        for strength in dict.fromkeys(self.strengths):
            check_strength(find_intervention(self.intervention), strength)
            for name, of_control in self._changes(strength)[1:]:
                check_strength(find_intervention(name), of_control)

    def declared_keys(self) -> Sequence[Key]:
        return [self._key(variant, strength) for variant in self._variants for strength in self.strengths]

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        chosen = context.select(self.images)
        yield Condition(chosen)
        for name, size in (change for strength in dict.fromkeys(self.strengths) for change in self._changes(strength)):
            yield Condition(context.intervene(chosen, name, size))

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield one key after the other, each for all strengths."""
        chosen = context.select(self.images)
        before = context.embed(chosen, "as they are")
        by_variant: dict[str | None, list[Scores]] = {variant: [] for variant in self._variants}
        impossible: dict[float, NotApplicable] = {}
        for strength in dict.fromkeys(self.strengths):
            try:
                shared, afters = self._changed(strength, before, chosen, context)
            except NotApplicable as reason:
                impossible[strength] = reason
                continue
            at_shared, groups = [after.at(shared.keys()) for after in afters], context.groups(shared.rows)
            for variant, scores in self._by_variant(shared, at_shared, groups, context.session.seed).items():
                by_variant[variant] += context.scored(
                    self._key(variant, strength),
                    scores,
                    shared.keys(),
                    groups,
                    unit=_SHARE if variant == PERCENTILE else DISTANCE,
                    floor=0.0,
                )
        if len(impossible) == len(set(self.strengths)):
            raise next(iter(impossible.values()))
        for scores_of_variant in by_variant.values():
            yield from scores_of_variant
        for strength, failure in impossible.items():
            context.note(f"{self.kind} by {self.intervention} {strength:g}: {str(failure).removesuffix('.')}")

    def _changed(
        self, strength: float, before: EmbeddingSet, chosen: Images, context: ProbeContext
    ) -> tuple[EmbeddingSet, list[EmbeddingSet]]:
        """Return those of the images that can be changed as they are, and under the intervention and its control."""
        changes = self._changes(strength)
        afters = [context.embed(context.intervene(chosen, name, size), f"{name} {size:g}") for name, size in changes]
        shared = before.restricted_to(*afters)
        if len(shared.rows) < 2:
            raise NotApplicable(
                f"fewer than two images of '{context.images.name}' can be changed by {self.intervention} "
                f"{strength:g} and by its control {self.control}"
            )
        return shared, afters

    def brief(self, needed: Sequence[KeyPattern]) -> Self:
        """Return it with the needed strengths only; with all of them where none is named."""
        declared = self.declared_keys()
        strengths = {key.strength for pattern in needed if (key := pattern.find(declared, folds=""))}
        kept = [strength for strength in self.strengths if strength in strengths]
        return self.model_copy(update={"strengths": kept}) if kept else self

    @property
    def _variants(self) -> list[str | None]:
        return [self._beyond, None, self._by_control, PERCENTILE] if self.control else [None, PERCENTILE]

    @property
    def _treatment(self) -> Treatment | None:
        """The control, where it is a treatment of its own and none of the intervention's controls."""
        return Treatment.parse(self.control) if self.control and " " in self.control else None

    @property
    def _beyond(self) -> str:
        return f"beyond {self._treatment}" if self._treatment else BEYOND_CONTROL

    @property
    def _by_control(self) -> str:
        return f"under {self._treatment}" if self._treatment else CONTROL

    def _changes(self, strength: float) -> list[tuple[str, float]]:
        """Return the intervention with its strength and, if there is one, the control with its own."""
        changes = [(self.intervention, strength)]
        if (treatment := self._treatment) is not None and treatment.intervention is not None:
            changes.append((treatment.intervention, treatment.strength))
        elif self.control:
            changes.append((f"{self.intervention}/{self.control}", strength))
        return changes

    def _by_variant(
        self, before: EmbeddingSet, afters: Sequence[EmbeddingSet], groups: Sequence[str], seed: int
    ) -> dict[str | None, dict[str, ScoreArray]]:
        """Return scores by variant and encoder, of the vectors under the intervention and, if any, its control."""
        values: dict[str | None, dict[str, ScoreArray]] = {variant: {} for variant in self._variants}
        percentiles = {}
        for name, original in before.vectors.items():
            if name not in afters[0].vectors:
                continue
            changed = [after.vectors[name] for after in afters]
            moved = [displacement_influence(original, each) for each in changed]
            values[None][name] = moved[0]
            percentiles[name] = displacement_percentile_effects(original, changed[0], groups, seed=seed)
            if len(moved) > 1:
                values[self._by_control][name] = moved[1]
                values[self._beyond][name] = moved[0] - moved[1]
        scores = influence_scores(list(percentiles.values()), groups)
        values[PERCENTILE] = dict(zip(percentiles, scores.T, strict=True))
        return values

    def _key(self, variant: str | None, strength: float) -> Key:
        return Key(kind=self.kind, target=self.intervention, variant=variant, strength=strength)
