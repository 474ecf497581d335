"""Treatments: change the rows of one set in different ways, and label each row with its treatment."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from embprobe.errors import UsageError
from embprobe.images import groups
from embprobe.images.columns import Label, texts_of
from embprobe.images.rows import Images
from embprobe.interventions.apply import check_strength, intervene
from embprobe.interventions.registry import find_intervention

IMAGE = groups.IMAGE
"""The label of a treated row that holds the key of the image it was made from."""
_FORM = re.compile(r"(\S+) (-?\d+(?:\.\d+)?)")
"""An intervention and a strength."""


@dataclass(frozen=True)
class Treatment:
    """An intervention and its strength, or no change at all (``None``)."""

    intervention: str | None
    strength: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``hue 120``, ``word=thus 0.6`` or ``none``.

        Raises:
            UsageError: The text has another form, the intervention is not known or the strength is out of its range.

        Example:
            >>> Treatment.parse("hue 120")
            Treatment(intervention='hue', strength=120.0)
        """
        if text == "none":
            return cls(None)
        match = _FORM.fullmatch(text)
        if match is None:
            raise UsageError(f"'{text}' is no treatment: say 'none', or an intervention and a strength, 'hue 120'.")
        name, strength = match.group(1), float(match.group(2))
        check_strength(find_intervention(name), strength)
        return cls(name, strength)

    def __str__(self) -> str:
        if self.intervention is None:
            return "none"
        return f"{self.intervention} {np.format_float_positional(self.strength, trim='-')}"


Levels = Mapping[str, Sequence[Treatment]]
"""For each value of the label, the treatments of the rows that get this value; each row gets one of them."""


def assign(images: Images, label: str, levels: Levels, *, seed: int, donors: Images) -> Images:
    """Give every row one treatment at random; the number of rows differs by one at most from value to value.

    Args:
        images: The rows to treat; their number stays.
        label: The label that holds the value behind a row's treatment.
        levels: Treatments by value. Where a value has several, its rows are shared among them evenly.
        seed: Decides which row gets which treatment, and all that is random in the treatments.
        donors: The rows that words, palettes and other drawings are taken from.

    Returns:
        The treated rows in the same order, with the labels ``label`` and ``image`` (the key of the untreated row).

    Raises:
        ValueError: There are no levels, or a level has no treatment.
        UsageError: An intervention is not known, or its strength is out of range.

    Example:
        >>> from embprobe.images import load_images
        >>> cats = load_images("bundled/emoji").where(concept="1f431")
        >>> levels = {"plain": [Treatment(None)], "grey": [Treatment("greyscale", 1)]}
        >>> sorted(assign(cats, "look", levels, seed=0, donors=cats).label("look"))
        ['grey', 'grey', 'grey', 'plain', 'plain', 'plain']
    """
    choices = _dealt(levels)
    # with the seed alone, two labels would be dealt alike, and folds that a caller makes with the same seed, too
    rng = np.random.default_rng([seed, *label.encode("utf-8", "surrogatepass")])
    dealt = rng.permutation(len(images)) % len(choices)
    parts, order = [], []
    for number, (value, treatment) in enumerate(choices):
        positions = np.flatnonzero(dealt == number)
        treated = _treated(images.take(positions), treatment, seed, donors)
        parts.append(_labelled(treated, treated.keys, {label: value}))
        order.append(positions)
    joined = Images.joined(f"{images.name}+{label}@{seed}", parts).take(np.argsort(np.concatenate(order)))
    return replace(images, name=joined.name, rows=joined.rows, opened_as="")


