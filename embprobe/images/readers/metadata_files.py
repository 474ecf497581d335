"""Read metadata files, CSV, JSON lines and parquet, as columns of labels."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError
from embprobe.images.labels import as_label, is_blob, is_index, note_of, repeated, whole_numbers
from embprobe.images.readers.columns import are_whole, is_label, is_text, labels_of_column, left_out
from embprobe.system.text import visible

KEY_COLUMNS = (
    *("file_name", "image_file_name", "filename", "file", "filepath", "path", "image_path", "image", "image_name"),
    *("image_file", "image_filename", "img", "img_path", "img_name", "image_id", "img_id", "fname", "picture", "photo"),
)
"""Names of columns that name an image, the likeliest first; ``FileName`` and ``file name`` are ``file_name``, too."""
_DELIMITERS = ",;\t|"
_SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""Excel writes it into a first line of its own."""
_LINES_TRIED = 20


@dataclass(frozen=True)
class Metadata:
    """A file with one line for each image, column by column."""

    path: Path
    columns: tuple[str, ...]
    """The names of all columns, in their order."""
    values: dict[str, list[str | None]]
    """The values of each column as labels, one for each line."""
    not_text: frozenset[str]
    """Columns with values that are no text, so that they cannot hold names of files."""
    notes: tuple[str, ...] = ()
    surplus: frozenset[int] = frozenset()
    """The lines with more values than columns; nobody can tell which value belongs to which column."""
    delimiter: str = ","

    def __len__(self) -> int:
        return max((len(values) for values in self.values.values()), default=0)


def read_metadata(path: Path, key_column: str | None = None) -> Metadata:
    """Read a metadata file; ``key_column`` is a column that it should have, where the user names one.

    Raises:
        EmbprobeError: It is damaged, of another encoding, no file, or has a column twice.
    """
    try:
        if not path.is_file():
            raise OSError("not a file")
        if path.suffix.lower() == ".parquet":
            return _parquet(path)
        text = decode_table(path.read_bytes())
        return _json_lines(path, text) if path.suffix.lower() == ".jsonl" else _csv(path, text, key_column)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise EmbprobeError(f"'{path}' cannot be read as metadata: {error}.") from None


def decode_table(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 as Excel writes it; raises :class:`ValueError` with the way to save it otherwise."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"line {line:,} is not in UTF-8 (byte 0x{content[error.start]:02x}); save it as UTF-8, in Excel as "
            "'CSV UTF-8'"
        ) from None


def plain(column: str) -> str:
    """Return a column's name without what spellings differ in.

    >>> plain("File Name"), plain("file_name")
    ('filename', 'filename')
    """
    return "".join(letter for letter in column.casefold() if letter.isalnum())


def _parquet(path: Path) -> Metadata:
    file = pq.ParquetFile(path)
    schema = file.schema_arrow
    _refuse_repeated(schema.names)
    names = [field.name for field in schema if is_label(field)]
    table = file.read(columns=names)
    table.validate(full=True)  # the writer may not have checked that strings are UTF-8
    values = {
        name: labels_of_column(table[name], whole=are_whole([table[name]])) if table.num_rows else [] for name in names
    }
    texts = {field.name for field in schema if is_text(field.type)}
    notes = note_of(f"column{{s}} of {visible(path.name)} left out: no text, numbers or dates", left_out(schema))
    return Metadata(path, tuple(schema.names), values, frozenset(schema.names) - texts, notes)


def _json_lines(path: Path, text: str) -> Metadata:
    lines: list[dict[str, object]] = []
    for number, line in enumerate(io.StringIO(text), start=1):
        if line.strip():
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError(f"every line must be an object of named values; line {number:,} is not")
            lines.append(values)
    columns = tuple(dict.fromkeys(name for line in lines for name in line))
    raw = {name: [line.get(name) for line in lines] for name in columns}
    not_text = {name for name, values in raw.items() if any(not isinstance(v, str | None) for v in values)}
    nested = [name for name, values in raw.items() if any(isinstance(value, dict | list) for value in values)]
    notes = note_of(f"column{{s}} of {visible(path.name)} with lists or objects, which are no labels", nested)
    return _of_values(path, raw, frozenset(not_text), notes)


def _csv(path: Path, text: str, key_column: str | None) -> Metadata:
    first, _, rest = text.partition("\n")
    declared = _SEPARATOR.fullmatch(first.strip("\r"))
    text = rest if declared else text
    delimiter = declared[1] if declared else _delimiter(text, key_column)
    rows, sloppy = _rows(text, delimiter)
    header = [name.strip() for name in rows[0]] if rows else []
    _refuse_repeated(name for name in header if name)
    lines, joined = _joined(text, delimiter, header, rows[1:], key_column)
    surplus = frozenset(i for i, row in enumerate(lines) if any(row[len(header) :]))
    raw: dict[str, list[object]] = {
        name: [row[i] if i < len(row) else None for row in lines] for i, name in enumerate(header) if name
    }
    where = visible(path.name)
    short = _starts(row for row in lines if len(row) < len(header))
    unquoted = f"line{{s}} of {where} with a text that holds the delimiter and has no quotation marks, read whole"
    notes = (
        *note_of(f"line{{s}} of {where} with fewer values than columns", short),
        *note_of(unquoted, joined),
        *note_of(f"line{{s}} of {where} with quotation marks inside a value", sloppy),
    )
    return _of_values(path, raw, frozenset(), notes, surplus=surplus, delimiter=delimiter)


