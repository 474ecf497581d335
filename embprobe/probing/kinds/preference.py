"""Which of two cues in conflict an encoder follows: what a card's ``preference`` asks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.images.rows import Images
from embprobe.interventions.treatments import Treatment, assign, cross
from embprobe.interventions.words import word_of
from embprobe.measures.preference import preference
from embprobe.measures.vectors import LabelArray, ScoreArray
from embprobe.probing.card import Preference
from embprobe.probing.context import Asked, NotApplicable, levels, scored
from embprobe.probing.results import Scores

_CONFLICT, _CLEAN = "conflict", "clean"


def ask(measure: Preference, asked: Asked) -> Iterator[Scores]:
    """For every anchor, the share of triplets in which the same concept is nearer than the same cue."""
    asked.require(*_labels(measure))
    chosen = asked.select(measure.images)
    if measure.conflict is None:
        yield from _between_labels(measure, chosen, asked)
    else:
        yield from _between_words(measure, measure.conflict, chosen, asked)


def check(measure: Preference) -> None:
    """Raise :class:`UsageError` for a treatment that does not exist."""
    levels(measure.treatments)
    if measure.conflict:
        Treatment.parse(measure.conflict)


def _between_labels(measure: Preference, chosen: Images, asked: Asked) -> Iterator[Scores]:
    if measure.treatments:
        give = cross if measure.crossed else assign
        dealt = levels(measure.treatments)
        treated = give(chosen, measure.cue, dealt, seed=asked.session.seed, donors=asked.images)
        embedded = asked.embed(treated, measure.cue)
    else:
        embedded = asked.untouched(chosen)
    concepts, cues = embedded.label(measure.concept), embedded.label(measure.cue)
    everyone = np.ones(len(concepts), np.bool_)
    found = _scores(measure, embedded, concepts, cues, everyone, asked)
    yield from _told(f"{measure.concept} preferred to {measure.cue}", found, embedded, asked)


def _between_words(measure: Preference, conflict: str, chosen: Images, asked: Asked) -> Iterator[Scores]:
    """Anchors carry another concept's word; candidates are unchanged drawings of what the word names, and of a rival.

    Who cannot read prefers neither the word's concept nor a third one: 0.5.
    """
    named = chosen.take(i for i, row in enumerate(chosen.rows) if word_of(row))
    if len(named) < 2:
        raise NotApplicable(f"fewer than two images in '{asked.images.name}' have a name to draw")
    both = {_CONFLICT: [Treatment.parse(conflict)], _CLEAN: [Treatment(None)]}
    embedded = asked.embed(cross(named, "treatment", both, seed=asked.session.seed, donors=named), conflict)
    own = np.array([word_of(row) or "" for row in embedded.rows.rows])
    anchors = embedded.label("treatment") == _CONFLICT
    drawn = np.array([row.labels.get("word", "") for row in embedded.rows.rows])
    words = np.where(anchors, drawn, own)
    third = np.where(anchors, _third(own, words, anchors, asked.session.seed), own)
    for concepts, rival in ((third, "a third concept"), (own, f"the {measure.concept}")):
        found = _scores(measure, embedded, concepts, words, anchors, asked)
        by_word = {name: 1 - values for name, values in found.items()}
        yield from _told(f"{measure.cue} preferred to {rival}", by_word, embedded, asked)


def _third(own: LabelArray, words: LabelArray, anchors: NDArray[np.bool_], seed: int) -> LabelArray:
    """For every anchor a word that was drawn into another: neither what it shows nor what is written in it."""
    rng = np.random.default_rng(seed)
    drawn, third = words[anchors], words.copy()
    for i in np.flatnonzero(anchors):
        others = drawn[(drawn != words[i]) & (drawn != own[i])]
        if len(others):  # else it stays its own word, which leaves it without a triplet
            third[i] = rng.choice(others)
    return third


def _scores(
    measure: Preference,
    embedded: EmbeddingSet,
    concepts: LabelArray,
    cues: LabelArray,
    anchors: NDArray[np.bool_],
    asked: Asked,
) -> dict[str, ScoreArray]:
    """By encoder, each anchor's share of triplets in which the concept wins; NaN where there is no triplet."""
    within, apart = _joined(embedded, measure.within), _joined(embedded, measure.apart)
    seed = asked.session.seed
    found = {
        name: preference(vectors, concepts, cues, within=within, apart=apart, seed=seed)
        for name, vectors in embedded.vectors.items()
    }
    return {name: np.where(anchors, values, np.nan) for name, values in found.items()}


def _told(what: str, values: dict[str, ScoreArray], embedded: EmbeddingSet, asked: Asked) -> Iterator[Scores]:
    return scored(what, values, embedded.keys(), asked.groups(embedded.rows), unit="share of triplets")


def _labels(measure: Preference) -> list[str]:
    """Those that images must have before anything is done to them."""
    cue = [] if measure.treatments or measure.conflict else [measure.cue]
    return [*([] if measure.conflict else [measure.concept]), *cue, *measure.within, *measure.apart]


def _joined(embedded: EmbeddingSet, labels: list[str]) -> LabelArray | None:
    """Several labels as one."""
    if not labels:
        return None
    return np.array(["\0".join(each) for each in zip(*(embedded.label(name) for name in labels), strict=True)])
