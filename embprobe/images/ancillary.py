"""Leave out the parts of image files that decide nothing about the pixels: texts, profiles, EXIF, thumbnails.

Decoders refuse a whole image for a text that is too long or a checksum beside the pixels that is wrong. Without these
parts they decode the same pixels. What says how the image must be turned is kept apart.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from embprobe.images.jpeg import segments
from embprobe.images.orientation import exif_in_profile

MAX_TEXT = 1 << 20
"""Bytes of a compressed text that are unpacked: EXIF and XMP with an orientation are far smaller."""


@dataclass(frozen=True)
class Bare:
    """An image file without its ancillary parts, and those of them that may hold its orientation."""

    encoded: bytes
    exif: bytes = b""
    xmp: bytes = b""


def without_ancillary(encoded: bytes, name: str) -> Bare | None:
    """Return an image file of the format ``name`` without its ancillary parts.

    None if there is nothing to leave out, or if the file is too damaged to say.
    """
    strip = _STRIP.get(name)
    try:
        bare = strip(encoded) if strip else None
    except (struct.error, IndexError):  # it ends too early
        return None
    return None if bare is None or bare.encoded == encoded else bare


# --- PNG: chunks --------------------------------------------------------------------------------------------------


_PNG_PIXELS = {b"IHDR": b"IHDR", b"PLTE": b"PLTE", b"IDAT": b"IDAT", b"TRNS": b"tRNS"}
_PROFILE, _XMP = b"Raw profile type exif", b"XML:com.adobe.xmp"


def _png(encoded: bytes) -> Bare | None:
    """Keep critical chunks as they are, and the transparency, whatever its checksum; texts and EXIF are put aside."""
    kept, texts, exif, position = [encoded[:8]], dict[bytes, bytes](), b"", 8
    while position + 8 <= len(encoded):
        (size,), kind = struct.unpack_from(">I", encoded, position), encoded[position + 4 : position + 8]
        content, stop = encoded[position + 8 : position + 8 + size], position + 12 + size
        if not kind.isalpha() or kind == b"IEND":
            break
        if kind.upper() in _PNG_PIXELS and kind not in _PNG_PIXELS.values():  # a damaged name
            return None
        if kind[:1].isupper():
            if kept[-1][4:8] == b"IDAT" != kind:  # garbage behind the pixels
                break
            kept.append(encoded[position:stop])
            if stop > len(encoded):  # nothing may be put behind a chunk that is cut off, to be taken for its end
                return Bare(b"".join(kept))
        elif kind == b"tRNS":
            kept.append(_chunk(kind, content))
        elif kind == b"eXIf":
            exif = content
        elif kind in (b"tEXt", b"zTXt", b"iTXt"):
            key = content[:80].partition(b"\0")[0]
            if key in (_PROFILE, _XMP):
                texts[key] = _text(kind, content)
        position = stop
    profile = texts.get(_PROFILE, b"").decode("latin-1")
    return Bare(b"".join([*kept, _chunk(b"IEND", b"")]), exif or exif_in_profile(profile), texts.get(_XMP, b""))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _text(kind: bytes, content: bytes) -> bytes:
    """Return the text of a chunk, no more than ``MAX_TEXT`` of it; "" if it cannot be unpacked."""
    text = content.partition(b"\0")[2]
    packed = kind == b"zTXt" or (kind == b"iTXt" and text[:1] != b"\0")
    text = text[1:] if kind == b"zTXt" else text[2:].split(b"\0", 2)[-1] if kind == b"iTXt" else text
    try:
        return zlib.decompressobj().decompress(text, MAX_TEXT) if packed else text[:MAX_TEXT]
    except zlib.error:
        return b""


# --- JPEG: segments -----------------------------------------------------------------------------------------------


def _jpeg(encoded: bytes) -> Bare | None:
    """Leave out comments and applications' segments, but for the two by which libjpeg knows the colours."""
    kept, exif, xmp = [encoded[:2]], b"", b""
    for segment in segments(encoded):
        content = segment.content(encoded)
        if segment.marker == 0xDA:
            return Bare(b"".join([*kept, encoded[segment.start :]]), exif, xmp)
        if segment.marker == 0xE1 and content.startswith(b"Exif\0\0"):
            exif += content[6:] if exif else content
        elif segment.marker == 0xE1 and content.startswith(b"http://ns.adobe.com/xap/1.0/\0"):
            xmp = content
        if 0xE0 <= segment.marker <= 0xEF or segment.marker == 0xFE:
            says_colours = (segment.marker == 0xE0 and content.startswith(b"JFIF\0") and len(content) >= 14) or (
                segment.marker == 0xEE and content.startswith(b"Adobe") and len(content) >= 12
            )  # libjpeg passes over shorter ones
            if not says_colours:
                continue
        kept.append(encoded[segment.start : segment.stop])
    return None


