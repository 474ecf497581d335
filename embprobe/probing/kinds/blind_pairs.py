"""Blind pairs: an image and a plainly different version of it that an encoder takes for the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from embprobe.images.rows import Images
from embprobe.interventions.treatments import Treatment
from embprobe.measures.blind_pairs import MMVP_COSINE, alike_pairs, blind_pairs
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.measure import Condition, Labels, Measure
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.probing.context import ProbeContext


class BlindPairs(Measure):
    """How often nuisances move an image farther than a plain change does, and how often the two stay alike."""

    kind: Literal["blind-pairs"]
    pattern: str
    """The name of the difference: ``orientation``."""
    before: str = "none"
    """The treatment of the first image of a pair."""
    after: str
    """The treatment of the second image of a pair, which differs plainly from the first."""
    nuisances: Labels = ["crop 0.05", "jpeg 80", "noise 0.05"]
    """Treatments of the first image that leave everything that could be asked as it is."""
    cosine: Annotated[float, Field(gt=-1, lt=1)] = MMVP_COSINE
    """The cosine above which a pair counts as alike, whatever the encoder's scale."""

    def check(self) -> None:
        for treatment in (self.before, self.after, *self.nuisances):
            Treatment.parse(treatment)

    def declared_keys(self) -> Sequence[Key]:
        return [self._key(), self._key(self._alike)]

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        yield from map(Condition, self._versions(context))

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield the share of nuisances that move images farther, then the share of pairs that are alike by cosine."""
        activities = [self.before, self.after, *(f"{self.before}, {nuisance}" for nuisance in self.nuisances)]
        original, *versions = (
            context.embed(images, activity)
            for images, activity in zip(self._versions(context), activities, strict=True)
        )
        shared = original.restricted_to(*versions)
        if not len(shared.rows):
            raise NotApplicable(f"no image of '{context.images.name}' can be changed by {self.after}")
        changed, *disturbed = (each.at(shared.keys()).vectors for each in versions)
        blind: dict[str, ScoreArray] = {}
        alike: dict[str, ScoreArray] = {}
        for name, vectors in shared.vectors.items():
            blind[name] = blind_pairs(vectors, changed[name], [each[name] for each in disturbed])
            alike[name] = alike_pairs(vectors, changed[name], above=self.cosine)
        groups = context.groups(shared.rows)
        yield from context.scored(
            self._key(), blind, shared.keys(), groups, unit="share of nuisances that move farther"
        )
        yield from context.scored(self._key(self._alike), alike, shared.keys(), groups, unit="share of pairs")

    def _versions(self, context: ProbeContext) -> list[Images]:
        """Return the first images of the pairs, the second ones, and the first ones under each nuisance."""
        chosen = context.select(self.images)
        before = context.treated(chosen, self.before)
        return [
            before,
            context.treated(chosen, self.after),
            *(context.treated(before, nuisance) for nuisance in self.nuisances),
        ]

    @property
    def _alike(self) -> str:
        return f"cosine above {self.cosine:g}"

    def _key(self, variant: str | None = None) -> Key:
        return Key(kind=self.kind, target=self.pattern, variant=variant)
