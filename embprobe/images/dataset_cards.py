"""Find data set cards, and open the images that they describe."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.class_names import class_column, renaming
from embprobe.images.dataset_card import DatasetCard
from embprobe.images.labels import note_of
from embprobe.images.paths import GUESSED_LABELS, split_named
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images
from embprobe.images.sources import HUB, exists, open_source
from embprobe.system.models import names_of, parse_card, read_card_file
from embprobe.system.text import visible

__all__ = ["DatasetCard", "dataset_cards", "find_dataset", "load_dataset", "match_datasets", "card_split"]


@lru_cache(maxsize=1)
def dataset_cards() -> tuple[DatasetCard, ...]:
    """Read the bundled data set cards, sorted by name."""
    folder, package = files("embprobe.datasets"), "embprobe.datasets"
    texts = {name: (folder / f"{name}.toml").read_text(encoding="utf-8") for name in names_of(package)}
    return tuple(parse_card(DatasetCard, text, f"{name}.toml") for name, text in texts.items())


def match_datasets(pattern: str) -> list[DatasetCard]:
    """Find the bundled cards whose name contains ``pattern``, or matches it if it has wildcards.

    Raises:
        UsageError: No card's name matches.
    """
    exact = [card for card in dataset_cards() if card.name == pattern]
    if exact:
        return exact
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    matches = [card for card in dataset_cards() if fnmatchcase(card.name, wanted)]
    if not matches:
        raise UsageError(f"No data set's name matches '{pattern}'. 'embprobe datasets' lists all.")
    return matches


def find_dataset(name: str) -> tuple[DatasetCard, str, str] | None:
    """Take ``CARD[:SPLIT][@PLACE]`` apart into card, split and place; None if it does not begin with a card's name.

    ``CARD`` is the name of a bundled card or the path of the user's own (``mine.toml``).

    Raises:
        UsageError: Nothing stands behind the ``@`` of a card.
    """
    found = _take_apart(name)
    if found is not None and not found[2] and "@" in name:
        raise UsageError(
            f"There is no place behind the @ in '{name}'. Give a folder or file; '.' is the current folder."
        )
    return found


def _take_apart(name: str) -> tuple[DatasetCard, str, str] | None:
    front, _, place = name.partition("@")
    card_name, _, split = front.partition(":")
    if card_name.endswith(".toml") and exists(Path(card_name)):
        return read_card_file(DatasetCard, Path(card_name)), split, place
    cards = {card.name: card for card in dataset_cards() if not card.name.startswith("bundled/")}
    return (cards[card_name], split, place) if card_name in cards else None


def load_dataset(card: DatasetCard, *, split: str = "", place: str = "", reading: Reading = GUESSED) -> Images:
    """Open a data set with the labels that its card names, its classes under their readable names.

    Args:
        card: The description of the data set.
        split: A split to keep; "" for all.
        place: The folder, files or hub data set to open instead of the card's own location.
        reading: Choices of the user's, beside those that the card makes.

    Raises:
        UsageError: Neither the card nor the user names a place.
        EmbprobeError: There are no images of this split.
    """
    location = place or card.location
    if not location:
        raise UsageError(f"Say where '{card.name}' lies: {card.name}@FOLDER. It needs {card.needs.rstrip('.')}.")
    on_hub = location.startswith(HUB)
    images = open_source(
        f"{location}:{split}" if on_hub and split else location,
        replace(
            reading,
            image=card.columns.get("image"),
            numbered=class_column(card) if card.class_names and card.numbered else None,
        ),
    )
    images = images.labelled(renaming(card))
    if split and not on_hub:
        kept = images.where(split=[split, split_named(split) or split])
        if not len(kept):
            raise EmbprobeError(f"'{location}' has no images labelled as the split '{split}' of {card.name}.")
        images = kept
    remarks = [note for note in images.notes if not note.startswith(GUESSED_LABELS)]  # the card knows
    notes = (*remarks, *_notes_on_classes(card, images, location))
    return replace(images, name=f"{card.name}:{split}" if split else card.name, notes=notes)


def _notes_on_classes(card: DatasetCard, images: Images, location: str) -> tuple[str, ...]:
    """Write notes on classes that only the images have, or only the card.

    Raises:
        EmbprobeError: The images have the number behind the card's last class, and none of the first.
    """
    classes = {value for value in images.values(card.class_label) if value is not None}
    if not card.class_names or not classes:
        return ()
    unknown, absent = sorted(classes - {*card.class_names}), [name for name in card.class_names if name not in classes]
    last = str(len(card.class_names))
    if unknown == [last] and absent[:1] == card.class_names[:1]:
        raise EmbprobeError(
            f"The classes in '{location}' are numbered up to {last} without a 0, but {card.name} counts from 0, so "
            "each would get the name of another: number them from 0, or name them."
        )
    return (
        *note_of(f"{card.class_label} label{{s}} that {card.name} does not know", unknown),
        *note_of(f"of the {len(card.class_names):,} classes of {card.name} without an image", absent),
    )


def card_split(card: DatasetCard, images: Images) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """Find the images that published numbers are fitted on, and those that they are tested on.

    Args:
        card: The description of the data set; ``fit``, ``test`` and ``fitted_on`` are what counts.
        images: Images of the set, with the label ``split`` where it has splits.

    Returns:
        Positions of the images to fit on (none if the card names none, or another set in ``fitted_on``), and of those
        to test on. None if the card has no official split, or no image has the label ``split``, unless all images are
        for testing.

    Raises:
        EmbprobeError: Images have splits, but none has the one that the card names.

    Example:
        >>> (card,) = match_datasets("food-101")
        >>> card.fit, card.test
        ('train', 'validation')
        >>> images = Images.without_pictures("food", ["a", "b", "c"], {"split": ["validation", "train", "train"]})
        >>> fit, test = card_split(card, images)
        >>> fit.tolist(), test.tolist()
        ([1, 2], [0])
    """
    splits = [value and (split_named(value) or value) for value in images.values("split")]
    everything = np.arange(len(images))
    only_tests = not card.fit and bool(card.test or card.fitted_on)
    if only_tests and (not card.test or images.lacks("split")):
        return everything[:0], everything
    if not card.test or images.lacks("split"):
        return None
    counts = Counter(value for value in splits if value is not None)
    for wanted in filter(None, (card.fit, card.test)):
        if wanted not in counts:
            there = ", ".join(f"{visible(name)} {count:,}" for name, count in sorted(counts.items()))
            fitted = f"fitted on '{card.fit}' and " if card.fit else ""
            raise EmbprobeError(
                f"{card.name} is {fitted}tested on '{card.test}', but no image of '{visible(images.name)}' is in the "
                f"split '{wanted}'. Its splits: {there}."
            )
    fit, test = (np.array([bool(name) and value == name for value in splits]) for name in (card.fit, card.test))
    return everything[fit], everything[test]
