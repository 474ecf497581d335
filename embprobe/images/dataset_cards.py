"""Data set cards: TOML files that describe a set of images, its location, its labels and the names of its classes."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

from pydantic import Field, model_validator

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.labels import note_of
from embprobe.images.paths import GUESSED_LABELS, split_named
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images, Row
from embprobe.images.sources import HUB, exists, open_source
from embprobe.system.models import Strict, names_of, parse_card, read_card_file

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_MAX_PLACEHOLDERS = 3
"""More would let a hostile file name take long to match."""


class DatasetCard(Strict):
    """The description of a set of images: its content, its licence, and how to get it."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    title: str
    description: str
    licence: str
    citation: str = ""
    homepage: str = ""
    needs: str
    location: str | None = None
    """The place that is opened if the user names none, e.g. ``hf:owner/name``."""
    labels: list[str]
    sources: list[str] = []
    templates: list[str] = []
    """Sentences for zero-shot classification, ``{}`` where the class goes."""
    class_label: str = "category"
    """The label whose values are the classes."""
    class_names: list[str] = []
    """Readable names of the classes; their positions are the integers that stand for them in the data."""
    class_keys: list[str] = []
    """Names of the classes' folders in the original download, in the order of ``class_names``."""
    folder: Literal["class", "split/class", "flat"] | None = None
    """The folders of the original download."""
    file_name: str | None = None
    """The pattern of file names in the original download, labels in braces: ``"{category}_{number}"``."""
    columns: dict[str, str] = {}
    """The column of the data for each of embprobe's labels, and for ``image``."""
    splits: dict[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> DatasetCard:
        if self.class_keys and len(self.class_keys) != len(self.class_names):
            raise ValueError("class_keys must be as many as class_names")
        if any(template.count("{}") != 1 for template in self.templates):
            raise ValueError("every template needs exactly one {}")
        if self.file_name is not None:
            labels = _PLACEHOLDER.findall(self.file_name)
            if not 1 <= len(labels) <= _MAX_PLACEHOLDERS or len(set(labels)) < len(labels):
                raise ValueError(f"file_name needs one to {_MAX_PLACEHOLDERS} different labels in braces")
        return self


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
            numbered=_class_column(card) if card.class_names else None,
        ),
    )
    images = images.labelled(_renaming(card))
    if split and not on_hub:
        kept = images.where(split=[split, split_named(split) or split])
        if not len(kept):
            raise EmbprobeError(f"'{location}' has no images labelled as the split '{split}' of {card.name}.")
        images = kept
    classes = {row.labels.get(card.class_label, "") for row in images.rows}
    unknown = sorted(classes - {*card.class_names, ""}) if card.class_names else []
    remarks = [note for note in images.notes if not note.startswith(GUESSED_LABELS)]  # the card knows
    notes = (*remarks, *note_of(f"{card.class_label} label{{s}} that {card.name} does not know", unknown))
    return replace(images, name=f"{card.name}:{split}" if split else card.name, notes=notes)


def _renaming(card: DatasetCard) -> Callable[[Row], Mapping[str, str]]:
    """Return a function that gives a row's labels embprobe's names, and its class the name on the card.

    The class stands as a number in a table's column or a WebDataset's ``.cls``, as a key in a file's or folder's name.
    """
    label, class_column = card.class_label, _class_column(card)
    columns = {label: class_column, **card.columns}
    label_of_column = {column: name for name, column in columns.items() if name != "image"}
    name_of_key = dict(zip(card.class_keys, card.class_names, strict=False))
    name_of_number = name_of_key | {str(i): name for i, name in enumerate(card.class_names)}

    def renamed(row: Row) -> Mapping[str, str]:
        labels = {name: value for name, value in row.labels.items() if name not in label_of_column}
        labels |= {label_of_column[name]: value for name, value in row.labels.items() if name in label_of_column}
        if class_column in row.labels:
            return labels | {label: name_of_number.get(labels[label], labels[label])}
        if "class" in labels:  # of a WebDataset
            return labels | {label: name_of_number.get(labels["class"], labels["class"])}
        in_name = _labels_in_name(card, row.key)
        if in_name:
            if label in in_name:
                in_name[label] = name_of_key.get(in_name[label], in_name[label])
            return labels | in_name
        folder = labels.get("folder", labels.get("category", ""))
        lowest = folder.rpartition("/")[2]
        return labels | {label: name_of_key.get(folder, name_of_key.get(lowest, lowest))} if folder else labels

    return renamed


def _class_column(card: DatasetCard) -> str:
    """Name a table's column of classes: the one on the card, else ``label``, as Hugging Face's data sets call it."""
    return card.columns.get(card.class_label, "label")


def _labels_in_name(card: DatasetCard, key: str) -> dict[str, str]:
    """Read labels from a file's name by the card's pattern ``file_name``; empty if the name does not match."""
    if card.file_name is None:
        return {}
    parts = _PLACEHOLDER.split(card.file_name)  # text, label, text, label, text
    pattern = "".join(f"(?P<{part}>.+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    match = re.fullmatch(pattern, PurePosixPath(key).stem)
    return {name: value for name, value in match.groupdict().items() if name in card.labels} if match else {}
