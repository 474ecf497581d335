"""Shape bias: decisions of encoders, and published ones of people and networks, on images with cues in conflict."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embprobe.benchmarking.dataset import Dataset
from embprobe.benchmarking.names import name_vectors
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session, ignore_note
from embprobe.encoders.spec import Encoder
from embprobe.errors import EmbprobeError
from embprobe.images.groups import CATEGORY
from embprobe.images.rows import Images
from embprobe.images.unlabelled import without_unlabelled
from embprobe.measures.decisions import SIXTEEN_CLASSES, read_decisions
from embprobe.measures.nearest_mean import predict_nearest_mean
from embprobe.measures.shape_bias import ShapeBiases, covered, estimate_shape_bias
from embprobe.measures.vectors import LabelArray
from embprobe.measures.zero_shot import predict_zero_shot
from embprobe.system.text import visible
from embprobe.system.threads import one_thread

SHAPE, TEXTURE = "shape", "texture"
"""The labels of an image's two cues."""
PEOPLE = "people"
"""The name under which decisions of all people are counted together."""
How = Literal["nearest mean", "zero-shot", "published"]
"""Nearest class mean of other images; nearest name of a class; decisions that somebody else has recorded."""
_PERSON = re.compile(r"subject-\d+")
"""The authors' name of a person; networks have names of their own."""


@dataclass(frozen=True)
class DecidedBias:
    """The shape bias of an encoder, a network or a person, with its coverage."""

    name: str
    by: How
    classes: int
    """All that a decision could be: a guess among them covers 2 / ``classes``."""
    biases: ShapeBiases

    def as_json(self) -> dict[str, Any]:
        """Return names, counts and estimates for JSON."""
        return {"name": self.name, "by": self.by, "classes": self.classes, **asdict(self.biases)}


@one_thread()
def shape_biases(
    dataset: Dataset, session: Session, encoders: Sequence[Encoder], *, means_of: Images | None = None
) -> list[DecidedBias]:
    """Measure how often encoders decide for the shape of images, where it is of another class than the texture.

    Every encoder decides by the nearest class mean of other images: those whose shape and texture agree, or the
    images of ``means_of``. An encoder with text decides by the nearest name, too (zero-shot). All encoders decide on
    the same images.

    Args:
        dataset: Images with the labels ``shape`` and ``texture``; its classes and templates are those of zero-shot.
        session: Gives vectors and seed; ``session.note`` gets a sentence on images that are left out.
        encoders: At least one.
        means_of: Images of the same classes, by ``shape`` where it agrees with ``texture``, else by ``category``.
            Images whose cues are in conflict are left out of them.

    Returns:
        For each encoder the shape bias by class means and, if it has text, by names.

    Raises:
        EmbprobeError: A label is missing, no image has a conflict, or no class has an image to take a mean of.
    """
    for note in dataset.notes:
        session.note(f"{visible(dataset.name)}: {note}")
    embedded = session.directed(session.embed(_with_cues(dataset.images, session), encoders, "extracting"))
    shape, texture = embedded.label(SHAPE), embedded.label(TEXTURE)
    classes = list(dict.fromkeys([*dataset.classes, *np.unique(texture).tolist()]))
    covered(shape, shape, texture)  # raises where no image has a conflict
    fitted, labels = _for_means(embedded, encoders, session, classes, means_of)
    known = np.isin(shape, labels) & np.isin(texture, labels)
    by_means = bool((known & (shape != texture)).any())
    if not by_means:
        why = "No class means can be taken: give other images, whose class names are those of the shapes (means_of)"
        if not any(encoder.spec.has_text for encoder in encoders):
            raise EmbprobeError(f"{why}.")
        session.note(why)
    elif gone := int((~known).sum()):
        session.note(
            f"{gone:,} of {len(known):,} images have a shape or texture that no other image has, and are left out of "
            "decisions by class means"
        )
    found: list[DecidedBias] = []
    for encoder in encoders:
        name = encoder.spec.name
        vectors = embedded.vectors[name]
        if by_means:
            [decisions] = predict_nearest_mean(fitted.vectors[name], labels, [vectors])
            biases = _estimate(decisions[known], shape[known], texture[known], session.seed)
            found.append(DecidedBias(name, "nearest mean", len(np.unique(labels)), biases))
        if encoder.spec.has_text:
            names = name_vectors(encoder, classes, dataset.templates)
            decisions = predict_zero_shot(vectors, names, np.array(classes))
            biases = _estimate(decisions, shape, texture, session.seed)
            found.append(DecidedBias(name, "zero-shot", len(classes), biases))
    return found


