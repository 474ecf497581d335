"""What an encoder is: images in, vectors out, and a spec that holds everything that can change a vector."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from embprobe.errors import EmbprobeError

Floats = NDArray[np.float32]
Resize = Literal["shortest", "squash"]
Pooling = Literal["cls", "mean", "attention", "projected", "none"]
"""``projected``: after the projection into the space shared with text; ``none``: there are no tokens to pool."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that can change a vector. Two encoders with the same spec give the same vectors.

    An image is resized so that its shortest side (``resize="shortest"``) or both sides (``"squash"``) are
    ``resize_to`` pixels, then the central ``input_size`` square is cut out, scaled to 0..1, and normalised by ``mean``
    and ``std``.
    """

    family: str
    model: str
    weights: str
    """Tag, revision or file name: for people."""
    weights_sha256: str
    """Of the weights' values (:func:`hash_weights`); empty where there are none."""
    pooling: Pooling
    input_size: int
    resize: Resize
    resize_to: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dimension: int
    has_text: bool
    precision: Literal["float32"] = "float32"
    decoding: Literal["exact", "fast"] = "exact"
    """``fast``: large JPEGs are decoded at reduced scale (:func:`embprobe.encoders.preprocessing.decoded_side`)."""

    @property
    def name(self) -> str:
        """As the user types it, ``family/model`` or ``family/model:weights``."""
        return f"{self.family}/{self.model}" + (f":{self.weights}" if self.weights else "")

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of a hash over every field; where weights are hashed, their name does not count."""
        fields: dict[str, Any] = asdict(self)
        if self.weights_sha256:
            del fields["weights"]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


class Encoder(Protocol):
    """The one thing every family provides."""

    @property
    def spec(self) -> EncoderSpec:
        """What this encoder is."""

    def encode_images(self, batch: Tensor) -> Floats:
        """Vectors ``[n, d]``, not normalised, from preprocessed images ``[n, 3, input_size, input_size]``."""

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Vectors ``[n, d]`` in the images' space; raises :class:`UsageError` where ``spec.has_text`` is false."""


class Family(Protocol):
    """A module that makes encoders; other packages add theirs through the entry-point group ``embprobe.encoders``."""

    def load(self, model: str, weights: str, *, device: str) -> Encoder:
        """The encoder ``family/model:weights``, ready on ``device``; ``weights`` is empty if the user gave none."""

    def names(self) -> list[str]:
        """The ``model`` or ``model:weights`` that can be named, without the family."""


def load_failure(name: str, weights: str, error: Exception) -> EmbprobeError:
    """What to tell the user when a library could not load ``name`` (with ``weights``, if a file or a tag was given)."""
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text or "Unpickl" in text:
        return EmbprobeError(
            f"'{weights or name}' holds more than weights (it would run code), or is damaged; refused."
        )
    if any(sign in text for sign in ("offline", "resolve", "onnect", "LocalEntryNotFound", "cached snapshot")):
        family = name.partition(":")[0]
        return EmbprobeError(
            f"The weights of '{name}' could not be fetched. Without a network, give a file: '{family}:FILE'."
        )
    reason = text.splitlines()[0] if text else type(error).__name__
    return EmbprobeError(f"Could not load '{name}': {reason}")


def hash_weights(module: nn.Module) -> str:
    """A sha256 over the names and values of all weights, in hex: the same for the same weights in any file format."""
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
