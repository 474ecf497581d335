"""Colour: turn the hue, or take the colour away, and leave lightness as it is. In Oklab's polar form, OKLCh.

Oklab and its matrices: Björn Ottosson, "A perceptual color space for image processing", 2020. Colours that leave sRGB
are brought back by reducing their chroma at constant lightness and hue, as CSS Color 4 (section 13.2) does.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Values = NDArray[np.float64]

_TO_LMS = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_LAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_FROM_LMS, _FROM_LAB = np.linalg.inv(_TO_LMS), np.linalg.inv(_TO_LAB)
_HALVINGS = 10


def rotate_hue(image: Image.Image, degrees: float) -> Image.Image:
    """Every hue turned by ``degrees`` at constant lightness; greys stay as they are. Keeps an alpha channel."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _with_chroma(image, lambda ab: ab @ turn.T)


def desaturate(image: Image.Image, share: float) -> Image.Image:
    """A ``share`` (0 to 1) of the chroma removed at constant lightness: 1 is greyscale. Keeps an alpha channel."""
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    return _with_chroma(image, lambda ab: ab * (1 - share))


def srgb_to_oklab(rgb: Values) -> Values:
    """Oklab ``[..., 3]`` (lightness 0 to 1, a, b) from sRGB in 0..1."""
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4)
    lab: Values = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def oklab_to_srgb(lab: Values) -> Values:
    """sRGB from Oklab, the inverse of :func:`srgb_to_oklab`; outside 0..1 where sRGB has no such colour."""
    linear = (lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def _with_chroma(image: Image.Image, change: Callable[[Values], Values]) -> Image.Image:
    pixels = np.asarray(image)
    code = pixels[..., 0].astype(np.uint32) << 16 | pixels[..., 1].astype(np.uint32) << 8 | pixels[..., 2]
    codes, inverse = np.unique(code, return_inverse=True)  # a drawing has few colours, each is worked out once
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    lab = srgb_to_oklab(colors / 255)
    lab[:, 1:] = change(lab[:, 1:])
    mapped = np.rint(_into_gamut(lab) * 255).astype(np.uint8)
    changed = pixels.copy()
    changed[..., :3] = mapped[inverse.reshape(code.shape)]
    return Image.fromarray(changed)


def _into_gamut(lab: Values) -> Values:
    """sRGB in 0..1: the most chroma that fits, found by halving the interval of what is kept."""
    rgb = oklab_to_srgb(lab)
    outside = ((rgb < -1e-3) | (rgb > 1 + 1e-3)).any(axis=-1)
    if outside.any():
        stuck = lab[outside]
        low, high = np.zeros(len(stuck)), np.ones(len(stuck))
        for _ in range(_HALVINGS):
            kept = (low + high) / 2
            candidate = oklab_to_srgb(np.column_stack([stuck[:, :1], stuck[:, 1:] * kept[:, None]]))
            fits = ((candidate >= 0) & (candidate <= 1)).all(axis=-1)
            low, high = np.where(fits, kept, low), np.where(fits, high, kept)
        rgb[outside] = oklab_to_srgb(np.column_stack([stuck[:, :1], stuck[:, 1:] * low[:, None]]))
    return np.clip(rgb, 0, 1)
