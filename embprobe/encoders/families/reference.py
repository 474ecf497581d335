"""Make reference encoders, beside which every result is read: pixels, greys, colours, textures, a random network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from embprobe.encoders.families.bundled import towers_encoder
from embprobe.encoders.spec import EncoderSpec, Floats, ImageInput, Listing, TokenGrid
from embprobe.encoders.towers.header import IMAGE_SIZE, WIDTH
from embprobe.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor

    from embprobe.encoders.network import NetworkEncoder

PIXELS_SIDE = 12
"""Side of the input of ``pixels`` and of ``grey-pixels``, in pixels; and of a patch, where ``pixels`` gives tokens."""
PATCHES_SIDE = 4
"""Patches of ``pixels`` along a side, where no other encoder says how many: those of the bundled encoders."""
HISTOGRAM_SIDE, LIGHTNESS_BINS, CHROMA_BINS = 64, 8, 11
"""Side of the input of ``color-histogram`` in pixels, and its bins along L and along each of a and b."""
HISTOGRAM_DIMENSION = LIGHTNESS_BINS * CHROMA_BINS**2
LUMA = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in the luma of ITU-R BT.601."""
TEXTURE_SIDE = 128
"""Side of the input of ``texture`` in pixels: smaller pictures have little texture left."""
CIRCLES = ((8, 1), (16, 2))
"""Neighbours of a pixel and their distance from it, in pixels, in each of the two local binary patterns."""
TEXTURE_DIMENSION = sum(neighbours + 2 for neighbours, _ in CIRCLES)
_TOGETHER = 4
"""Pictures whose patterns are counted at a time, so that they stay in a core's cache."""
JOINED = 0.1
"""Factor of the pixels beside a colour histogram: on the bundled emoji the variance of both is then about the same."""


class FunctionEncoder:
    """An encoder without weights: a function of pixels in 0..1, ``[n, 3, s, s] -> [n, d]``, or of tokens."""

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
        """Return float32 vectors ``[n, d]``, or tokens ``[n, t, d]``, of preprocessed images ``[n, 3, s, s]``."""
        return self._encode(batch).numpy().astype(np.float32, copy=False)

    def views(self, options: Mapping[str, str]) -> list[FunctionEncoder]:
        """Return the encoder of the pixels of each patch, for ``pooling=tokens``.

        Raises:
            UsageError: It is not that of pixels, or something else is asked for.
        """
        typed = ",".join(f"{name}={value}" for name, value in options.items())
        if self.spec.model != "pixels":
            raise UsageError(f"'{self.spec.name}' has no layers and no tokens: leave out '{typed}'.")
        if options != {"pooling": "tokens"}:
            raise UsageError(
                f"'{self.spec.name}' has no layers; of its patches there is pooling=tokens alone, not '{typed}'."
            )
        return [self.with_grid(PATCHES_SIDE, PATCHES_SIDE)]

    def with_grid(self, rows: int, columns: int) -> FunctionEncoder:
        """Return the encoder of the pixels of each patch, of as many patches as another encoder has.

        Each patch is seen at the size at which ``reference/pixels`` sees an image.

        Raises:
            UsageError: The grid is no square, which a square image has no equal patches for.
        """
        if rows != columns:
            raise UsageError(f"Pixels are given for a square grid of patches, not for {rows} x {columns}.")
        side = rows * PIXELS_SIDE
        encoder = FunctionEncoder(
            self.spec.model, partial(pixels_of_patches, patches=rows), side=side, dimension=3 * PIXELS_SIDE**2
        )
        grid = TokenGrid(prefix=0, rows=rows, columns=columns)
        encoder.spec = replace(encoder.spec, pooling="tokens", options="pooling=tokens", tokens=grid)
        return encoder

    def encode_texts(self, texts: Sequence[str]) -> Floats:
        """Raise UsageError: a reference encoder has no text side."""
        raise UsageError(f"'{self.spec.name}' has no text side.")


