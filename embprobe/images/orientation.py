"""Read how an image must be turned to be upright, from metadata that may be garbage for the rest."""

from __future__ import annotations

import re
from contextlib import suppress

from PIL import Image

_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WHOLE_NUMBERS = {1: 1, 3: 2, 4: 4}
"""Types of whole numbers in an entry of EXIF, with their sizes in bytes."""
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")
_HEX = re.compile(r"[0-9a-fA-F\s]*")
_MAX_ENTRIES = 1000


def turned_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn an image as its EXIF ``orientation`` says; 1, or a number without a meaning, leaves it."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def orientation_of(image: Image.Image) -> int:
    """Return the orientation that the metadata of a loaded image file says: 1 to 8; 1 where none can be read."""
    with suppress(Exception):  # Pillow's reader raises many kinds on damaged EXIF
        if isinstance(found := image.getexif().get(_TAG), int) and found in range(1, 9):
            return found
    if not image.info:
        return 1
    exif, profile = image.info.get("exif"), image.info.get("Raw profile type exif")
    if not isinstance(exif, bytes) and isinstance(profile, str):
        exif = exif_in_profile(profile)
    xmp = image.info.get("XML:com.adobe.xmp") or image.info.get("xmp")
    return orientation_in(
        exif if isinstance(exif, bytes) else b"",
        xmp.encode() if isinstance(xmp, str) else xmp if isinstance(xmp, bytes) else b"",
    )


def orientation_in(exif: bytes, xmp: bytes) -> int:
    """Return the orientation that EXIF says, or else XMP; 1 where none can be read.

    >>> entry = b"\\x01\\x12" + b"\\0\\x03" + b"\\0\\0\\0\\x01" + b"\\0\\x06\\0\\0"
    >>> orientation_in(b"Exif\\0\\0" + b"MM\\0*\\0\\0\\0\\x08" + b"\\0\\x01" + entry, b"")
    6
    """
    if found := _in_exif(exif):
        return found
    in_xmp = _XMP.search(xmp)
    return int(in_xmp[1]) if in_xmp else 1


def exif_in_profile(text: str) -> bytes:
    """Return the EXIF in a PNG's text ``Raw profile type exif``: two lines, a length, hexadecimal digits.

    >>> exif_in_profile("\\nexif\\n       4\\n45786966\\n")
    b'Exif'
    """
    digits = "".join(_HEX.match("\n".join(text.split("\n")[3:]))[0].split())  # type: ignore[index]
    return bytes.fromhex(digits[: len(digits) // 2 * 2])


def _in_exif(exif: bytes) -> int:
    """Return the orientation in the first directory of EXIF, 0 if there is none; other entries are not looked at.

    Pillow gives up on a directory at an entry whose value lies outside of the file.
    """
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II": "little", b"MM": "big"}.get(exif[:2])
    if order is None:
        return 0
    little = order == "little"

    def number(start: int, size: int) -> int:
        return int.from_bytes(exif[start : start + size], "little" if little else "big")

    start = number(4, 4)
    for entry in range(start + 2, start + 2 + 12 * min(number(start, 2), _MAX_ENTRIES), 12):
        size = _WHOLE_NUMBERS.get(number(entry + 2, 2), 0)
        if number(entry, 2) == _TAG and size and number(entry + 4, 4) == 1:
            value = number(entry + 8, size)
            return value if value in range(1, 9) else 0
    return 0
