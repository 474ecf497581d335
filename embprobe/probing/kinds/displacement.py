"""How far embeddings move when images are changed: what a card's ``displacement`` asks."""

from __future__ import annotations

from collections.abc import Iterator

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.images.rows import Images
from embprobe.interventions import check_strength, find_intervention, intervene
from embprobe.measures.displacement import displacement, displacement_percentile
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.card import Displacement
from embprobe.probing.context import Asked, scored
from embprobe.probing.results import Scores

DISTANCE = "distance to an unrelated image"
_MOVED, _CONTROL, _BEYOND, _RANK = (
    "displacement",
    "displacement by the control",
    "displacement beyond the control",
    "displacement percentile",
)
NAMES_WITHOUT_CONTROL = (_MOVED, _RANK)
NAMES = (*NAMES_WITHOUT_CONTROL, _CONTROL, _BEYOND)
"""What its results are called."""


def ask(measure: Displacement, asked: Asked) -> Iterator[Scores]:
    """Displacement and its percentile at every strength; with a control also its displacement and what is beyond it."""
    chosen = asked.select(measure.images)
    names = [measure.intervention] + ([f"{measure.intervention}/{measure.control}"] if measure.control else [])
    changed = {strength: [_changed(chosen, name, strength, asked) for name in names] for strength in measure.strengths}
    before = asked.embed(chosen, "as they are")
    found: dict[str, list[Scores]] = {_BEYOND: [], _MOVED: [], _CONTROL: [], _RANK: []}
    for strength, images in changed.items():
        whats = [f"{name} {strength:g}" for name in names]
        afters = [asked.embed(each, what) for each, what in zip(images, whats, strict=True)]
        shared = before.restricted_to(*afters)
        for kind, values in _scores(shared, [after.at(shared.keys()) for after in afters], asked.session.seed).items():
            unit = "share of unrelated images nearer" if kind == _RANK else DISTANCE
            found[kind] += scored(
                kind,
                values,
                shared.keys(),
                asked.groups(shared.rows),
                unit=unit,
                intervention=measure.intervention,
                strength=strength,
            )
    for each in found.values():  # one question after the other, each for all strengths
        yield from each


def check(measure: Displacement) -> None:
    """Raise :class:`UsageError` if there is no such intervention or control, or not of this strength."""
    found = find_intervention(measure.intervention + (f"/{measure.control}" if measure.control else ""))
    for strength in measure.strengths:
        check_strength(found, strength)


def _changed(images: Images, name: str, strength: float, asked: Asked) -> Images:
    return intervene(images, name, strength, seed=asked.session.seed, donors=asked.images)


def _scores(before: EmbeddingSet, afters: list[EmbeddingSet], seed: int) -> dict[str, dict[str, ScoreArray]]:
    found: dict[str, dict[str, ScoreArray]] = {}
    for name, original in before.vectors.items():
        moved = [displacement(original, after.vectors[name]) for after in afters]
        found.setdefault(_MOVED, {})[name] = moved[0]
        found.setdefault(_RANK, {})[name] = displacement_percentile(original, afters[0].vectors[name], seed=seed)
        if len(moved) > 1:
            found.setdefault(_CONTROL, {})[name] = moved[1]
            found.setdefault(_BEYOND, {})[name] = moved[0] - moved[1]
    return found
