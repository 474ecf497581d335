"""Variance: what share of the variance each factor of a balanced design explains."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, TypeAdapter, model_validator

from embprobe.images.rows import Images, Row
from embprobe.interventions.treatments import IMAGE, cross
from embprobe.measures.variance import permutation_p, variance_shares
from embprobe.measures.vectors import LabelArray
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.measure import Labels, Measure, Treatments, levels
from embprobe.probing.scores import Scores

if TYPE_CHECKING:
    from embprobe.embeddings.embedding_set import EmbeddingSet
    from embprobe.probing.context import ProbeContext

REST = "rest"
_LEVELS = TypeAdapter[Treatments](Annotated[Treatments, Field(min_length=2)])
Factor = Annotated[
    str | Treatments,
    BeforeValidator(lambda value: value if isinstance(value, str) else _LEVELS.validate_python(value)),
]
"""A label, or treatments by level."""


class Variance(Measure):
    """How much of the variance each factor of a balanced design explains."""

    kind: Literal["variance"]
    unit: str
    """The factor whose values are resampled."""
    factors: Annotated[dict[str, Factor], Field(min_length=2)]
    of: Labels
    """The factors whose shares are shown, ``rest`` among them."""
    limit: Annotated[int, Field(gt=2)] | None = None
    """At most this many values of the unit, at random."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.unit not in self.factors:
            raise ValueError("unit must be one of the factors")
        if unknown := set(self.of) - {*self.factors, REST}:
            raise ValueError(f"of may only have factors and 'rest', not {', '.join(sorted(unknown))}")
        return self

    def check(self) -> None:
        for factor in self.factors.values():
            if not isinstance(factor, str):
                levels(factor)

    def declared_keys(self) -> Sequence[Key]:
        return [Key(kind=self.kind, target=factor) for factor in self.of]

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield for every value of the unit a jackknife pseudo-value of each share, with a permutation test's p."""
        design = self._design(context)
        embedded = context.embed(design, "balanced design")
        names = self._present(context)
        embedded = _balanced(embedded, names, self.unit)
        factors = _factors(embedded, names)
        units = np.unique(factors[self.unit]).tolist()
        shares = {name: variance_shares(each, factors, unit=self.unit) for name, each in embedded.vectors.items()}
        for key in self.declared_keys():
            p = {
                name: permutation_p(vectors, factors, key.target, seed=context.session.seed)
                for name, vectors in embedded.vectors.items()
                if key.target != REST
            }
            values = {name: each[key.target] for name, each in shares.items()}
            yield from context.scored(key, values, units, units, unit="share of the variance", floor=0.0, p=p)

    def _present(self, context: ProbeContext) -> list[str]:
        """Return the factors that there are; one whose label no image has is done without, unless it is in ``of``."""
        present = []
        for name, factor in self.factors.items():
            if not isinstance(factor, str) or not context.images.lacks(factor) or name == self.unit:
                present.append(name)
            elif name in self.of:
                context.require(factor)
        return present

    def _design(self, context: ProbeContext) -> Images:
        """Return one row for each combination of the labels of each chosen unit, each under every treatment."""
        present = self._present(context)
        given = {name: each for name, each in self.factors.items() if isinstance(each, str) and name in present}
        chosen = context.select(self.images)
        for label in given.values():
            if not context.images.lacks(label):
                chosen.label(label)  # an image that lacks it would be a value of its own
        by_unit: dict[str, dict[tuple[str, ...], Row]] = defaultdict(dict)
        for row in chosen.rows:
            values = {name: row.labels.get(label, row.key) for name, label in given.items()}
            others = tuple(value for name, value in values.items() if name != self.unit)
            by_unit[values[self.unit]].setdefault(others, row)
        combinations = {others for cells in by_unit.values() for others in cells}
        whole = sorted(unit for unit, cells in by_unit.items() if len(cells) == len(combinations))
        if len(whole) < 3:
            raise NotApplicable(
                f"fewer than three values of '{self.unit}' have an image for every combination of the other factors"
            )
        order = np.random.default_rng(context.session.seed).permutation(len(whole))[: self.limit]
        rows = tuple(row for i in sorted(order) for row in by_unit[whole[i]].values())
        design = replace(context.images, name=f"{context.images.name}+design", rows=rows, opened_as="")
        for name, factor in self.factors.items():
            if not isinstance(factor, str):
                design = cross(design, name, levels(factor), seed=context.session.seed, donors=context.images)

        def labels(row: Row) -> Mapping[str, str]:
            return {
                **row.labels,
                **{name: row.labels.get(label, row.labels.get(IMAGE, row.key)) for name, label in given.items()},
            }

        return design.labelled(labels)


def _factors(embedded: EmbeddingSet, names: list[str]) -> dict[str, LabelArray]:
    return {name: embedded.label(name) for name in names}


def _balanced(embedded: EmbeddingSet, names: list[str], unit: str) -> EmbeddingSet:
    """Return the rows without units of which an image could not be read."""
    factors = _factors(embedded, names)
    combinations = math.prod(len(np.unique(labels)) for name, labels in factors.items() if name != unit)
    _, coded, counts = np.unique(factors[unit], return_inverse=True, return_counts=True)
    if (counts == combinations).sum() < 3:
        raise NotApplicable(f"fewer than three values of '{unit}' have a readable image for every combination")
    return embedded.take(np.flatnonzero(counts[coded] == combinations).tolist())
