"""A recipe, texts and tokens so small that a whole training takes less than a second."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.recipe import Recipe
from embprobe.vlm.training import TrainingData

COLOURS = ("red", "green", "blue", "white", "black", "yellow", "pink", "grey")
LANGUAGE = {"name": "language", "data": "descriptions", "trains": "language model"}
CONNECTOR = {"name": "connector", "data": "captions", "trains": "connector"}
BOTH = {"name": "both", "data": "conversations", "trains": "both"}


@dataclass(frozen=True)
class KnownTokens:
    """Two tokens of three numbers for each image, drawn by a seed."""

    name: str = "known"
    fingerprint: str = "1"
    count: int = 2
    width: int = 3
    keys: Sequence[str] = COLOURS
    scale: float = 1.0

    def __call__(self, keys: Sequence[str]) -> Tensor:
        drawn = torch.randn(len(self.keys), self.count, self.width, generator=torch.Generator().manual_seed(0))
        return self.scale * drawn[[self.keys.index(key) for key in keys]]


def tiny_data() -> TrainingData:
    """Return a caption and a conversation of two turns for each of eight images, whose keys are colours."""
    return TrainingData(
        [
            Conversation(
                key=f"talk of {key}",
                image=key,
                turns=[Turn(f"{IMAGE} what colour ? {' , '.join(COLOURS)} ?", key), Turn("what shape ?", "square")],
            )
            for key in COLOURS
        ],
        {key: f"a {key} square" for key in COLOURS},
    )


def tiny_recipe(*stages: dict[str, Any], **changes: Any) -> Recipe:
    """Return a recipe with a language model of width 16 from scratch; stages have two epochs of two steps."""
    facts: dict[str, Any] = {
        "schema": 1,
        "name": "tiny",
        "language": {"scratch": {"width": 16, "depth": 1, "heads": 2, "inner": 32}, "context": 64, "prompt": "words"},
        "stages": [
            {"learning_rate": 0.01, "batch_size": 4, "epochs": 2, "warmup": 0, **stage}
            for stage in stages or (LANGUAGE, CONNECTOR, BOTH)
        ],
    }
    return Recipe.model_validate(facts | changes)
