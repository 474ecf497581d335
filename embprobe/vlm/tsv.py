"""Tables of questions with images as base64 in a column, as VLMEvalKit has them, read a row at a time."""

from __future__ import annotations

import base64
import binascii
import csv
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.columns import Columns, References, Sources, texts_of
from embprobe.images.decoding import UnreadableImage
from embprobe.images.formats import format_of
from embprobe.images.rows import Images
from embprobe.system.text import printable, visible
from embprobe.vlm.multiple_choice import TEXTS, Gathered, Unusable, column_names

MAX_CELL = 2**27
"""Bytes of a line and letters of a cell, at most: an image of 96 MiB."""
_REFERENCE = 64
"""A text in the column of images that is no longer is the index of the row that has the image, as in VLMEvalKit."""
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/= \n\r\t"
_HEAD = 1024
"""Letters of an image that are looked at; a multiple of 4."""
_changing_limit = threading.Lock()


@dataclass(frozen=True)
class Stretch:
    """Where the text of an image stands in a file."""

    start: int
    size: int
    digest: str


def read_tsv(path: Path, name: str) -> tuple[Gathered, Images]:
    """Read the questions of a tab-separated file, and make its images rows that are read from it when needed.

    Memory holds the texts of the questions, and one row of the file at a time. Rows with the same image share it.
    Images are decoded as those of any file are (:mod:`embprobe.images.decoding`); here only their first bytes are
    looked at.

    Raises:
        UsageError: The file cannot be read.
        EmbprobeError: It is not UTF-8, has no column of questions, or a cell of it has more than 128 MiB.
    """
    rows: list[tuple[dict[str, str], Stretch | str | Unusable]] = []
    with table_of(path) as (columns, records):
        if "question" not in columns or "image" not in columns:
            lacking = "question" if "question" not in columns else "image"
            raise EmbprobeError(
                f"'{path}' has no column '{lacking}', so it holds no questions about images. "
                f"Its columns: {visible(', '.join(columns[:20]))}."
            )
        at = columns.index("image")
        for start, raw, cells in records:
            image = _image(cells[at] if at < len(cells) else "", start, raw)
            if len(cells) > len(columns):
                image = Unusable("with more cells than there are columns")
            fields = {column: cell for column, cell in zip(columns, cells, strict=False) if column in TEXTS}
            rows.append((fields, image))
    return _gather(path, name, rows)


def _gather(
    path: Path, name: str, rows: list[tuple[dict[str, str], Stretch | str | Unusable]]
) -> tuple[Gathered, Images]:
    of_index = {fields.get("index", ""): image for fields, image in rows if isinstance(image, Stretch)}
    gathered, stretches = Gathered(), dict[str, Stretch]()
    for fields, image in rows:
        found = of_index.get(image, Unusable("without an image")) if isinstance(image, str) else image
        if isinstance(found, Stretch):
            stretches.setdefault(found.digest, found)
            gathered.add(fields, found.digest)
        else:
            gathered.add(fields, found)
    return gathered, _images(path, name, stretches)


def _images(path: Path, name: str, stretches: dict[str, Stretch]) -> Images:
    listed = list(stretches.values())

    def read(number: int) -> bytes:
        stretch = listed[number]
        with path.open("rb") as file:
            file.seek(stretch.start)
            text = file.read(stretch.size)
        if _digest(text) != stretch.digest:
            raise UnreadableImage("the file has changed since it was opened")
        try:
            return base64.b64decode(text)
        except binascii.Error as error:
            raise UnreadableImage(f"no base64: {error}") from None

    keys = texts_of(stretches)
    return Images(
        name,
        Columns(keys, (keys,), {}, References((Sources(read),), np.arange(len(listed)))),
        place=str(path.resolve()),
    )


def _image(text: str, start: int, raw: bytes) -> Stretch | str | Unusable:
    """Return where an image stands, the index of the row that has it, or why it is none."""
    if len(text) <= _REFERENCE:
        return text.strip() or Unusable("without an image")
    if text.startswith("["):
        return Unusable("with more than one image")
    encoded = text[text.find(",") + 1 :] if text.startswith("data:") else text
    letters = encoded.encode("utf-8", "replace")
    if letters.translate(None, _LETTERS):
        return Unusable("with an image that is not base64")
    try:
        head = base64.b64decode(b"".join(letters[:_HEAD].split())[: _HEAD // 2])
    except binascii.Error:
        return Unusable("with an image that is not base64")
    if format_of(head) is None:
        return Unusable("with an image in no known format")
    at = raw.find(letters)
    return Stretch(start + at, len(letters), _digest(letters)) if at >= 0 else Unusable("with an image in quotes")


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


@contextmanager
def table_of(path: Path, delimiter: str = "\t") -> Iterator[tuple[list[str], Iterator[tuple[int, bytes, list[str]]]]]:
    """Give the columns of a file of separated cells, and an iterator over its rows: place, bytes and cells.

    Names of columns are those of :func:`~embprobe.vlm.multiple_choice.column_names`. Raises as :func:`read_tsv` does.
    """
    try:
        with path.open("rb") as file, _long_cells():
            lines: list[bytes] = []
            line_number = 0

            def texts() -> Iterator[str]:
                nonlocal line_number
                while line := file.readline(MAX_CELL + 1):
                    line_number += 1
                    if len(line) > MAX_CELL:
                        raise EmbprobeError(f"Line {line_number:,} of '{path}' has more than {MAX_CELL >> 20} MiB.")
                    lines.append(line)
                    yield line.decode("utf-8-sig" if line_number == 1 else "utf-8")

            def records() -> Iterator[tuple[int, bytes, list[str]]]:
                start = 0
                for cells in csv.reader(texts(), delimiter=delimiter):
                    raw = b"".join(lines)
                    lines.clear()
                    if cells:
                        yield start, raw, cells
                    start += len(raw)

            try:
                rows = records()
                _, _, names = next(rows, (0, b"", []))
                yield column_names(names), rows
            except UnicodeDecodeError:
                raise EmbprobeError(
                    f"Line {line_number:,} of '{path}' is not UTF-8. Save the file in that encoding."
                ) from None
            except csv.Error as error:
                raise EmbprobeError(f"Line {line_number:,} of '{path}' is no row of a table: {error}.") from None
    except OSError as error:
        raise UsageError(f"'{printable(str(path))}' cannot be read: {error.strerror}.") from None


@contextmanager
def _long_cells() -> Iterator[None]:
    """While it lasts, the csv module takes cells of that size; its limit belongs to the whole process."""
    with _changing_limit:
        before = csv.field_size_limit(MAX_CELL)
        try:
            yield
        finally:
            csv.field_size_limit(before)
