"""What may follow an encoder's name: ``,option=value``, as the families read it."""

from __future__ import annotations

from embprobe.errors import UsageError

MAX_SIDE = 4096
"""A larger input is a slip of the hand."""


def pixels(option: str, value: str) -> int | None:
    """A side in pixels, or None for the encoder's own; raises :class:`UsageError` if it is none."""
    if not value:
        return None
    if not value.isdecimal() or not 1 <= int(value[:9]) <= MAX_SIDE:
        raise UsageError(f"'{option}={value}': give a side in pixels, 1 to {MAX_SIDE}.")
    return int(value)


def spelled(**options: str) -> str:
    """The options that were given, as they are typed: ``pooling=mean,size=224``."""
    return ",".join(f"{name}={value}" for name, value in options.items() if value)
