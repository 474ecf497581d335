"""Image files as they go into an export: as they were read, or as thumbnails."""

from __future__ import annotations

import io
from collections.abc import Container

from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.system.text import visible

SIDE = 256
"""The longer side of a thumbnail in pixels, at most."""
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
"""Formats that browsers show."""


def original_file(row: Row, formats: Container[str] = frozenset(_SUFFIXES)) -> tuple[bytes, str]:
    """Return the bytes that the image was read from, and a suffix for them.

    They are a PNG if an intervention changed the image, if it was in memory only, or if its format is not among
    ``formats``. Raises :class:`EmbprobeError`, naming the row, if its image cannot be read any more.
    """
    try:
        source = row.fetch()
        if isinstance(source, bytes) and row.change is None and (kind := _format(source)) in formats:
            return source, _SUFFIXES[kind]
        buffer = io.BytesIO()
        row.read().save(buffer, "PNG")
    except UnreadableImage as reason:
        raise _gone(row, reason) from None
    return buffer.getvalue(), ".png"


def thumbnail(row: Row) -> bytes:
    """Return the image on white, its longer side at most ``SIDE`` pixels, as WebP; raise as :func:`original_file`."""
    try:
        picture = row.load(at_least=SIDE)
    except UnreadableImage as reason:
        raise _gone(row, reason) from None
    picture.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=90)
    return buffer.getvalue()


def _format(encoded: bytes) -> str:
    """Return Pillow's name of the format of an image file; "" where Pillow by itself cannot open it."""
    try:
        with Image.open(io.BytesIO(encoded), formats=tuple(_SUFFIXES.keys() - {"MPO"})) as image:
            return image.format or ""
    except Exception:  # Pillow's plugins raise many kinds on damaged files
        return ""


def _gone(row: Row, reason: UnreadableImage) -> EmbprobeError:
    """Make the error for an image that could be read when it was embedded and cannot be now."""
    return EmbprobeError(
        f"The image '{visible(row.key)}' cannot be read any more ({reason}), so nothing was exported. "
        "Extract again: it is left out then."
    )
