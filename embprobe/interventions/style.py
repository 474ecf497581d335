"""Change the drawing style: to a line drawing, a print, a painting or a mosaic of blocks; and a blur as control.

A transparent image is painted on white paper: it is composited on white first, and for a strength above 0 it comes back
opaque. Lengths are shares of the image's shorter side, so that a strength looks the same on an emoji and on a large
photograph. Strength 0 returns the pixels as they are; a strength outside its range raises ``ValueError``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from embprobe.images.decoding import flatten
from embprobe.images.rows import WHITE
from embprobe.interventions.base import changes_nothing

Values = NDArray[np.floating]

_SAMPLES = 3
"""Points along x and along y of each pixel at which a dot's ink is sampled."""
_CACHED = 2**15
"""Pixels of a band of rows that is worked on at a time, so that it stays in the processor's cache."""
_SUMMED = 2**16
"""Values that are rounded and compared at a time; NumPy sums float32 as float64 by 8,192."""
_EASEL = 256
"""Pixels along the shorter side at which washes are computed; a brush leaves nothing finer."""


def line_drawing(image: Image.Image, strength: float) -> Image.Image:
    """Draw dark lines on white; ``strength`` is the share (0 to 1) of the way from the picture to its line drawing.

    Keeps the place of edges whose two sides differ by an eighth of the range or more, and no tone: a surface of one
    colour, black too, becomes blank paper. A difference of Gaussians under a soft threshold: Winnemöller et al.,
    "XDoG: An eXtended difference-of-Gaussians compendium including advanced image stylization", 2012.
    """
    if changes_nothing(strength, 1):
        return image.copy()
    picture = _on_paper(image)
    sigma = max(0.005 * min(image.size), 0.5)
    narrow, wide = (ndimage.gaussian_filter(picture, (s, s, 0)) for s in (sigma, 1.6 * sigma))
    # the channel that falls most, so that two colours of the same lightness have a line between them
    fall = (narrow - wide).min(axis=-1, keepdims=True)
    lines = 1 + np.tanh(np.minimum(40 * (fall + 0.015), 0))
    return _printed(picture + strength * (lines - picture), image)


def posterize(image: Image.Image, strength: float) -> Image.Image:
    """Reduce an image to few flat colours; ``strength`` is the number of bits (0 to 7) taken from each channel.

    Each channel goes to the nearest of ``2 ** (8 - strength)`` levels (rounded to a whole number where the strength is
    none), spread evenly from black to white: both stay as they are, and no value moves by more than half a step.
    """
    if changes_nothing(strength, 7):
        return image.copy()
    steps = round(2 ** (8 - strength)) - 1
    return _printed(np.rint(_on_paper(image) * steps) / steps, image)


