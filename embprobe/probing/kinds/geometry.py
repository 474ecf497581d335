"""How embeddings lie in their space: what a card's ``geometry`` asks."""

from __future__ import annotations

from collections.abc import Iterator

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.measures import geometry
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.card import Geometry
from embprobe.probing.context import Asked, NotApplicable, scored
from embprobe.probing.results import Scores

_UNITS = {
    "uniformity": "log of a mean potential",
    "effective rank": "dimensions",
    "mean cosine": "cosine",
    "conformity": "cosine with the mean",
    "alignment": "squared distance",
    "modality gap": "distance",
}

_OF_LABELS = ("alignment", "modality gap")


def ask(measure: Geometry, asked: Asked) -> Iterator[Scores]:
    """Every statistic of every encoder, as scores of images whose mean it is; then what could not be asked."""
    if measure.label is not None and not asked.images.lacks(measure.label):
        asked.require(measure.label)
    embedded = asked.untouched(asked.select(measure.images))
    unasked = []
    for name in measure.statistics:
        if reason := _impossible(name, measure.label, asked):
            unasked.append(f"{name} needs {reason}")
            continue
        values = _values(name, measure.label, embedded, asked)
        yield from scored(name, values, embedded.keys(), asked.groups(embedded.rows), unit=_UNITS[name])
    if unasked:
        raise NotApplicable(", and ".join(unasked))


def check(measure: Geometry) -> None:
    """Nothing can be wrong that the card's model does not find."""


def _impossible(name: str, label: str | None, asked: Asked) -> str | None:
    """What a statistic lacks that it needs."""
    if name not in _OF_LABELS:
        return None
    if label is None:
        return "a label, which the card does not name"
    if asked.images.lacks(label):
        return f"the label '{label}', which none of the images in '{asked.images.name}' has"
    if name == "modality gap" and not any(encoder.spec.has_text for encoder in asked.encoders):
        return "an encoder with a text side"
    return None


def _values(name: str, label: str | None, embedded: EmbeddingSet, asked: Asked) -> dict[str, ScoreArray]:
    vectors = embedded.vectors
    if name in _OF_LABELS and label is not None:
        labels = embedded.label(label)
        if name == "alignment":
            return {encoder: geometry.alignment(each, labels) for encoder, each in vectors.items()}
        texts = asked.texts(labels.tolist())
        return {encoder: geometry.modality_gap(vectors[encoder], each) for encoder, each in texts.items()}
    if name == "uniformity":
        return {encoder: geometry.uniformity(each, seed=asked.session.seed) for encoder, each in vectors.items()}
    functions = {
        "effective rank": geometry.effective_rank,
        "mean cosine": geometry.mean_cosine,
        "conformity": geometry.conformity,
    }
    return {encoder: functions[name](each) for encoder, each in vectors.items()}
