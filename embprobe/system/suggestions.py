"""Suggest known names to a user who mistyped one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

CUTOFF = 0.6
"""The least ratio (difflib, 0 to 1) of near names: about three of five letters in common."""


def near_matches(name: str, known: Iterable[str], *, n: int = 1, cutoff: float = CUTOFF) -> list[str]:
    """Return up to ``n`` of the known names that are most like ``name``, the nearest first.

    Empty if ``name`` is itself known: then the mistake is elsewhere.

    >>> near_matches("greyscal", ["hue", "greyscale"])
    ['greyscale']
    """
    names = list(known)
    return [] if name in names else difflib.get_close_matches(name, names, n=n, cutoff=cutoff)


def did_you_mean(name: str, known: Iterable[str], *, n: int = 1, cutoff: float = CUTOFF, quoted: bool = False) -> str:
    """Return a question to put behind an error message, or "" if no known name is near.

    Args:
        name: The name that is not known.
        known: The names it could have been.
        n: How many names to suggest at most.
        cutoff: How alike a suggested name must be, 0 to 1.
        quoted: Put each name in quotation marks.

    Returns:
        The question with a space before it, so that it can follow a sentence directly.

    >>> did_you_mean("hew", ["hue", "tint"])
    ' Did you mean hue?'
    >>> did_you_mean("vit-b", ["vit_b", "vit_s"], n=2, quoted=True)
    " Did you mean 'vit_b' or 'vit_s'?"
    >>> did_you_mean("sepia", ["hue", "tint"])
    ''
    """
    matches = near_matches(name, known, n=n, cutoff=cutoff)
    names = " or ".join(f"'{match}'" if quoted else match for match in matches)
    return f" Did you mean {names}?" if names else ""
