"""Turn the columns of Arrow tables into labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from embprobe.images.labels import as_label, is_index


def is_label(field: pa.Field) -> bool:
    """Return whether the values of this column are labels: text, numbers, truth values, dates; no index of pandas'."""
    kind = _plain(field.type)
    tests = (is_text, pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, _is_written_out)
    return not is_index(field.name) and any(test(kind) for test in tests)


def is_text(kind: pa.DataType) -> bool:
    """Return whether values of this type are text, dictionary-encoded or not."""
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(_plain(kind)) for test in tests)


def left_out(schema: pa.Schema, but: Sequence[str] = ()) -> list[str]:
    """Name the columns that hold something other than labels, each with its type; those ``but`` have another use."""
    return [
        f"{field.name} ({field.type})"
        for field in schema
        if field.name not in but and not (is_label(field) or is_index(field.name) or pa.types.is_null(field.type))
    ]


def are_whole(columns: Sequence[pa.ChunkedArray]) -> bool:
    """Return whether the numbers of a column, in one table or several, are integers that became floats.

    They are if no value has a fraction, and a value is missing, or some of the tables hold integers. Pandas turns
    integers into floats where a value is missing, so the class 3 would be ``3.0``.
    """
    floats = [column for column in columns if pa.types.is_floating(column.type)]
    if not floats or not all(pa.types.is_floating(each.type) or pa.types.is_integer(each.type) for each in columns):
        return False
    values = np.concatenate([column.to_numpy().astype(np.float64) for column in floats])
    present = values[~np.isnan(values)]
    whole = bool(np.isfinite(present).all() and (present == np.floor(present)).all() and (abs(present) < 2**53).all())
    return whole and (present.size < values.size or len(floats) < len(columns))


def labels_of_column(
    column: pa.ChunkedArray, classes: Sequence[str] | None = None, *, whole: bool = False
) -> list[str | None]:
    """Return the label of every value, None where it is missing or too long to be one.

    Args:
        column: The values.
        classes: Names of the classes that integers stand for.
        whole: The floats are integers.
    """
    texts: dict[Any, str | None] = {}  # a value is turned into text once, however many rows have it

    def text(value: Any) -> str | None:
        if value not in texts:
            number = int(value) if whole and isinstance(value, float) and value == value else value
            is_class = classes is not None and isinstance(number, int) and 0 <= number < len(classes)
            texts[value] = classes[number] if classes is not None and is_class else as_label(number)
        return texts[value]

    return [text(value) for value in _written_out(column).to_pylist()]


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _is_written_out(kind: pa.DataType) -> bool:
    tests = (pa.types.is_date, pa.types.is_time, pa.types.is_timestamp, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def _written_out(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Write dates, times and decimal numbers as text, times of day as UTC where they have a time zone."""
    kind = _plain(column.type)
    if not _is_written_out(kind):
        return column
    column = column.cast(kind)
    if not pa.types.is_timestamp(kind):
        return column.cast(pa.string())
    texts = column.cast(pa.timestamp(kind.unit)).cast(pa.string()).to_pylist()
    end = "Z" if kind.tz else ""
    short = [None if text is None else (text.rstrip("0").rstrip(".") if "." in text else text) + end for text in texts]
    return pa.chunked_array([pa.array(short, pa.string())])
