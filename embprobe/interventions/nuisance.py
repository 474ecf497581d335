"""Nuisances, the yardstick for every other change: effects of a camera or a file that no encoder should notice.

Strengths are shares or, for :func:`jpeg`, points of quality. Strength 0 returns the pixels as they are; a strength
outside its range raises ``ValueError``. Size and mode are kept; each function describes its effect on an alpha channel.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from embprobe.images.decoding import flatten
from embprobe.images.rows import WHITE
from embprobe.interventions.base import changes_nothing

_CACHED = 2**14
"""Pixels of a band of rows that noise is added to at a time, so that it stays in the processor's cache."""


def crop(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Cut a share of width and of height (0 to 0.5) away at a random place and enlarge the rest to the old size.

    Keeps the aspect ratio and at least a quarter of the area. Alpha is cropped along, and colours are weighted by it,
    so that none shows through from transparent parts.
    """
    if changes_nothing(strength, 0.5):
        return image.copy()
    left, top = rng.uniform(0, strength, 2) * image.size
    box = (left, top, left + (1 - strength) * image.width, top + (1 - strength) * image.height)
    return image.resize(image.size, Image.Resampling.BICUBIC, box)  # Pillow multiplies RGBA by its alpha for this


def shift(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Move an image in a random direction by a share (0 to 0.5) of its width along x and of its height along y.

    By whole pixels, so nothing is resampled. The strip that comes in at the other side is transparent in an image with
    alpha and the mirror image of the border in one without.
    """
    if changes_nothing(strength, 0.5):
        return image.copy()
    angle = rng.uniform(0, 2 * np.pi)
    right, down = round(strength * image.width * np.cos(angle)), round(strength * image.height * np.sin(angle))
    around = ((max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0))
    padded = np.pad(np.asarray(image), around, mode="constant" if image.mode == "RGBA" else "symmetric")
    top, left = max(-down, 0), max(-right, 0)
    return Image.fromarray(padded[top : top + image.height, left : left + image.width])


def jpeg(image: Image.Image, strength: float) -> Image.Image:
    """Compress an image as a JPEG and read it again; ``strength`` is 100 minus the quality, 0 (untouched) to 95.

    The quality is rounded, and chroma is subsampled as Pillow does by default. An image with alpha is compressed as it
    looks on white and keeps its alpha: opaque pixels are those of the JPEG, half-transparent ones the nearest colour
    that looks like it on white, and the ringing that a JPEG has outside a drawing stays invisible.
    """
    if changes_nothing(strength, 95):
        return image.copy()
    file = io.BytesIO()
    flatten(image, WHITE).save(file, "JPEG", quality=round(100 - strength))
    compressed = Image.open(file).convert("RGB")
    if image.mode == "RGB":
        return compressed
    pixels = np.asarray(image)
    alpha = pixels[..., 3:] / 255
    # compressed = alpha * color + (1 - alpha) * 255, solved for the colour
    color = 255 - (255 - np.asarray(compressed, np.float64)) / np.maximum(alpha, 1 / 255)
    return Image.fromarray(np.concatenate([np.rint(color.clip(0, 255)).astype(np.uint8), pixels[..., 3:]], axis=-1))


def noise(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Add Gaussian noise to red, green and blue of each pixel; ``strength`` is its standard deviation, 0 to 0.5.

    It is a share of the range from black to white; values outside the range are clipped. Keeps the alpha channel.
    """
    if changes_nothing(strength, 0.5):
        return image.copy()
    changed = np.array(image)
    color = changed[..., :3]
    rows = max(_CACHED // image.width, 1)
    for top in range(0, image.height, rows):
        band = color[top : top + rows]
        band[...] = np.rint(band + 255 * strength * rng.standard_normal(band.shape)).clip(0, 255)
    return Image.fromarray(changed)
