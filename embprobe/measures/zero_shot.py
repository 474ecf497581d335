"""Zero-shot: an image belongs to the class whose name, written out as a text, is embedded nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import ROWS
from embprobe.measures.vectors import LabelArray, ScoreArray, Vectors, check_labels, l2_normalize, unit_blocks
from embprobe.system.threads import matrix_product

_CELLS = 2**24
"""Similarities held at once: 128 MiB."""


def class_vectors(texts: Sequence[Vectors] | Vectors) -> ScoreArray:
    """Average the text embeddings of each class into one unit vector.

    The texts of a class are its name in several templates; each is divided by its length before the mean, and the mean
    after it (Radford et al. 2021, section 3.1.4, "ensembled over the embedding space").

    Args:
        texts: For each class the embeddings of its texts, ``[t, d]``; t may differ from class to class.

    Returns:
        One vector of length 1 per class, ``[c, d]``.

    Raises:
        EmbprobeError: For no classes, a class without texts, unequal d, zero or non-finite vectors, and texts that
            cancel out.

    Example:
        >>> class_vectors([np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 3.0]])]).round(3)
        array([[0.707, 0.707],
               [0.   , 1.   ]])
    """
    if not len(texts):
        raise EmbprobeError("There are no classes to choose from.")
    if without := sum(len(vectors) == 0 for vectors in texts):
        raise EmbprobeError(f"{without} of {len(texts)} classes have no text to recognise them by.")
    if len(sizes := {vectors.shape[1] for vectors in texts}) > 1:
        raise EmbprobeError(
            f"Texts were embedded in {' and '.join(map(str, sorted(sizes)))} dimensions, not in one space."
        )
    means = np.stack([l2_normalize(vectors, min_rows=1).mean(0) for vectors in texts])
    if cancelled := int((np.linalg.norm(means, axis=1) < 1e-6).sum()):
        raise EmbprobeError(
            f"The texts of {cancelled} of {len(means)} classes cancel out: their mean has no direction."
        )
    return l2_normalize(means, min_rows=1)


def predict_zero_shot(images: Vectors, class_vectors: Vectors, classes: LabelArray) -> LabelArray:
    """Predict the class whose vector has the highest cosine with each image.

    (Radford et al. 2021, section 3.1.2; the temperature scales all logits alike, so it does not matter.)

    Args:
        images: ``[n, d]``.
        class_vectors: One vector per class in the same space, ``[c, d]``, such as :func:`class_vectors` returns.
        classes: The names of the classes, ``[c]``.

    Returns:
        The predicted class of each image, ``[n]``. Ties go to the class given first.

    Raises:
        EmbprobeError: For fewer than two classes, a class given twice, unequal numbers of classes and vectors, unequal
            d, and zero or non-finite vectors.

    Example:
        >>> predict_zero_shot(np.array([[3.0, 1.0]]), np.eye(2), np.array(["cat", "dog"])).tolist()
        ['cat']
    """
    check_classes(images, class_vectors, classes)
    names, step = l2_normalize(class_vectors), max(1, min(_CELLS // len(classes), ROWS))
    blocks = unit_blocks(images, min_rows=1, rows=step)
    best = np.concatenate([matrix_product(x, names.T).argmax(1) for _, x in blocks])
    predicted: LabelArray = np.asarray(classes)[best]
    return predicted


def check_classes(images: Vectors, class_vectors: Vectors, classes: LabelArray) -> None:
    """Raise :class:`EmbprobeError` unless two classes or more have one vector each, in the space of the images."""
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
