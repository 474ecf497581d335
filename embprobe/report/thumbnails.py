"""Thumbnails for the page: single ones as data URIs, and thousands on sheets that the map cuts them from."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from embprobe.errors import EmbprobeError
from embprobe.images import Row, UnreadableImage

SIDES = (96, 64, 48, 40, 32, 24, 16)
"""Sides of thumbnails in pixels; the largest that the budget allows is taken."""
ACROSS = 32
"""Thumbnails beside each other on a sheet, and below each other: one of 96 pixels still fits a phone's memory."""
_QUALITY = 60
_SAMPLE = 256
_LEFT_FREE = 0.9
"""Share of the budget that the estimate from a sample may reach: sheets differ."""


@dataclass(frozen=True)
class Sheets:
    """Square thumbnails of rows, in their order, line by line over as many sheets as it takes."""

    side: int
    sheets: Sequence[str]
    """Data URIs."""
    unreadable: Sequence[tuple[str, str]]
    """Keys of rows whose thumbnail is empty, with the reason."""


def data_uri(picture: Image.Image, side: int = 0, *, quality: int = 80, lossless: bool = False) -> str:
    """Return the picture as WebP in a ``data:`` URI, no larger than ``side`` pixels, if that is not 0."""
    small = picture.convert("RGB")
    if side:
        small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "WEBP", quality=quality, lossless=lossless, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def row_uri(row: Row, side: int) -> str:
    """Return a square thumbnail of a row as a ``data:`` URI; empty if its image cannot be read."""
    picture = _square(row, side)
    return data_uri(picture) if isinstance(picture, Image.Image) else ""


def make_sheets(rows: Sequence[Row], budget: int) -> Sheets:
    """Draw thumbnails of all rows on sheets of at most ``budget`` characters together.

    The side is the largest of ``SIDES`` at which they fit by an estimate from a random sample. Raises
    :class:`EmbprobeError` if they do not fit at any.
    """
    rng = np.random.default_rng(0)
    sample = [rows[i] for i in np.sort(rng.choice(len(rows), min(_SAMPLE, len(rows)), replace=False))]
    for side in SIDES:
        estimate = sum(map(len, _drawn(sample, side)[0])) / len(sample) * len(rows)
        if estimate <= budget * _LEFT_FREE or side == SIDES[-1]:
            sheets, unreadable = _drawn(rows, side)
            if sum(map(len, sheets)) <= budget:
                return Sheets(side, sheets, unreadable)
    raise EmbprobeError(f"Thumbnails of {len(rows):,} images are larger than a page may be.")


def _drawn(rows: Sequence[Row], side: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Draw the sheets of all rows, and list the keys of unreadable ones with the reason."""
    sheets, unreadable = [], []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), ACROSS * ACROSS):
            part = rows[start : start + ACROSS * ACROSS]
            sheet = Image.new("RGB", (ACROSS * side, -(-len(part) // ACROSS) * side), "white")
            for i, square in enumerate(pool.map(lambda row: _square(row, side), part)):
                if isinstance(square, str):
                    unreadable.append((part[i].key, square))
                else:
                    sheet.paste(square, (i % ACROSS * side, i // ACROSS * side))
            sheets.append(data_uri(sheet, quality=_QUALITY))
    return sheets, unreadable


def _square(row: Row, side: int) -> Image.Image | str:
    """Return the image within a white square, or the reason why it cannot be read."""
    try:
        return ImageOps.pad(row.load(at_least=side), (side, side), Image.Resampling.LANCZOS, color="white")
    except UnreadableImage as reason:
        return str(reason)
    except OSError as error:
        return error.strerror or type(error).__name__
