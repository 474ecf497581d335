"""Define the interface of encoders and families, and the spec that holds everything that can change a vector."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import UsageError
from embprobe.system.pixels import MAX_PIXELS

if TYPE_CHECKING:
    from torch import Tensor, nn

Floats = NDArray[np.float32]
Resize = Literal["shortest", "squash"]
Interpolation = Literal["bilinear", "bicubic"]
Decoding = Literal["exact", "fast"]
Pooling = Literal["cls", "mean", "cls+mean", "attention", "projected", "trunk", "tokens", "patches@mask", "none"]
"""The part of a network's output that is the vector.

``cls``, ``mean``: the class token, the mean of the patch tokens (or of the feature map); ``cls+mean``: the one behind
the other; ``attention``: a learned pooling; ``projected``: after the projection into the space shared with text;
``trunk``: before it; ``tokens``: all of them, each a vector; ``patches@mask``: the mean of the patches that show an
image's opaque part; ``none``: there are no tokens to pool.
"""
Norm = Literal["none", "last"]
"""What is done to the tokens of a layer before they are pooled: nothing, or the network's own last norm."""
Stored = Literal["float32", "float16"]
"""The type in which vectors are stored."""
COLON = ("python", "vectors")
"""Families whose names go on behind a colon with a module or file of the user's own."""
Precision = Literal["float32", "bfloat16", "float16"]
"""The type in which the network computes (torch's autocast, if not float32); vectors are float32 always."""


@dataclass(frozen=True, kw_only=True)
class ImageInput:
    """How an image becomes the tensor that an encoder takes.

    It is resized so that its shortest side (``resize="shortest"``) or both sides (``"squash"``) are ``resize_to``
    pixels, then the central ``input_size`` square is cut out, scaled to 0..1, and normalised by ``mean`` and ``std``.
    """

    input_size: int
    resize: Resize
    resize_to: int
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    decoding: Decoding = "exact"
    """``fast``: large JPEGs are decoded at reduced scale (:func:`embprobe.encoders.preprocessing.decoded_side`)."""
    max_pixels: int = MAX_PIXELS
    """Images of more pixels are not decoded (:func:`embprobe.images.decoding.decode`)."""


@dataclass(frozen=True, kw_only=True)
class TokenGrid:
    """How the tokens of an image stand: ``prefix`` without a place, then those of patches, row by row.

    The class token is the first of the prefix, if the network has one; registers follow it.
    """

    prefix: int
    rows: int
    columns: int

    @property
    def count(self) -> int:
        """The tokens of an image.

        Example:
            >>> TokenGrid(prefix=1, rows=14, columns=14).count
            197
        """
        return self.prefix + self.rows * self.columns


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """Everything that can change a vector. Two encoders with the same spec give the same vectors."""

    family: str
    model: str
    weights: str = ""
    """Tag, revision or file name: for people."""
    weights_sha256: str = ""
    """Hash of the weights' values (:func:`hash_weights`); empty where there are none."""
    pooling: Pooling = "none"
    dimension: int
    has_text: bool = False
    precision: Precision = "float32"
    options: str = ""
    """Options as typed behind the name, ``pooling=mean,size=224``: for people. Other fields hold their effects."""
    image_input: ImageInput | None = None
    """None where no image is encoded: vectors that a user brings, and oracles."""
    layer: int | None = None
    """The block whose output is pooled, counted from 1; 0 is the patch embedding. None: the network's own output."""
    norm: Norm = "none"
    """What is done to the tokens of ``layer`` before they are pooled."""
    tokens: TokenGrid | None = None
    """Of an encoder that gives an image several vectors, how they stand. None: one vector an image."""
    stored: Stored = "float32"

    @classmethod
    def from_saved(cls, saved: Mapping[str, Any]) -> EncoderSpec:
        """Return the spec that a manifest or ``results.json`` describes.

        Fields that are not a spec's own, such as its ``fingerprint``, are passed over. Files of earlier versions, in
        which the fields of ``image_input`` stand among the others, are read too.

        Raises:
            KeyError: A field is missing.
            TypeError: A value is of another type than its field.
            ValueError: A value is none that its field can have.
        """
        if not isinstance(saved, Mapping):
            raise TypeError("an encoder's fields are no mapping")
        image_input, tokens = saved.get("image_input", saved), saved.get("tokens")
        return cls(
            **_read_fields(cls, saved),
            image_input=None if image_input is None else ImageInput(**_read_fields(ImageInput, image_input)),
            tokens=None if tokens is None else TokenGrid(**_read_fields(TokenGrid, tokens)),
        )

    @property
    def name(self) -> str:
        """The name as the user types it: ``family/model[:weights][,option=value]``.

        Without a family, as of vectors from Python, the model is the name.
        """
        head = f"{self.family}{':' if self.family in COLON else '/'}" if self.family else ""
        model = f"{head}{self.model}"
        return model + (f":{self.weights}" if self.weights else "") + (f",{self.options}" if self.options else "")

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits of a hash over every field, those of ``image_input`` among the others.

        Where weights are hashed, their name does not count, nor do the options: a typed option and the same choice left
        to the default are one choice. Nor do defaults of what could not always be chosen, the limit of pixels and the
        layer, so that stores from before keep their fingerprints.
        """
        values: dict[str, Any] = asdict(self)
        values |= values.pop("image_input") or {}
        defaults: dict[str, Any] = {"max_pixels": MAX_PIXELS, "layer": None, "norm": "none", "tokens": None}
        for name, default in {**defaults, "stored": "float32"}.items():
            if name in values and values[name] == default:
                del values[name]
        if self.weights_sha256:
            del values["weights"], values["options"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of what an image becomes: ``(d,)``, or ``(t, d)`` where it becomes ``t`` tokens."""
        return (self.dimension,) if self.tokens is None else (self.tokens.count, self.dimension)

    @property
    def masked(self) -> bool:
        """Whether patches are pooled by an image's mask: images that are opaque everywhere have no vector."""
        return self.pooling == "patches@mask"

    @property
    def bytes(self) -> int:
        """The bytes that are stored of an image."""
        return math.prod(self.shape) * np.dtype(self.stored).itemsize

    def require_image_input(self) -> ImageInput:
        """Return how images are fed to the encoder.

        Raises:
            UsageError: It takes no images.
        """
        if self.image_input is None:
            raise UsageError(f"'{self.name}' encodes no images: it has no image input.")
        return self.image_input

    def with_decoding(self, decoding: Decoding, max_pixels: int | None = None) -> EncoderSpec:
        """Return the spec of the same encoder fed with images that are decoded this way.

        Args:
            decoding: How large JPEGs are decoded.
            max_pixels: The largest image that is decoded; the spec's own limit stays if it is None.

        Raises:
            UsageError: It takes no images, or the limit is less than one pixel.
        """
        image_input = self.require_image_input()
        if max_pixels is None:
            max_pixels = image_input.max_pixels
        if max_pixels < 1:
            raise UsageError(f"A limit of {max_pixels:,} pixels leaves no image to decode: max_pixels is at least 1.")
        return replace(self, image_input=replace(image_input, decoding=decoding, max_pixels=max_pixels))


