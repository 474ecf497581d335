"""What an encoder is: images in, vectors out, and a spec that holds everything that can change a vector."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = NDArray[np.float32]
Resize = Literal["shortest", "squash"]
Pooling = Literal["cls", "mean", "cls+mean", "attention", "projected", "trunk", "none"]
"""What of a network's output is the vector.

``cls``, ``mean``: the class token, the mean of the patch tokens (or of the feature map); ``cls+mean``: the one behind
the other; ``attention``: a learned pooling; ``projected``: after the projection into the space shared with text;
``trunk``: before it; ``none``: there are no tokens to pool.
"""
COLON = ("python", "vectors")
"""Families whose names go on behind a colon: what follows is the user's own."""
Precision = Literal["float32", "bfloat16", "float16"]
"""In which the network computes (torch's autocast, if not float32); vectors are float32 always."""


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
    precision: Precision = "float32"
    decoding: Literal["exact", "fast"] = "exact"
    """``fast``: large JPEGs are decoded at reduced scale (:func:`embprobe.encoders.preprocessing.decoded_side`)."""
    options: str = ""
    """As typed behind the name, ``pooling=mean,size=224``: for people. What they choose is in the other fields."""

    @property
    def name(self) -> str:
        """As the user types it: ``family/model``, ``family/model:weights``, either with ``,option=value`` behind it.

        Without a family, as of vectors from Python, the model is the name.
        """
        head = f"{self.family}{':' if self.family in COLON else '/'}" if self.family else ""
        model = f"{head}{self.model}"
        return model + (f":{self.weights}" if self.weights else "") + (f",{self.options}" if self.options else "")

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of a hash over every field.

        Where weights are hashed, what they were called does not count, nor do the options: a choice that is spelled out
        and the same one left to the default are one choice.
        """
        fields: dict[str, Any] = asdict(self)
        if self.weights_sha256:
            del fields["weights"], fields["options"]
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


@dataclass(frozen=True)
class Listing:
    """What can be said about an encoder without loading its weights; None is not known."""

    name: str
    weights: str = ""
    """Where they come from, in a few words."""
    dimension: int | None = None
    input_size: int | None = None
    has_text: bool | None = None
    notes: str = ""
    """What else is known, and what is not, in a few sentences."""


class Family(Protocol):
    """A module that makes encoders; other packages add theirs through the entry-point group ``embprobe.encoders``.

    It may also have ``describe(name) -> Listing``, for ``embprobe encoders``.
    """

    def load(self, model: str, weights: str, /, *, device: str, **options: str) -> Encoder:
        """The encoder ``family/model:weights``, ready on ``device``; ``weights`` is empty if the user gave none.

        Options are those it names as keyword arguments; others are refused before it is called.
        """

    def names(self) -> list[str]:
        """The ``model`` or ``model:weights`` that can be named, without the family."""


def hash_weights(module: nn.Module) -> str:
    """A sha256 over the names and values of all weights, in hex: the same for the same weights in any file format."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
