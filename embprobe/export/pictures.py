"""The files of images, as they go into an export: as they were, or small."""

from __future__ import annotations

import io
from collections.abc import Container

from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import FORMATS, UnreadableImage
from embprobe.images.rows import Row
from embprobe.system.text import visible

SIDE = 256
"""The longer side of a small picture, at most."""
_SUFFIXES = {
    "JPEG": ".jpg",
    "MPO": ".jpg",
    "PNG": ".png",
    "WEBP": ".webp",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tiff",
}
WEB = frozenset(_SUFFIXES) - {"TIFF"}
"""What browsers show."""


def original(row: Row, formats: Container[str] = frozenset(_SUFFIXES)) -> tuple[bytes, str]:
    """The bytes that the image was read from, and a suffix for them.

    A PNG if an intervention changed the image, if it was in memory only, or if its format is not among ``formats``.
    Raises :class:`EmbprobeError` that names the row if its image cannot be read any more.
    """
    try:
        found = row.fetch()
        if isinstance(found, bytes) and row.change is None and (kind := _kind(found)) in formats:
            return found, _SUFFIXES[kind]
        buffer = io.BytesIO()
        row.read().save(buffer, "PNG")
    except UnreadableImage as reason:
        raise _gone(row, reason) from None
    return buffer.getvalue(), ".png"


def small(row: Row) -> bytes:
    """The image on white, its longer side at most ``SIDE`` pixels, as WebP. Raises as :func:`original` does."""
    try:
        picture = row.load()
    except UnreadableImage as reason:
        raise _gone(row, reason) from None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=90)
    return buffer.getvalue()


def _kind(encoded: bytes) -> str:
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as image:
            return image.format or ""
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise UnreadableImage(f"damaged or unreadable ({type(error).__name__})") from None


def _gone(row: Row, reason: UnreadableImage) -> EmbprobeError:
    return EmbprobeError(
        f"The image '{visible(row.key)}' cannot be read any more ({reason}), so nothing was exported. "
        "Extract again: it is left out then."
    )
