"""Treatments: rows that are changed in different ways within one set of images, and labelled with what was done."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from embprobe.errors import UsageError
from embprobe.images.rows import Images, Row
from embprobe.interventions.apply import check_strength, intervene
from embprobe.interventions.registry import find_intervention

IMAGE = "image"
"""The label of a treated row that holds the key of the image it was made from."""
_FORM = re.compile(r"(\S+) (-?\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Treatment:
    """An intervention and its strength, or nothing done (``None``)."""

    intervention: str | None
    strength: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """``hue 120``, ``word=thus 0.6`` or ``none``; raises :class:`UsageError` for anything else."""
        if text == "none":
            return cls(None)
        found = _FORM.fullmatch(text)
        if found is None:
            raise UsageError(f"'{text}' is no treatment: say 'none', or an intervention and a strength, 'hue 120'.")
        name, strength = found.group(1), float(found.group(2))
        check_strength(find_intervention(name), strength)
        return cls(name, strength)

    def __str__(self) -> str:
        if self.intervention is None:
            return "none"
        return f"{self.intervention} {np.format_float_positional(self.strength, trim='-')}"


Levels = Mapping[str, Sequence[Treatment]]
"""By the value of the label, what is done to a row that gets it; one of several where there are several."""


def assign(images: Images, label: str, levels: Levels, *, seed: int, donors: Images) -> Images:
    """Every row under one of the treatments, as many rows (but for one) under each value, and under each of its own.

    Which row gets which is random, given the seed. The value becomes the row's label ``label``.
    """
    choices = _dealt(levels)
    # with the seed alone, two labels would be dealt alike, and folds that a caller makes with the same seed, too
    rng = np.random.default_rng([seed, *label.encode("utf-8", "surrogatepass")])
    dealt = rng.permutation(len(images)) % len(choices)
    rows: list[Row] = list(images.rows)
    for number, (value, treatment) in enumerate(choices):
        mine = np.flatnonzero(dealt == number).tolist()
        changed = _treated(images.take(mine), treatment, seed, donors)
        for i, row in zip(mine, changed.rows, strict=True):
            rows[i] = _labelled(row, row.key, label, value)
    return replace(images, name=f"{images.name}+{label}@{seed}", rows=tuple(rows), opened_as="")


def cross(images: Images, label: str, levels: Levels, *, seed: int, donors: Images) -> Images:
    """Every row under the first treatment of every value: as many times as many rows, with keys ``KEY|VALUE``.

    What is random in a treatment is the same for a row at every level: the same face and place for every word.
    """
    _check(levels)
    rows: list[Row] = []
    for value, (treatment, *_) in levels.items():
        changed = _treated(images, treatment, seed, donors)
        rows += [_labelled(row, f"{row.key}|{value}", label, value) for row in changed.rows]
    return replace(images, name=f"{images.name}+{label}s@{seed}", rows=tuple(rows), opened_as="")


def repeat(images: Images, times: int) -> Images:
    """Every row so many times, with keys ``KEY#1``, ``KEY#2`` …: few images get several treatments each."""
    rows = (
        replace(row, key=f"{row.key}#{i}", labels={IMAGE: row.key, **row.labels})
        for i in range(1, times + 1)
        for row in images.rows
    )
    return replace(images, rows=tuple(rows), opened_as="")


def _dealt(levels: Levels) -> list[tuple[str, Treatment]]:
    """Values with their treatments, each value as often as any other."""
    _check(levels)
    most = math.lcm(*(len(treatments) for treatments in levels.values()))
    return [(value, treatments[i % len(treatments)]) for i in range(most) for value, treatments in levels.items()]


def _check(levels: Levels) -> None:
    if not levels or not all(levels.values()):
        raise ValueError("there must be levels, and a treatment for each")


def _treated(images: Images, treatment: Treatment, seed: int, donors: Images) -> Images:
    if treatment.intervention is None:
        return images
    return intervene(images, treatment.intervention, treatment.strength, seed=seed, donors=donors)


def _labelled(row: Row, key: str, label: str, value: str) -> Row:
    return replace(row, key=key, labels={IMAGE: row.key, **row.labels, label: value})
