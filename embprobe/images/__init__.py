"""Images: from what the user typed to rows. One module per kind of source, each a function that returns Images."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from pathlib import Path

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.dataset_cards import dataset_cards, find_dataset, load_dataset
from embprobe.images.decoding import UnreadableImage
from embprobe.images.readers.folder import load_file
from embprobe.images.rows import Images, Row
from embprobe.images.sources import exists, open_source

__all__ = ["Images", "Row", "UnreadableImage", "find_row", "load_image", "load_images"]

DEFAULT = "bundled/emoji"


def load_images(name: str = DEFAULT) -> Images:
    """Rows of images from what a user typed.

    - the path of a folder of images, or of one image
    - tars or parquet files: a path, a folder of them, a pattern (``train-{000..099}.tar``, ``*.parquet``), a URL
    - ``hf:owner/name[:split]``, a data set of the Hugging Face hub
    - ``CARD[:SPLIT][@PLACE]``, a data set that has a card, e.g. ``cifar-10:test`` or ``imagenet-1k@/data/imagenet``
    - ``bundled/emoji`` or a split of it, ``bundled/emoji:train``

    Raises :class:`UsageError` if there is no such thing, :class:`EmbprobeError` if there are no images in it.
    """
    return replace(_open(name), opened_as=name)


def _open(name: str) -> Images:
    found = None if exists(Path(name)) and not name.endswith(".toml") else find_dataset(name)
    if found is not None:
        card, split, place = found
        return load_dataset(card, split=split, place=place)
    try:
        return open_source(name)
    except UsageError as error:
        near = difflib.get_close_matches(re.split("[@:]", name)[0], [card.name for card in dataset_cards()], n=1)
        hint = f"Did you mean '{near[0]}'? " if near and near[0] not in str(error) else ""
        raise UsageError(f"{hint}{error}") from None


def load_image(name: str) -> Images:
    """One image file, as a set of one row.

    Raises :class:`UsageError` if it is not there or is no file, :class:`EmbprobeError` if it cannot be read.
    """
    path = Path(name)
    if exists(path) and path.is_dir():
        raise UsageError(f"'{name}' is a folder; give one image file.")
    if not exists(path) or not path.is_file():
        raise UsageError(f"There is no image file '{name}'.")
    image = load_file(path)
    try:
        image.rows[0].read()
    except UnreadableImage as reason:
        raise EmbprobeError(f"'{name}' cannot be read as an image: {reason}.") from None
    return image


def find_row(name: str, images: Images) -> Row:
    """The image file of this name, or the row of ``images`` with this key.

    Raises :class:`UsageError` if there is neither, :class:`EmbprobeError` if the file cannot be read.
    """
    if exists(Path(name)):
        return load_image(name).rows[0]
    found = next((row for row in images.rows if row.key == name), None)
    if found is None:
        near = difflib.get_close_matches(name, [row.key for row in images.rows], n=1)
        hint = f" Did you mean {near[0]}?" if near else f" The first key there is '{images.rows[0].key}'."
        raise UsageError(f"There is no image file '{name}', and no image of that key in '{images.name}'.{hint}")
    return found