def decisions_biases(
    paths: Sequence[Path], *, seed: int = 0, note: Callable[[str], None] = ignore_note
) -> list[DecidedBias]:
    """Estimate the shape bias of published decisions, of each network and person, and of all people together.

    Args:
        paths: CSV files in the form that :func:`~embprobe.measures.decisions.read_decisions` reads; decisions of a
            subject may be in several. People are subjects named as the authors name them, ``subject-01``; those
            together are called ``people``, and their interval is over images.
        seed: Of the bootstrap.
        note: Called with a sentence on lines that are left out.

    Returns:
        One for each subject, in the order of the files; people together come first.

    Raises:
        EmbprobeError: A file cannot be read, or none of its images has a conflict.
    """
    read = [read_decisions(path) for path in paths]
    if not read:
        return []
    for remark in [remark for each in read for remark in each.notes]:
        note(remark)
    subjects, images = (np.concatenate(of) for of in ([r.subjects for r in read], [r.images for r in read]))
    decisions, shape, texture = (
        np.concatenate(of) for of in ([r.decisions for r in read], [r.shape for r in read], [r.texture for r in read])
    )
    names = list(dict.fromkeys(subjects.tolist()))
    people = [name for name in names if _PERSON.fullmatch(name)]
    chosen = {name: subjects == name for name in names}
    if len(people) > 1:
        chosen = {f"{PEOPLE} ({len(people)})": np.isin(subjects, people), **chosen}
    return [
        DecidedBias(
            name,
            "published",
            len(SIXTEEN_CLASSES),
            _estimate(decisions[rows], shape[rows], texture[rows], seed, images=images[rows].tolist()),
        )
        for name, rows in chosen.items()
    ]


def _estimate(
    decisions: LabelArray, shape: LabelArray, texture: LabelArray, seed: int, *, images: Sequence[str] | None = None
) -> ShapeBiases:
    return estimate_shape_bias(decisions, shape, texture, images=images, seed=seed)


def _with_cues(images: Images, session: Session) -> Images:
    """Return the images that have both labels.

    Raises:
        EmbprobeError: All lack one of them, or more than the session allows.
    """
    for label in (SHAPE, TEXTURE):
        if images.lacks(label):
            images.label(label)  # raises, and says which labels there are
    kept, notes = without_unlabelled(images, [SHAPE, TEXTURE], most=session.max_unlabelled)
    for note in notes:
        session.note(note)
    return kept


def _for_means(
    embedded: EmbeddingSet,
    encoders: Sequence[Encoder],
    session: Session,
    classes: Sequence[str],
    means_of: Images | None,
) -> tuple[EmbeddingSet, LabelArray]:
    """Return the images to take class means of, with their vectors, and their classes."""
    shape, texture = embedded.label(SHAPE), embedded.label(TEXTURE)
    if means_of is None:
        rows = np.flatnonzero(shape == texture)
        return embedded.take(rows), shape[rows]
    labels, noted = _classes_of(means_of)
    tested = set(embedded.take(np.flatnonzero(shape != texture)).rows.columns.identities())
    same = [identity in tested for identity in means_of.columns.identities()]
    rows = np.flatnonzero(np.isin(labels, classes) & ~np.array(same, np.bool_))
    if gone := len(labels) - len(rows):
        session.note(
            f"{gone:,} of {len(labels):,} images of '{visible(means_of.name)}' are of no class to decide among{noted} "
            "or are to be decided on, and are left out of class means"
        )
    if not len(rows):
        return embedded.take(rows), np.array([], np.str_)
    kept = session.directed(session.embed(means_of.take(rows.tolist()), encoders, "extracting other images"))
    return kept, _classes_of(kept.rows)[0]


def _classes_of(images: Images) -> tuple[LabelArray, str]:
    """Return the class of each image, "" for one without, and a remark for the note."""
    label = CATEGORY if images.lacks(SHAPE) else SHAPE
    if images.lacks(label):
        images.label(label)  # raises, and says which labels there are
    values = images.values(label)
    if label == SHAPE and not images.lacks(TEXTURE):
        both = zip(values, images.values(TEXTURE), strict=True)
        return np.array([value if value == other and value else "" for value, other in both]), ", have cues in conflict"
    return np.array([value or "" for value in values]), ""
