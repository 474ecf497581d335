"""Give images the labels of a data set card, and classes its names, however a copy of the set spells them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import PurePosixPath

from embprobe.images.dataset_card import NUMBER, PLACEHOLDER, DatasetCard
from embprobe.images.paths import split_named
from embprobe.images.row import Row

_SYNSETS = ("synset", "wnid")
"""Labels by which copies of ImageNet tell a class, whatever name they have for it: two of its classes are cranes."""
_SEPARATORS = re.compile(r"[\s_/-]+")


def class_column(card: DatasetCard) -> str:
    """Name a table's column of classes: the one on the card, else ``label``, as Hugging Face's data sets call it."""
    return card.columns.get(card.class_label, "label")


def renaming(card: DatasetCard) -> Callable[[Row], Mapping[str, str]]:
    """Return a function that gives a row's labels embprobe's names, and its class the name on the card.

    The class stands as a number in a table's column or a WebDataset's ``.cls``; as a name, a key or a number in a
    file's or folder's name.
    """
    label, column = card.class_label, class_column(card)
    columns = {label: column, **card.columns}
    label_of_column = {column: name for name, column in columns.items() if name != "image"}
    named, numbered = class_finder(card), _numbers(card)
    labels_in_name = _name_reader(card)
    name_of_key = dict(zip(card.class_keys, card.class_names, strict=False))
    class_of_folder = lru_cache(maxsize=4096)(lambda folder: _class_of_folder(folder, named))

    def in_column(value: str) -> str:
        return numbered.get(value) or named(value) or value

    def renamed(row: Row) -> Mapping[str, str]:
        labels = as_on_card(row)
        synset = next(filter(None, (name_of_key.get(labels.get(each, "")) for each in _SYNSETS)), None)
        return labels if synset is None else labels | {label: synset}

    def as_on_card(row: Row) -> dict[str, str]:
        labels = {name: value for name, value in row.labels.items() if name not in label_of_column}
        labels |= {label_of_column[name]: value for name, value in row.labels.items() if name in label_of_column}
        if column in row.labels:
            return labels | {label: in_column(labels[label])}
        if "class" in labels:  # of a WebDataset
            return labels | {label: in_column(labels["class"])}
        folder = labels.get("folder", labels.get("category", ""))
        if "category" not in card.labels and labels.get("category") in PurePosixPath(row.key).parts[:-1]:
            del labels["category"]
        in_name = labels_in_name(row.key)
        if label in in_name:
            in_name[label] = named(in_name[label]) or in_name[label]
        elif folder and label in card.labels:
            in_name[label] = class_of_folder(folder)
        if card.folder == "domain/class" and card.domains not in labels:
            in_name |= _domain(card, row.key, in_name.get(label, ""), named)
        return labels | in_name

    return renamed


def class_finder(card: DatasetCard) -> Callable[[str], str | None]:
    """Return a function that finds the class that a text means; None if it means none.

    A text is a class's name or key, either of them with other capitals and with spaces, underscores, hyphens or slashes
    for each other, or its number, counted from 0 (if the card says that its
    classes are ``numbered``).

    >>> from embprobe.images.dataset_cards import match_datasets
    >>> find = class_finder(match_datasets("imagenet-1k")[0])
    >>> find("great white shark"), find("Great_White-Shark"), find("n01484850"), find("0002"), find("shark")
    ('great white shark', 'great white shark', 'great white shark', 'great white shark', None)
    """
    spellings = [*zip(card.class_keys, card.class_names, strict=False), *((name, name) for name in card.class_names)]
    exact = dict(spellings)
    loose_spellings = {(_loose(text), name) for text, name in spellings}
    meanings = Counter(text for text, _ in loose_spellings)
    loose = {text: name for text, name in loose_spellings if meanings[text] == 1}
    numbers = _numbers(card)

    def find(text: str) -> str | None:
        number = text.lstrip("0") or "0" if text.isdecimal() else ""
        return exact.get(text) or loose.get(_loose(text)) or numbers.get(number)

    return find


def _numbers(card: DatasetCard) -> dict[str, str]:
    return {str(i): name for i, name in enumerate(card.class_names)} if card.numbered else {}


def _loose(text: str) -> str:
    return _SEPARATORS.sub(" ", text.strip(" _/")).casefold()  # -1 is no class 1


def _class_of_folder(folder: str, named: Callable[[str], str | None]) -> str:
    """Read the class from the path of folders above an image: the longest end of it that means one.

    Else a folder above means it, as in Tiny ImageNet's ``n01443537/images``, else the lowest folder is its name.
    """
    parts = folder.split("/")
    above = [part for part in reversed(parts[:-1]) if not (part.isdecimal() or split_named(part))]
    texts = [*("/".join(parts[i:]) for i in range(len(parts))), *above]
    return next(filter(None, map(named, texts)), parts[-1])


def _name_reader(card: DatasetCard) -> Callable[[str], dict[str, str]]:
    """Return a function that reads labels from a file's name by the card's pattern; none if the name does not match."""
    if card.file_name is None:
        return lambda key: {}
    parts = PLACEHOLDER.split(card.file_name)  # text, label, text, label, text
    digits = NUMBER not in card.labels
    pattern = re.compile(
        "".join(
            (r"(?<!\d)\d+" if part == NUMBER and digits else f"(?P<{part}>.+)") if i % 2 else re.escape(part)
            for i, part in enumerate(parts)
        )
    )

    def read(key: str) -> dict[str, str]:
        match = pattern.fullmatch(PurePosixPath(key).stem)
        return {name: value for name, value in match.groupdict().items() if name in card.labels} if match else {}

    return read


def _domain(card: DatasetCard, key: str, name: str, named: Callable[[str], str | None]) -> dict[str, str]:
    """Read the domain from the folder above that of the class."""
    above = PurePosixPath(key).parts[:-1]
    if len(above) < 2 or (named(above[-1]) or above[-1]) != name or split_named(above[-2]):
        return {}
    return {card.domains: above[-2]}
