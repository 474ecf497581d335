"""Read and write the options behind an encoder's name, ``,option=value``, for the families."""

from __future__ import annotations

from embprobe.errors import UsageError

ALL = "*"
"""The value of ``layer`` that stands for every block."""
VIEW_OPTIONS = ("layer", "norm", "stored")
"""Options that choose what is taken from inside a network, of every family."""
MAX_SIDE = 4096
"""Largest side of an input in pixels that is accepted: a larger one is a typing error."""


def parse_side(option: str, value: str) -> int | None:
    """Return the side in pixels that an option gives.

    Args:
        option: The option's name, for the message.
        value: Its value as typed; "" if it was not given.

    Returns:
        1 to ``MAX_SIDE`` pixels; None if the option was not given and the encoder's own side holds.

    Raises:
        UsageError: The value is no whole number of this range.
    """
    if not value:
        return None
    if not value.isdecimal() or not 1 <= int(value[:9]) <= MAX_SIDE:
        raise UsageError(f"'{option}={value}': give a side in pixels, 1 to {MAX_SIDE}.")
    return int(value)


def join_options(**options: str) -> str:
    """Return the options that are not empty, as they are typed behind a name.

    Example:
        >>> join_options(pooling="mean", size="224", resize="")
        'pooling=mean,size=224'
    """
    return ",".join(f"{name}={value}" for name, value in options.items() if value)
