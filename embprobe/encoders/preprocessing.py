"""Turn an image into the tensor that an encoder expects, with the arithmetic of torchvision that its authors use."""

from __future__ import annotations

import math
from collections.abc import Hashable

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from embprobe.encoders.spec import ImageInput

Pixels = NDArray[np.uint8]

FAST_MARGIN = 2
"""With fast decoding, how much larger than it is resized to an image is at least decoded."""
MAX_RESIZED_PIXELS = 64 << 20
"""A longer image would become larger than this when its shorter side is resized, most of it to be cropped away."""
_REACH = 3
"""How far beside a pixel the filters look when they enlarge."""
_RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def geometry(image_input: ImageInput) -> Hashable:
    """Return the settings that decide the cropped pixels: two inputs with the same value take the same pixels."""
    return (
        image_input.decoding,
        image_input.max_pixels,
        image_input.resize,
        image_input.resize_to,
        image_input.input_size,
        image_input.interpolation,
    )


def decoded_side(image_input: ImageInput) -> int | None:
    """Return the least shorter side, in pixels, at which a JPEG may be decoded for this input; None: only its own."""
    return FAST_MARGIN * image_input.resize_to if image_input.decoding == "fast" else None


def preprocess(image: Image.Image, image_input: ImageInput) -> Tensor:
    """Return an RGB image of any size as the encoder's input: float32, ``[3, input_size, input_size]``."""
    return normalized(cropped(image, image_input)[None], image_input)[0]


def cropped(image: Image.Image, image_input: ImageInput) -> Pixels:
    """Return the pixels that an encoder sees of an RGB image of any size: bytes, ``[input_size, input_size, 3]``."""
    return np.asarray(_resized_and_cropped(image, image_input))


def normalized(crops: Pixels, image_input: ImageInput) -> Tensor:
    """Scale bytes ``[n, s, s, 3]`` to 0..1, subtract the mean and divide by the std: float32, ``[n, 3, s, s]``.

    The same operations in the same order as torchvision's ``to_tensor`` and ``normalize``, on a whole batch.
    """
    batch = torch.from_numpy(np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32))
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (image_input.mean, image_input.std))
    return batch.div_(255).sub_(mean).div_(std)


def _resized_and_cropped(image: Image.Image, image_input: ImageInput) -> Image.Image:
    side, crop, shorter = image_input.resize_to, image_input.input_size, min(image.size)
    if (
        image_input.resize == "shortest"
        and side * side * max(image.size) > MAX_RESIZED_PIXELS * shorter
        and crop <= side
    ):
        return _middle(image, image_input)
    width, height = (side if image_input.resize == "squash" else int(side * length / shorter) for length in image.size)
    resized = image.resize((width, height), _RESAMPLING[image_input.interpolation])  # as torchvision rounds sizes
    return resized if resized.size == (crop, crop) else _center_crop(resized, crop)


def _center_crop(image: Image.Image, side: int) -> Image.Image:
    """Cut a square from the middle of an image as torchvision does, with black where the image is smaller."""
    gaps = [length - side for length in image.size]
    left, top = (round(gap / 2) if gap > 0 else -(-gap // 2) for gap in gaps)
    return image.crop((left, top, left + side, top + side))


def _middle(image: Image.Image, image_input: ImageInput) -> Image.Image:
    """Resize and crop in one step, which computes only the pixels that the crop keeps.

    They are the same as in two steps but for rounding.
    """
    side, crop = image_input.resize_to, image_input.input_size
    shorter = min(image.size)
    box: list[float] = [0, 0, 0, 0]
    for axis, length in enumerate(image.size):
        resized = side if length == shorter else int(side * length / shorter)
        scale = length / resized
        start = round((resized - crop) / 2)
        box[axis], box[axis + 2] = start * scale, (start + crop) * scale
    left, top, right, bottom = box
    resampling = _RESAMPLING[image_input.interpolation]
    if image.height > image.width and shorter <= side:  # Pillow would take rows first; for the crop alone, columns
        first, last = max(0, math.floor(top) - _REACH), min(image.height, math.ceil(bottom) + _REACH)
        image = image.crop((0, first, image.width, last))
        image = image.resize((crop, image.height), resampling, box=(left, 0, right, image.height))
        left, top, right, bottom = 0, top - first, crop, bottom - first
    return image.resize((crop, crop), resampling, box=(left, top, right, bottom))
