"""Tokens of images that hold what a test puts into them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class PlantedTokens:
    """A source of tokens ``[count, width]`` by the key of an image."""

    tokens: Mapping[str, Tensor]
    name: str = "planted"
    fingerprint: str = "planted"

    @property
    def count(self) -> int:
        return len(next(iter(self.tokens.values())))

    @property
    def width(self) -> int:
        return int(next(iter(self.tokens.values())).shape[1])

    @property
    def keys(self) -> Sequence[str]:
        return list(self.tokens)

    def __call__(self, keys: Sequence[str]) -> Tensor:
        return torch.stack([self.tokens[key] for key in keys])
