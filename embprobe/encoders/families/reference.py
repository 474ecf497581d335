"""Make reference encoders, beside which every result is read: pixels, greys, colours, an untrained network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embprobe.encoders.families.bundled import towers_encoder
from embprobe.encoders.spec import EncoderSpec, Floats, ImageInput, Listing
from embprobe.encoders.towers.header import IMAGE_SIZE, WIDTH
from embprobe.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from embprobe.encoders.network import NetworkEncoder

PIXELS_SIDE = 12
"""Side of the input of ``pixels`` and of ``grey-pixels``, in pixels."""
HISTOGRAM_SIDE, LIGHTNESS_BINS, CHROMA_BINS = 64, 8, 11
"""Side of the input of ``color-histogram`` in pixels, and its bins along L and along each of a and b."""
HISTOGRAM_DIMENSION = LIGHTNESS_BINS * CHROMA_BINS**2
LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in the luma of ITU-R BT.601."""


class FunctionEncoder:
    """An encoder without weights: a function of pixels in 0..1, ``[n, 3, s, s] -> [n, d]``."""

    def __init__(self, model: str, encode: Callable[[Tensor], Tensor], *, side: int, dimension: int) -> None:
        """Make the encoder ``reference/MODEL`` of images ``side`` pixels wide, with vectors ``[n, dimension]``."""
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
        """Return float32 vectors ``[n, d]``, not normalised, of preprocessed images ``[n, 3, s, s]``."""
        return self._encode(batch).numpy().astype(np.float32, copy=False)

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Raise UsageError: a reference encoder has no text side."""
        raise UsageError(f"'{self.spec.name}' has no text side.")


def pixels(batch: Tensor) -> Tensor:
    """Return the pixels themselves as a vector, with mid-grey at the origin: ``[n, 3, s, s] -> [n, 3 s²]``."""
    return (batch - 0.5).flatten(1)


def grey_pixels(batch: Tensor) -> Tensor:
    """Return the luma of each pixel, with mid-grey at the origin: ``[n, 3, s, s] -> [n, s²]``.

    Luma is 0.299 R + 0.587 G + 0.114 B of the gamma-encoded values (ITU-R BT.601), which Pillow's mode "L" and most
    greyscale conversions compute. It sees no hue, and its formula is another than that of Oklab, whose lightness
    interventions on colour keep.
    """
    import torch

    return torch.einsum("nchw,c->nhw", batch, torch.tensor(LUMA, dtype=batch.dtype)).sub(0.5).flatten(1)


def color_histogram(batch: Tensor) -> Tensor:
    """Return the square root of the share of pixels in each of 8 x 11 x 11 bins of CIELAB.

    Bins are 12.5 wide in lightness and 20 in a and b, from -110 to 110, so that greys are in the middle of one. With
    the square root, the dot product of two histograms is the Bhattacharyya coefficient: 1 for the same colours, 0 for
    none in common. The positions of pixels do not matter.

    Args:
        batch: RGB images in 0..1, ``[n, 3, s, s]``.

    Returns:
        Histograms of unit length, ``[n, 968]``.
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


def lightness_histogram(batch: Tensor) -> Tensor:
    """Return the square root of the share of pixels in each of 8 bins of CIELAB's lightness.

    The bins are those of :func:`color_histogram`, whatever the pixels' a and b: the part of it that is no colour.

    Args:
        batch: RGB images in 0..1, ``[n, 3, s, s]``.

    Returns:
        Histograms of unit length, ``[n, 8]``.
    """
    shares = color_histogram(batch).square().reshape(len(batch), LIGHTNESS_BINS, CHROMA_BINS**2)
    return shares.sum(2).sqrt()


def names() -> list[str]:
    """Return the names of the reference encoders, without the family."""
    return ["color-histogram", "grey-pixels", "lightness-histogram", "pixels", "random-vit"]


def describe(name: str) -> Listing:
    """Describe a reference encoder without making it."""
    sizes = {
        "pixels": (3 * PIXELS_SIDE**2, PIXELS_SIDE),
        "grey-pixels": (PIXELS_SIDE**2, PIXELS_SIDE),
        "color-histogram": (HISTOGRAM_DIMENSION, HISTOGRAM_SIDE),
        "lightness-histogram": (LIGHTNESS_BINS, HISTOGRAM_SIDE),
        "random-vit": (WIDTH, IMAGE_SIZE),
    }
    return Listing(name, "drawn from a seed" if name == "random-vit" else "none", *sizes[name], has_text=False)


def load(model: str, weights: str, *, device: str) -> FunctionEncoder | NetworkEncoder:
    """Make one of the reference encoders, such as ``reference/pixels``.

    Args:
        model: One of :func:`names`.
        weights: For ``random-vit`` the seed that its weights are drawn from, 0 if ""; otherwise "".
        device: The torch device of ``random-vit``; the others compute on the CPU.

    Raises:
        UsageError: The seed is not a number of at most nine digits, or an encoder without weights is given some.
    """
    if model == "random-vit":
        from embprobe.encoders.towers.two_towers import TwoTowers

        if weights and not (weights.isdecimal() and len(weights) <= 9):
            raise UsageError(f"What follows 'reference/random-vit:' is a seed of at most nine digits, not '{weights}'.")
        towers = TwoTowers(seed=int(weights or 0))
        return towers_encoder(towers, family="reference", model=model, weights=weights, device=device)
    if weights:
        raise UsageError(f"'reference/{model}' has no weights to choose; leave out ':{weights}'.")
    if model == "pixels":
        return FunctionEncoder(model, pixels, side=PIXELS_SIDE, dimension=3 * PIXELS_SIDE**2)
    if model == "grey-pixels":
        return FunctionEncoder(model, grey_pixels, side=PIXELS_SIDE, dimension=PIXELS_SIDE**2)
    if model == "lightness-histogram":
        return FunctionEncoder(model, lightness_histogram, side=HISTOGRAM_SIDE, dimension=LIGHTNESS_BINS)
    return FunctionEncoder(model, color_histogram, side=HISTOGRAM_SIDE, dimension=HISTOGRAM_DIMENSION)
