"""Variance: what share of the variance each factor of a balanced design explains."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Literal, Self

import numpy as np
from pydantic import BeforeValidator, Field, FiniteFloat, TypeAdapter, model_validator

from embprobe.images.rows import Images, Row
from embprobe.interventions.treatments import cross
from embprobe.measures.variance import permutation_p, plain_shares, variance_shares
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors
from embprobe.probing.context import NotApplicable
from embprobe.probing.key import Key
from embprobe.probing.measure import Condition, Labels, Measure, Treatments, levels
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
    most: Annotated[int, Field(gt=2)] | None = None
    """At most this many pictures in the design: as many values of the unit, at random, as fit, and at least three."""
    negligible: Annotated[FiniteFloat, Field(ge=0, lt=0.5)] = 0.0
    """A share of up to this counts as 0, one of twice this or more as it is: see :func:`beyond_negligible`."""

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

    def needed_labels(self, images: Images) -> Sequence[str]:
        shown = [self.factors[name] for name in self.of if name in self.factors and name != self.unit]
        return [factor for factor in shown if isinstance(factor, str)]

    def read_labels(self, images: Images) -> Sequence[str]:
        factors = [factor for factor in self.factors.values() if isinstance(factor, str)]
        return [*super().read_labels(images), *factors]

    def declared_keys(self) -> Sequence[Key]:
        return [Key(kind=self.kind, target=factor) for factor in self.of]

    def conditions(self, context: ProbeContext) -> Iterator[Condition]:
        yield Condition(self._design(context).images)

    def scores(self, context: ProbeContext) -> Iterator[Scores]:
        """Yield for every value of the unit a jackknife pseudo-value of each share, with a permutation test's p."""
        design = self._design(context)
        embedded = _balanced(context.embed(design.images, "balanced design"), design.factors, self.unit)
        factors = _factors(embedded, design.factors)
        units = np.unique(factors[self.unit]).tolist()
        shares = {name: self._shares(vectors, factors) for name, vectors in embedded.vectors.items()}
        for key in self.declared_keys():
            values = {name: shares_of[key.target] for name, shares_of in shares.items()}
            p = {
                name: permutation_p(vectors, factors, key.target, seed=context.session.seed)
                if not self.negligible or values[name].any()
                else 1.0
                for name, vectors in embedded.vectors.items()
                if key.target != REST
            }
            groups = [design.groups[unit] for unit in units]
            yield from context.scored(key, values, units, groups, unit="share of the variance", floor=0.0, p=p)

    def _shares(self, vectors: Vectors, factors: dict[str, LabelArray]) -> dict[str, ScoreArray]:
        """Return the pseudo-values of every share, those of factors without what is negligible."""
        shares = variance_shares(vectors, factors, unit=self.unit)
        if not self.negligible:
            return shares
        overall = plain_shares(vectors, factors)
        return {
            name: values if name == REST else beyond_negligible(values, overall[name], self.negligible)
            for name, values in shares.items()
        }

    def _design(self, context: ProbeContext) -> _Design:
        """Return one row for each combination of the labels of each chosen unit, each under every treatment.

        Where no image has the unit's label, or too few units have every combination, the images themselves are the
        units: each is crossed with the treatments, and factors that are labels, of which an image has one value, are
        done without.

        Raises:
            NotApplicable: There is no such design, or it has not the factors whose shares are to be shown.
        """
        chosen = context.select(self.images)
        labels = {name: factor for name, factor in self.factors.items() if isinstance(factor, str)}
        treatments = {name: levels(factor) for name, factor in self.factors.items() if not isinstance(factor, str)}
        for name in labels:
            if name in self.of and name != self.unit:
                context.require(labels[name])
        present = {name: label for name, label in labels.items() if not context.images.lacks(label)}
        for name, label in list(present.items()):
            values_of_label = set(chosen.label(label))  # an image that lacks it would be a value of its own
            if len(values_of_label) == 1 and name != self.unit:
                if name in self.of:
                    raise NotApplicable(f"all images have the {label} '{min(values_of_label)}'")
                del present[name]
        units = self._whole_units(chosen, present) if self.unit in present else []
        by_image = bool(treatments) and not set(self.of) & (present.keys() - {self.unit}) and len(units) < 3
        if by_image:
            for name in sorted(present.keys() - {self.unit}):
                context.note(f"the factor {name} of the variance shares: each image has one {present[name]}")
            present, units = {}, [[row] for row in chosen.rows]
        if len(units) < 3:
            raise NotApplicable(
                f"fewer than three values of '{self.unit}' have an image for every combination of the other factors"
            )
        cells = len(units[0]) * math.prod(len(values) for values in treatments.values())
        fitting = None if self.most is None else max(3, self.most // cells)
        count = min((most for most in (self.limit, fitting) if most is not None), default=len(units))
        order = np.random.default_rng(context.session.seed).permutation(len(units))[:count]
        rows = tuple(row for i in sorted(order) for row in units[i])
        design = replace(context.images, name=f"{context.images.name}+design", rows=rows, opened_as="")
        if treatments:
            design = cross(design, treatments, seed=context.session.seed, donors=context.images)
        values = [{self.unit: row.key} | {name: row.labels[label] for name, label in present.items()} for row in rows]
        labelled = (replace(row, labels={**row.labels, **values[i % len(rows)]}) for i, row in enumerate(design.rows))
        names = [name for name in self.factors if name in present or name in treatments or name == self.unit]
        groups = context.groups(replace(context.images, rows=rows))  # the unit's label may take the place of theirs
        of_units = {value[self.unit]: group for value, group in zip(values, groups, strict=True)}
        return _Design(replace(design, rows=tuple(labelled)), names, of_units)

    def _whole_units(self, chosen: Images, labels: dict[str, str]) -> list[list[Row]]:
        """Return for each value of the unit with every combination of the other labels one row of each."""
        by_unit: dict[str, dict[tuple[str, ...], Row]] = defaultdict(dict)
        for row in chosen.rows:
            others = tuple(row.labels[label] for name, label in labels.items() if name != self.unit)
            by_unit[row.labels[labels[self.unit]]].setdefault(others, row)
        combinations = {others for cells in by_unit.values() for others in cells}
        return [list(cells.values()) for _, cells in sorted(by_unit.items()) if len(cells) == len(combinations)]


@dataclass(frozen=True)
class _Design:
    """The rows of a balanced design, and its factors, which are labels of the rows."""

    images: Images
    factors: list[str]
    groups: dict[str, str]
    """By value of the unit, the value that it is resampled with."""


def beyond_negligible(values: ScoreArray, share: float, negligible: float) -> ScoreArray:
    """Return a share's jackknife pseudo-values with a share that is negligible counted as 0.

    A treatment is never perfectly pure: tints that keep Oklab's lightness still differ a little in the luma of another
    formula, and without noise the smallest difference is certain. So a share t and those without one unit are replaced
    by f(t): 0 up to ``negligible`` (b), t from 2 b, and 2 (t - b) between, which is firm thresholding (Gao and Bruce
    1997): continuous, and large shares stay what they are.

    Args:
        values: Pseudo-values C t - (C - 1) t_(-c) of one share, ``[C]``.
        share: The share t itself, over all rows.
        negligible: The bound b, above 0.

    Example:
        >>> beyond_negligible(np.array([0.004, 0.002, 0.003]), 0.003, 0.01).tolist()
        [0.0, 0.0, 0.0]
        >>> beyond_negligible(np.array([0.24, 0.2, 0.16]), 0.2, 0.01).round(9).tolist()
        [0.24, 0.2, 0.16]
    """
    count = len(values)
    without_one = (count * share - values) / (count - 1)

    def firm(t: ScoreArray) -> ScoreArray:
        return np.where(t >= 2 * negligible, t, 2 * np.maximum(t - negligible, 0))

    return np.asarray(count * firm(np.asarray(share)) - (count - 1) * firm(without_one))


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
