"""Which option a model's response chooses, and how rows of other tools are grouped."""

from __future__ import annotations

import re
from collections.abc import Mapping

from embprobe.vlm.vmcbench import VMCBENCH

_ALONE = re.compile(r"[(\[]?([A-Za-z])[)\].:,]*")
_FIRST = re.compile(r"[(\[]?([A-Z])(?:[)\].:,]+(?:\s|$)|\s*\n)")
_NAMED = re.compile(r"\b(?:answer|option|choice)(?:\s+is)?\s*[:=]?\s*[(\[]?([A-Z])\b", re.IGNORECASE)


def letter_of(response: str, options: Mapping[str, str] | None = None) -> str:
    """Return the letter of the option that a response chooses, "" where it names none clearly.

    It does if it is a letter alone, begins with one that a sign such as ``.`` or ``)`` follows, says that the answer is
    one, or is the text of an option. A letter elsewhere in a text may be a word.

    Args:
        response: What the model has written.
        options: The texts of the options by their letters, where they are known.

    Example:
        >>> letter_of("B"), letter_of("(b)"), letter_of("C. a cat"), letter_of("The answer is D"), letter_of("A cat")
        ('B', 'B', 'C', 'D', '')
        >>> letter_of("a cat", {"A": "a dog", "B": "A cat"})
        'B'
    """
    text = response.strip()
    same = [letter for letter, option in (options or {}).items() if option.strip().casefold() == text.casefold() != ""]
    if len(same) == 1:
        return same[0]
    found = _ALONE.fullmatch(text) or _FIRST.match(text) or _NAMED.search(text)
    return found[1].upper() if found else ""


def group_of(category: str, larger: str = "") -> str:
    """Return the group of questions of a category: VMCBench's for one of its sets, else the larger category, if any."""
    return VMCBENCH.get(category) or larger or category


def share_of(value: object) -> float | None:
    """Return a score from 0 to 1 that a tool recorded as a number, a truth value or their text; None for others.

    Example:
        >>> share_of(True), share_of("0.5"), share_of("False"), share_of("seven"), share_of(7)
        (1.0, 0.5, 0.0, None, None)
    """
    if isinstance(value, str):
        word = value.strip().casefold()
        value = {"true": 1.0, "false": 0.0}.get(word, word)
    try:
        share = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return share if 0 <= share <= 1 else None
