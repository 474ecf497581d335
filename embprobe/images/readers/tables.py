"""Read tables with a column of images, as Arrow holds them; parquet files and Hugging Face's data sets are such tables.

Images are a binary column, or the struct ``{bytes, path}`` that Hugging Face writes; every other column of text,
numbers, truth values or dates is a label. Integers that its schema declares as classes become the classes' names.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.columns import Columns, Label, References, Sources, texts_of
from embprobe.images.decoding import UnreadableImage, refuse_large
from embprobe.images.labels import is_blob, note_of, repeated, unique
from embprobe.images.readers.blocks import Blocks
from embprobe.images.readers.columns import are_whole, is_label, is_text, labels_of_column, left_out
from embprobe.images.reading import Reading
from embprobe.images.rows import Images
from embprobe.system.suggestions import did_you_mean
from embprobe.system.text import visible

_PREFERRED = ("image", "img", "jpg", "jpeg", "png", "webp", "picture", "photo", "pixels")
_KEYS = ("key", "__key__")


@dataclass(frozen=True)
class Part:
    """Consecutive rows of a table: their labels in memory, their images read when they are needed."""

    name: str
    content: str
    """Changes when the rows are written anew."""
    first: int
    """The number of the first row within ``name``."""
    labels: pa.Table
    images: Callable[[], pa.ChunkedArray]
    """Reads the image column; raises :class:`UnreadableImage` if it is damaged."""
    classes: Mapping[str, Sequence[str]]
    """Names of classes by column, in the order of their numbers."""
    split: str | None = None
    """The label ``split`` of its rows, if there is no column of that name."""


@dataclass(frozen=True)
class TableColumns:
    """The names of the column that holds the images, of those that hold labels, and of the one that holds keys."""

    image: str
    labels: tuple[str, ...]
    key: str | None = None
    """One of ``labels``."""
    left_out: tuple[str, ...] = ()
    """The other columns, each with its type."""


def columns_of(schema: pa.Schema, where: str, reading: Reading) -> TableColumns:
    """Choose the image column (the one named in ``reading``, or the likeliest), the label columns and the key column.

    Raises:
        UsageError: The column of keys that ``reading`` names is not there, or holds no labels.
        EmbprobeError: No column, or more than one, could hold the images; the message lists the columns.
    """
    twice = repeated(schema.names)
    if twice is not None:
        raise EmbprobeError(f"'{where}' has more than one column '{twice}'.")
    candidates = [field.name for field in schema if _holds_images(field.type)]
    if reading.image is not None:
        candidates = [name for name in candidates if name == reading.image]
    elif len(candidates) > 1:
        preferred = [name for name in _PREFERRED if name in candidates]
        structs = [name for name in candidates if pa.types.is_struct(schema.field(name).type)]
        candidates = preferred[:1] or (structs if len(structs) == 1 else candidates)
    if len(candidates) != 1:
        problem = "more than one column that could hold the images" if candidates else "no column of images"
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema)
        raise EmbprobeError(f"'{where}' has {problem} (binary, or a struct of bytes and path). Its columns: {columns}.")
    image = candidates[0]
    labels = tuple(field.name for field in schema if field.name != image and is_label(field))
    named = reading.key_column
    if named is not None and named not in labels:
        problem = "no column" if named not in schema.names else "no text or numbers in the column"
        near = visible(did_you_mean(named, labels, quoted=True))
        columns = visible(", ".join(f"{field.name} ({field.type})" for field in schema))
        raise UsageError(f"'{visible(where)}' has {problem} '{visible(named)}'.{near} Its columns: {columns}.")
    key = named or next((column for column in _KEYS if column in labels), None)
    return TableColumns(image, labels, key, tuple(left_out(schema, but=(image,))))


def classes_of(schema: pa.Schema, reading: Reading) -> dict[str, list[str]]:
    """Read names of classes by column from Hugging Face's metadata of the schema, where it declares them."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        declared = {column: feature.get("names") for column, feature in features.items()}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {column: names for column, names in declared.items() if column != reading.numbered and _are_names(names)}


def load_parts(name: str, columns: TableColumns, parts: Iterable[Part]) -> Images:
    """Make the rows of all parts; keys are the key column where there is one, else part's name and row's number.

    Raises:
        EmbprobeError: There is no row.
    """
    all_parts = list(parts)
    counts = [part.labels.num_rows for part in all_parts]
    if not sum(counts):
        raise EmbprobeError(f"There are no rows in '{name}'.")
    of_parts = [part.images for part in all_parts]
    blocks = Blocks(lambda number: of_parts[number]())
    ends = np.cumsum(counts)

    def read(number: int) -> bytes:
        part = int(np.searchsorted(ends, number, side="right"))
        return _image(blocks, part, number - int(ends[part]) + counts[part])

    rows = Columns(
        keys=texts_of(unique(_keys(all_parts, columns))),
        content=(
            Label.of(f"{part.content}:" for part, _ in _numbered(all_parts)).values,
            texts_of(str(number) for _, number in _numbered(all_parts)),
        ),
        labels=_labels(all_parts, columns),
        sources=References((Sources(read),), np.arange(sum(counts))),
    )
    blobs = [column for column in columns.labels if any(_holds_blob(part.labels[column]) for part in all_parts)]
    notes = (
        *note_of("column{s} left out: no text, numbers or dates", columns.left_out),
        *note_of("column{s} with values too long to be labels", blobs),
    )
    return Images(name, rows, notes)


def _numbered(parts: Iterable[Part]) -> Iterator[tuple[Part, int]]:
    """Yield for each row its part, and its number within the part's name."""
    return ((part, part.first + i) for part in parts for i in range(part.labels.num_rows))


def _keys(parts: Sequence[Part], columns: TableColumns) -> Iterator[str]:
    keys: Iterable[str | None] = itertools.repeat(None)
    if columns.key is not None:
        keys = _values(parts, columns.key)
    return (key or f"{part.name}#{number}" for key, (part, number) in zip(keys, _numbered(parts), strict=False))


def _labels(parts: Sequence[Part], columns: TableColumns) -> dict[str, Label]:
    labels = {column: Label.of(_values(parts, column)) for column in columns.labels if column != columns.key}
    if any(part.split for part in parts):
        of_files = Label.of(part.split or None for part, _ in _numbered(parts))
        own = labels.pop("split", None)
        labels = {"split": of_files if own is None else own.or_else(of_files)} | labels
    return labels


def _values(parts: Sequence[Part], column: str) -> Iterator[str | None]:
    whole = are_whole([part.labels[column] for part in parts])
    for part in parts:
        yield from labels_of_column(part.labels[column], part.classes.get(column), whole=whole)


def _image(blocks: Blocks[pa.ChunkedArray], number: int, i: int) -> bytes:
    column = blocks[number]
    if i >= len(column):
        raise UnreadableImage("the table has fewer images than rows")
    content = column[i].as_py()
    if isinstance(content, Mapping):
        if content.get("bytes") is None and content.get("path"):
            raise UnreadableImage("the table holds the path of an image, not the image")
        content = content.get("bytes")
    if not isinstance(content, bytes):
        raise UnreadableImage("empty")
    refuse_large(len(content))
    return content


def _holds_images(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        i = kind.get_field_index("bytes")
        return i >= 0 and _is_binary(kind.field(i).type)
    return _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _holds_blob(column: pa.ChunkedArray) -> bool:
    return is_text(column.type) and any(text is not None and is_blob(text) for text in column.unique().to_pylist())


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(isinstance(name, str) and name for name in names)
