"""Turn, mirror and shrink an image as a whole, a photograph like a cut-out.

Strength 0 changes nothing; size and mode are kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.interventions.base import Rng, changes_nothing

TURNS = ("90", "180", "270", "mirror")
"""Degrees clockwise, or left and right exchanged."""
_TRANSPOSED = {
    "90": Image.Transpose.ROTATE_270,  # Pillow counts against the clock
    "180": Image.Transpose.ROTATE_180,
    "270": Image.Transpose.ROTATE_90,
    "mirror": Image.Transpose.FLIP_LEFT_RIGHT,
}


def turn(image: Image.Image, strength: float, rng: Rng, *, how: str = "") -> Image.Image:
    """Turn an image by a right angle or two, or mirror it; without ``how`` one of ``TURNS`` at random.

    Pixels change places and none is resampled. Of an image that is no square its middle square is turned by 90 and 270;
    what is then left of it is filled as :func:`scale` does.
    """
    if changes_nothing(strength, 1):
        return image.copy()
    how = how or TURNS[int(rng.integers(len(TURNS)))]
    if how in ("180", "mirror") or image.width == image.height:
        return image.transpose(_TRANSPOSED[how])
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side)).transpose(_TRANSPOSED[how])
    return _filled(square, (left, top), image.size)


def scale(image: Image.Image, strength: float) -> Image.Image:
    """Shrink an image by a share of each side (0 to 0.75), in the middle.

    Around it is nothing in an image with alpha, and the mirror image of the border in one without.
    """
    if changes_nothing(strength, 0.75):
        return image.copy()
    width, height = (max(round((1 - strength) * length), 1) for length in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS)
    return _filled(small, ((image.width - width) // 2, (image.height - height) // 2), image.size)


def _filled(part: Image.Image, corner: tuple[int, int], size: tuple[int, int]) -> Image.Image:
    """Put a part at a corner of an image of another size, and fill the rest with nothing or mirrored borders."""
    (left, top), (width, height) = corner, size
    around = ((top, height - top - part.height), (left, width - left - part.width), (0, 0))
    pixels: NDArray[np.uint8] = np.asarray(part)
    return Image.fromarray(np.pad(pixels, around, mode="constant" if part.mode == "RGBA" else "symmetric"))
