"""Look into a JPEG file without decoding it: its segments, its scans, and the memory that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

MAX_SCANS = 500
"""Each scan of a JPEG goes over all of its pixels, in as few as ten bytes; libjpeg-turbo's own tests stop here."""
_MARKER = re.compile(rb"\xff[\x02-\xcf\xd8-\xfe]")
"""A JPEG marker that begins a segment, or an image's start or end; not an escaped 0xff, not a restart marker."""
_START_OF_SCAN = 0xDA
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment before the pixels: its marker, and where it begins and ends in the file, marker included."""

    marker: int
    start: int
    stop: int

    def content(self, encoded: bytes) -> bytes:
        """Return what lies between the segment's length and its end."""
        return encoded[self.start + 4 : self.stop]


def segments(encoded: bytes) -> Iterator[Segment]:
    """Yield the segments of the first image up to the first scan's header, as libjpeg passes over them."""
    position = 2
    while (start := encoded.find(b"\xff", position)) >= 0:
        marker_at = start + 1
        while encoded[marker_at : marker_at + 1] == b"\xff":
            marker_at += 1
        marker = encoded[marker_at] if marker_at < len(encoded) else 0
        position = marker_at + 1
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # an escaped 0xff, or a marker without a segment
            continue
        if marker == 0xD9 or marker_at + 3 > len(encoded):
            return
        position += int.from_bytes(encoded[position : position + 2])
        yield Segment(marker, marker_at - 1, position)
        if marker == _START_OF_SCAN:
            return


def count_scans(encoded: bytes) -> int:
    """Count the scans of the first image in a JPEG file, no further than one above ``MAX_SCANS``."""
    scans, position = 0, 2
    while scans <= MAX_SCANS and (marker := _MARKER.search(encoded, position)):
        kind, position = encoded[marker.start() + 1], marker.end()
        if kind == 0xD9:  # the end of this image; a film or another image may follow
            break
        position += int.from_bytes(encoded[position : position + 2])
        scans += kind == _START_OF_SCAN
    return scans


def bytes_of_decoding(encoded: bytes, full: tuple[int, int], reduced: tuple[int, int], components: int) -> int:
    """Return the memory that decoding takes: four bytes for each pixel that comes out, and libjpeg's coefficients.

    libjpeg decodes an image of one scan line by line. It keeps two bytes for each sample of every other, at the full
    size, however small it comes out.
    """
    coefficients = 0 if _is_one_scan(encoded, components) else 2 * components * full[0] * full[1]
    return 4 * reduced[0] * reduced[1] + coefficients


def _is_one_scan(encoded: bytes, components: int) -> bool:
    """Return whether the first scan is of all components at full precision, so that no other follows."""
    before = list(segments(encoded))
    if not before or before[-1].marker != _START_OF_SCAN or any(each.marker in _PROGRESSIVE for each in before):
        return False
    return before[-1].content(encoded)[:1] == bytes([components])
