"""Text that files can hold and terminals can show: names of files and labels are anybody's."""

from __future__ import annotations

import unicodedata

_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the direction of what follows, and so could make one name look like another."""


def printable(text: str) -> str:
    """Text that UTF-8 can hold, for files: bytes of a file name that are none, and lone surrogates, become escapes."""
    try:
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON may hold
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


def visible(text: str) -> str:
    """Text for people, on one line: what would break it or steer a terminal becomes escapes, too."""
    return "".join(
        c.encode("unicode_escape").decode() if unicodedata.category(c) in ("Cc", "Zl", "Zp") or c in _TURNING else c
        for c in printable(text)
    )
