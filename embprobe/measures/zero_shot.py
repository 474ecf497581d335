"""Zero-shot: an image belongs to the class whose name, written out as a text, is embedded nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, check_labels, unit

_CELLS = 2**24
"""Similarities held at once: 128 MiB."""


def class_vectors(texts: Sequence[Vectors] | Vectors) -> ScoreArray:
    """One unit vector per class, from its texts: their mean, each divided by its length. ``c of [t, d] -> [c, d]``.

    The texts of a class are its name in several templates; classes may differ in how many they have (Radford et al.
    2021, section 3.1.4, "ensembled over the embedding space"). Raises :class:`EmbprobeError` for a class without texts,
    zero or non-finite vectors, and texts that cancel out.

    >>> class_vectors([np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 3.0]])]).round(3)
    array([[0.707, 0.707],
           [0.   , 1.   ]])
    """
    if not len(texts):
        raise EmbprobeError("There are no classes to choose from.")
    if without := sum(len(each) == 0 for each in texts):
        raise EmbprobeError(f"{without} of {len(texts)} classes have no text to recognise them by.")
    if len(sizes := {each.shape[1] for each in texts}) > 1:
        raise EmbprobeError(
            f"Texts were embedded in {' and '.join(map(str, sorted(sizes)))} dimensions, not in one space."
        )
    means = np.stack([unit(each, least=1).mean(0) for each in texts])
    if cancelled := int((np.linalg.norm(means, axis=1) < 1e-6).sum()):
        raise EmbprobeError(
            f"The texts of {cancelled} of {len(means)} classes cancel out: their mean has no direction."
        )
    return unit(means, least=1)


def predict_zero_shot(images: Vectors, class_vectors: Vectors, classes: LabelArray) -> LabelArray:
    """The class whose vector has the highest cosine with each image. ``[n, d], [c, d], [c] -> [n]``.

    (Radford et al. 2021, section 3.1.2; the temperature scales all logits alike, so it does not matter.) Ties go to the
    class given first. Raises :class:`EmbprobeError` for fewer than two classes, a class given twice, unequal numbers of
    classes and vectors, unequal d, and zero or non-finite vectors.

    >>> predict_zero_shot(np.array([[3.0, 1.0]]), np.eye(2), np.array(["cat", "dog"])).tolist()
    ['cat']
    """
    check_labels(classes, "class")
    if len(np.unique(classes)) < len(classes):
        raise EmbprobeError("A class is given twice, so there are two vectors for it: give each name once.")
    if len(classes) != len(class_vectors):
        raise EmbprobeError(f"There are {len(classes)} classes, but vectors for {len(class_vectors)}.")
    if images.shape[1] != class_vectors.shape[1]:
        raise EmbprobeError(
            f"Images have {images.shape[1]} dimensions and texts {class_vectors.shape[1]}: "
            "they must come from the two sides of one encoder."
        )
    x, names, step = unit(images, least=1), unit(class_vectors), max(1, _CELLS // len(classes))
    best = np.concatenate([(x[i : i + step] @ names.T).argmax(1) for i in range(0, len(x), step)])
    predicted: LabelArray = np.asarray(classes)[best]
    return predicted
