"""What share of the variance each factor of a balanced design explains: what a card's ``variance`` asks."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

import numpy as np

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.images.rows import Images, Row
from embprobe.interventions.treatments import IMAGE, cross
from embprobe.measures.variance import permutation_p, variance_shares
from embprobe.measures.vectors import LabelArray
from embprobe.probing.card import Variance
from embprobe.probing.context import Asked, NotApplicable, levels, scored
from embprobe.probing.results import Scores

REST = "rest"


def ask(measure: Variance, asked: Asked) -> Iterator[Scores]:
    """For every value of the unit a jackknife pseudo-value of each share, and a permutation test of each factor."""
    design = _design(measure, asked)
    embedded = asked.embed(design, "balanced design")
    names = _present(measure, asked)
    embedded = _balanced(embedded, names, measure.unit)
    factors = _factors(embedded, names)
    units = np.unique(factors[measure.unit]).tolist()
    shares = {name: variance_shares(vectors, factors, unit=measure.unit) for name, vectors in embedded.vectors.items()}
    for factor in measure.of:
        p = {
            name: permutation_p(vectors, factors, factor, seed=asked.session.seed)
            for name, vectors in embedded.vectors.items()
            if factor != REST
        }
        values = {name: each[factor] for name, each in shares.items()}
        yield from scored(f"variance share of {factor}", values, units, units, unit="share of the variance", p=p)


def check(measure: Variance) -> None:
    """Raise :class:`UsageError` for a treatment that does not exist."""
    for each in measure.factors.values():
        if not isinstance(each, str):
            levels(each)


def _present(measure: Variance, asked: Asked) -> list[str]:
    """The factors that there are: one that is a label no image has is done without, unless it is asked for."""
    there = []
    for name, each in measure.factors.items():
        if not isinstance(each, str) or not asked.images.lacks(each) or name == measure.unit:
            there.append(name)
        elif name in measure.of:
            asked.require(each)
    return there


def _design(measure: Variance, asked: Asked) -> Images:
    """One row for each combination of the labels, of so many units; then every row under every treatment."""
    present = _present(measure, asked)
    given = {name: each for name, each in measure.factors.items() if isinstance(each, str) and name in present}
    chosen = asked.select(measure.images)
    for label in given.values():
        if not asked.images.lacks(label):
            chosen.label(label)  # an image that lacks it would be a value of its own
    by_unit: dict[str, dict[tuple[str, ...], Row]] = defaultdict(dict)
    for row in chosen.rows:
        values = {name: row.labels.get(label, row.key) for name, label in given.items()}
        others = tuple(value for name, value in values.items() if name != measure.unit)
        by_unit[values[measure.unit]].setdefault(others, row)
    combinations = {others for cells in by_unit.values() for others in cells}
    whole = sorted(unit for unit, cells in by_unit.items() if len(cells) == len(combinations))
    if len(whole) < 3:
        raise NotApplicable(
            f"fewer than three values of '{measure.unit}' have an image for every combination of the other factors"
        )
    order = np.random.default_rng(asked.session.seed).permutation(len(whole))[: measure.limit]
    rows = tuple(row for i in sorted(order) for row in by_unit[whole[i]].values())
    design = Images(f"{asked.images.name}+design", rows)
    for name, each in measure.factors.items():
        if not isinstance(each, str):
            design = cross(design, name, levels(each), seed=asked.session.seed, donors=asked.images)

    def labels(row: Row) -> Mapping[str, str]:
        return {
            **row.labels,
            **{name: row.labels.get(label, row.labels.get(IMAGE, row.key)) for name, label in given.items()},
        }

    return design.labelled(labels)


def _factors(embedded: EmbeddingSet, names: list[str]) -> dict[str, LabelArray]:
    return {name: embedded.label(name) for name in names}


def _balanced(embedded: EmbeddingSet, names: list[str], unit: str) -> EmbeddingSet:
    """Without the units of which an image could not be read."""
    factors = _factors(embedded, names)
    wanted = math.prod(len(np.unique(each)) for name, each in factors.items() if name != unit)
    values, coded, counts = np.unique(factors[unit], return_inverse=True, return_counts=True)
    if (counts == wanted).sum() < 3:
        raise NotApplicable(f"fewer than three values of '{unit}' have a readable image for every combination")
    return embedded.take(np.flatnonzero(counts[coded] == wanted).tolist())
