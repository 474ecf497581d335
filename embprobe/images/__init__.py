"""Images: from the name or path that a user types to rows. Each kind of source has a reader that returns Images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.dataset_cards import dataset_cards, find_dataset, load_dataset
from embprobe.images.decoding import UnreadableImage
from embprobe.images.readers.folder import load_file
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.relabelling import choose_labels, parse_labels
from embprobe.images.rows import Images, Row
from embprobe.images.sources import exists, open_source
from embprobe.system.pixels import MAX_PIXELS
from embprobe.system.suggestions import did_you_mean, near_matches

__all__ = ["Images", "Row", "UnreadableImage", "find_row", "load_image", "load_images"]

DEFAULT = "bundled/emoji"
_LOOKED_AT = 512
"""Shorter side in pixels at which an image file is first read; a large JPEG may be readable in no other way."""


def load_images(
    name: str = DEFAULT,
    *,
    folders: Sequence[str] | None = None,
    key_column: str | None = None,
    labels: Sequence[str] | None = None,
) -> Images:
    """Open a set of images and read its labels; the images themselves are read when they are needed.

    Args:
        name: One of

            - the path of a folder of images, or of one image
            - tars or parquet files: a path, a folder of them, a pattern (``train-{000..099}.tar``, ``*.parquet``) or
              a URL
            - ``hf:owner/name[:split]``, a data set of the Hugging Face hub
            - ``CARD[:SPLIT][@PLACE]``, a data set that has a card, e.g. ``cifar-10:test`` or
              ``imagenet-1k@/data/imagenet``
            - ``bundled/emoji`` or a split of it, ``bundled/emoji:train``
        folders: The labels that the levels of folders give, outermost first, as in ``["split", "category"]``; ``-``
            for a level that gives none. None guesses them, ``[]`` takes no label from folders or names of files.
        key_column: The column that names the images in a folder's metadata file, or holds the keys of a table's rows.
        labels: Names of the labels to keep, or ``NAME=COLUMN`` to rename one. Where all are renamed, the others stay.

    Returns:
        One row for each image, with a key and named labels.

    Raises:
        UsageError: There is nothing of this name, or no such level of folders, column or label.
        EmbprobeError: There are no images in it.

    Example:
        >>> images = load_images("bundled/emoji:train")
        >>> cat = find_row("1f431/noto", images)
        >>> cat.labels["name"], cat.load().size
        ('cat face', (128, 128))
    """
    levels = None if folders is None else tuple(folders)
    return open_images(name, Reading(key_column=key_column, labels=parse_labels(labels or ()), folders=levels))


def open_images(name: str, reading: Reading) -> Images:
    """Open a set of images as :func:`load_images` does, with choices that were parsed before."""
    return replace(choose_labels(_open(name, reading), reading.labels), opened_as=name, reading=reading)


def _open(name: str, reading: Reading = GUESSED) -> Images:
    dataset = None if exists(Path(name)) and not name.endswith(".toml") else find_dataset(name)
    if dataset is not None:
        card, split, place = dataset
        return load_dataset(card, split=split, place=place, reading=reading)
    try:
        return open_source(name, reading)
    except UsageError as error:
        front = re.split("[@:]", name)[0]
        near = [card for card in near_matches(front, (card.name for card in dataset_cards())) if card not in str(error)]
        raise UsageError(f"{did_you_mean(front, near, quoted=True)} {error}".lstrip()) from None


def load_image(name: str, *, max_pixels: int = MAX_PIXELS) -> Images:
    """Open one image file as a set of one row.

    Args:
        name: The path of the file; its last part becomes the row's key.
        max_pixels: A larger image is refused, unless it is a JPEG that can be decoded at reduced scale.

    Raises:
        UsageError: There is no such file, or it is a folder.
        EmbprobeError: It cannot be read as an image.
    """
    path = Path(name)
    if exists(path) and path.is_dir():
        raise UsageError(f"'{name}' is a folder; give one image file.")
    if not exists(path) or not path.is_file():
        raise UsageError(f"There is no image file '{name}'.")
    image = load_file(path).limited_to(max_pixels)
    try:
        image.rows[0].read(at_least=_LOOKED_AT)
    except UnreadableImage as reason:
        raise EmbprobeError(f"'{name}' cannot be read as an image: {reason}.") from None
    return image


def find_row(name: str, images: Images) -> Row:
    """Find one image: the file of this name, or else the row of ``images`` with this key.

    Raises:
        UsageError: There is neither.
        EmbprobeError: The file cannot be read as an image.
    """
    if exists(Path(name)):
        return load_image(name, max_pixels=images.columns.max_pixels).rows[0]
    keys = images.keys
    if name not in keys:
        hint = did_you_mean(name, keys)
        hint = hint or f" The first key there is '{images.rows[0].key}'."
        raise UsageError(f"There is no image file '{name}', and no image of that key in '{images.name}'.{hint}")
    return images.rows[keys.index(name)]
