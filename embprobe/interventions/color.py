"""Change colour and leave lightness: turned hues, more or less chroma, another light or palette. In Oklab.

Oklab and its matrices: Björn Ottosson, "A perceptual color space for image processing", 2020; its polar form is OKLCh.
Colours that leave sRGB are brought back by reducing their chroma at constant lightness and hue, as CSS Color 4
(section 13.2) does. Differences of colours are CIEDE2000. Transparency is kept by every function.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.images.decoding import UnreadableImage, flatten
from embprobe.images.rows import WHITE
from embprobe.interventions.sharing import once

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
"""Steps of the search for the most chroma that sRGB has room for: it is found to a thousandth."""
_CLOSE = 1e-9
"""Distance of a linear value from 0, as a share of its summands, or from 1, within which rounding could decide."""
_TOLERATED = 1e-3
"""How far outside 0..1 a value of sRGB may lie before chroma is reduced; it is clipped."""
_TABLED = 2**20
"""Pixels from which on the distinct colours of an image are looked up in a table of all colours."""
_BLOCK = 8192
"""Colours that are worked on at a time, so that they stay in the processor's cache."""
_SAMPLED, _STEPS = 2048, 12
"""Colours from which a control's mean difference is estimated, and steps of the search for its size."""
_STRONGEST = 8.0
"""How much further than its colour a pixel's lightness may move: Oklab counts chroma for more than CIEDE2000 does."""
RECOGNISABLE = 0.75
"""Structural similarity below which a control has too little of an image: docs/interventions.md has the trial."""
_STRUCTURE_SIDE = 64
_ONE_INK = 0.03
"""How far shades of one ink may lie apart in Oklab: drawings are stored with losses."""


def rotate_hue(image: Image.Image, degrees: float) -> Image.Image:
    """Turn every hue by ``degrees`` in OKLCh at constant lightness and chroma; greys stay as they are."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return _with_chroma(image, lambda lab: lab[:, 1:] @ turn.T)


def tint(image: Image.Image, hue: float, share: float) -> Image.Image:
    """Move every colour a ``share`` (0 to 1) of the way to one OKLCh ``hue`` in degrees, lightness kept; greys stay.

    At 1 chroma is kept, too, where sRGB has room: unlike turned hues, tinted ones are alike in every image.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    angle = np.deg2rad(hue)
    direction = np.array([[np.cos(angle), np.sin(angle)]])

    def chroma(lab: Values) -> Values:
        target = np.linalg.norm(lab[:, 1:], axis=1, keepdims=True) * direction
        moved: Values = lab[:, 1:] + share * (target - lab[:, 1:])
        return moved

    return _with_chroma(image, chroma)


def saturate(image: Image.Image, change: float) -> Image.Image:
    """Multiply the chroma by ``1 + change`` at constant lightness and hue: -1 takes all of it away, 1 doubles it."""
    if change < -1:
        raise ValueError(f"change must be at least -1, not {change}")
    return _with_chroma(image, lambda lab: lab[:, 1:] * (1 + change))


def desaturate(image: Image.Image, share: float) -> Image.Image:
    """Remove a ``share`` (0 to 1) of the chroma at constant lightness: 1 is greyscale."""
    if not 0 <= share <= 1:
        raise ValueError(f"share must be between 0 and 1, not {share}")
    return saturate(image, -share)


def shift_temperature(image: Image.Image, mired: float) -> Image.Image:
    """Make the light warmer (above 0) or cooler (below 0) by ``mired`` (-100 to 250) from 6504 K, lightness kept.

    The light's chromaticity lies on the Planckian locus (Kim et al., US patent 7024034, 2006), colours adapt by the
    Bradford transform, and only the chroma of the result is taken. White and black have no other colour at their
    lightness, so they stay.
    """
    if not -100 <= mired <= 250:
        raise ValueError(f"mired must be between -100 and 250, not {mired}")
    before, after = (_BRADFORD @ _planckian(1e6 / (_DAYLIGHT_MIRED + shift)) for shift in (0, mired))
    adapt = np.linalg.inv(_BRADFORD @ _TO_XYZ) @ np.diag(after / before) @ _BRADFORD @ _TO_XYZ

    def chroma(lab: Values) -> Values:
        return _linear_to_oklab(_oklab_to_linear(lab) @ adapt.T)[:, 1:]

    return _with_chroma(image, chroma)