_CHOICES: dict[str, tuple[str, ...]] = {
    "pooling": get_args(Pooling),
    "norm": get_args(Norm),
    "stored": get_args(Stored),
    "precision": get_args(Precision),
    "resize": get_args(Resize),
    "interpolation": get_args(Interpolation),
    "decoding": get_args(Decoding),
}
"""The values that a field can have, by its name; any text fits other fields of text."""


def _read_fields(kind: type[EncoderSpec | ImageInput | TokenGrid], saved: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked values of a dataclass's plain fields; those with a default may be missing."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        if field.name in ("image_input", "tokens") or (field.default is not MISSING and field.name not in saved):
            continue
        value = saved[field.name]
        if field.name in ("mean", "std"):
            if not isinstance(value, list | tuple) or not all(isinstance(v, int | float) for v in value):
                raise TypeError(f"'{field.name}' is not a list of numbers")
            values[field.name] = tuple(value)
            continue
        if field.name == "layer" and value is None:
            continue
        if type(value) is not {"str": str, "int": int, "int | None": int, "bool": bool}.get(str(field.type), str):
            raise TypeError(f"'{field.name}' is of type {type(value).__name__}")
        if field.name in _CHOICES and value not in _CHOICES[field.name]:
            raise ValueError(f"'{field.name}' cannot be '{value}'")
        values[field.name] = value
    return values


class Encoder(Protocol):
    """The interface that the encoders of every family have."""

    @property
    def spec(self) -> EncoderSpec:
        """The encoder's name and everything that can change its vectors."""

    def encode_images(self, batch: Tensor) -> Floats:
        """Return vectors ``[n, d]``, not normalised, of preprocessed images ``[n, 3, input_size, input_size]``.

        An encoder whose spec has ``tokens`` returns ``[n, t, d]``.
        """

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Return vectors ``[n, d]`` in the images' space; raise :class:`UsageError` if ``spec.has_text`` is false."""


@dataclass(frozen=True)
class Listing:
    """The facts about an encoder that are known without loading its weights; None is not known."""

    name: str
    weights: str = ""
    """Where the weights come from, in a few words."""
    dimension: int | None = None
    input_size: int | None = None
    has_text: bool | None = None
    notes: str = ""
    """Remarks on what is known and unknown of the encoder, in a few sentences."""


class Family(Protocol):
    """A module that makes encoders; other packages add families through the entry-point group ``embprobe.encoders``.

    It may also have ``describe(name) -> Listing``, for ``embprobe encoders``.
    """

    def load(self, model: str, weights: str, /, *, device: str, **options: str) -> Encoder:
        """Load the encoder ``family/model:weights`` on ``device``; ``weights`` is empty if the user gave none.

        Options are those it names as keyword arguments; others are refused before it is called.
        """

    def names(self) -> list[str]:
        """Return each ``model`` or ``model:weights`` that can be loaded, without the family."""


def hash_weights(module: nn.Module) -> str:
    """Return a sha256 over the names and values of all weights, in hex; it does not depend on the file format."""
    import torch

    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
