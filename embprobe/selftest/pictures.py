"""Pictures that promises on interventions are checked on: plain colours, photographs and bundled drawings."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.images import load_images
from embprobe.images.decoding import UnreadableImage, flatten
from embprobe.images.rows import WHITE, Images, Row
from embprobe.interventions import intervene
from embprobe.interventions.color import oklab_to_srgb, srgb_to_oklab

Values = NDArray[np.float64]
_SIDE = 96
Pair = tuple[Image.Image, Image.Image]
"""An image as it is, and as it is changed."""
_DRAWINGS = ("1f34e", "1f431", "1f697")
"""Concepts of the drawings: a red apple, a cat's face, a car."""


def picture_row(key: str, picture: Image.Image, **labels: str) -> Row:
    """Make a row of a picture, whose source is the bytes of a PNG file."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    encoded = buffer.getvalue()
    return Row(key, labels, hashlib.sha256(encoded).hexdigest(), lambda: encoded)


def plain(color: tuple[int, int, int], side: int = _SIDE) -> Image.Image:
    """Return a square of one colour."""
    return Image.new("RGB", (side, side), color)


@cache
def muted() -> tuple[int, int, int]:
    """Return a colour that has room in sRGB at any hue: Oklab lightness 0.6, chroma 0.06, hue 30 degrees."""
    angle = np.deg2rad(30)
    red, green, blue = np.rint(255 * oklab_to_srgb(np.array([0.6, 0.06 * np.cos(angle), 0.06 * np.sin(angle)])))
    return int(red), int(green), int(blue)


@cache
def photographs() -> Images:
    """Return three photographs that come with scikit-image, all in the public domain (CC0), 96 pixels high."""
    from skimage import data

    def photograph(name: str) -> Row:
        image = Image.fromarray(getattr(data, name)())
        width = round(_SIDE * image.width / image.height)
        picture = image.resize((width, _SIDE), Image.Resampling.LANCZOS)
        return picture_row(name, picture, name=name, concept=name, category=name)

    return Images("photographs", tuple(map(photograph, ("astronaut", "chelsea", "coffee"))))


@cache
def drawings() -> Images:
    """Return bundled drawings of three concepts in colour, two houses each."""
    return load_images("bundled/emoji").where(concept=_DRAWINGS, style=["noto", "twemoji"])


def images_of(rows: Iterable[Row]) -> Images:
    """Return a set of these rows."""
    return Images("pictures", tuple(rows))


def changed(
    images: Images, intervention: str, strength: float, *, seed: int = 0, donors: Images | None = None
) -> list[Pair]:
    """Return each image as it is and as it is read under an intervention, without those that cannot be changed so.

    Raises:
        UnreadableImage: None of them can.
    """
    after = intervene(images, intervention, strength, seed=seed, donors=donors)
    pairs, refusals = [], []
    for row, other in zip(images.rows, after.rows, strict=True):
        try:
            pairs.append((row.read(), other.read()))
        except UnreadableImage as refusal:
            refusals.append(refusal)
    if refusals and not pairs:
        raise refusals[0]
    return pairs


def change(picture: Image.Image, intervention: str, strength: float, *, seed: int = 0) -> Image.Image:
    """Return a picture under an intervention."""
    return changed(
        images_of([picture_row("one", picture, name="maybe", category="a")]), intervention, strength, seed=seed
    )[0][1]


def rgb(picture: Image.Image) -> Values:
    """Return a picture on white as numbers from 0 to 1, ``[h, w, 3]``."""
    return np.asarray(flatten(picture, WHITE), np.float64) / 255


def oklab(picture: Image.Image) -> Values:
    """Return the Oklab lightness, a and b of a picture's opaque pixels, ``[n, 3]``."""
    values = np.asarray(picture)
    colors = values[..., :3].reshape(-1, 3)
    if picture.mode == "RGBA":
        colors = colors[values[..., 3].ravel() == 255]
    return srgb_to_oklab(colors / 255)


def hue(lab: Values) -> Values:
    """Return the hue of Oklab colours in degrees."""
    return np.asarray(np.rad2deg(np.arctan2(lab[..., 2], lab[..., 1])) % 360)


def chroma(lab: Values) -> Values:
    """Return the chroma of Oklab colours."""
    return np.asarray(np.hypot(lab[..., 1], lab[..., 2]))


def turn(before: Values, after: Values) -> Values:
    """Return by how many degrees hues differ, -180 to 180."""
    return np.asarray((hue(after) - hue(before) + 180) % 360 - 180)


def ink_box(before: Image.Image, after: Image.Image) -> tuple[int, int]:
    """Return the width and height of the box around all pixels that differ."""
    rows, columns = np.nonzero((rgb(before) != rgb(after)).any(axis=-1))
    if not len(rows):
        return 0, 0
    return int(np.ptp(columns)) + 1, int(np.ptp(rows)) + 1


def amount(before: Image.Image, after: Image.Image) -> float:
    """Return the number of pixels that differ by more than a twentieth of the range."""
    return float((np.abs(rgb(before) - rgb(after)).max(axis=-1) > 0.05).sum())
