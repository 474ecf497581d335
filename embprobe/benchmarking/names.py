"""Names of classes as vectors: what zero-shot compares images with."""

from __future__ import annotations

from collections.abc import Sequence

from embprobe.encoders.spec import Encoder
from embprobe.encoders.texts import encode_texts
from embprobe.measures.vectors import ScoreArray
from embprobe.measures.zero_shot import class_vectors


def name_vectors(encoder: Encoder, classes: Sequence[str], templates: Sequence[str]) -> ScoreArray:
    """Return one unit vector for each class, ``[c, d]``: the mean over the templates that its name is written into."""
    written = [template.replace("{}", name) for name in classes for template in templates]
    return class_vectors(encode_texts(encoder, written).reshape(len(classes), len(templates), -1))
