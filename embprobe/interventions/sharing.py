"""Do once what the changes of one picture have in common: a control's intervention, treatments in turn, colours.

:func:`one_picture` begins and ends the memory of a thread; outside of it nothing is kept, and every change is made
anew. What is remembered belongs to the picture that the thread changes at the moment, and to nothing else: results are
the same bit by bit with and without it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import local
from typing import Any, TypeVar, cast

import numpy as np
from PIL import Image

Made = TypeVar("Made")

MOST = 2**28
"""Bytes that a thread remembers, at most: beyond that the oldest go. Seven pictures of 12 megapixels."""


class _Here(local):
    """What one thread remembers of its picture; None outside of :func:`one_picture`."""

    made: OrderedDict[Hashable, Any] | None = None
    size: int = 0
    image: Image.Image | None = None
    """The picture that is being changed."""
    name: Hashable = None
    """Identifies its pixels among the pictures of this pass."""


_here = _Here()


@contextmanager
def one_picture() -> Iterator[None]:
    """Remember in this thread what is made of one picture, and forget it at the end."""
    before = _here.made, _here.size
    _here.made, _here.size = OrderedDict(), 0
    try:
        yield
    finally:
        _here.made, _here.size = before


@contextmanager
def changing(image: Image.Image, name: Hashable) -> Iterator[None]:
    """Name the picture that is changed while the context lasts: two with one name have the same pixels.

    A change that makes another one on its way, as one that reads a changed donor does, remembers nothing there.
    """
    before = _here.image, _here.name, _here.made
    if _here.image is not None:
        _here.made = None
    _here.image, _here.name = image, (name, image.size, image.mode)
    try:
        yield
    finally:
        _here.image, _here.name, _here.made = before


def is_remembered(image: Image.Image) -> bool:
    """Return whether this is the picture that is changed, in a pass over one picture."""
    return _here.made is not None and image is _here.image


def recall(image: Image.Image, purpose: Hashable) -> object:
    """Return what was remembered for a purpose of the picture that is being changed; None if nothing was."""
    if _here.made is None or image is not _here.image or (key := (_here.name, purpose)) not in _here.made:
        return None
    _here.made.move_to_end(key)
    return _here.made[key]


def remember(image: Image.Image, purpose: Hashable, made: object) -> None:
    """Remember a picture, an array or a tuple of them for a purpose of the picture that is being changed.

    It must not be written to. Of any other image than the one that is changed nothing is remembered.
    """
    if _here.made is None or image is not _here.image:
        return
    _here.made[_here.name, purpose] = made
    _here.size += _bytes(made)
    while _here.size > MOST and len(_here.made) > 1:
        _here.size -= _bytes(_here.made.popitem(last=False)[1])


def once(image: Image.Image, purpose: Hashable, make: Callable[[], Made]) -> Made:
    """Return ``make()``, or what it returned before for the same purpose and the picture that is being changed.

    The result must not be written to.
    """
    before = recall(image, purpose)
    if before is None:
        before = make()
        remember(image, purpose, before)
    return cast(Made, before)


def _bytes(made: object) -> int:
    """Estimate the memory of arrays, pictures and tuples of them."""
    if isinstance(made, Image.Image):
        return made.width * made.height * (3 if made.mode == "RGB" else 4)
    if isinstance(made, np.ndarray):
        return made.nbytes
    return sum(map(_bytes, made)) if isinstance(made, tuple) else 0
