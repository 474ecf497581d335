"""Tokens of images for a language model: read from a store, or computed as they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from embprobe.embeddings.session import Session
from embprobe.embeddings.token_set import TokenSet
from embprobe.encoders.preprocessing import decoded_side, preprocess
from embprobe.encoders.spec import Encoder, TokenGrid
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.system.text import visible
from embprobe.vlm.recipe import ImageTokens

_MEASURED = 1_024
"""Images over which mean and deviation of tokens are measured."""


class TokenSource(Protocol):
    """Gives the patch tokens of images by their keys, without the class token and registers."""

    @property
    def name(self) -> str:
        """The encoder's."""

    @property
    def fingerprint(self) -> str:
        """Changes with the encoder and with the images."""

    @property
    def count(self) -> int:
        """Tokens of an image."""

    @property
    def width(self) -> int:
        """Numbers of a token."""

    @property
    def keys(self) -> Sequence[str]:
        """The keys of the images that have tokens."""

    def __call__(self, keys: Sequence[str]) -> Tensor:
        """Return float32 ``[m, count, width]``."""


@dataclass(frozen=True, eq=False)
class StoredTokens:
    """Tokens that were encoded before; a batch of them is read at a time."""

    tokens: TokenSet
    fingerprint: str

    @property
    def name(self) -> str:
        return self.tokens.name

    @property
    def count(self) -> int:
        return self.tokens.grid.rows * self.tokens.grid.columns

    @property
    def width(self) -> int:
        return int(self.tokens.tokens.shape[-1])

    @property
    def keys(self) -> Sequence[str]:
        return self.tokens.rows.keys

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.keys)}

    def __call__(self, keys: Sequence[str]) -> Tensor:
        positions = np.array([_at(self._position, key) for key in keys])
        patches = self.tokens.patches(positions)
        return torch.from_numpy(np.ascontiguousarray(patches.reshape(len(keys), self.count, -1)))


@dataclass(frozen=True, eq=False)
class LiveTokens:
    """Tokens that are computed when they are needed, and kept nowhere."""

    images: Images
    encoder: Encoder

    @property
    def name(self) -> str:
        return self.encoder.spec.name

    @property
    def fingerprint(self) -> str:
        return f"{self.encoder.spec.fingerprint}-{self.images.fingerprint}"

    @property
    def count(self) -> int:
        return _grid(self.encoder).rows * _grid(self.encoder).columns

    @property
    def width(self) -> int:
        return int(self.encoder.spec.dimension)

    @property
    def keys(self) -> Sequence[str]:
        return self.images.keys

    @cached_property
    def _position(self) -> dict[str, int]:
        return {key: i for i, key in enumerate(self.images.keys)}

    def __call__(self, keys: Sequence[str]) -> Tensor:
        image_input = self.encoder.spec.require_image_input()
        rows = self.images.rows
        side = decoded_side(image_input)
        pictures = [preprocess(rows[_at(self._position, key)].load(at_least=side), image_input) for key in keys]
        tokens = self.encoder.encode_images(torch.stack(pictures))
        return torch.from_numpy(np.asarray(tokens, np.float32)[:, _grid(self.encoder).prefix :])


def token_encoder(encoder: Encoder, wanted: ImageTokens, first: Encoder | None = None) -> Encoder:
    """Return the encoder of the tokens that a language model reads: those of one layer.

    One that has no layers, as raw pixels, gives its tokens in the grid of ``first``.

    Raises:
        UsageError: It gives an image one vector, or has no such layer.
    """
    if encoder.spec.tokens is not None:
        return encoder
    views: Any = getattr(encoder, "views", None)
    if views is None:
        raise _one_vector(encoder)
    with_grid = hasattr(encoder, "with_grid")
    layer = {} if with_grid else {"layer": str(wanted.layer), "norm": wanted.norm, "stored": wanted.stored}
    try:
        (tokens,) = views({**layer, "pooling": "tokens"})
    except UsageError:
        if with_grid:  # a reference encoder without tokens would name options that nobody typed
            raise _one_vector(encoder) from None
        raise
    if with_grid and first is not None and first.spec.tokens is not None:
        tokens = tokens.with_grid(first.spec.tokens.rows, first.spec.tokens.columns)
    made: Encoder = tokens
    return made


def stored_tokens(images: Images, reader: Encoder, session: Session) -> StoredTokens:
    """Return the tokens of images, encoded once and kept in the workspace.

    Args:
        images: Those that can be read are kept.
        reader: An encoder of tokens.
        session: The workspace.
    """
    tokens = session.tokens(images, reader, f"tokens of {images.name}")
    return StoredTokens(tokens, f"{reader.spec.fingerprint}-{images.fingerprint}")


def moments(source: TokenSource) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each dimension of an encoder's tokens, ``[d]`` each, over its first images.

    A dimension that is the same everywhere has a deviation of 1.
    """
    some = source(list(source.keys[:_MEASURED])).flatten(0, 1)
    deviation = some.std(0)
    return some.mean(0), torch.where(deviation > 0, deviation, torch.ones_like(deviation))


def _grid(encoder: Encoder) -> TokenGrid:
    if encoder.spec.tokens is None:
        raise _one_vector(encoder)
    return encoder.spec.tokens


def _one_vector(encoder: Encoder) -> UsageError:
    return UsageError(f"'{encoder.spec.name}' gives an image one vector, and a language model reads tokens.")


def _at(positions: dict[str, int], key: str) -> int:
    if key not in positions:
        raise EmbprobeError(f"There are no tokens of the image '{visible(key)}'.")
    return positions[key]
