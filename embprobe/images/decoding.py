"""Decode image files that strangers made: bytes to pixels, or to a reason why they cannot be read."""

from __future__ import annotations

import io
import math
import re

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
MAX_BYTES = 512 << 20
"""A file larger than this is not read as one image."""
MAX_SCANS = 500
"""Each scan of a JPEG goes over all of its pixels, in as few as ten bytes; libjpeg-turbo's own tests stop here."""
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""A JPEG marker that begins a segment, or an image's start or end; not an escaped 0xff, not a restart marker."""
_UNKNOWN = "not an image in a known format"


class UnreadableImage(Exception):
    """This image cannot be decoded; the message is the reason, in a few words."""


def refuse_large(size: int) -> None:
    """Raise :class:`UnreadableImage` if a file of ``size`` bytes is larger than ``MAX_BYTES``."""
    if size > MAX_BYTES:
        raise UnreadableImage(f"larger than {MAX_BYTES >> 20} MiB")


def decode(encoded: bytes, *, at_least: int | None = None) -> Image.Image:
    """Decode an image file: its first frame, EXIF orientation applied.

    Only the formats in ``FORMATS`` are tried, and an image so large that Pillow suspects a decompression bomb is
    refused.

    Args:
        encoded: The bytes of the file.
        at_least: Allow a JPEG to be decoded at a half, a quarter or an eighth of its size (libjpeg's scaled DCT), its
            shorter side no less than this many pixels. Without it decoding is exact.

    Returns:
        An RGB image, or RGBA where the file has transparency.

    Raises:
        UnreadableImage: The bytes are not a whole, readable image; the message is the reason.

    Example:
        >>> decode(b"<html>404</html>")
        Traceback (most recent call last):
        embprobe.images.decoding.UnreadableImage: a web page, not an image
    """
    if not encoded:
        raise UnreadableImage("empty")
    try:
        image = Image.open(io.BytesIO(encoded), formats=FORMATS)
        if image.width * image.height > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise Image.DecompressionBombError
        if image.format in ("JPEG", "MPO") and _scans(encoded) > MAX_SCANS:
            raise UnreadableImage("too many scans to be a photograph")
        if at_least is not None:
            image.draft(None, (at_least, at_least))
        ImageOps.exif_transpose(image, in_place=True)
        return _eight_bits(image)
    except UnreadableImage:
        raise
    except UnidentifiedImageError:
        raise UnreadableImage("a web page, not an image" if _is_html(encoded) else _UNKNOWN) from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels to be a photograph") from None
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise UnreadableImage(f"damaged or unreadable ({type(error).__name__}: {error})") from None


def _scans(encoded: bytes) -> int:
    """Count the scans of the first image in a JPEG file, no further than one above ``MAX_SCANS``."""
    scans, position = 0, 2
    while scans <= MAX_SCANS and (marker := _MARKER.search(encoded, position)):
        kind, position = encoded[marker.start() + 1], marker.end()
        if kind == 0xD9:  # the end of this image; a film or another image may follow
            break
        position += int.from_bytes(encoded[position : position + 2])
        scans += kind == 0xDA
    return scans


def _is_html(encoded: bytes) -> bool:
    """Return whether this is a web page, as a server sends it instead of an image that it does not have."""
    return encoded[:256].lstrip().lower().startswith((b"<!doctype html", b"<html"))


def flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """Composite transparent parts onto ``background``; the result is RGB."""
    if image.mode == "RGB":
        return image
    if image.mode != "RGBA":
        return image.convert("RGB")
    canvas = Image.new("RGB", image.size, background)
    canvas.paste(image, mask=image)
    return canvas


def _eight_bits(image: Image.Image) -> Image.Image:
    """Convert to RGB or RGBA of 8 bits; refuse pixels whose range is not known."""
    if image.mode in ("F", "I"):
        raise UnreadableImage("pixels of 32 bits, whose range the file does not say")
    if image.mode.startswith("I;16"):  # Pillow would clip them to 8 instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
