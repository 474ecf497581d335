"""Colour: other hues, more or less of them, another light or palette, and lightness left as it is. In Oklab.

Oklab and its matrices: Björn Ottosson, "A perceptual color space for image processing", 2020; its polar form is OKLCh.
Colours that leave sRGB are brought back by reducing their chroma at constant lightness and hue, as CSS Color 4
(section 13.2) does. The distance of two colours is ΔE_OK, the Euclidean one in Oklab (CSS Color 4, section 12.1).
Transparency is kept by every function.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.images.decoding import UnreadableImage, flatten

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
_TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_DAYLIGHT_MIRED = 1e6 / 6504
_HALVINGS = 10
_SAMPLED = 4096
_ONE_INK = 48
"""How far the channels of one ink may lie apart: drawings are stored with losses."""


def rotate_hue(image: Image.Image, degrees: float) -> Image.Image:
    """Every hue turned by ``degrees`` at constant lightness and chroma; greys stay as they are."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _with_chroma(image, lambda lab: lab[:, 1:] @ turn.T)


def saturate(image: Image.Image, change: float) -> Image.Image:
    """The chroma multiplied by ``1 + change`` at constant lightness and hue: -1 takes all of it away, 1 doubles it."""
    if change < -1:
        raise ValueError(f"change must be at least -1, not {change}")
    return _with_chroma(image, lambda lab: lab[:, 1:] * (1 + change))


def desaturate(image: Image.Image, share: float) -> Image.Image:
    """A ``share`` (0 to 1) of the chroma removed at constant lightness: 1 is greyscale."""
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    return saturate(image, -share)


def shift_temperature(image: Image.Image, mired: float) -> Image.Image:
    """The light warmer (above 0) or cooler (below 0) by ``mired`` (-100 to 250) from 6504 K, lightness kept.

    The light's chromaticity lies on the Planckian locus (Kim et al., US patent 7024034, 2006), colours adapt by the
    Bradford transform, and of the result only what is not lightness is taken. White and black have no other colour at
    their lightness, so they stay.
    """
    if not -100 <= mired <= 250:
        raise ValueError(f"mired must be between -100 and 250, not {mired}")
    before, after = (_BRADFORD @ _planckian(1e6 / (_DAYLIGHT_MIRED + shift)) for shift in (0, mired))
    adapt = np.linalg.inv(_BRADFORD @ _TO_XYZ) @ np.diag(after / before) @ _BRADFORD @ _TO_XYZ

    def chroma(lab: Values) -> Values:
        return _linear_to_oklab(_oklab_to_linear(lab) @ adapt.T)[:, 1:]

    return _with_chroma(image, chroma)


