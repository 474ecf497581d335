"""Explain a card before it is run: what it asks of these images, what checks it, and what it leaves out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from embprobe.errors import EmbprobeError
from embprobe.images.material import material_of
from embprobe.images.rows import Images, MissingLabel
from embprobe.images.unlabelled import MAX_UNLABELLED, brief
from embprobe.probing.card import Card, MustFail
from embprobe.probing.conclusions import headline_key
from embprobe.probing.key import Key
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.measure import Measure, labelled_for


@dataclass(frozen=True, kw_only=True)
class PlannedMeasure:
    """One measure of a card, as these images allow it."""

    kind: str
    numbers: Sequence[str]
    """The keys of its numbers in words."""
    images: int
    """Images that it takes, before those that cannot be read are left out."""
    left_out: str | None = None
    """Why these images do not allow it."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a card asks of some images."""

    attribute: str
    title: str
    material: str
    """The kind of images, in the card's words."""
    facts: Sequence[str]
    """Facts about the images, in words."""
    question: str
    headline: str | None
    """The sentence that two encoders will be compared in, and the number it is about."""
    checks: Sequence[str]
    measures: Sequence[PlannedMeasure]
    left_out: Sequence[str] = ()
    """Sentences without a full stop on images that are left out because they lack a label."""

    def as_json(self) -> Mapping[str, Any]:
        """Return the fields for JSON."""
        return asdict(self)


def explain(card: Card, images: Images, *, max_unlabelled: float = MAX_UNLABELLED) -> Explanation:
    """Return what a card asks of these images; nothing is embedded.

    Args:
        card: A bundled card or one of one's own.
        images: The images that it would be put to.
        max_unlabelled: The largest share of the images that may lack a label that is needed.

    Raises:
        MissingLabel: More of them lack a label that others have.
    """
    labelled, notes = card.labelled(images, max_unlabelled=max_unlabelled)
    material = card.material(labelled)
    put = card.of(labelled)
    planned: list[PlannedMeasure] = []
    allowed: list[Key] = []
    for measure in put.measures:
        own, reason = labelled, None
        try:
            own, more = labelled_for(measure, labelled, max_unlabelled=max_unlabelled)
            notes += tuple(f"of {measure.kind}, {note}" for note in more)
            reason = _lacking(measure, own)
        except MissingLabel as missing:
            reason = str(missing).removesuffix(".")
        keys = _keys(measure, own)
        planned.append(_planned(measure, keys, reason, own))
        allowed += keys if reason is None else []
    return Explanation(
        attribute=card.attribute,
        title=card.title,
        material=material.name if material else "any images",
        facts=material_of(images).facts(),
        question=put.question,
        headline=_headline(put, allowed),
        checks=_checks(put, allowed),
        measures=planned,
        left_out=[brief(note) for note in notes],
    )


def _headline(card: Card, keys: Sequence[Key]) -> str | None:
    key = headline_key(card, keys)
    return f"ENCODER {card.headline.sentence(key)} ({key})" if card.headline and key else None


def _keys(measure: Measure, images: Images) -> list[Key]:
    """Return the keys of a measure with the tests that these images allow."""
    tests = measure.test_names(images)
    keys = [replace(key, test=tests[0]) if tests and key.test not in tests else key for key in measure.declared_keys()]
    return list(dict.fromkeys(keys))


def _checks(card: Card, keys: Sequence[Key]) -> list[str]:
    """Return the checks whose number is among the keys."""
    named = [(must_fail, must_fail.find(keys, folds=UNSEEN)) for must_fail in card.must_fail]
    return [_check(must_fail, key) for must_fail, key in named if key is not None]


def _check(must_fail: MustFail, key: Key) -> str:
    name = must_fail.encoder or "every encoder"
    if must_fail.no_better_than is not None:
        return f"{name} must be no better than {must_fail.no_better_than} at '{key}', because {must_fail.because}"
    return f"{name} must fail at '{key}', because {must_fail.because}"


def _planned(measure: Measure, keys: Sequence[Key], reason: str | None, images: Images) -> PlannedMeasure:
    kept = measure.images.known_to(images)
    try:
        count = len(kept.of(images, seed=0))
    except EmbprobeError:  # conditions that no image meets are dropped when the card is run
        count = len(images)
    numbers = list(dict.fromkeys(map(str, keys)))
    return PlannedMeasure(kind=measure.kind, numbers=numbers, images=count, left_out=reason)


def _lacking(measure: Measure, images: Images) -> str | None:
    lacking = [label for label in measure.needed_labels(images) if not images.has(label)]
    return f"it needs the label {' and '.join(repr(label) for label in lacking)}" if lacking else None
