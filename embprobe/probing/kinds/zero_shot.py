"""Which name an encoder with text gives an image: what a card's ``zero-shot`` asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.interventions.treatments import Treatment
from embprobe.measures.decoding import correct
from embprobe.measures.retrieval import recall_at_k
from embprobe.measures.vectors import LabelArray, Vectors
from embprobe.measures.zero_shot import class_vectors, predict_zero_shot
from embprobe.probing.card import ZeroShot
from embprobe.probing.context import GUESS, Asked, NotApplicable, scored
from embprobe.probing.results import Scores

Classes = Mapping[str, Vectors]
"""By encoder, one vector per name, ``[c, d]``."""


def ask(measure: ZeroShot, asked: Asked) -> Iterator[Scores]:
    """Zero-shot accuracy under every treatment; on unchanged images also recall@k in both directions.

    Only encoders with text answer.
    """
    asked.require(measure.label)
    if not any(encoder.spec.has_text for encoder in asked.encoders):
        raise NotApplicable("none of the encoders has a text side")
    chosen = asked.select(measure.images)
    names = np.unique(chosen.label(measure.label))
    texts = asked.texts([template.replace("{}", name) for name in names.tolist() for template in measure.templates])
    classes = {
        encoder: class_vectors(each.reshape(len(names), len(measure.templates), -1)) for encoder, each in texts.items()
    }
    for text in measure.treatments:
        treatment = Treatment.parse(text)
        if treatment.intervention is None and measure.images.limit is None:
            embedded = asked.untouched(chosen)
        else:  # of few images the vectors of all are not needed
            embedded = asked.embed(asked.treated(chosen, text), text)
        yield from _named(measure, treatment, embedded, classes, names, asked)
        if treatment.intervention is None:
            yield from _retrieved(measure, embedded, classes, names, asked)


def called(measure: ZeroShot) -> str:
    """What its accuracy is called."""
    return f"zero-shot {measure.label}"


def check(measure: ZeroShot) -> None:
    """Raise :class:`UsageError` for a treatment that does not exist."""
    for treatment in measure.treatments:
        Treatment.parse(treatment)


def _named(
    measure: ZeroShot, treatment: Treatment, embedded: EmbeddingSet, classes: Classes, names: LabelArray, asked: Asked
) -> Iterator[Scores]:
    truth = embedded.label(measure.label)
    values = {
        encoder: correct(predict_zero_shot(embedded.vectors[encoder], vectors, names), truth)
        for encoder, vectors in classes.items()
    }
    values[GUESS] = np.full(len(truth), 1 / len(names))
    yield from scored(
        called(measure),
        values,
        embedded.keys(),
        asked.groups(embedded.rows),
        unit="accuracy",
        intervention=treatment.intervention,
        strength=None if treatment.intervention is None else treatment.strength,
    )


def _retrieved(
    measure: ZeroShot, embedded: EmbeddingSet, classes: Classes, names: LabelArray, asked: Asked
) -> Iterator[Scores]:
    truth, groups = embedded.label(measure.label), asked.groups(embedded.rows)
    of_name = dict(zip(truth.tolist(), groups, strict=True))
    kept = np.flatnonzero(np.isin(names, truth))
    for k in (k for k in measure.k if k < min(len(names), len(truth))):  # of so few, every k-th finds everything
        ask_images = {e: recall_at_k(embedded.vectors[e], v, truth, names, k=k) for e, v in classes.items()}
        yield from scored(f"recall@{k} of names by images", ask_images, embedded.keys(), groups, unit="share of images")
        ask_names = {e: recall_at_k(v[kept], embedded.vectors[e], names[kept], truth, k=k) for e, v in classes.items()}
        asking = names[kept].tolist()
        yield from scored(
            f"recall@{k} of images by names",
            ask_names,
            asking,
            [of_name[name] for name in asking],
            unit="share of names",
        )
