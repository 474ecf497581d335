"""Read parquet files with a column of images, one row group at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.labels import note_of
from embprobe.images.paths import file_splits, splits_note
from embprobe.images.readers.locations import Location, why
from embprobe.images.readers.tables import Part, TableColumns, classes_of, columns_of, load_parts
from embprobe.images.reading import Reading
from embprobe.images.rows import Images
from embprobe.system.folders import OUTPUT_KEY


def load_parquet(name: str, files: Sequence[Location], reading: Reading) -> Images:
    """Read parquet files of one schema, in their order; memory holds one row group per reading thread.

    A file named for a split, such as ``test-00000-of-00002.parquet`` or ``test/0000.parquet``, gives its rows the label
    ``split``, unless there is a column of that name.

    Raises:
        EmbprobeError: A file is no parquet file, has no column of images, or lacks a column that the first file has.
    """
    heads = [_head(file) for file in files]
    exports = [file.name for file, head in zip(files, heads, strict=True) if OUTPUT_KEY in (head.metadata or {})]
    if exports and len(exports) < len(files):  # the only ones are what a user wants to read
        kept = [each for each in zip(files, heads, strict=True) if OUTPUT_KEY not in (each[1].metadata or {})]
        files, heads = [file for file, _ in kept], [head for _, head in kept]
    else:
        exports = []
    columns = columns_of(heads[0].schema.to_arrow_schema(), files[0].path, reading)
    for file, head in zip(files, heads, strict=True):
        missing = {columns.image, *columns.labels} - set(head.schema.to_arrow_schema().names)
        if missing:
            raise EmbprobeError(f"'{file.path}' lacks the column '{min(missing)}' that '{files[0].path}' has.")
    guessed = reading.folders is None and "split" not in columns.labels
    splits = file_splits([file.name for file in files]) if reading.folders is None else [None] * len(files)
    parts = (
        part
        for file, head, split in zip(files, heads, splits, strict=True)
        for part in _parts(file, head, columns, reading, split)
    )
    images = load_parts(name, columns, parts)
    notes = (
        *note_of("file{s} passed over that embprobe has exported", exports),
        *(splits_note(splits) if guessed else []),
    )
    return replace(images, notes=(*images.notes, *notes))


def _head(file: Location) -> pq.FileMetaData:
    try:
        with closing(file.open()) as opened:
            return pq.ParquetFile(opened).metadata
    except EmbprobeError:
        raise
    except Exception as error:  # Arrow's, and those of the file system
        raise EmbprobeError(f"'{file.path}' cannot be read as parquet: {why(error)}.") from None


def _parts(
    file: Location, head: pq.FileMetaData, columns: TableColumns, reading: Reading, split: str | None
) -> Iterator[Part]:
    classes = classes_of(head.schema.to_arrow_schema(), reading)
    first = 0
    for group in range(head.num_row_groups):
        read = partial(_read, file, head, group)
        try:
            labels = read(list(columns.labels))
            labels.validate(full=True)  # the writer may not have checked that strings are UTF-8
        except (UnreadableImage, pa.ArrowException) as reason:
            raise EmbprobeError(f"The labels in '{file.path}' cannot be read: {why(reason)}.") from None
        rows = head.row_group(group).num_rows
        if not columns.labels:
            labels = pa.table({"": pa.nulls(rows)})
        yield Part(file.name, file.mark, first, labels, partial(_images, read, columns.image), classes, split)
        first += rows


def _images(read: partial[pa.Table], column: str) -> pa.ChunkedArray:
    return read([column])[column]


def _read(file: Location, head: pq.FileMetaData, group: int, columns: list[str]) -> pa.Table:
    try:
        with closing(file.open()) as opened:
            return pq.ParquetFile(opened, metadata=head).read_row_group(group, columns=columns)
    except (EmbprobeError, UnreadableImage):
        raise
    except Exception as error:  # Arrow's, and those of the file system
        raise file.failure(error) from None