def pixels(batch: Tensor) -> Tensor:
    """Return the pixels themselves as a vector, with mid-grey at the origin: ``[n, 3, s, s] -> [n, 3 s²]``."""
    return (batch - 0.5).flatten(1)


def pixels_of_patches(batch: Tensor, *, patches: int) -> Tensor:
    """Return the pixels of each patch, row by row, with mid-grey at the origin: ``[n, 3, s, s] -> [n, p², 3 (s/p)²]``.

    Example:
        >>> import torch
        >>> pixels_of_patches(torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]] * 3]), patches=2)[0, 1].tolist()
        [0.5, 0.5, 0.5]
    """
    n, channels, side, _ = batch.shape
    parts = batch.reshape(n, channels, patches, side // patches, patches, side // patches)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(n, patches**2, -1) - 0.5


def grey_pixels(batch: Tensor) -> Tensor:
    """Return the luma of each pixel, with mid-grey at the origin: ``[n, 3, s, s] -> [n, s²]``.

    Luma is 0.299 R + 0.587 G + 0.114 B of the gamma-encoded values (ITU-R BT.601), which Pillow's mode "L" and most
    greyscale conversions compute. It sees no hue, and its formula is another than that of Oklab, whose lightness
    interventions on colour keep.
    """
    return _luma(batch).sub(0.5).flatten(1)


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
    shares = color_histogram(batch).square()
    return shares.reshape(len(shares), LIGHTNESS_BINS, -1).sum(2).sqrt()


def texture(batch: Tensor) -> Tensor:
    """Return the square root of the shares of rotation-invariant uniform local binary patterns at two radii.

    Each pixel's luma, in 256 steps, is compared with that of 8 neighbours at distance 1 and of 16 at distance 2. Where
    darker and lighter neighbours are two arcs at most, the pattern is the number that are not darker, 0 to P; all
    others share one pattern (Ojala, Pietikäinen and Mäenpää 2002, equation 12: LBP^riu2). Hence neither colours nor
    places nor quarter turns matter, and only the order of light and dark does, not the contrast. Pixels whose circle
    leaves the picture are left out. The dot product is the mean over both radii of the Bhattacharyya coefficient of the
    shares, and 1 minus it a distance between textures.

    Args:
        batch: RGB images in 0..1, ``[n, 3, s, s]``, ``s`` at least 5.

    Returns:
        Vectors of unit length, ``[n, 28]``: 10 patterns of the small circle and 18 of the large one.
    """
    import torch

    steps = _luma(batch).mul(255).round()
    some = [steps[start : start + _TOGETHER] for start in range(0, len(steps), _TOGETHER)]
    shares = [torch.cat([_patterns(each, *circle) for circle in CIRCLES], dim=1) for each in some]
    return (torch.cat(shares) / len(CIRCLES)).sqrt()


def _patterns(steps: Tensor, neighbours: int, radius: int) -> Tensor:
    """Return the shares of the patterns of one circle in pictures ``[n, s, s]``: ``[n, neighbours + 2]``.

    Neighbours between pixels are interpolated linearly, as scikit-image's ``local_binary_pattern`` does one pixel at a
    time; here one neighbour of all pixels at a time, for a third of its time.
    """
    import torch

    count, height, width = len(steps), steps.shape[1] - 2 * radius, steps.shape[2] - 2 * radius
    center = steps[:, radius:-radius, radius:-radius] - 1e-3  # interpolation rounds
    lighter = torch.zeros(count, height, width, dtype=torch.uint8)
    changes = torch.zeros_like(lighter)
    first = before = torch.empty(0)
    value = torch.empty(count, height, width)
    for k in range(neighbours):
        angle = 2 * math.pi * k / neighbours
        down, right = (round(radius * each, 5) for each in (-math.sin(angle), math.cos(angle)))
        (top, below), (left, beyond) = ((math.floor(each), each - math.floor(each)) for each in (down, right))
        value.zero_()
        for y, x, weight in (
            (top, left, (1 - below) * (1 - beyond)),
            (top, left + 1, (1 - below) * beyond),
            (top + 1, left, below * (1 - beyond)),
            (top + 1, left + 1, below * beyond),
        ):
            if weight:
                value.add_(steps[:, radius + y :, radius + x :][:, :height, :width], alpha=weight)
        bit = torch.ge(value, center).view(torch.uint8)
        lighter += bit
        changes += bit ^ (before if k else bit)
        first, before = bit if k == 0 else first, bit
    changes += before ^ first
    lighter[changes > 2] = neighbours + 1
    places = lighter.flatten(1).long() + (neighbours + 2) * torch.arange(count)[:, None]
    counts = torch.bincount(places.ravel(), minlength=count * (neighbours + 2))
    return counts.reshape(count, -1) / (height * width)


def color_and_pixels(batch: Tensor) -> Tensor:
    """Join the colour histogram with ``JOINED`` times the pixels: what an image is like without knowing what it shows.

    A linear classifier of both is a stronger baseline than either. ``[n, 3, 64, 64] -> [n, 1400]``.
    """
    import torch
    from torch.nn.functional import interpolate

    small = interpolate(batch, size=(PIXELS_SIDE, PIXELS_SIDE), mode="bicubic", antialias=True).clamp(0, 1)
    return torch.cat([color_histogram(batch), JOINED * pixels(small)], dim=1)


def _luma(batch: Tensor) -> Tensor:
    """Return the luma of each pixel. ``[n, 3, s, s] -> [n, s, s]``."""
    import torch

    return torch.einsum("nchw,c->nhw", batch, torch.tensor(LUMA, dtype=batch.dtype))


_FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], int, int]] = {
    "color-and-pixels": (color_and_pixels, HISTOGRAM_SIDE, HISTOGRAM_DIMENSION + 3 * PIXELS_SIDE**2),
    "color-histogram": (color_histogram, HISTOGRAM_SIDE, HISTOGRAM_DIMENSION),
    "grey-pixels": (grey_pixels, PIXELS_SIDE, PIXELS_SIDE**2),
    "lightness-histogram": (lightness_histogram, HISTOGRAM_SIDE, LIGHTNESS_BINS),
    "pixels": (pixels, PIXELS_SIDE, 3 * PIXELS_SIDE**2),
    "texture": (texture, TEXTURE_SIDE, TEXTURE_DIMENSION),
}
"""By name the function of pixels, the side of its input in pixels, and its dimension."""
_UNTRAINED = "random-vit"