def black_body_srgb(kelvin: float) -> Values:
    """Return the sRGB ``[3]`` of white paper in the light of a black body, exposed so that the largest value is 1.

    Args:
        kelvin: The temperature, 1,667 to 25,000 (Kim et al., US patent 7024034, 2006).

    Raises:
        ValueError: The temperature is outside that range.

    Example:
        >>> [black_body_srgb(kelvin).round(2).tolist() for kelvin in (3000, 6500, 15000)]
        [[1.0, 0.72, 0.43], [1.0, 0.97, 1.0], [0.71, 0.79, 1.0]]
    """
    if not 1667 <= kelvin <= 25000:
        raise ValueError(f"kelvin must be between 1667 and 25000, not {kelvin}")
    linear = np.linalg.solve(_TO_XYZ, _planckian(kelvin))
    return _linear_to_srgb(np.clip(linear / linear.max(), 0, 1))


def transfer_palette(image: Image.Image, other: Image.Image, share: float) -> Image.Image:
    """Move an image a ``share`` (0 to 1) of the way to the colours of ``other``, lightness kept.

    The mean and the spread of Oklab's a and b become those of ``other``: Reinhard et al., "Color transfer between
    images", 2001 (equations 10 and 11), in Oklab and without the lightness. Only visible pixels count, weighted by
    their opacity.
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
    """Move the ink of a drawing in one colour a ``share`` (0 to 1) of the way to ``color``: 1 is exactly that colour.

    Shape and transparency stay exactly as they are.

    Raises:
        UnreadableImage: The image is not a drawing in a single colour on a transparent background.
    """
    values = np.asarray(image)
    if image.mode != "RGBA" or not (values[..., 3] == 0).any():
        raise UnreadableImage("cannot be recoloured: it is not a drawing on a transparent background")
    inks = srgb_to_oklab(np.unique(values[values[..., 3] > 128][:, :3], axis=0) / 255)
    if not len(inks) or np.linalg.norm(inks - inks.mean(axis=0), axis=1).max() > _ONE_INK:
        raise UnreadableImage("cannot be recoloured: it is not drawn in a single colour")
    ink, target = inks.mean(axis=0), srgb_to_oklab(np.array(color) / 255)
    changed = values.copy()
    if share > 0:
        changed[..., :3] = np.rint(_into_gamut((ink + share * (target - ink))[None]) * 255)[0]
    if share == 1:
        changed[..., :3] = color
    return Image.fromarray(changed)


def vivid(hue: float) -> tuple[int, int, int]:
    """Return the most vivid sRGB colour of medium lightness (0.6) and this OKLCh hue in degrees."""
    angle = np.deg2rad(hue)
    lab = np.array([[0.6, 0.4 * np.cos(angle), 0.4 * np.sin(angle)]])
    red, green, blue = np.rint(_into_gamut(lab) * 255)[0].astype(int).tolist()
    return red, green, blue


def match_lightness(original: Image.Image, changed: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make the control for a change of colour: lightness changes instead, by the same mean CIEDE2000.

    Each pixel's lightness moves in proportion to how far ``changed`` moved its colour: all lighter or all darker (at
    random), the other way if that has no room for so large a change, or dark ones lighter and light ones darker if
    neither has. Where none of the three has room enough, the one that goes furthest is taken.
    """
    before, after, inverse = _pairs(original, changed)
    weight = _weights(original, inverse)
    lab = _oklab(before)
    size = np.linalg.norm(_oklab(after) - lab, axis=1)
    visible = np.flatnonzero((size > 0) & (weight > 0))
    if not len(visible):
        return original.copy()
    sampled = visible if len(visible) <= _SAMPLED else rng.choice(visible, _SAMPLED, replace=False)

    def moved(rows: NDArray[np.intp] | slice, step: Values, factor: float) -> Values:
        lightness = np.clip(lab[rows, 0] + factor * step[rows], 0, 1)
        return np.column_stack([lightness, lab[rows, 1:]])

    weights, unmoved = weight[sampled], _cielab(_colors(before[sampled]) / 255)

    def mean(colors: Values) -> float:
        return float(np.average(_ciede2000(unmoved, _cielab(colors)), weights=weights))

    def reached(step: Values, factor: float) -> float:
        return mean(_into_gamut(moved(sampled, step, factor)))

    target = mean(_colors(after[sampled]) / 255)
    one_way = size if rng.integers(2) else -size
    reach: list[tuple[float, Values]] = []
    for step in (one_way, -one_way, np.where(lab[:, 0] < 0.5, size, -size)):
        reach.append((reached(step, _STRONGEST), step))
        if reach[-1][0] >= target:
            break
    else:
        step = max(reach, key=lambda pair: pair[0])[1]
    low, high = 0.0, _STRONGEST
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if reached(step, middle) < target else (low, middle)
    colors = np.where((size > 0)[:, None], _in_bytes(moved(slice(None), step, high)), _colors(before))
    return _with_colors(original, colors.astype(np.uint8), inverse)


