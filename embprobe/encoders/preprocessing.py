"""From a picture to the tensor an encoder expects, as its spec says and as torchvision does it for its authors."""

from __future__ import annotations

import math
from collections.abc import Hashable

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from embprobe.encoders.base import EncoderSpec

FAST_MARGIN = 2
"""With fast decoding, how much larger than it is resized to an image is at least decoded."""
MAX_RESIZED_PIXELS = 64 << 20
"""A longer image would become larger than this when its shorter side is resized, most of it to be cropped away."""
_REACH = 3
"""How far beside a pixel the filters look when they enlarge."""
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def preprocessing(spec: EncoderSpec) -> Hashable:
    """What :func:`preprocess` depends on: two specs with the same value take the same tensors."""
    return (spec.resize, spec.resize_to, spec.input_size, spec.interpolation, spec.mean, spec.std)


def decoded_side(spec: EncoderSpec) -> int | None:
    """The least shorter side, in pixels, at which a JPEG may be decoded for this spec; None: only at its own."""
    return FAST_MARGIN * spec.resize_to if spec.decoding == "fast" else None


def preprocess(image: Image.Image, spec: EncoderSpec) -> Tensor:
    """Float32 ``[3, input_size, input_size]`` from an RGB image of any size."""
    pixels: Tensor = F.to_tensor(_resized_and_cropped(image, spec))
    normalized: Tensor = F.normalize(pixels, list(spec.mean), list(spec.std))
    return normalized


def _resized_and_cropped(image: Image.Image, spec: EncoderSpec) -> Image.Image:
    side, crop = spec.resize_to, spec.input_size
    if spec.resize == "squash":
        resized = F.resize(image, [side, side], InterpolationMode(spec.interpolation))
    elif side * side * max(image.size) > MAX_RESIZED_PIXELS * min(image.size) and crop <= side:
        return _middle(image, spec)
    else:
        resized = F.resize(image, [side], InterpolationMode(spec.interpolation))
    cropped: Image.Image = F.center_crop(resized, [crop])
    return cropped


def _middle(image: Image.Image, spec: EncoderSpec) -> Image.Image:
    """Resized and cropped in one step: only what the crop keeps is worked out.

    The same pixels as in two steps but for rounding.
    """
    side, crop = spec.resize_to, spec.input_size
    shorter = min(image.size)
    box: list[float] = [0, 0, 0, 0]
    for axis, length in enumerate(image.size):
        resized = side if length == shorter else int(side * length / shorter)
        scale = length / resized
        start = round((resized - crop) / 2)
        box[axis], box[axis + 2] = start * scale, (start + crop) * scale
    left, top, right, bottom = box
    resampling = _RESAMPLING[spec.interpolation]
    if image.height > image.width and shorter <= side:  # Pillow would take rows first; for the crop alone, columns
        first, last = max(0, math.floor(top) - _REACH), min(image.height, math.ceil(bottom) + _REACH)
        image = image.crop((0, first, image.width, last))
        image = image.resize((crop, image.height), resampling, box=(left, 0, right, image.height))
        left, top, right, bottom = 0, top - first, crop, bottom - first
    return image.resize((crop, crop), resampling, box=(left, top, right, bottom))
