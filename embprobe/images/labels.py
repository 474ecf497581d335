"""Labels that lie beside an image: a caption in a text file, named values in a JSON file, a class number."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal

import numpy as np

from embprobe.system.text import visible

SIDECARS = frozenset({"txt", "json", "cls"})
"""Extensions, without the dot, that :func:`read_sidecar` understands."""
MAX_SIDECAR_BYTES = 1 << 20
_MISSING = frozenset({"nan", "NaN", "NaT", "<NA>"})
"""Texts that pandas and NumPy write for a missing value. ``NA``, ``None`` and ``null`` may name classes."""
_LONGEST, _LONG, _LONG_WORD = 8192, 1024, 40
_INDEX = re.compile(r"__index_level_\d+__|Unnamed: ?\d+([._].*)?")
"""Names that pandas gives to a column that only numbers the rows."""
_WHOLE = re.compile(r"-?\d{1,15}\.0+")


class Boxes(ValueError):
    """A text file holds boxes or outlines of objects, not a caption."""


def read_sidecar(extension: str, content: bytes) -> dict[str, str]:
    """Read the labels in a sidecar: ``txt`` is the caption, ``cls`` the class, ``json`` an object of named values.

    Values that are no text, number or truth value are passed over.

    Raises:
        Boxes: The text holds boxes of objects, as YOLO, KITTI and DOTA write them.
        ValueError: The content cannot be understood.
    """
    if len(content) > MAX_SIDECAR_BYTES:
        raise ValueError("too large")
    text = _text(content).strip()
    if extension == "txt" and _holds_boxes(text):
        raise Boxes("boxes of objects")
    if extension == "txt":
        return {"caption": text} if text else {}
    if extension == "cls":
        return {"class": text} if text else {}
    try:
        values = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(values, dict):
        raise ValueError("not an object of named values")
    return labels_of(values)


def _text(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # as Windows' Notepad may write it
        return content.decode("utf-16", errors="replace")
    return content.decode("utf-8-sig", errors="replace")


def _holds_boxes(text: str) -> bool:
    """Return whether every line is a box or an outline of an object.

    YOLO: a class number and four or more shares of the image's width and height. KITTI and DOTA: eight or more numbers
    and a class name.

    >>> _holds_boxes("0 0.5 0.5 0.1 0.2"), _holds_boxes("3 cats and 2 dogs on 1 mat"), _holds_boxes("")
    (True, False, False)
    """
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return bool(lines) and all(_is_box(parts) for parts in lines)


def _is_box(parts: Sequence[str]) -> bool:
    if len(parts) < 5:
        return False
    numbers = [number for part in parts if (number := _number(part)) is not None]
    if len(numbers) == len(parts):
        return parts[0].isdigit() and all(-0.01 <= number <= 1.01 for number in numbers[1:])
    return len(numbers) == len(parts) - 1 >= 8


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def labels_of(values: Mapping[str, object]) -> dict[str, str]:
    """Turn named values into labels: text, numbers and truth values; missing, nested or binary values are left out.

    >>> labels_of({"name": "cat", "age": 3, "wild": False, "box": [0, 0, 9, 9], "": "no name"})
    {'name': 'cat', 'age': '3', 'wild': 'false'}
    """
    return {name: text for name, value in values.items() if name and (text := as_label(value)) is not None}


def as_label(value: object) -> str | None:
    """Turn text, a number, a truth value or a date into the text of a label; None for a missing or another value.

    >>> as_label(3), as_label(float("nan")), as_label("nan"), as_label("NA"), as_label(date(2026, 1, 31))
    ('3', None, None, 'NA', '2026-01-31')
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return None if not value or value in _MISSING or is_blob(value) else value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | Decimal):
        return None if math.isnan(value) else str(value)
    if isinstance(value, datetime):
        return None if value != value else value.isoformat(" ")  # pandas' NaT is a datetime that differs from itself
    if isinstance(value, date | time):
        return value.isoformat()
    return str(value) if isinstance(value, int) else None


def is_blob(text: str) -> bool:
    """Return whether a text is data rather than words: very long, or long without spaces, as base64 and hex are."""
    if len(text) <= _LONG:
        return False
    return len(text) > _LONGEST or (text.isascii() and len(text) > _LONG_WORD * len(text.split()))


def is_index(column: str) -> bool:
    """Return whether pandas wrote this column only to number the rows.

    >>> is_index("__index_level_0__"), is_index("Unnamed: 0"), is_index("index")
    (True, True, False)
    """
    return bool(_INDEX.fullmatch(column))


def whole_numbers(values: Sequence[object]) -> list[object]:
    """Undo the decimal point that a missing value has put behind whole numbers, as pandas does: ``3.0`` is ``3`` again.

    Values of a column where none is missing, or one has a fraction, stay as they are.

    >>> whole_numbers(["3.0", None, "10.0"]), whole_numbers(["3.0", "10.0"]), whole_numbers(["3.0", "", "2.5"])
    ([3, None, 10], ['3.0', '10.0'], ['3.0', '', '2.5'])
    """
    present = [value for value in values if as_label(value) is not None]
    if len(present) == len(values) or not all(_is_whole(value) for value in present):
        return list(values)
    return [int(float(str(value))) if as_label(value) is not None else None for value in values]


def _is_whole(value: object) -> bool:
    return (isinstance(value, float) and value.is_integer() and abs(value) < 2**53) or (
        isinstance(value, str) and bool(_WHOLE.fullmatch(value))
    )


def unique(keys: Iterable[str]) -> list[str]:
    """Make keys unique: add ``#2``, ``#3`` … where the same key came before.

    >>> unique(["a", "b", "a", "a"])
    ['a', 'b', 'a#2', 'a#3']
    """
    seen: dict[str, int] = {}
    taken: set[str] = set()
    result = []
    for key in keys:
        candidate = key
        while candidate in taken:
            seen[key] = seen.get(key, 1) + 1
            candidate = f"{key}#{seen[key]}"
        taken.add(candidate)
        result.append(candidate)
    return result


def repeated(names: Iterable[str]) -> str | None:
    """Return a name that occurs more than once, the first by the alphabet; None if there is none."""
    return min((name for name, times in Counter(names).items() if times > 1), default=None)


def note_of(noun: str, names: Sequence[str]) -> tuple[str, ...]:
    """Write a note that counts files and names the first three of them; no note if there are none.

    ``noun`` describes the files, with ``{s}`` where its plural ends.

    >>> note_of("file{s} passed over", ["a.heic"])
    ('1 file passed over: a.heic',)
    """
    if not names:
        return ()
    counted = noun.replace("{s}", "" if len(names) == 1 else "s")
    shown = ", ".join(visible(name) for name in names[:3]) + (", …" if len(names) > 3 else "")
    return (f"{len(names):,} {counted}: {shown}",)
