"""Decode image files that strangers made: bytes to pixels, or to a reason why they cannot be read."""

from __future__ import annotations

import struct
from contextlib import nullcontext

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from embprobe.images.ancillary import without_ancillary
from embprobe.images.formats import FORMATS, SUFFIXES, Format, format_of, open_file
from embprobe.images.jpeg import MAX_SCANS, bytes_of_decoding, count_scans
from embprobe.images.orientation import orientation_in, orientation_of, turned_upright
from embprobe.system.pixels import MAX_PIXELS, pillow_allows

__all__ = ["FORMATS", "MAX_BYTES", "MAX_PIXELS", "SUFFIXES", "UnreadableImage", "decode", "flatten", "refuse_large"]

MAX_BYTES = 512 << 20
"""A file larger than this is not read as one image."""
_UNKNOWN = "not an image in a known format"
_LETTERS = 120
"""Of a decoder's message, at most."""
_NOT_OPENED = (SyntaxError, IndexError, TypeError, struct.error)
"""What a plugin raises when a file is not of its format after all, as Pillow itself takes it."""


class UnreadableImage(Exception):
    """This image cannot be decoded; the message is the reason, in a few words."""


def refuse_large(size: int) -> None:
    """Raise :class:`UnreadableImage` if a file of ``size`` bytes is larger than ``MAX_BYTES``."""
    if size > MAX_BYTES:
        raise UnreadableImage(f"larger than {MAX_BYTES >> 20} MiB")


def decode(encoded: bytes, *, at_least: int | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode an image file: its first frame, upright as its EXIF says.

    Only the formats in ``FORMATS`` are tried. Ancillary parts of a file (texts, profiles, EXIF) decide nothing: where
    they are damaged, the pixels are decoded without them, turned if the orientation can be read.

    Args:
        encoded: The bytes of the file.
        at_least: Allow a JPEG to be decoded at a half, a quarter or an eighth of its size (libjpeg's scaled DCT), its
            shorter side no less than this many pixels. Without it decoding is exact.
        max_pixels: Refuse a larger image, before memory is allocated. A JPEG that is decoded at reduced scale may be
            larger if that takes no more memory than one of ``max_pixels`` decoded in full.

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
    kind = format_of(encoded)
    if kind is None:
        raise UnreadableImage("a web page, not an image" if _is_html(encoded) else _UNKNOWN)
    if not kind.is_available:
        raise UnreadableImage(f"{kind.name}, which this installation does not read ({kind.remedy})")
    try:
        image, orientation = _loaded(encoded, kind, at_least, max_pixels)
    except UnreadableImage as reason:
        bare = without_ancillary(encoded, kind.name) if isinstance(reason, _Damaged) else None
        if bare is None:
            raise
        try:
            image, orientation = _loaded(bare.encoded, kind, at_least, max_pixels)
        except _Damaged:
            raise reason from None
        if orientation == 1:
            orientation = orientation_in(bare.exif, bare.xmp)
    return turned_upright(image, orientation)


class _Damaged(UnreadableImage):
    """A decoder refused the file, perhaps for a part of it that decides nothing."""


def _loaded(encoded: bytes, kind: Format, at_least: int | None, max_pixels: int) -> tuple[Image.Image, int]:
    """Decode the pixels as they are stored, and read the orientation, after which nothing more is in the file."""
    try:
        declared = kind.size(encoded)
        if declared and declared[0] * declared[1] > max_pixels:
            raise _too_large(declared, max_pixels)
        with pillow_allows(max_pixels) if kind.asks_pillow else nullcontext():
            try:
                image = open_file(encoded, kind)
            except _NOT_OPENED:
                raise _Damaged(_UNKNOWN) from None
            _prepare(image, encoded, kind, at_least, max_pixels)
            image.load()
            if image.width * image.height > max_pixels:  # HEIC may turn out larger than its header says
                raise _too_large(image.size, max_pixels)
            return _eight_bits(image), orientation_of(image)
    except UnreadableImage:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImage(f"more pixels than {_limit(max_pixels)}") from None
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        message = " ".join(str(error).split())[:_LETTERS]  # libheif's are long, and of several lines
        raise _Damaged(f"damaged or unreadable ({type(error).__name__}: {message})") from None


def _prepare(image: ImageFile, encoded: bytes, kind: Format, at_least: int | None, max_pixels: int) -> None:
    """Refuse an image that would take too much memory or time, and set the scale at which it will be decoded."""
    full = image.size
    if kind.name != "JPEG":
        if full[0] * full[1] > max_pixels:
            raise _too_large(full, max_pixels)
        return
    if count_scans(encoded) > MAX_SCANS:
        raise UnreadableImage("too many scans to be a photograph")
    if at_least is not None:
        image.draft(None, (at_least, at_least))
    if full[0] * full[1] > max_pixels:
        components, limit = len(image.getbands()), (max_pixels, 1)
        if image.size == full or bytes_of_decoding(encoded, full, image.size, components) > bytes_of_decoding(
            encoded, limit, limit, components
        ):
            raise _too_large(full, max_pixels)


def _too_large(size: tuple[int, int], max_pixels: int) -> UnreadableImage:
    width, height = size
    return UnreadableImage(f"{width:,} x {height:,} = {width * height:,} pixels, more than {_limit(max_pixels)}")


def _limit(max_pixels: int) -> str:
    return f"the limit of {max_pixels:,} (--max-pixels raises it)"


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
    if image.mode == "I" and image.format == "PPM":  # 16 bits, which Pillow keeps in 32
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("F", "I"):
        raise UnreadableImage("pixels of 32 bits, whose range the file does not say")
    if image.mode.startswith("I;16"):  # Pillow would clip them to 8 instead of scaling
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    return image if image.mode == mode else image.convert(mode)