def transfer_palette(image: Image.Image, other: Image.Image, share: float) -> Image.Image:
    """A ``share`` (0 to 1) of the way to the colours of ``other``: mean and spread of Oklab's a and b, lightness kept.

    Reinhard et al., "Color transfer between images", 2001 (equations 10 and 11), in Oklab and without the lightness.
    Only visible pixels count, weighted by their opacity.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    mean, spread = _moments(image)
    target_mean, target_spread = _moments(other)
    scale = target_spread / np.maximum(spread, 1e-3)

    def chroma(lab: Values) -> Values:
        moved = (lab[:, 1:] - mean) * scale + target_mean
        return lab[:, 1:] + share * (moved - lab[:, 1:])

    return _with_chroma(image, chroma)


def recolor(image: Image.Image, color: tuple[int, int, int], share: float) -> Image.Image:
    """A drawing in one ink, its ink a ``share`` (0 to 1) of the way to ``color``: 1 is exactly that colour.

    Shape and transparency stay exactly as they are. Raises :class:`UnreadableImage` unless the image is transparent but
    for one colour.
    """
    values = np.asarray(image)
    if image.mode != "RGBA" or not (values[..., 3] == 0).any():
        raise UnreadableImage("cannot be recoloured: it is not a drawing on a transparent background")
    inks = np.unique(values[values[..., 3] > 128][:, :3], axis=0)
    if not len(inks) or np.ptp(inks.astype(int), axis=0).max() > _ONE_INK:
        raise UnreadableImage("cannot be recoloured: it is not drawn in a single colour")
    ink, wanted = srgb_to_oklab(np.array([inks.mean(axis=0), color]) / 255)
    changed = values.copy()
    if share > 0:
        changed[..., :3] = np.rint(_into_gamut((ink + share * (wanted - ink))[None]) * 255)[0]
    if share == 1:
        changed[..., :3] = color
    return Image.fromarray(changed)


def vivid(hue: float) -> tuple[int, int, int]:
    """The most vivid sRGB colour of medium lightness (0.6) and this OKLCh hue in degrees."""
    angle = np.deg2rad(hue)
    lab = np.array([[0.6, 0.4 * np.cos(angle), 0.4 * np.sin(angle)]])
    red, green, blue = np.rint(_into_gamut(lab) * 255)[0].astype(int).tolist()
    return red, green, blue


def match_lightness(original: Image.Image, changed: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The control for a change of colour: lightness changed instead, by the same ΔE_OK on average.

    Each pixel's lightness moves in proportion to how far ``changed`` moved its colour, all lighter or all darker (at
    random), the other way where there is no room. Where sRGB has no room at all, the change is as large as can be.
    """
    lab = srgb_to_oklab(np.asarray(original)[..., :3].reshape(-1, 3) / 255)
    size = np.linalg.norm(srgb_to_oklab(np.asarray(changed)[..., :3].reshape(-1, 3) / 255) - lab, axis=1)
    weight = _opacity(original)
    lighter = bool(rng.integers(2))
    fits = lab[:, 0] + size <= 1 if lighter else lab[:, 0] - size >= 0
    direction = np.where(fits, 1, -1) if lighter else np.where(fits, -1, 1)
    moving = np.flatnonzero((size > 0) & (weight > 0))
    if not len(moving):
        return original.copy()

    def moved(pixels: NDArray[np.intp], factor: float) -> Values:
        lightness = np.clip(lab[pixels, 0] + factor * direction[pixels] * size[pixels], 0, 1)
        return _into_gamut(np.column_stack([lightness, lab[pixels, 1:]]))

    sampled = moving if len(moving) <= _SAMPLED else rng.choice(moving, _SAMPLED, replace=False)

    def mean(factor: float) -> float:
        distance = np.linalg.norm(srgb_to_oklab(moved(sampled, factor)) - lab[sampled], axis=1)
        return float(np.average(distance, weights=weight[sampled]))

    target = float(np.average(size[sampled], weights=weight[sampled]))
    low, high = 0.0, 4.0
    for _ in range(2 * _HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(middle) < target else (low, middle)
    result = np.asarray(original).copy()
    flat = result.reshape(-1, result.shape[-1])
    flat[moving, :3] = np.rint(moved(moving, high) * 255).astype(np.uint8)
    return Image.fromarray(result)


def mean_delta_e(a: Image.Image, b: Image.Image) -> float:
    """The mean ΔE_OK of two images' pixels, on white, times 100: 2 is about the least that one notices."""
    first, second = (srgb_to_oklab(np.asarray(flatten(image, (255, 255, 255))) / 255) for image in (a, b))
    return float(100 * np.linalg.norm(first - second, axis=-1).mean())


def mean_lightness_change(a: Image.Image, b: Image.Image) -> float:
    """The mean absolute difference of two images' Oklab lightness (0 to 1), on white."""
    first, second = (srgb_to_oklab(np.asarray(flatten(image, (255, 255, 255))) / 255) for image in (a, b))
    return float(np.abs(first - second)[..., 0].mean())


def srgb_to_oklab(rgb: Values) -> Values:
    """Oklab ``[..., 3]`` (lightness 0 to 1, a, b) from sRGB in 0..1."""
    return _linear_to_oklab(np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4))


def oklab_to_srgb(lab: Values) -> Values:
    """sRGB from Oklab, the inverse of :func:`srgb_to_oklab`; outside 0..1 where sRGB has no such colour."""
    linear = _oklab_to_linear(lab)
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def _linear_to_oklab(linear: Values) -> Values:
    lab: Values = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def _oklab_to_linear(lab: Values) -> Values:
    linear: Values = (lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T
    return linear


def _planckian(kelvin: float) -> Values:
    """XYZ (Y = 1) of a black body between 1,667 and 25,000 K, by Kim's cubic splines."""
    t = 1e3 / kelvin
    if kelvin <= 4000:
        x = ((-0.2661239 * t - 0.2343589) * t + 0.8776956) * t + 0.179910
    else:
        x = ((-3.0258469 * t + 2.1070379) * t + 0.2226347) * t + 0.240390
    if kelvin <= 2222:
        y = ((-1.1063814 * x - 1.34811020) * x + 2.18555832) * x - 0.20219683
    elif kelvin <= 4000:
        y = ((-0.9549476 * x - 1.37418593) * x + 2.09137015) * x - 0.16748867
    else:
        y = ((3.0817580 * x - 5.87338670) * x + 3.75112997) * x - 0.37001483
    return np.array([x / y, 1, (1 - x - y) / y])


def _moments(image: Image.Image) -> tuple[Values, Values]:
    """Mean and standard deviation of a and b over what is visible."""
    ab = srgb_to_oklab(np.asarray(image)[..., :3].reshape(-1, 3) / 255)[:, 1:]
    weight = _opacity(image)
    if not weight.any():
        return np.zeros(2), np.zeros(2)
    mean = np.average(ab, axis=0, weights=weight)
    return mean, np.sqrt(np.average((ab - mean) ** 2, axis=0, weights=weight))


def _opacity(image: Image.Image) -> Values:
    """0..1 for every pixel, ``[h * w]``."""
    if image.mode != "RGBA":
        return np.ones(image.width * image.height)
    return np.asarray(image)[..., 3].ravel() / 255


def _with_chroma(image: Image.Image, change: Callable[[Values], Values]) -> Image.Image:
    pixels = np.asarray(image)
    code = pixels[..., 0].astype(np.uint32) << 16 | pixels[..., 1].astype(np.uint32) << 8 | pixels[..., 2]
    codes, inverse = np.unique(code, return_inverse=True)  # a drawing has few colours, each is worked out once
    colors = np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1)
    lab = srgb_to_oklab(colors / 255)
    lab[:, 1:] = change(lab)
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
