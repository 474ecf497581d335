"""What every comparison asks of two encoders' rows."""

from __future__ import annotations

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import Vectors


def check_rows(a: Vectors, b: Vectors, *, least: int) -> None:
    """Raise :class:`EmbprobeError` unless both have the same number of rows, ``least`` or more."""
    if len(a) != len(b):
        raise EmbprobeError(f"Encoders are compared on the same images; one has {len(a):,} and the other {len(b):,}.")
    if len(a) < least:
        raise EmbprobeError(f"This comparison needs at least {least} images; there are {len(a)}.")