def cross(images: Images, factors: Mapping[str, Levels], *, seed: int, donors: Images) -> Images:
    """Give every row every combination of the factors' values; the row ``KEY`` becomes the rows ``KEY|VALUE|VALUE``.

    Of each value the first treatment is taken, and treatments follow each other in the order of the factors. All that
    is random in a treatment depends on the untreated image and the seed: an image has the same face, ink and place for
    a word under every tint, so that they are not mistaken for an effect of the tint. Rows that are crossed already are
    images of their own; so cross all factors at once.

    Args:
        images: The rows to treat.
        factors: By the label that holds the value behind a row's treatment, treatments by value.
        seed: Decides all that is random in the treatments.
        donors: The rows that words, palettes and other drawings are taken from.

    Returns:
        The treated rows, combination after combination, the last factor slowest, with a label for each factor and
        ``image`` (the key of the untreated row).

    Raises:
        ValueError: There are no levels, or a level has no treatment.
        UsageError: An intervention is not known, or its strength is out of range.

    Example:
        >>> from embprobe.images import load_images
        >>> cat = load_images("bundled/emoji").where(concept="1f431", style="noto")
        >>> tint = {"red": [Treatment("tint=20", 1)], "blue": [Treatment("tint=250", 1)]}
        >>> word = {"none": [Treatment(None)], "thus": [Treatment("word=thus", 0.9)]}
        >>> [row.key for row in cross(cat, {"tint": tint, "word": word}, seed=0, donors=cat).rows]
        ['1f431/noto|red|none', '1f431/noto|blue|none', '1f431/noto|red|thus', '1f431/noto|blue|thus']
    """
    combinations: list[tuple[Mapping[str, str], Images]] = [({}, images)]
    for label, levels in factors.items():
        _check(levels)
        combinations = [  # the rows keep their keys until the last factor: a key seeds all that is random
            ({**values, label: value}, _treated(treated, treatment, seed, donors))
            for value, (treatment, *_) in levels.items()
            for values, treated in combinations
        ]
    parts = [_combined(treated, images, values) for values, treated in combinations]
    suffix = "".join(f"+{label}s" for label in factors)
    joined = Images.joined(f"{images.name}{suffix}@{seed}", parts)
    return replace(images, name=joined.name, rows=joined.rows, opened_as="")


def repeat(images: Images, times: int) -> Images:
    """Repeat every row, with keys ``KEY#1``, ``KEY#2`` …, so that few images can get several treatments each.

    Returns:
        ``times`` copies of the whole set, one after another, with the label ``image`` (the key of the repeated row).
    """
    keys = images.keys
    parts = [
        replace(labelled, rows=replace(labelled.columns, keys=texts_of(f"{key}#{i}" for key in keys)))
        for labelled in [_labelled(images, keys, {})]
        for i in range(1, times + 1)
    ]
    return replace(images, rows=Images.joined(images.name, parts).rows, opened_as="")


def _dealt(levels: Levels) -> list[tuple[str, Treatment]]:
    """Pair values with treatments, each value as often as any other."""
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


def _combined(treated: Images, originals: Images, values: Mapping[str, str]) -> Images:
    """Return treated rows with the keys and the labels of their combination.

    Their content names the key that their random choices were drawn by, which is no longer their own: vectors stored
    for pictures that were drawn by another key are then not taken for those of this one.
    """
    keys = originals.keys
    columns = _labelled(treated, keys, values).columns
    drawn_by = [] if treated is originals else [texts_of(f"|drawn by {key}" for key in keys)]
    end = "".join(f"|{value}" for value in values.values())
    content = (*columns.content, *drawn_by)
    return replace(treated, rows=replace(columns, keys=texts_of(f"{key}{end}" for key in keys), content=content))


def _labelled(treated: Images, keys: Sequence[str], values: Mapping[str, str]) -> Images:
    """Return treated rows with the label ``image``, these keys, unless they have one, and the values as labels."""
    labels, own = dict(treated.columns.labels), Label.of(keys)
    before = labels.pop(IMAGE, None)
    same = {name: Label.of([value] * len(keys)) for name, value in values.items()}
    return treated.relabelled({IMAGE: own if before is None else before.or_else(own)} | labels | same)
