"""Pictures of one colour, encoders of which it is known what they see of it, and what a probe of them found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder, EncoderSpec, Floats
from embprobe.images import Images, Row
from embprobe.probing.card import Card
from embprobe.probing.results import Result, Results
from embprobe.probing.run import run_probe
from tests.conftest import CountingEncoder, make_encoder, row_of, solid

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)
Color = tuple[int, int, int]


def card_of(*measures: Mapping[str, Any], **more: Any) -> Card:
    """A card with these measures, resampled over concepts unless told otherwise."""
    head = {"schema": 1, "attribute": "mine", "title": "Mine", "question": "Does it?", "resample": "concept"}
    return Card.model_validate({**head, "measures": list(measures), **more})


def painted(colors: Sequence[Color], **labels: Sequence[str]) -> Images:
    """Pictures of one colour each; ``labels`` by name, a value a picture."""
    rows = [
        row_of(f"{i:03d}", solid(color), **{label: values[i] for label, values in labels.items()})
        for i, color in enumerate(colors)
    ]
    return Images("painted", tuple(rows))


def crossed(concepts: int = 2, cues: int = 2, **more: Sequence[str]) -> Images:
    """Every concept (up to twelve) with every cue: red and green say which concept, blue says which cue."""
    mixed = [(250, 20 * i) for i in range(0, 12, 2)] + [(20 * i, 250) for i in range(0, 12, 2)]
    pairs = [(i, j) for i in range(concepts) for j in range(cues)]
    return painted(
        [(*mixed[i], 255 * j // (cues - 1)) for i, j in pairs],
        concept=[f"c{i}" for i, _ in pairs],
        cue=[f"q{j}" for _, j in pairs],
        **more,
    )


def sees_concept() -> CountingEncoder:
    """Red and green: the same for every cue."""
    return make_encoder("concept", lambda batch: batch.mean((2, 3))[:, :2], dimension=2)


def sees_cue() -> CountingEncoder:
    """Blue and its opposite: the same for every concept."""
    return make_encoder("cue", _blue, dimension=2)


@dataclass(frozen=True, kw_only=True)
class Renamed(EncoderSpec):
    """A specification with a name that its family and its model do not make."""

    called: str

    @property
    def name(self) -> str:
        return self.called


def renamed(encoder: CountingEncoder, name: str) -> CountingEncoder:
    """The same encoder with any name."""
    return CountingEncoder(Renamed(**vars(encoder.spec), called=name), encoder.function)


def blind() -> CountingEncoder:
    """The same vector for every image."""
    return make_encoder("blind", lambda batch: torch.ones(len(batch), 3))


def _blue(batch: Tensor) -> Tensor:
    blue = batch.mean((2, 3))[:, 2:]
    return torch.cat([blue, 1 - blue], 1)


@dataclass
class Reader(CountingEncoder):
    """Channel means, and a text side that knows some texts; it remembers how many it was given at a time."""

    known: Mapping[str, Sequence[float]] = field(default_factory=dict)
    texts: list[int] = field(default_factory=list)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        self.texts.append(len(texts))
        return np.array([self.known[text] for text in texts], np.float32)


def reader(known: Mapping[str, Sequence[float]], name: str = "reader") -> Reader:
    means = make_encoder(name)
    return Reader(replace(means.spec, has_text=True), means.function, known=known)


@dataclass(frozen=True)
class Told(Session):
    """Vectors from what a row says of itself, not from its pixels; by encoder."""

    vectors: Mapping[str, Callable[[Row], Sequence[float]]] = field(default_factory=dict)

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> EmbeddingSet:
        names = [encoder.spec.name for encoder in encoders]
        return EmbeddingSet(
            images, {name: np.array([self.vectors[name](row) for row in images.rows], np.float32) for name in names}
        )


def probe(
    workspace: Workspace, images: Images, encoders: Sequence[Encoder], *measures: Mapping[str, Any], **more: Any
) -> Results:
    """What a card with these measures finds."""
    return run_probe(card_of(*measures, **more), images, encoders, [], Session(workspace))


def found_by(results: Results, encoder: str, measure: str = "", **wanted: object) -> list[Result]:
    """The estimates of an encoder, of a measure by its phrase, and with these fields of the key."""
    rows = [row for row in results.rows if row.encoder == encoder and not row.is_difference]
    return [
        row
        for row in rows
        if measure in ("", row.key.phrase) and all(getattr(row.key, name) == value for name, value in wanted.items())
    ]


def estimate(results: Results, encoder: str, measure: str, **wanted: object) -> float:
    """The one estimate of an encoder that is meant."""
    (row,) = found_by(results, encoder, measure, **wanted)
    return row.estimate


def values(results: Results, encoder: str, measure: str) -> dict[str, float]:
    """The score of every key."""
    (scores,) = [each for each in results.scores if (each.encoder, each.key.phrase) == (encoder, measure)]
    return dict(zip(scores.keys, scores.values.tolist(), strict=True))


def measures(results: Results) -> set[str]:
    """The phrases of everything that was measured."""
    return {row.key.phrase for row in results.rows}
