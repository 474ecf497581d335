"""What is said of a training image: what it shows and the word written into it. Never its style, never its colour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from numpy.random import Generator

_COLORS = (
    "beige|black|blonde?|blue|brown|colou?red|crimson|cyan|gold|golden|gr[ae]y|green|magenta|maroon|orange|pink|purple|"
    "red|scarlet|silver|teal|turquoise|violet|white|yellow"
)
COLOR_WORDS = re.compile(rf"\b(?:light |dark )?(?:{_COLORS})\b", re.IGNORECASE)
"""Left out of captions, so that no objective is told about colour: "red heart" is captioned "heart"."""
MOST_DETAILS = 3
"""How many of the category and the keywords stand in a caption at most."""


def shown(labels: Mapping[str, str]) -> str:
    """The ``caption`` of an image if it has one, else its ``name``; without colour words. Empty if it has neither.

    What is made of colour words alone is left as it is.

    >>> shown({"name": "light blue heart"})
    'heart'
    """
    text = labels.get("caption", "").strip() or labels.get("name", "").strip()
    return without_colors(text) or text


def details(labels: Mapping[str, str]) -> list[str]:
    """What else a caption may say: the category and the keywords (``keywords``, separated by commas), in lower case.

    >>> details({"name": "red rose", "category": "Animals & Nature", "keywords": "flower, red, love"})
    ['animals & nature', 'flower', 'love']
    """
    said = [labels.get("category", ""), *labels.get("keywords", "").split(",")]
    return [found for text in said if (found := without_colors(text).lower())]


def caption(shown: str, details: Iterable[str] = (), word: str | None = None) -> str:
    """These parts in a row, the rendered word last and in quotes.

    >>> caption("heart", ["symbols"], "DUST")
    'heart, symbols, "dust"'
    """
    parts = [shown, *details] if shown else []
    if word:
        parts.append(f'"{word.lower()}"')
    return ", ".join(parts)


def some(details: list[str], rng: Generator) -> list[str]:
    """None to ``MOST_DETAILS`` of them, each number and each order as likely as another."""
    count = int(rng.integers(min(MOST_DETAILS, len(details)) + 1))
    return [details[i] for i in rng.permutation(len(details))[:count]]


def without_colors(text: str) -> str:
    """The text without colour words, its white space tidied."""
    return " ".join(COLOR_WORDS.sub(" ", text).split())
