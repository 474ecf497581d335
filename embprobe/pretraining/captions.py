"""Captions for the emoji: what the drawing shows, and the word written into it. Never its style, never its colour."""

from __future__ import annotations

import re

_COLORS = "black|blond|blue|brown|colored|grey|gray|green|orange|pink|purple|red|white|yellow"
COLOR_WORDS = re.compile(rf"\b(?:light |dark )?(?:{_COLORS})\b", re.IGNORECASE)
"""Left out of captions, so that no objective is told about colour: "red heart" is captioned "heart"."""


def caption(name: str, category: str, word: str | None = None) -> str:
    """The name without colour words, the category, and the rendered word in quotes.

    A name made of colour words alone (there is none among the emoji) is left as it is.

    >>> caption("light blue heart", "Symbols", "DUST")
    'heart, symbols, "DUST"'
    """
    shown = " ".join(COLOR_WORDS.sub(" ", name).split()) or name
    parts = [shown, category.lower()]
    if word:
        parts.append(f'"{word}"')
    return ", ".join(parts)
