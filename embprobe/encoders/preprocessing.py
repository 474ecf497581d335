"""From a picture to the tensor an encoder expects, as its spec says and as torchvision does it for its authors."""

from __future__ import annotations

from collections.abc import Hashable

from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from embprobe.encoders.base import EncoderSpec


def preprocessing(spec: EncoderSpec) -> Hashable:
    """What :func:`preprocess` depends on: two specs with the same value take the same tensors."""
    return (spec.resize, spec.resize_to, spec.input_size, spec.interpolation, spec.mean, spec.std)


def preprocess(image: Image.Image, spec: EncoderSpec) -> Tensor:
    """Float32 ``[3, input_size, input_size]`` from an RGB image of any size."""
    side = spec.resize_to
    size = [side] if spec.resize == "shortest" else [side, side]
    resized = F.resize(image, size, InterpolationMode(spec.interpolation))
    pixels: Tensor = F.to_tensor(F.center_crop(resized, [spec.input_size]))
    normalized: Tensor = F.normalize(pixels, list(spec.mean), list(spec.std))
    return normalized
