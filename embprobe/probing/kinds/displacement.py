"""Displacement: how far embeddings move when images are changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Literal, Self

from embprobe.interventions import check_strength, find_intervention
from embprobe.interventions.treatments import Treatment
from embprobe.measures.displacement import displacement, displacement_percentile
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.context import NotApplicable
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
    """The change whose displacement is subtracted image by image: one of the intervention's controls (``blur``), at
    the same strength, or a treatment with a strength of its own (``noise 0.05``)."""

    def check(self) -> None:
        for strength in self.strengths:
            check_strength(find_intervention(self.intervention), strength)
            for name, of_control in self._changes(strength)[1:]:
                check_strength(find_intervention(name), of_control)

    def declared_keys(self) -> Sequence[Key]:
        return [self._key(variant, strength) for variant in self._variants for strength in self.strengths]

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield one key after the other, each for all strengths."""
        chosen = context.select(self.images)
        before = context.embed(chosen, "as they are")
        by_variant: dict[str | None, list[Scores]] = {variant: [] for variant in self._variants}
        for strength in dict.fromkeys(self.strengths):
            afters = [
                context.embed(context.intervene(chosen, name, size), f"{name} {size:g}")
                for name, size in self._changes(strength)
            ]
            shared = before.restricted_to(*afters)
            if len(shared.rows) < 2:
                raise NotApplicable(
                    f"fewer than two images of '{context.images.name}' can be changed by {self.intervention} "
                    f"{strength:g} and by its control {self.control}"
                )
            at_shared = [after.at(shared.keys()) for after in afters]
            for variant, scores in self._by_variant(shared, at_shared, context.session.seed).items():
                by_variant[variant] += context.scored(
                    self._key(variant, strength),
                    scores,
                    shared.keys(),
                    context.groups(shared.rows),
                    unit=_SHARE if variant == PERCENTILE else DISTANCE,
                )
        for scores_of_variant in by_variant.values():
            yield from scores_of_variant

    def brief(self, strength: float | None) -> Self:
        return self.model_copy(update={"strengths": [strength]}) if strength in self.strengths else self

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
        self, before: EmbeddingSet, afters: Sequence[EmbeddingSet], seed: int
    ) -> dict[str | None, dict[str, ScoreArray]]:
        """Return scores by variant and encoder, of the vectors under the intervention and, if any, its control."""
        values: dict[str | None, dict[str, ScoreArray]] = {variant: {} for variant in self._variants}
        for name, original in before.vectors.items():
            if name not in afters[0].vectors:
                continue
            changed = [after.vectors[name] for after in afters]
            moved = [displacement(original, each) for each in changed]
            values[None][name] = moved[0]
            values[PERCENTILE][name] = displacement_percentile(original, changed[0], seed=seed)
            if len(moved) > 1:
                values[self._by_control][name] = moved[1]
                values[self._beyond][name] = moved[0] - moved[1]
        return values

    def _key(self, variant: str | None, strength: float) -> Key:
        return Key(kind=self.kind, target=self.intervention, variant=variant, strength=strength)
