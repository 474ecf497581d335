"""Rename and choose labels as the user says."""

from __future__ import annotations

from collections.abc import Sequence

from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.system.suggestions import did_you_mean
from embprobe.system.text import visible

_KEPT = ("split", "folder")
"""Labels that say where an image lies; they stay whatever labels the user chooses."""


def parse_labels(choices: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Read ``COLUMN`` and ``NAME=COLUMN`` as pairs of a label's name and the column that holds it.

    >>> parse_labels(["breed", "category=breed"])
    (('breed', 'breed'), ('category', 'breed'))

    Raises:
        UsageError: A choice lacks a name, or two choices make the same label.
    """
    pairs: dict[str, str] = {}
    for choice in choices:
        name, equals, column = choice.partition("=")
        column = column if equals else name
        if not name or not column:
            raise UsageError(f"A label is COLUMN or NAME=COLUMN, not '{visible(choice)}'.")
        if pairs.get(name, column) != column:
            raise UsageError(f"The label '{visible(name)}' cannot be two columns: choose another name for one.")
        pairs[name] = column
    return tuple(pairs.items())


def choose_labels(images: Images, choices: Sequence[tuple[str, str]]) -> Images:
    """Give labels the names that the user chose; a label chosen under its own name means that no other is kept.

    Args:
        images: The images with all their labels.
        choices: Pairs of a new name and the present one. Where a pair has the same name twice, only the labels in
            ``choices`` are kept, with ``split`` and ``folder``.

    Raises:
        UsageError: No image has a label of such a name; the message lists those that there are.
    """
    if not choices:
        return images
    known = images.label_names
    for _, column in choices:
        if column not in known:
            raise UsageError(
                f"No image in '{visible(images.name)}' has a label '{visible(column)}'."
                f"{visible(did_you_mean(column, known, quoted=True))} "
                f"Their labels: {visible(', '.join(known)) or 'none'}."
            )
    only = any(name == column for name, column in choices)
    renamed = {column for _, column in choices} | {name for name, _ in choices}
    labels = images.columns.labels
    kept = {name: label for name, label in labels.items() if name not in renamed and (name in _KEPT or not only)}
    return images.relabelled(kept | {name: labels[column] for name, column in choices})