def match_lightness_recognisably(original: Image.Image, changed: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Make the control of :func:`match_lightness`, unless it would leave too little of the image.

    A large change of lightness may leave nothing to recognise: a red bowl becomes white, a blue sign black. Embeddings
    then move because the picture is gone. So there is no control if less than ``RECOGNISABLE`` of the structure stays.

    Raises:
        UnreadableImage: So large a change of lightness would leave too little of the image.
    """
    control = match_lightness(original, changed, rng)
    if (kept := lightness_structure(original, control)) < RECOGNISABLE:
        raise UnreadableImage(
            f"a change of lightness as large as that of its colours would leave {kept:.2f} of its structure, less than "
            f"{RECOGNISABLE:g}: it could not be recognised"
        )
    return control


def lightness_structure(a: Image.Image, b: Image.Image) -> float:
    """Return how much two images have in common in structure: 1 if their lightness is the same, about 0 if nothing is.

    It is the structural similarity (Wang et al. 2004, "Image quality assessment") of their lightness in Oklab, on white
    and at 64 x 64 pixels, about the resolution at which an encoder recognises an object.
    """
    from skimage.metrics import structural_similarity

    small = [
        flatten(image, WHITE).resize((_STRUCTURE_SIDE, _STRUCTURE_SIDE), Image.Resampling.BILINEAR) for image in (a, b)
    ]
    lightness = [srgb_to_oklab(np.asarray(image) / 255)[..., 0] for image in small]
    return float(structural_similarity(*lightness, data_range=1.0))  # type: ignore[no-untyped-call]


def mean_delta_e(a: Image.Image, b: Image.Image) -> float:
    """Return the mean CIEDE2000 of two images' pixels, on white; 1 is about the least that one notices side by side."""
    first, second = (np.asarray(flatten(image, WHITE)).reshape(-1, 3) / 255 for image in (a, b))
    return float(_ciede2000(_cielab(first), _cielab(second)).mean())


def srgb_to_oklab(rgb: Values) -> Values:
    """Convert sRGB in 0..1, ``[..., 3]``, to Oklab (lightness 0 to 1, a, b)."""
    return _linear_to_oklab(_srgb_to_linear(rgb))


def oklab_to_srgb(lab: Values) -> Values:
    """Convert Oklab to sRGB, the inverse of :func:`srgb_to_oklab`; outside 0..1 where sRGB has no such colour."""
    return _linear_to_srgb(_oklab_to_linear(lab))


def _linear_to_srgb(linear: Values) -> Values:
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def _srgb_to_linear(rgb: Values) -> Values:
    return np.where(rgb <= 0.04045, rgb / 12.92, ((np.maximum(rgb, 0.04045) + 0.055) / 1.055) ** 2.4)


def _linear_to_oklab(linear: Values) -> Values:
    lab: Values = np.cbrt(linear @ _TO_LMS.T) @ _TO_LAB.T
    return lab


def _oklab_to_linear(lab: Values) -> Values:
    linear: Values = (lab @ _FROM_LAB.T) ** 3 @ _FROM_LMS.T
    return linear


def _cielab(rgb: Values) -> Values:
    """Convert sRGB in 0..1, ``[n, 3]``, to CIELAB."""
    from skimage.color import rgb2lab

    lab: Values = rgb2lab(rgb)
    return lab


def _ciede2000(a: Values, b: Values) -> Values:
    """Return the CIEDE2000 differences ``[n]`` of colours in CIELAB, ``[n, 3]``."""
    from skimage.color import deltaE_ciede2000

    differences: Values = deltaE_ciede2000(a, b)  # type: ignore[no-untyped-call]
    return differences


def _planckian(kelvin: float) -> Values:
    """Return XYZ (Y = 1) of a black body between 1,667 and 25,000 K, by Kim's cubic splines."""
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
    """Return the mean and standard deviation of a and b over visible pixels, weighted by their opacity."""
    ab = _bytes_to_oklab(np.asarray(image)[..., :3].reshape(-1, 3))[:, 1:]
    weight = _opacity(image)
    if not weight.any():
        return np.zeros(2), np.zeros(2)
    mean = np.average(ab, axis=0, weights=weight)
    return mean, np.sqrt(np.average((ab - mean) ** 2, axis=0, weights=weight))


def _opacity(image: Image.Image) -> Values:
    """Return the opacity of every pixel, 0..1, ``[h * w]``."""
    if image.mode != "RGBA":
        return np.ones(image.width * image.height)
    return np.asarray(image)[..., 3].ravel() / 255


def _with_chroma(image: Image.Image, change: Callable[[Values], Values]) -> Image.Image:
    """Replace every colour's a and b by ``change(lab)``, ``[n, 3] -> [n, 2]``, lightness and transparency kept."""
    codes, inverse = _distinct_of(image)  # each colour is worked out once
    lab = once(image, "oklab", lambda: _oklab(codes)).copy()
    lab[:, 1:] = change(lab)
    return _with_colors(image, _in_bytes(lab), inverse)


def _with_colors(image: Image.Image, colors: NDArray[np.uint8], inverse: NDArray[Any]) -> Image.Image:
    """Set each pixel to the colour ``colors[inverse]``, transparency kept."""
    changed = np.asarray(image).copy()
    # four bytes at once: to copy three at a time takes twice as long
    packed = np.concatenate([colors, np.zeros((len(colors), 1), np.uint8)], axis=1).view(np.uint32).ravel()
    changed[..., :3] = packed[inverse].view(np.uint8).reshape(*changed.shape[:2], 4)[..., :3]
    return Image.fromarray(changed)


def _distinct_of(image: Image.Image) -> tuple[NDArray[np.uint32], NDArray[Any]]:
    """Return the distinct codes of an image's colours, in order, and the place of each pixel's among them."""
    return once(image, "colors", lambda: _distinct(_codes(np.asarray(image)).ravel()))


def _distinct(codes: NDArray[np.uint32]) -> tuple[NDArray[np.uint32], NDArray[Any]]:
    """Return the codes that occur, in order, and the place of each code ``[n]`` among them: ``numpy.unique``."""
    if codes.size < _TABLED:
        unique, inverse = np.unique(codes, return_inverse=True)
        return unique, inverse
    present = np.zeros(1 << 24, bool)  # a table of all colours is filled sooner than a large photograph is sorted
    present[codes] = True
    unique = np.flatnonzero(present).astype(np.uint32)
    places = np.empty(1 << 24, np.int32)
    places[unique] = np.arange(len(unique), dtype=np.int32)
    return unique, places[codes]


def _pairs(original: Image.Image, changed: Image.Image) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[Any]]:
    """Return the distinct pairs of a pixel's colours before and after, in order, and the pair of each pixel."""
    after = _codes(np.asarray(changed)).ravel()
    unique, inverse = _distinct_of(original)
    becomes = np.zeros(len(unique), np.uint32)
    becomes[inverse] = after
    if (becomes[inverse] == after).all():  # a colour always became the same one: the pairs are the colours
        return unique, becomes, inverse
    before = _codes(np.asarray(original)).ravel()
    both, inverse = np.unique(before.astype(np.uint64) << 24 | after, return_inverse=True)
    return (both >> 24).astype(np.uint32), (both & 0xFFFFFF).astype(np.uint32), inverse


