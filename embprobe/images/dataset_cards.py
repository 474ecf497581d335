"""Data set cards: TOML files that say what a set of images holds, where it lies, and what its classes are called."""

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
from embprobe.images.labels import note_of, split_named
from embprobe.images.rows import Images, Row
from embprobe.images.sources import HUB, exists, open_source
from embprobe.system.models import Strict, names_of, parse_card, read_card_file

_PLACE = re.compile(r"\{([a-z_]+)\}")
_PLACES = 3
"""More would let a hostile name take long to match."""


class DatasetCard(Strict):
    """A set of images: what it holds, what it may be used for, and what is needed to have it."""

    schema_: Literal[1] = Field(alias="schema")
    name: str
    title: str
    description: str
    licence: str
    citation: str = ""
    homepage: str = ""
    needs: str
    location: str | None = None
    """Where it is opened if the user names no place, e.g. ``hf:owner/name``."""
    labels: list[str]
    sources: list[str] = []
    templates: list[str] = []
    """Sentences for zero-shot classification, ``{}`` where the class goes."""
    class_label: str = "category"
    """The label whose values are the classes."""
    class_names: list[str] = []
    """By the integer that stands for the class in the data."""
    class_keys: list[str] = []
    """What the folders of the original download are called, in the order of ``class_names``."""
    folder: Literal["class", "split/class", "flat"] | None = None
    """How the original download lies in folders."""
    file_name: str | None = None
    """How the files of the original download are called, labels in braces: ``"{category}_{number}"``."""
    columns: dict[str, str] = {}
    """By embprobe's label (and ``image``), the column of the data."""
    splits: dict[str, str] = {}

    @model_validator(mode="after")
    def _consistent(self) -> DatasetCard:
        if self.class_keys and len(self.class_keys) != len(self.class_names):
            raise ValueError("class_keys must be as many as class_names")
        if any(template.count("{}") != 1 for template in self.templates):
            raise ValueError("every template needs exactly one {}")
        if self.file_name is not None:
            labels = _PLACE.findall(self.file_name)
            if not 1 <= len(labels) <= _PLACES or len(set(labels)) < len(labels):
                raise ValueError(f"file_name needs one to {_PLACES} different labels in braces")
        return self


@lru_cache(maxsize=1)
def dataset_cards() -> tuple[DatasetCard, ...]:
    """The bundled data set cards, by name."""
    folder, package = files("embprobe.datasets"), "embprobe.datasets"
    texts = {name: (folder / f"{name}.toml").read_text(encoding="utf-8") for name in names_of(package)}
    return tuple(parse_card(DatasetCard, text, f"{name}.toml") for name, text in texts.items())


def match_datasets(pattern: str) -> list[DatasetCard]:
    """The bundled cards whose name contains ``pattern``, or matches it if it has wildcards.

    Raises :class:`UsageError` if there is none.
    """
    exact = [card for card in dataset_cards() if card.name == pattern]
    if exact:
        return exact
    wanted = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    found = [card for card in dataset_cards() if fnmatchcase(card.name, wanted)]
    if not found:
        raise UsageError(f"No data set's name matches '{pattern}'. 'embprobe datasets' lists all.")
    return found


def find_dataset(name: str) -> tuple[DatasetCard, str, str] | None:
    """The card, split and place that ``CARD[:SPLIT][@PLACE]`` names; None if it begins with no card's name.

    ``CARD`` is the name of a bundled card or the path of a card of one's own (``mine.toml``).
    """
    front, _, place = name.partition("@")
    card, _, split = front.partition(":")
    if card.endswith(".toml") and exists(Path(card)):
        return read_card_file(DatasetCard, Path(card)), split, place
    known = {each.name: each for each in dataset_cards() if not each.name.startswith("bundled/")}
    return (known[card], split, place) if card in known else None


def load_dataset(card: DatasetCard, *, split: str = "", place: str = "") -> Images:
    """The rows of a data set with the labels its card names, classes by their names.

    Raises :class:`UsageError` if it is not known where it lies, :class:`EmbprobeError` if it has no such split.
    """
    where = place or card.location
    if not where:
        raise UsageError(f"Say where '{card.name}' lies: {card.name}@FOLDER. It needs {card.needs.rstrip('.')}.")
    on_hub = where.startswith(HUB)
    images = open_source(
        f"{where}:{split}" if on_hub and split else where,
        image=card.columns.get("image"),
        numbered=_class_column(card) if card.class_names else None,
    )
    images = images.labelled(_renaming(card))
    if split and not on_hub:
        kept = images.where(split=[split, split_named(split) or split])
        if not len(kept):
            raise EmbprobeError(f"'{where}' has no images labelled as the split '{split}' of {card.name}.")
        images = kept
    found = {row.labels.get(card.class_label, "") for row in images.rows}
    strange = sorted(found - {*card.class_names, ""}) if card.class_names else []
    notes = (*images.notes, *note_of(f"{card.class_label} label{{s}} that {card.name} does not know", strange))
    return replace(images, name=f"{card.name}:{split}" if split else card.name, notes=notes)


def _renaming(card: DatasetCard) -> Callable[[Row], Mapping[str, str]]:
    """A row's labels under embprobe's names. A class is known by its number in a table, by its key as a folder."""
    label = card.class_label
    columns = {label: _class_column(card), **card.columns}
    renamed = {column: name for name, column in columns.items() if name != "image"}
    named = dict(zip(card.class_keys, card.class_names, strict=False))
    numbered = named | {str(i): name for i, name in enumerate(card.class_names)}

    def labels(row: Row) -> Mapping[str, str]:
        found = {name: value for name, value in row.labels.items() if name not in renamed}
        found |= {renamed[name]: value for name, value in row.labels.items() if name in renamed}
        if _class_column(card) in row.labels:
            return found | {label: numbered.get(found[label], found[label])}
        if "class" in found:  # of a WebDataset
            return found | {label: numbered.get(found["class"], found["class"])}
        spoken = _spoken(card, row.key)
        if spoken:
            return found | {name: named.get(value, value) if name == label else value for name, value in spoken.items()}
        folder = found.get("folder", found.get("category", ""))
        lowest = folder.rpartition("/")[2]
        return found | {label: named.get(folder, named.get(lowest, lowest))} if folder else found

    return labels


def _class_column(card: DatasetCard) -> str:
    """The column of classes in a table: what the card says, or what Hugging Face's data sets call it."""
    return card.columns.get(card.class_label, "label")


def _spoken(card: DatasetCard, key: str) -> dict[str, str]:
    """The labels that a file's name says, if it is called as the card says files are."""
    if card.file_name is None:
        return {}
    parts = _PLACE.split(card.file_name)  # text, label, text, label, text
    pattern = "".join(f"(?P<{part}>.+)" if i % 2 else re.escape(part) for i, part in enumerate(parts))
    found = re.fullmatch(pattern, PurePosixPath(key).stem)
    return {name: value for name, value in found.groupdict().items() if name in card.labels} if found else {}
