"""Encoders of which it is known what they see: shares of category, text, colour and style are planted in the vectors.

An oracle reads no image. It reads what a row is (its labels) and what was done to it, and adds up one random direction
for each: with shares that sum to 1, ``x = sum of sqrt(share) * direction(value)``. So a probe of an oracle must find
what was planted, and if it does not, the instrument is wrong.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from torch import Tensor

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.job import Wanted
from embprobe.embeddings.session import Session
from embprobe.encoders.spec import Encoder, EncoderSpec, Floats
from embprobe.errors import UsageError
from embprobe.images.rows import Images, Row
from embprobe.interventions import INTERVENTIONS, find_intervention

FACTORS = ("category", "concept", "text", "color", "style")
SCENES = tuple(name for name, each in INTERVENTIONS.items() if each.attribute == "scene")
"""Facts of a composed scene, each a factor of its own by the name of its intervention: an oracle may count alone."""
DIMENSION = 256
_DONE = re.compile(r"\|([a-z-]+(?:=[^=|/]+)?(?:/[a-z]+)?)=(-?[0-9.]+)@")


@dataclass(frozen=True)
class Oracle:
    """An encoder with planted shares, by factor; what is left to 1 is noise, another one for each row."""

    name: str
    shares: Mapping[str, float]
    spec: EncoderSpec = field(init=False)

    def __post_init__(self) -> None:
        if (
            set(self.shares) - {*FACTORS, *SCENES}
            or min(self.shares.values()) < 0
            or sum(self.shares.values()) > 1 + 1e-9
        ):
            raise ValueError(f"shares are of {', '.join((*FACTORS, *SCENES))}, not negative, and sum to at most 1")
        object.__setattr__(self, "spec", EncoderSpec(family="oracle", model=self.name, dimension=DIMENSION))

    def encode_images(self, batch: Tensor) -> Floats:
        raise UsageError("An oracle reads rows, not images.")

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        raise UsageError("An oracle has no text side.")

    def vectors(self, rows: Images) -> Floats:
        """One vector per row, ``[n, 256]``, each near to length 1."""
        noise = 1 - sum(self.shares.values())
        parts = [np.sqrt(max(noise, 0.0)) * _directions([f"{self.name}|{row.key}" for row in rows.rows])]
        for factor, share in self.shares.items():
            parts.append(np.sqrt(share) * _directions([f"{factor}|{_value(row, factor)}" for row in rows.rows]))
        return np.asarray(np.sum(parts, axis=0), np.float32)


@dataclass(frozen=True)
class OracleSession(Session):
    """Where encoders are oracles; for the references and what measures colour one that only sees colours stands in."""

    def prepare(self, wanted: Sequence[Wanted], activity: str) -> None:
        """Do nothing: no image is read."""

    def embed(self, images: Images, encoders: Sequence[Encoder], activity: str) -> EmbeddingSet:
        return EmbeddingSet(images, {encoder.spec.name: _oracle(encoder).vectors(images) for encoder in encoders})


def _oracle(encoder: Encoder) -> Oracle:
    """Return an oracle itself, or its stand-in: lightness and texture, which go with no factor, are noise."""
    if isinstance(encoder, Oracle):
        return encoder
    return (
        Oracle(encoder.spec.model, {"color": 0.0})
        if encoder.spec.model in ("lightness-histogram", "texture")
        else Oracle("color", {"color": 1.0})
    )


def _value(row: Row, factor: str) -> str:
    """What a row shows of a factor: a label, and what was done to it."""
    labels = row.labels
    own = {
        "category": labels.get("category", ""),
        "concept": labels.get("concept", row.key),
        "text": "",
        "color": row.content.partition("|")[0],
        "style": labels.get("family", labels.get("style", "")),
    }.get(factor, "")
    for name, strength in _DONE.findall(row.content):
        if "/" not in name and factor in (_attribute(name), name.partition("=")[0]) and float(strength) != 0:
            if factor == "text":
                own = labels.get("word", name)
            elif "=" in name:  # it sets the attribute, whatever it was
                own = name
            else:
                own = f"{own}|{name} {strength}"
    return own


@cache
def _attribute(intervention: str) -> str:
    return find_intervention(intervention).attribute


def _directions(values: Sequence[str]) -> Floats:
    """A random direction for each value, the same for the same value. ``[n, 256]``."""
    different, which = np.unique(np.array(values), return_inverse=True)
    drawn = np.empty((len(different), DIMENSION))
    for i, value in enumerate(different.tolist()):
        digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
        drawn[i] = np.random.default_rng(list(digest)).standard_normal(DIMENSION)
    return np.asarray((drawn / np.linalg.norm(drawn, axis=1, keepdims=True))[which], np.float32)
