"""Labels that lie beside an image: a caption in a text file, named values in a JSON file, a class number."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from embprobe.system.text import visible

SIDECARS = frozenset({"txt", "json", "cls"})
"""Extensions, without the dot, that :func:`read_sidecar` understands."""
MAX_SIDECAR_BYTES = 1 << 20


def read_sidecar(extension: str, content: bytes) -> dict[str, str]:
    """Read the labels in a sidecar: ``txt`` is the caption, ``cls`` the class, ``json`` an object of named values.

    Values that are no text, number or truth value are passed over.

    Raises:
        ValueError: The content cannot be understood.
    """
    if len(content) > MAX_SIDECAR_BYTES:
        raise ValueError("too large")
    text = content.decode("utf-8-sig", errors="replace").strip()
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


def labels_of(values: Mapping[str, object]) -> dict[str, str]:
    """Turn named values into labels: text, numbers and truth values; missing, nested or binary values are left out.

    >>> labels_of({"name": "cat", "age": 3, "wild": False, "box": [0, 0, 9, 9], "": "no name"})
    {'name': 'cat', 'age': '3', 'wild': 'false'}
    """
    return {name: text for name, value in values.items() if name and (text := as_label(value)) is not None}


def as_label(value: object) -> str | None:
    """Turn a value into the text of a label, or None if it is not text, a number or a truth value."""
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else None


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
