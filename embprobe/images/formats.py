"""Formats of image files: their suffixes, how a file shows its format, and the plugin that opens it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import cast

from PIL.ImageFile import ImageFile

_HEIC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_TIFF = (b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+")
_DIB_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
_NETPBM = frozenset({b"1", b"2", b"3", b"4", b"5", b"6", b"f"})


@dataclass(frozen=True)
class Format:
    """One format of image files."""

    name: str
    suffixes: tuple[str, ...]
    begins: Callable[[bytes], bool]
    """Whether a file is of this format, by its first bytes."""
    plugin: str
    """The class that opens it, ``module:name``; no other plugin ever sees the file."""
    module: str = ""
    """A module that must be there besides; "" if none."""
    remedy: str = ""
    """How to get that module."""
    asks_pillow: bool = False
    """Whether the plugin compares sizes with Pillow's own limit."""
    size: Callable[[bytes], tuple[int, int] | None] = lambda encoded: None
    """Width and height by the file's head, for a plugin that allocates memory for them on opening."""

    @property
    def is_available(self) -> bool:
        """Return whether files of this format can be read; nothing is imported."""
        return not self.module or find_spec(self.module) is not None


def _brands(head: bytes) -> set[bytes]:
    """Return the brands of a file in boxes, such as HEIC; none if it is not."""
    if head[4:8] != b"ftyp":
        return set()
    size = int.from_bytes(head[:4])
    return {head[8:12], *(head[i : i + 4] for i in range(16, min(size, len(head)) - 3, 4))}


def _webp_canvas(head: bytes) -> tuple[int, int] | None:
    kind, number = head[12:16], int.from_bytes
    if kind == b"VP8X":
        return number(head[24:27], "little") + 1, number(head[27:30], "little") + 1
    if kind == b"VP8L":
        bits = number(head[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return number(head[26:28], "little") & 0x3FFF, number(head[28:30], "little") & 0x3FFF


ALL = (
    Format(
        "JPEG",
        (".jpg", ".jpeg", ".jpe", ".jif", ".jfif", ".jfi", ".mpo"),
        lambda head: head.startswith(b"\xff\xd8\xff"),
        "PIL.JpegImagePlugin:jpeg_factory",
    ),
    Format(
        "PNG",
        (".png", ".apng"),
        lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
        "PIL.PngImagePlugin:PngImageFile",
    ),
    Format(
        "WEBP",
        (".webp",),
        lambda head: head.startswith(b"RIFF") and head[8:15] == b"WEBPVP8",
        "PIL.WebPImagePlugin:WebPImageFile",
        asks_pillow=True,
        size=_webp_canvas,
    ),
    Format(
        "GIF",
        (".gif",),
        lambda head: head.startswith((b"GIF87a", b"GIF89a")),
        "PIL.GifImagePlugin:GifImageFile",
        asks_pillow=True,
    ),
    Format("BMP", (".bmp", ".dib"), lambda head: head.startswith(b"BM"), "PIL.BmpImagePlugin:BmpImageFile"),
    Format(
        "DIB",
        (".dib",),
        lambda head: int.from_bytes(head[:4], "little") in _DIB_HEADERS,
        "PIL.BmpImagePlugin:DibImageFile",
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        lambda head: head.startswith(_TIFF),
        "PIL.TiffImagePlugin:TiffImageFile",
        asks_pillow=True,
    ),
    Format(
        "PPM",
        (".ppm", ".pgm", ".pbm", ".pnm"),
        lambda head: head[:1] == b"P" and head[1:2] in _NETPBM and head[2:3].isspace(),
        "PIL.PpmImagePlugin:PpmImageFile",
    ),
    Format(
        "AVIF",
        (".avif",),
        lambda head: bool(_brands(head) & {b"avif", b"avis"}),
        "PIL.AvifImagePlugin:AvifImageFile",
        module="PIL._avif",
        remedy="pip install --upgrade pillow",
    ),
    Format(
        "HEIC",
        (".heic", ".heif", ".hif"),
        lambda head: bool(_brands(head) & _HEIC_BRANDS),
        "pillow_heif.as_plugin:HeifImageFile",
        module="pillow_heif",
        remedy="pip install 'embprobe[heif]'",
    ),
)
"""Formats that are read, where their modules are there."""
FORMATS = tuple(each.name for each in ALL if each.is_available)
"""Names of the formats that are read here."""
SUFFIXES = frozenset(suffix for each in ALL if each.is_available for suffix in each.suffixes)
"""Suffixes of files that are read here."""
REMEDIES: Mapping[str, str] = MappingProxyType(
    {suffix: each.remedy for each in ALL if not each.is_available for suffix in each.suffixes}
)
"""Suffixes of files that would be read with another package, each with the command that installs it."""


def format_of(encoded: bytes) -> Format | None:
    """Return the format that a file shows in its first bytes, whether it can be read here or not; None if unknown.

    >>> format_of(b"GIF89a...").name
    'GIF'
    """
    head = bytes(encoded[:256])
    return next((each for each in ALL if each.begins(head)), None)


def open_file(encoded: bytes, kind: Format) -> ImageFile:
    """Open an image file with the plugin of its format; raises whatever the plugin raises.

    Not with ``PIL.Image.open``, which compares sizes with a limit that anyone in the process may have changed.
    """
    return _plugin(kind.plugin)(io.BytesIO(encoded))


@cache
def _plugin(place: str) -> Callable[[io.BytesIO], ImageFile]:
    module, name = place.split(":")
    return cast(Callable[[io.BytesIO], ImageFile], getattr(import_module(module), name))
