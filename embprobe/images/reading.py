"""The choices of a reader that would otherwise be guessed."""

from __future__ import annotations

import shlex
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
    folders: tuple[str, ...] | None = None
    """The labels that the levels of folders give, outermost first, ``-`` for none; None to guess them."""

    def options(self) -> str:
        """Return the user's choices as options of the command line, with a space before each; "" if there are none."""
        labels = (name if name == column else f"{name}={column}" for name, column in self.labels)
        folders = None if self.folders is None else ",".join(self.folders) or "none"
        options = [("--folders", folders), ("--key-column", self.key_column), *(("--label", label) for label in labels)]
        return "".join(f" {option} {shlex.quote(value)}" for option, value in options if value is not None)


GUESSED = Reading()
"""No choice is made: all is guessed."""