def names() -> list[str]:
    """Return the names of the reference encoders, without the family."""
    return sorted([*_FUNCTIONS, _UNTRAINED])


def describe(name: str) -> Listing:
    """Describe a reference encoder without making it."""
    if name == _UNTRAINED:
        return Listing(name, "drawn from a seed", WIDTH, IMAGE_SIZE, has_text=False)
    _, side, dimension = _FUNCTIONS[name]
    return Listing(name, "none", dimension, side, has_text=False)


def load(model: str, weights: str, *, device: str) -> FunctionEncoder | NetworkEncoder:
    """Make one of the reference encoders, such as ``reference/pixels``.

    Args:
        model: One of :func:`names`.
        weights: For ``random-vit`` the seed that its weights are drawn from, 0 if ""; otherwise "".
        device: The torch device of ``random-vit``; the others compute on the CPU.

    Raises:
        UsageError: The seed is not a number of at most nine digits, or an encoder without weights is given some.
    """
    if model == _UNTRAINED:
        from embprobe.encoders.towers.two_towers import TwoTowers

        if weights and not (weights.isdecimal() and len(weights) <= 9):
            raise UsageError(f"What follows 'reference/random-vit:' is a seed of at most nine digits, not '{weights}'.")
        towers = TwoTowers(seed=int(weights or 0))
        return towers_encoder(towers, family="reference", model=model, weights=weights, device=device)
    if weights:
        raise UsageError(f"'reference/{model}' has no weights to choose; leave out ':{weights}'.")
    function, side, dimension = _FUNCTIONS[model]
    return FunctionEncoder(model, function, side=side, dimension=dimension)