def _joined(
    text: str, delimiter: str, header: Sequence[str], lines: Sequence[list[str]], key_column: str | None
) -> tuple[list[list[str]], list[str]]:
    """Join the values of lines that have more than two, where there are two columns: one names the image.

    Returns all lines, and the start of each that was joined.
    """
    known = {plain(name) for name in ([key_column] if key_column else KEY_COLUMNS)}
    keys = [i for i, name in enumerate(header) if plain(name) in known]
    if len(header) != 2 or len(keys) != 1 or not any(any(row[2:]) for row in lines):
        return list(lines), []
    spaced = list(csv.reader(io.StringIO(text, newline=None), delimiter=delimiter))  # with the spaces after delimiters
    spaced = [row for row in spaced if any(row)][1:]
    if [len(row) for row in spaced] != [len(row) for row in lines]:
        return list(lines), []
    result, joined = [], []
    for row, whole in zip(lines, spaced, strict=True):
        if any(row[2:]):
            joined.append(_start(row))
            row = [row[0], delimiter.join(whole[1:])] if keys == [0] else [delimiter.join(whole[:-1]), row[-1]]
        result.append(row)
    return result, joined


def _of_values(
    path: Path,
    raw: dict[str, list[object]],
    not_text: frozenset[str],
    notes: Sequence[str],
    *,
    surplus: frozenset[int] = frozenset(),
    delimiter: str = ",",
) -> Metadata:
    values = {
        name: [as_label(value) for value in whole_numbers(column)]
        for name, column in raw.items()
        if name and not is_index(name)
    }
    blobs = [name for name, column in raw.items() if any(isinstance(v, str) and is_blob(v) for v in column)]
    notes = (*notes, *note_of(f"column{{s}} of {visible(path.name)} with values too long to be labels", blobs))
    return Metadata(path, tuple(raw), values, not_text, notes, surplus, delimiter)


def _rows(text: str, delimiter: str) -> tuple[list[list[str]], list[str]]:
    """Return the rows of a CSV file that hold a value, and the start of each with a quotation mark inside a value.

    Raises :class:`ValueError` where a quotation mark is never closed, because it swallows all lines that follow.
    """
    reader = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, skipinitialspace=True, strict=True)
    rows: list[list[str]] = []
    line = 1
    try:
        for row in reader:
            rows.append(row)
            line = reader.line_num + 1
        return [row for row in rows if any(row)], []
    except csv.Error as error:
        if "unexpected end" in str(error):
            raise ValueError(f"a quotation mark that opens in line {line:,} is never closed") from None
        if "field larger" in str(error):
            limit = csv.field_size_limit()
            raise ValueError(
                f"a value in line {line:,} has more than {limit:,} characters; is a quotation mark missing?"
            ) from None
    lenient = csv.reader(io.StringIO(text, newline=None), delimiter=delimiter, skipinitialspace=True)
    rows = [row for row in lenient if any(row)]
    return rows, _starts(row for row in rows if any('"' in value for value in row))


def _delimiter(text: str, key_column: str | None) -> str:
    """Choose the delimiter whose header has a column that names images, then the one that parts most lines alike."""
    known = {plain(name) for name in ([key_column] if key_column else KEY_COLUMNS)}
    lines = [line for line in io.StringIO(text, newline=None) if line.strip()][: _LINES_TRIED + 1]

    def merit(delimiter: str) -> tuple[bool, float, int]:
        try:
            rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=True))
        except csv.Error:
            return (False, 0.0, 0)
        if not rows or len(rows[0]) < 2:
            return (False, 0.0, 0)
        alike = sum(len(row) == len(rows[0]) for row in rows) / len(rows)
        return (any(plain(name) in known for name in rows[0]), alike, len(rows[0]))

    return max(_DELIMITERS, key=merit)  # the first of equals: the comma


def _starts(rows: Iterable[Sequence[str]]) -> list[str]:
    return [_start(row) for row in rows]


def _start(row: Sequence[str]) -> str:
    """Return the first value of a row, to name the row by it."""
    return next((value for value in row if value), "")[:60]


def _refuse_repeated(columns: Iterable[str]) -> None:
    twice = repeated(columns)
    if twice is not None:
        raise ValueError(f"there is more than one column '{visible(twice)}'")
