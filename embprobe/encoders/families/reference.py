"""Reference encoders: the floor every result is read against. They know nothing, or one thing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embprobe.encoders.families.bundled import encoder_of
from embprobe.encoders.spec import EncoderSpec, Floats, ImageInput, Listing
from embprobe.encoders.towers.header import IMAGE_SIZE, WIDTH
from embprobe.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from embprobe.encoders.network import NetworkEncoder

PIXELS_SIDE = 12
HISTOGRAM_SIDE, LIGHTNESS_BINS, CHROMA_BINS = 64, 8, 11
HISTOGRAM_DIMENSION = LIGHTNESS_BINS * CHROMA_BINS**2


class FunctionEncoder:
    """An encoder without weights: a function of pixels in 0..1, ``[n, 3, s, s] -> [n, d]``."""

    def __init__(self, model: str, encode: Callable[[Tensor], Tensor], *, side: int, dimension: int) -> None:
        self.spec = EncoderSpec(
            family="reference",
            model=model,
            dimension=dimension,
            image_input=ImageInput(
                input_size=side,
                resize="shortest",
                resize_to=side,
                interpolation="bicubic",
                mean=(0.0, 0.0, 0.0),
                std=(1.0, 1.0, 1.0),
            ),
        )
        self._encode = encode

    def encode_images(self, batch: Tensor) -> Floats:
        return self._encode(batch).numpy().astype(np.float32, copy=False)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        raise UsageError(f"'{self.spec.name}' has no text side.")


def pixels(batch: Tensor) -> Tensor:
    """The small picture itself, mid-grey at the origin: ``[n, 3, s, s] -> [n, 3 s²]``."""
    return (batch - 0.5).flatten(1)


def color_histogram(batch: Tensor) -> Tensor:
    """The share of the pixels in each of 8 x 11 x 11 bins of CIELAB, square-rooted: ``[n, 3, s, s] -> [n, 968]``.

    Bins are 12.5 wide in lightness and 20 in a and b, from -110 to 110, so that greys are in the middle of one. With
    the square root, the dot product of two histograms is the Bhattacharyya coefficient: 1 for the same colours, 0 for
    none in common. Where a pixel is does not matter.
    """
    import torch
    from skimage.color import rgb2lab

    lab = torch.from_numpy(rgb2lab(batch.permute(0, 2, 3, 1).numpy())).flatten(1, 2)  # [n, s s, 3]
    low = torch.tensor([0.0, -110.0, -110.0])
    width = torch.tensor([100 / LIGHTNESS_BINS, 220 / CHROMA_BINS, 220 / CHROMA_BINS])
    most = torch.tensor([LIGHTNESS_BINS - 1, CHROMA_BINS - 1, CHROMA_BINS - 1])
    bins = ((lab - low) / width).floor().long().clamp(torch.zeros_like(most), most)
    index = (bins[..., 0] * CHROMA_BINS + bins[..., 1]) * CHROMA_BINS + bins[..., 2]
    counts = torch.zeros(len(batch), HISTOGRAM_DIMENSION).scatter_add_(1, index, torch.ones(index.shape))
    return (counts / index.shape[1]).sqrt()


def names() -> list[str]:
    """The reference encoders."""
    return ["color-histogram", "pixels", "random-vit"]


def describe(name: str) -> Listing:
    """Of one of them."""
    made = {
        "pixels": (3 * PIXELS_SIDE**2, PIXELS_SIDE),
        "color-histogram": (HISTOGRAM_DIMENSION, HISTOGRAM_SIDE),
        "random-vit": (WIDTH, IMAGE_SIZE),
    }
    return Listing(name, "drawn from a seed" if name == "random-vit" else "none", *made[name], has_text=False)


def load(model: str, weights: str, *, device: str) -> FunctionEncoder | NetworkEncoder:
    """``reference/pixels``, ``reference/color-histogram``, or ``reference/random-vit``, whose "weights" are a seed."""
    if model == "random-vit":
        from embprobe.encoders.towers.two_towers import TwoTowers

        if weights and not (weights.isdecimal() and len(weights) <= 9):
            raise UsageError(f"What follows 'reference/random-vit:' is a seed of at most nine digits, not '{weights}'.")
        towers = TwoTowers(seed=int(weights or 0))
        return encoder_of(towers, family="reference", model=model, weights=weights, device=device)
    if weights:
        raise UsageError(f"'reference/{model}' has no weights to choose; leave out ':{weights}'.")
    if model == "pixels":
        return FunctionEncoder(model, pixels, side=PIXELS_SIDE, dimension=3 * PIXELS_SIDE**2)
    return FunctionEncoder(model, color_histogram, side=HISTOGRAM_SIDE, dimension=HISTOGRAM_DIMENSION)
