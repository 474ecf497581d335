"""The choices of a reader that would otherwise be guessed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """Choices that a place does not make by itself; a data set card or the user makes them."""

    image: str | None = None
    """The column of images, where more than one column could hold them."""
    numbered: str | None = None
    """A column whose classes stay numbers, whatever names the schema gives them."""
    key_column: str | None = None
    """The column of a table that names the image, or is its key."""
    labels: tuple[tuple[str, str], ...] = ()
    """Names of labels, each with the column that holds it. Where a label has its column's name, no others are kept."""


GUESSED = Reading()
"""No choice is made: all is guessed."""