def oil(image: Image.Image, strength: float) -> Image.Image:
    """Paint an image in patches with sharp borders; ``strength`` is the brush's radius, 0 to 0.05 of the shorter side.

    Each pixel takes the mean of that one of the four squares it is the corner of in which lightness varies least:
    texture is lost, edges stay sharp. Kuwahara et al., "Processing of RI-angiocardiographic images", in Digital
    Processing of Biomedical Images, 1976. The radius is at least one pixel.
    """
    if changes_nothing(strength, 0.05):
        return image.copy()
    picture = _on_paper(image).astype(np.float64)  # running sums in float32 would blur what should be exact
    radius = max(round(strength * min(image.size)), 1)
    height, width = picture.shape[:2]
    channels = [np.pad(picture[..., channel], radius, mode="symmetric") for channel in range(3)]
    lightness = sum(channels) / 3
    side = radius + 1
    means = [ndimage.uniform_filter(values, side) for values in (*channels, lightness, lightness**2)]
    places = np.ndindex(2, 2)  # of the square: its first or its last row and column at the pixel
    corners = [(side // 2 + radius * below, side // 2 + radius * right) for below, right in places]
    painted = np.empty((height, width, 3), np.uint8)
    band = max(_CACHED // width, 1)
    for top in range(0, height, band):
        rows = min(band, height - top)
        squares = [[each[top + y : top + y + rows, x : x + width] for each in means] for y, x in corners]
        chosen = [each.copy() for each in squares[0][:3]]
        least = squares[0][4] - squares[0][3] ** 2
        for *colors, mean, of_squares in squares[1:]:
            varies = of_squares - mean**2
            calmer = varies < least
            for values, others in zip([least, *chosen], [varies, *colors], strict=True):
                np.copyto(values, others, where=calmer)
        painted[top : top + rows] = _in_bytes(np.stack(chosen, axis=-1))
    return Image.fromarray(painted).convert(image.mode)


def halftone(image: Image.Image, strength: float) -> Image.Image:
    """Print an image as dots of ink on white paper; ``strength`` is their distance, 0 to 0.1 of the shorter side.

    One screen of round dots at 45 degrees. Of each spot as much is covered as its strongest ink needs, in a colour that
    makes up for the white between the dots, so the mean of every channel is kept over a few dots and detail finer than
    a dot is lost. The distance is at least two pixels. Ulichney, "Digital Halftoning", 1987: clustered-dot dither.
    """
    if changes_nothing(strength, 0.1):
        return image.copy()
    picture = _on_paper(image)
    covered = (1 - picture).max(axis=-1, keepdims=True)
    ink = (1 - picture) / np.maximum(covered, 1 / 255)
    return _printed(1 - ink * _dots(covered[..., 0], max(strength * min(image.size), 2.0))[..., None], image)


def pixel_art(image: Image.Image, strength: float) -> Image.Image:
    """Fill square blocks with their mean colour; ``strength`` is a block's side, 0 to 0.2 of the shorter side.

    The side is a whole number of pixels, at least one; blocks at the right and lower border may be cut off.
    """
    if changes_nothing(strength, 0.2):
        return image.copy()
    picture = _on_paper(image).astype(np.float64)
    side = max(round(strength * min(image.size)), 1)
    for axis in (0, 1):
        starts = np.arange(0, picture.shape[axis], side)
        lengths = np.diff(starts, append=picture.shape[axis])
        means = np.add.reduceat(picture, starts, axis) / np.expand_dims(lengths, (1 - axis, 2))
        picture = np.repeat(means, lengths, axis)
    return _printed(picture, image)


def watercolor(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Paint an image in thin washes with dark, wavering rims on grainy paper; ``strength`` (0 to 1) scales them all.

    Texture is smoothed by total variation (Chambolle, "An algorithm for total variation minimization and applications",
    2004), fully from 0.5 on; then pigment gathers at edges, in blots and in the grain of the paper, as in Bousseau et
    al., "Interactive watercolor rendering with temporal coherence and abstraction", 2006. Keeps the large
    shapes and, on average, their colours; white stays white. Blots, grain and waver are random.
    """
    if changes_nothing(strength, 1):
        return image.copy()
    picture = _on_paper(image)
    side = min(image.size)

    def uneven(scale: float) -> Values:
        """Draw noise of standard deviation ``strength`` in patches of this share of the shorter side."""
        noise = ndimage.gaussian_filter(rng.standard_normal(picture.shape[:2]), scale * side)
        return np.asarray(strength * noise / max(noise.std(), 1e-6))

    smooth = picture + min(2 * strength, 1) * (_smoothed(image) - picture)
    places = np.indices(picture.shape[:2]) + 0.004 * side * np.stack([uneven(0.015), uneven(0.015)])
    painted = [ndimage.map_coordinates(smooth[..., c], places, order=1, mode="nearest") for c in range(3)]
    reach = 0.006 * side
    slope = np.sqrt(sum(ndimage.gaussian_gradient_magnitude(channel, reach) ** 2 for channel in painted))
    density = 1.5 * strength * np.tanh(6 * reach * slope)
    density += 0.3 * uneven(0.05) + 0.15 * uneven(0.015) + 0.1 * uneven(0.0035)
    wash = 1 - (1 - 0.2 * strength) * (1 - np.stack(painted, axis=-1))
    return _printed(wash - wash * (1 - wash) * density[..., None], image)


def match_blur(original: Image.Image, changed: Image.Image) -> Image.Image:
    """Make the control for a change of style: a Gaussian blur that changes ``original`` as much as ``changed`` differs.

    That is, :func:`mean_change` is the same within 2 %, or as near as rounding to 8 bits lets a small image come. Where
    even the strongest blur, the mean colour everywhere, changes less, that is the result. Borders are mirrored.
    """
    target = mean_change(original, changed)
    if target == 0:
        return original.copy()
    picture = _on_paper(original)
    # in a cosine transform a blur of any width is one product; along n pixels the frequencies are pi * k / n
    spectrum = fft.dctn(picture, axes=(0, 1))
    rows, columns = (np.pi * np.arange(n, dtype=np.float32) / n for n in picture.shape[:2])
    squares = (rows[:, None] ** 2 + columns**2)[..., None]
    blurring = np.empty_like(spectrum)
    low, high = 0.01, 4.0 * max(original.size)
    sigma = high
    for _ in range(40):
        np.multiply(spectrum, np.exp(squares * (-(sigma**2) / 2)), out=blurring)
        blurred, change = _compared(picture, fft.idctn(blurring, axes=(0, 1), overwrite_x=True))
        if abs(change - target) <= 0.01 * target or (sigma == high and change < target):
            break
        low, high = (sigma, high) if change < target else (low, sigma)
        sigma = math.sqrt(low * high)
    return Image.fromarray(blurred).convert(original.mode)


def mean_change(a: Image.Image, b: Image.Image) -> float:
    """Return the mean absolute difference of R, G and B of two images of one size on white paper, 0 to 1."""
    if a.size != b.size:
        raise ValueError(f"images of {a.width} x {a.height} and {b.width} x {b.height} pixels have no pixels in common")
    return _mean_difference(_on_paper(a), _on_paper(b))


def _mean_difference(a: Values, b: Values) -> float:
    return float(np.abs(a - b).mean(dtype=np.float64))


def _compared(picture: Values, values: Values) -> tuple[NDArray[np.uint8], float]:
    """Round values in 0..1 to bytes; return them and their mean absolute difference from a picture in 0..1.

    The same as :func:`_in_bytes` and :func:`_mean_difference`, bit by bit, in blocks that stay in the cache. Their
    length is a multiple of the blocks in which NumPy sums, so that the sum is the same, too.
    """
    before, after = picture.ravel(), values.ravel()
    rounded = np.empty(after.size, np.uint8)
    total = 0.0
    for start in range(0, after.size, _SUMMED):
        block = slice(start, start + _SUMMED)
        rounded[block] = _in_bytes(after[block])
        difference = np.abs(before[block] - _in_shares(rounded[block]))
        total = float(np.add.reduce(difference, dtype=np.float64, initial=total))
    return rounded.reshape(values.shape), total / after.size


def _dots(covered: Values, pitch: float) -> Values:
    """Return the share of each pixel under ink, ``[height, width]``, given the share of the paper to cover there."""
    cell = (np.arange(101) - 50) / 101
    radii = np.sort(np.hypot(cell[:, None], cell).ravel())
    radii[-1] = 1  # solid ink reaches the last corner
    # the radius of a dot that takes this share of its cell, also where it runs into its neighbours
    radius = np.interp(covered, np.linspace(0, 1, radii.size), radii)
    ink = np.zeros_like(covered)
    for shift in np.ndindex(_SAMPLES, _SAMPLES):
        y, x = ((np.arange(n) + s / _SAMPLES) / pitch for n, s in zip(covered.shape, shift, strict=True))
        u, v = (x + y[:, None]) / np.sqrt(2), (x - y[:, None]) / np.sqrt(2)
        ink += np.hypot(u - np.rint(u), v - np.rint(v)) < radius
    return ink / _SAMPLES**2


def _smoothed(image: Image.Image) -> Values:
    """Smooth texture by total variation and keep edges: RGB in 0..1, ``[height, width, 3]``."""
    from skimage import restoration

    denoise: Callable[..., Values] = restoration.denoise_tv_chambolle  # published without types
    scale = min(_EASEL / min(image.size), 1)
    small = flatten(image, WHITE).resize([max(round(scale * n), 1) for n in image.size])
    # a weight removes what is narrow in pixels, so it grows with their number
    weight = 0.18 * min(small.size) / _EASEL
    flat = denoise(_on_paper(small), weight=weight, eps=0, max_num_iter=50, channel_axis=-1)
    return _on_paper(_printed(flat, small).resize(image.size))


def _on_paper(image: Image.Image) -> Values:
    """Composite an image on white: RGB in 0..1, ``[height, width, 3]``."""
    return _in_shares(np.asarray(flatten(image, WHITE)))


def _in_shares(values: NDArray[np.uint8]) -> Values:
    """Convert bytes to 0..1."""
    return np.asarray(values, np.float32) / 255


def _in_bytes(values: Values) -> NDArray[np.uint8]:
    """Round values in 0..1 to bytes; ``values`` is overwritten."""
    np.clip(values, 0, 1, out=values)
    values *= 255
    return np.rint(values, out=values).astype(np.uint8)


def _printed(values: Values, like: Image.Image) -> Image.Image:
    """Make an opaque image in the mode of ``like`` from RGB in 0..1."""
    return Image.fromarray(_in_bytes(values.copy())).convert(like.mode)
