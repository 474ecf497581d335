"""Make text safe for files and terminals: anybody may have written names of files and labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of the text behind them, and so could make one name look like another."""


def printable(text: str) -> str:
    """Make text that UTF-8 can hold, for files; bytes of a file name that are not UTF-8 become escapes.

    So do lone surrogates.

    >>> printable("caf\\udce9")
    'caf\\\\xe9'
    """
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may hold
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible(text: str) -> str:
    """Make text for people, on one line; line breaks and characters that steer a terminal become escapes, too.

    >>> visible("two\\nlines")
    'two\\\\nlines'
    """
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in _TURNING else c
        for c in printable(text)
    )


def listed(names: Sequence[str], last: str = "and") -> str:
    """Join names as a sentence does.

    Example:
        >>> listed(["style", "color", "lightness"])
        'style, color and lightness'
    """
    return f" {last} ".join([*([", ".join(names[:-1])] if len(names) > 1 else []), *names[-1:]])
