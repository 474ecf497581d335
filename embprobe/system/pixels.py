"""The largest image that is decoded, and Pillow's own limit, which must not decide before ours does."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Final

MAX_PIXELS: Final = 89_478_485
"""Pixels of the largest image that is decoded unless the user sets another limit.

Pillow keeps four bytes a pixel, so a core needs up to 360 MB for it. The number is Pillow's own; it stays, because
stores that were made under it have the same fingerprint.
"""
_lock = Lock()
_wanted: Counter[int] = Counter()
_before: list[int | None] = []


@contextmanager
def pillow_allows(pixels: int) -> Iterator[None]:
    """Let Pillow open images of up to this many pixels while it lasts, and leave its limit alone if it allows them.

    Some plugins of Pillow check a limit that is global to the process, and that a user may have changed. It is never
    lowered here, and it has its old value again once no thread needs a higher one.

    >>> from PIL import Image
    >>> with pillow_allows(300_000_000):
    ...     Image.MAX_IMAGE_PIXELS
    300000000
    >>> Image.MAX_IMAGE_PIXELS
    89478485
    """
    from PIL import Image

    with _lock:
        if not _before:
            _before.append(Image.MAX_IMAGE_PIXELS)
        _wanted[pixels] += 1
        _set(Image)
    try:
        yield
    finally:
        with _lock:
            _wanted[pixels] -= 1
            _set(Image)
            if not +_wanted:
                _wanted.clear()
                _before.clear()


def _set(pillow: object) -> None:
    """Set Pillow's limit to the highest of those wanted and its own; None is none."""
    own = _before[0]
    limit = None if own is None else max([own, *+_wanted])  # Counter's + keeps those that a thread still needs
    pillow.MAX_IMAGE_PIXELS = limit  # type: ignore[attr-defined]
