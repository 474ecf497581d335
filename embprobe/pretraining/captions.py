"""Write captions for training images: the subject and the word drawn into it. Never the style, never the colour."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from numpy.random import Generator

_COLORS = (
    "beige|black|blonde?|blue|brown|colou?red|crimson|cyan|gold|golden|gr[ae]y|green|magenta|maroon|orange|pink|purple|"
    "red|scarlet|silver|teal|turquoise|violet|white|yellow"
)
COLOR_WORDS = re.compile(rf"\b(?:light |dark )?(?:{_COLORS})\b", re.IGNORECASE)
"""Words left out of captions, so that no objective learns of colour from them: "red heart" is captioned "heart"."""
MOST_DETAILS = 3
"""The most details (the category, keywords) in a caption."""


def subject_of(labels: Mapping[str, str]) -> str:
    """Return the ``caption`` of an image if it has one, else its ``name``, without colour words; "" if it has neither.

    A text of colour words alone is left as it is.

    >>> subject_of({"name": "light blue heart"})
    'heart'
    """
    text = labels.get("caption", "").strip() or labels.get("name", "").strip()
    return without_colors(text) or text


def details(labels: Mapping[str, str]) -> list[str]:
    """List details for a caption: the category and the keywords (``keywords``, separated by commas), in lower case.

    >>> details({"name": "red rose", "category": "Animals & Nature", "keywords": "flower, red, love"})
    ['animals & nature', 'flower', 'love']
    """
    texts = [labels.get("category", ""), *labels.get("keywords", "").split(",")]
    return [detail for text in texts if (detail := without_colors(text).lower())]


def caption(subject: str, details: Iterable[str] = (), word: str | None = None) -> str:
    """Join the parts of a caption, the rendered word last and in quotes; without a subject, the word stands alone.

    >>> caption("heart", ["symbols"], "DUST")
    'heart, symbols, "dust"'
    """
    parts = [subject, *details] if subject else []
    if word:
        parts.append(f'"{word.lower()}"')
    return ", ".join(parts)


def draw_details(details: list[str], rng: Generator) -> list[str]:
    """Draw none to ``MOST_DETAILS`` of the details, each number and each order as likely as another."""
    count = int(rng.integers(min(MOST_DETAILS, len(details)) + 1))
    return [details[i] for i in rng.permutation(len(details))[:count]]


def without_colors(text: str) -> str:
    """Remove colour words from a text and tidy its white space."""
    return " ".join(COLOR_WORDS.sub(" ", text).split())