def _weights(image: Image.Image, inverse: NDArray[Any]) -> Values:
    """Sum the opacity of the pixels of each colour."""
    opacity = _opacity(image) if image.mode == "RGBA" else None
    return np.asarray(np.bincount(inverse, weights=opacity), np.float64)


def _codes(pixels: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Write each pixel's colour as one number, ``[h, w]``."""
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return red << np.uint32(16) | green << np.uint32(8) | blue


def _colors(codes: NDArray[np.uint32]) -> Values:
    """Return the colours ``[n, 3]`` in 0..255 behind codes, the inverse of :func:`_codes`."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1).astype(np.float64)


def _oklab(codes: NDArray[np.uint32]) -> Values:
    """Return the colours ``[n, 3]`` in Oklab behind codes."""
    return _bytes_to_oklab(np.stack([codes >> 16, codes >> 8 & 255, codes & 255], axis=-1))


def _bytes_to_oklab(colors: NDArray[Any]) -> Values:
    """Convert colours ``[n, 3]`` in 0..255 to Oklab; each of the 256 levels is made linear once."""
    return _linear_to_oklab(_srgb_to_linear(np.arange(256) / 255)[colors])


def _in_bytes(lab: Values) -> NDArray[np.uint8]:
    """Convert Oklab ``[n, 3]`` as :func:`_into_gamut` does, and round to 0..255.

    By products instead of powers; the few colours for which that could lead to another byte are converted again.
    """
    made = np.empty((len(lab), 3), np.uint8)
    for start in range(0, len(lab), _BLOCK):
        part = lab[start : start + _BLOCK]
        values = _quick_srgb(part)
        outside = ((values < -_TOLERATED) | (values > 1 + _TOLERATED)).any(axis=0)
        doubtful = (np.abs(np.abs(values - 0.5) - 0.5 - _TOLERATED) < _CLOSE).any(axis=0)
        if outside.any():
            values[:, outside] = _quick_srgb(_with_share(part[outside], _room(part[outside])))
        values = values.clip(0, 1) * 255
        rounded = np.rint(values)
        doubtful |= (np.abs(values - rounded) > 0.5 - _CLOSE * 255).any(axis=0)
        bytes_ = rounded.astype(np.uint8).T
        if doubtful.any():
            bytes_[doubtful] = np.rint(_into_gamut(part[doubtful]) * 255)
        made[start : start + _BLOCK] = bytes_
    return made


def _quick_srgb(lab: Values) -> Values:
    """Convert Oklab ``[n, 3]`` to sRGB ``[3, n]`` like :func:`oklab_to_srgb`, up to rounding."""
    roots = _FROM_LAB @ lab.T
    linear = _FROM_LMS @ (roots * roots * roots)
    curve = 1.055 * np.maximum(linear, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(linear <= 0.0031308, 12.92 * linear, curve)


def _into_gamut(lab: Values) -> Values:
    """Convert Oklab to sRGB in 0..1; where sRGB has no such colour, keep the largest share of its chroma that fits."""
    rgb = oklab_to_srgb(lab)
    outside = ((rgb < -_TOLERATED) | (rgb > 1 + _TOLERATED)).any(axis=-1)
    if outside.any():
        too_vivid = lab[outside]
        kept = np.concatenate([_room(too_vivid[start : start + _BLOCK]) for start in range(0, len(too_vivid), _BLOCK)])
        rgb[outside] = oklab_to_srgb(_with_share(too_vivid, kept))
    return np.clip(rgb, 0, 1)


def _room(lab: Values) -> Values:
    """Return the largest share of each Oklab colour's chroma for which sRGB has room, to a thousandth: ``[n]``.

    Whether a share fits is read off the linear values, by products instead of powers. Where a value lies so near the
    border that rounding could decide, it is asked of :func:`oklab_to_srgb`.
    """
    grey, chroma = _FROM_LAB[:, :1] * lab[:, 0], _FROM_LAB[:, 1:] @ lab[:, 1:].T
    share = np.zeros(len(lab))
    for halving in range(1, _HALVINGS + 1):
        kept = share + 0.5**halving
        roots = kept * chroma
        roots += grey
        cubes = roots * roots
        cubes *= roots
        linear = _FROM_LMS @ cubes
        least, most = linear.min(axis=0), linear.max(axis=0)
        fits = (least >= 0) & (most <= 1)
        close = np.flatnonzero((np.abs(least) < 10 * _CLOSE) | (np.abs(most - 1) < _CLOSE))
        if close.size:  # near black all values are small: their summands tell whether one is small for them
            small = np.abs(least[close]) < _CLOSE * np.abs(cubes[:, close]).max(axis=0)
            close = close[small | (np.abs(most[close] - 1) < _CLOSE)]
        if close.size:
            candidate = oklab_to_srgb(_with_share(lab[close], kept[close]))
            fits[close] = ((candidate >= 0) & (candidate <= 1)).all(axis=-1)
        share = np.where(fits, kept, share)
    return share


def _with_share(lab: Values, share: Values) -> Values:
    """Return Oklab colours with a share of their chroma."""
    return np.column_stack([lab[:, :1], lab[:, 1:] * share[:, None]])
