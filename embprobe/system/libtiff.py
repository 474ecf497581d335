"""libtiff, the C library under Pillow, kept from writing to the terminal."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def silent_libtiff() -> Iterator[None]:
    """Let libtiff print no errors while it lasts: one for every line of a damaged image, straight to descriptor 2.

    Pillow raises an error of its own then, and switches off the warnings alone. Where libtiff is out of reach, linked
    into Pillow itself as on Windows, nothing happens.
    """
    set_handler = _error_handler_setter()
    if set_handler is None:
        yield
        return
    before = set_handler(None)
    try:
        yield
    finally:
        set_handler(before)


def _error_handler_setter() -> ctypes._NamedFuncPointer | None:
    """Return ``TIFFSetErrorHandler`` of the libtiff that Pillow decodes with."""
    pillow = find_spec("PIL._imaging")
    try:  # a symbol is looked up in the library and those it was linked with: no name or path of libtiff is needed
        function = ctypes.CDLL(pillow.origin if pillow else None).TIFFSetErrorHandler
    except (OSError, AttributeError):
        return None
    function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
    return function