# --- WebP: chunks of a RIFF ---------------------------------------------------------------------------------------

_WEBP_PIXELS = frozenset({b"VP8X", b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"})
_WEBP_METADATA_FLAGS = 0x20 | 0x08 | 0x04
"""Bits of VP8X that promise an ICC profile, EXIF and XMP."""


def _webp(encoded: bytes) -> Bare | None:
    """Keep the chunks of pixels, and write the length of the whole anew.

    An unknown chunk may be one of theirs with a damaged name: it is passed over only behind the pixels of a still.
    """
    kept, exif, xmp, is_unclear = [b"WEBP"], b"", b"", False
    for kind, content, is_whole in _riff_chunks(encoded):
        if kind in _WEBP_PIXELS:
            if is_unclear or not is_whole:
                return None
            if kind == b"VP8X" and content:
                content = bytes([content[0] & ~_WEBP_METADATA_FLAGS]) + content[1:]
            kept.append(kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2))
        elif kind == b"EXIF":
            exif = content
        elif kind == b"XMP ":
            xmp = content
        elif kind != b"ICCP":
            is_unclear = True
    if is_unclear and any(part.startswith(b"ANMF") for part in kept):
        return None
    body = b"".join(kept)
    return Bare(b"RIFF" + struct.pack("<I", len(body)) + body, exif, xmp)


def _riff_chunks(encoded: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
    """Yield kind and content of each chunk, and whether all of the content is there."""
    position = 12
    while position + 8 <= len(encoded):
        (size,) = struct.unpack_from("<I", encoded, position + 4)
        content = encoded[position + 8 : position + 8 + size]
        yield encoded[position : position + 4], content, len(content) == size
        position += 8 + size + size % 2


# --- TIFF: entries of a directory ---------------------------------------------------------------------------------

_TIFF_PIXELS = frozenset(
    {
        *(256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284),  # size, bits, compression, strips
        *(292, 293, 317, 320, 322, 323, 324, 325, 332, 334, 338, 339, 347),  # fax, predictor, colours, tiles
        *range(512, 522),  # JPEG inside
        *(529, 530, 531, 532),  # YCbCr
    }
)
_TIFF_ORIENTATION = 274
_TIFF_OTHERS = frozenset(
    {
        *(254, 255, 263, 264, 265, 280, 281, 290, 291, 296, 297, 300, 301, 318, 319, 321, 326, 327, 328, 330),
        *(269, 270, 271, 272, 282, 283, 285, 286, 287, 288, 289, 305, 306, 315, 316, 333, 336, 337),
        *(340, 341, 342, 343, 344, 345, 346, 351, 400, 401, 402, 403, 404, 405, 433, 434, 435, 559, 700),
        *range(32768, 65536),  # private ones: EXIF, ICC, Photoshop, GeoTIFF
    }
)
"""Entries that describe. Any other may be one of the pixels' with a damaged number."""
_TIFF_KNOWN = _TIFF_PIXELS | _TIFF_OTHERS | {_TIFF_ORIENTATION}


def _tiff(encoded: bytes) -> Bare | None:
    """Keep, in place, the entries of the first directory that tell where the pixels are and how to decode them."""
    order = "<" if encoded[:2] == b"II" else ">"
    is_big = 43 in encoded[2:4]
    start: int
    count: int
    if is_big:
        (start,) = struct.unpack_from(order + "Q", encoded, 8)
        (count,) = struct.unpack_from(order + "Q", encoded, start) if start < len(encoded) else (0,)
    else:
        (start,) = struct.unpack_from(order + "I", encoded, 4)
        (count,) = struct.unpack_from(order + "H", encoded, start)
    head, length = (8, 20) if is_big else (2, 12)
    entries = [
        encoded[place : place + length]
        for place in range(start + head, min(start + head + length * count, len(encoded) - length + 1), length)
    ]
    if len(entries) < count or not all(_tag(entry, order) in _TIFF_KNOWN for entry in entries):
        return None
    kept = [entry for entry in entries if _decides_pixels(entry, order)]
    directory = struct.pack(order + ("Q" if is_big else "H"), len(kept)) + b"".join(kept) + b"\0" * (8 if is_big else 4)
    return Bare(encoded[:start] + directory + encoded[start + len(directory) :])


def _tag(entry: bytes, order: str) -> int:
    tag: int = struct.unpack_from(order + "H", entry)[0]
    return tag


def _decides_pixels(entry: bytes, order: str) -> bool:
    tag, kind = struct.unpack_from(order + "HH", entry)
    if tag == _TIFF_ORIENTATION:  # its value stands in the entry itself
        return kind == 3 and struct.unpack_from(order + "H", entry, len(entry) // 2 + 2)[0] in range(1, 9)
    return tag in _TIFF_PIXELS


# --- GIF, BMP, AVIF -----------------------------------------------------------------------------------------------


def _gif(encoded: bytes) -> Bare | None:
    """Keep the first frame and what says which of its colours is transparent; comments and applications' data go."""
    position = 13 + (3 << (encoded[10] & 7) + 1 if encoded[10] & 0x80 else 0)
    kept = [encoded[:position]]
    while position < len(encoded):
        start, mark = position, encoded[position]
        if mark == 0x21:
            label, position = encoded[position + 1], _after_blocks(encoded, position + 2)
            if label == 0xF9 and encoded[start + 2] >= 4:
                kept.append(encoded[start:position])
        elif mark == 0x2C:
            flags = encoded[position + 9]
            colours = 3 << (flags & 7) + 1 if flags & 0x80 else 0
            position = _after_blocks(encoded, position + 10 + colours + 1)
            return Bare(b"".join([*kept, encoded[start:position], b";"]))
        else:
            return None
    return None


def _after_blocks(encoded: bytes, position: int) -> int:
    """Return the position behind a chain of blocks, each of which begins with its length, up to an empty one."""
    while encoded[position]:
        position += 1 + encoded[position]
    return position + 1


_BMP_HEADERS = (40, 52, 56, 64, 108, 124)


def _bmp(encoded: bytes) -> Bare | None:
    """Give a header of an unusual length the next one that is known: OS/2 may cut it off, others append to it."""
    offset, size = struct.unpack_from("<II", encoded, 10)
    if size < 16 or 14 + size > len(encoded):
        return None
    known = next((each for each in _BMP_HEADERS if each >= size), _BMP_HEADERS[-1])
    header = encoded[18 : 14 + min(size, known)].ljust(known - 4, b"\0")
    head = encoded[:10] + struct.pack("<II", offset + known - size if offset else 0, known)
    return Bare(head + header + encoded[14 + size :])


_AVIF_EXIF = re.compile(rb"(infe[\x02\x03]...(?:..|....)..)(?:Exif|mime)", re.DOTALL)


def _avif(encoded: bytes) -> Bare:
    """Call items of EXIF and XMP by a name that no decoder looks for; AVIF says in its own way how to turn it."""
    end = 1 << 20  # the list of items stands at the head of the file
    return Bare(_AVIF_EXIF.sub(rb"\1free", encoded[:end]) + encoded[end:])


_STRIP: dict[str, Callable[[bytes], Bare | None]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "WEBP": _webp,
    "TIFF": _tiff,
    "GIF": _gif,
    "BMP": _bmp,
    "AVIF": _avif,
    "HEIC": _avif,
}
