"""Rows as columns: a million rows are a few Arrow arrays, and a :class:`Row` is made when one is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from operator import index
from typing import Any, Generic, Protocol, SupportsIndex, TypeVar, overload

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from embprobe.images.row import Change, Row, Source
from embprobe.system.pixels import MAX_PIXELS

Positions = NDArray[np.int64]
Item = TypeVar("Item", covariant=True)
_CHUNK = 4096
"""Rows whose texts are turned into Python's objects together."""
_ALL_AT_ONCE = 65_536
"""Different values of a label that are turned into Python's objects once, to be shared by all rows."""
_CODEC = "utf-8", "surrogatepass"
"""Names of files may hold bytes that are no text, which Python keeps as surrogates; Arrow's own strings cannot."""


class Numbered(Protocol[Item]):
    """Things by number: the sources of a reader's images, the changes that an intervention makes to its rows."""

    def __getitem__(self, number: int, /) -> Item: ...


@dataclass(frozen=True, eq=False)
class Sources:
    """The sources of a reader's images, which it reads by their numbers."""

    read: Callable[[int], bytes | Image.Image]

    def __getitem__(self, number: int) -> Source:
        return SourceAt(self, number)


@dataclass(frozen=True, slots=True)
class SourceAt:
    """The source of one of a reader's images; two of them are equal if they give the same image."""

    of: Sources
    number: int

    def __call__(self) -> bytes | Image.Image:
        return self.of.read(self.number)


@dataclass(frozen=True, eq=False)
class Changes:
    """The changes to some rows; what is done to a row is planned when its image is changed, and not kept."""

    rows: Columns
    plan: Callable[[Row], Change]
    ours: bool = False
    """Whether they need neither locks, connections nor devices."""

    def __getitem__(self, number: int) -> Change:
        return ChangeAt(self, number)


@dataclass(frozen=True, slots=True)
class ChangeAt:
    """The change to one of some rows, after what was done to it before."""

    of: Changes
    number: int

    def __call__(self, image: Image.Image) -> Image.Image:
        row = self.of.rows[self.number]
        return self.of.plan(row)(image if row.change is None else row.change(image))


@dataclass(frozen=True)
class References(Generic[Item]):
    """For each row a number and the list that it is of."""

    lists: tuple[Numbered[Item], ...]
    numbers: Positions
    which: NDArray[np.int32] | None = None
    """The position of each row's list in ``lists``; None if there is only one."""

    @staticmethod
    def of(items: Sequence[Item]) -> References[Item]:
        """Refer to items; those that a list makes by number are not kept themselves."""
        loose: list[Any] = []
        lists: list[Any] = [loose]
        place: dict[int, int] = {}
        numbers, which = np.empty(len(items), np.int64), np.zeros(len(items), np.int32)
        for i, item in enumerate(items):
            if isinstance(item, SourceAt | ChangeAt):
                if id(item.of) not in place:
                    place[id(item.of)] = len(lists)
                    lists.append(item.of)
                numbers[i], which[i] = item.number, place[id(item.of)]
            else:
                numbers[i] = len(loose)
                loose.append(item)
        if not loose and len(lists) == 2:
            return References((lists[1],), numbers)
        return References(tuple(lists), numbers, which if len(lists) > 1 else None)

    def __len__(self) -> int:
        return len(self.numbers)

    def at(self, row: int) -> Item:
        return self.lists[0 if self.which is None else self.which[row]][int(self.numbers[row])]

    def take(self, rows: Positions | slice) -> References[Item]:
        which = None if self.which is None else self.which[rows]
        return References(self.lists, self.numbers[rows], which)

    @staticmethod
    def joined(parts: Sequence[References[Item]]) -> References[Item]:
        lists: list[Numbered[Item]] = []
        which = []
        for part in parts:
            moved = []
            for each in part.lists:
                known = next((i for i, other in enumerate(lists) if other is each), None)
                moved.append(len(lists) if known is None else known)
                lists += [each] if known is None else []
            codes = np.zeros(len(part), np.int32) if part.which is None else part.which
            which.append(np.array(moved, np.int32)[codes])
        numbers = np.concatenate([part.numbers for part in parts])
        return References(tuple(lists), numbers, np.concatenate(which) if len(lists) > 1 else None)


class Label:
    """A column of labels: a value for each row, or none. Equal values are stored once."""

    def __init__(self, values: pa.DictionaryArray) -> None:
        self.values = values

    @classmethod
    def of(cls, values: Iterable[str | None]) -> Label:
        """Make a column of these values, None where a row has none."""
        code: dict[str, int] = {}
        codes = array("i", (-1 if value is None else code.setdefault(value, len(code)) for value in values))
        return cls.coded(codes, code)

    @classmethod
    def coded(cls, codes: Any, values: Iterable[str]) -> Label:
        """Make a column of the positions of each row's value among ``values``, -1 where it has none."""
        return cls(pa.DictionaryArray.from_arrays(_integers(np.asarray(codes, np.int32)), texts_of(values)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> int:
        """The number of rows that have no value."""
        return int(self.values.null_count)

    @cached_property
    def codes(self) -> NDArray[np.int32]:
        """The position of each row's value in the dictionary, -1 where it has none."""
        indices = self.values.indices
        present, numbers = indices.buffers()
        here = slice(indices.offset, indices.offset + len(indices))
        codes = np.frombuffer(numbers, np.int32)[here] if len(indices) else np.empty(0, np.int32)
        if not indices.null_count:
            return codes
        return np.where(np.unpackbits(np.frombuffer(present, np.uint8), bitorder="little")[here], codes, np.int32(-1))

    @cached_property
    def _shared(self) -> list[str] | None:
        few = len(self.values.dictionary) <= _ALL_AT_ONCE
        return [each.decode(*_CODEC) for each in self.values.dictionary.to_pylist()] if few else None

    def at(self, row: int) -> str | None:
        """Return the value of a row."""
        code = int(self.codes[row])
        if code < 0:
            return None
        shared = self._shared
        return text_at(self.values.dictionary, code) if shared is None else shared[code]

    def between(self, start: int, stop: int) -> list[str | None]:
        """Return the values of the rows from ``start`` to ``stop``."""
        part = self.values[start:stop]
        shared = self._shared
        if shared is not None:
            return [None if code is None else shared[code] for code in part.indices.to_pylist()]
        return [None if text is None else text.decode(*_CODEC) for text in part.to_pylist()]

    def all(self) -> list[str | None]:
        """Return the value of every row."""
        return self.between(0, len(self))

    def among(self, values: Iterable[str]) -> NDArray[np.bool_]:
        """Return which rows have one of these values, ``[n]``."""
        wanted = {value.encode(*_CODEC) for value in values}
        found = [each in wanted for each in self.values.dictionary.to_pylist()]
        return np.array([*found, False])[self.codes]

    def take(self, rows: Positions | slice) -> Label:
        """Return the values of some rows."""
        return Label(self.values[rows] if isinstance(rows, slice) else self.values.take(_integers(rows)))

    def or_else(self, other: Label | None) -> Label:
        """Return these values, and the other's where a row has none."""
        if other is None or not self.missing:
            return self
        return Label.of(a if a is not None else b for a, b in zip(self.all(), other.all(), strict=True))

    @staticmethod
    def joined(parts: Sequence[Label]) -> Label:
        """Return the values of one column after the other."""
        chunks = pa.chunked_array([part.values for part in parts]).unify_dictionaries()
        return Label(chunks.combine_chunks())


@dataclass(frozen=True, eq=False)
class Columns(Sequence[Row]):
    """Rows as columns. They are read as a sequence of :class:`Row`; columns serve what looks at all rows."""

    keys: pa.LargeBinaryArray
    content: tuple[pa.Array, ...]
    """Parts that are put together to a row's content, and what an intervention has added to it."""
    labels: Mapping[str, Label]
    sources: References[Source]
    changes: References[Change | None] | None = None
    max_pixels: int = MAX_PIXELS

    def __len__(self) -> int:
        return len(self.keys)

    @overload
    def __getitem__(self, at: SupportsIndex) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Columns: ...
    def __getitem__(self, at: SupportsIndex | slice) -> Row | Columns:
        if isinstance(at, slice):
            start, stop, step = at.indices(len(self))
            return self.take(slice(start, max(start, stop)) if step == 1 else np.arange(start, stop, step))
        i = index(at)
        i = i + len(self) if i < 0 else i
        if not 0 <= i < len(self):
            raise IndexError(f"there is no row {index(at)} of {len(self)}")
        labels = {name: value for name, label in self.labels.items() if (value := label.at(i)) is not None}
        key, *content = (read(i) for read in self._readers)
        return self._row(i, key.decode(*_CODEC), labels, b"".join(content))

    def __iter__(self) -> Iterator[Row]:
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            columns = [(name, label.between(start, stop)) for name, label in self.labels.items()]
            for i, (key, *content) in enumerate(_rows_of([part[start:stop] for part in (self.keys, *self.content)])):
                labels = {name: value for name, values in columns if (value := values[i]) is not None}
                yield self._row(start + i, key.decode(*_CODEC), labels, b"".join(content))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def _readers(self) -> list[Callable[[int], bytes]]:
        """Functions that return a row's key, and each part of its content: faster than asking Arrow for one value."""
        return [_reader(part) for part in (self.keys, *self.content)]

    def _row(self, i: int, key: str, labels: Mapping[str, str], content: bytes) -> Row:
        change = None if self.changes is None else self.changes.at(i)
        return Row(key, labels, content.decode(*_CODEC), self.sources.at(i), change, self.max_pixels)

    def take(self, rows: Positions | slice) -> Columns:
        """Return some rows, in this order."""
        taken = rows if isinstance(rows, slice) else _integers(np.asarray(rows, np.int64))

        def part(of: pa.Array) -> pa.Array:
            return of[taken] if isinstance(taken, slice) else of.take(taken)

        return replace(
            self,
            keys=part(self.keys),
            content=tuple(map(part, self.content)),
            labels={name: label.take(rows) for name, label in self.labels.items()},
            sources=self.sources.take(rows),
            changes=None if self.changes is None else self.changes.take(rows),
        )

    @property
    def changed_by_us(self) -> bool:
        """Whether all changes, and those before them, need neither locks, connections nor devices."""
        lists = () if self.changes is None else self.changes.lists
        plans = [each for each in lists if isinstance(each, Changes)]
        others = [each for each in lists if isinstance(each, list) and not any(each)]  # of rows that are as they were
        return len(plans) + len(others) == len(lists) and all(each.ours and each.rows.changed_by_us for each in plans)

    def changed_by(self, marks: str | Sequence[str], change: Callable[[Row], Change], *, ours: bool = False) -> Columns:
        """Change every image when it is read: each row's mark is added to its content, or the one that all share."""
        one = isinstance(marks, str)
        mark = Label.coded(np.zeros(len(self)), [f"|{marks}"]) if one else Label.of(f"|{mark}" for mark in marks)
        changes = References[Change | None]((Changes(self, change, ours),), np.arange(len(self)))
        return replace(self, content=(*self.content, mark.values), changes=changes)

    def key_texts(self) -> list[str]:
        """Return the key of every row."""
        return [key.decode(*_CODEC) for key in self.keys.to_pylist()]

    def identities(self) -> Iterator[bytes]:
        """Yield each row's key and content, a zero byte between them: what its vectors are known by."""
        for key, *content in _rows_of((self.keys, *self.content)):
            yield b"".join((key, b"\0", *content))

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Columns:
        """Turn rows into columns.

        Raises:
            ValueError: They have different limits of pixels.
        """
        listed = list(rows)
        changed = any(row.change is not None for row in listed)
        return cls(
            keys=texts_of(row.key for row in listed),
            content=(texts_of(row.content for row in listed),),
            labels=labels_of(row.labels for row in listed),
            sources=References.of([row.source for row in listed]),
            changes=References.of([row.change for row in listed]) if changed else None,
            max_pixels=_one_limit(row.max_pixels for row in listed),
        )

    @staticmethod
    def joined(parts: Sequence[Columns]) -> Columns:
        """Return the rows of one set after the other; there is at least one.

        Raises:
            ValueError: They have different limits of pixels.
        """
        names = dict.fromkeys(name for part in parts for name in part.labels)
        changed = any(part.changes is not None for part in parts)
        return replace(
            parts[0],
            keys=pa.concat_arrays([part.keys for part in parts]),
            content=(pa.concat_arrays([part.contents() for part in parts]),),
            labels={name: Label.joined([part.label(name) for part in parts]) for name in names},
            sources=References.joined([part.sources for part in parts]),
            changes=References.joined([part.all_changes() for part in parts]) if changed else None,
            max_pixels=_one_limit(part.max_pixels for part in parts),
        )

    def contents(self) -> pa.LargeBinaryArray:
        """Return the content of every row as one column."""
        return self.content[0] if len(self.content) == 1 else _array(map(b"".join, _rows_of(self.content)))

    def label(self, name: str) -> Label:
        """Return a column of labels; all are missing where no row has it."""
        return self.labels.get(name) or Label.coded(np.full(len(self), -1), ())

    def all_changes(self) -> References[Change | None]:
        """Return the change of every row, None where it has none."""
        return self.changes or References((_UNCHANGED,), np.zeros(len(self), np.int64))


_UNCHANGED: list[Change | None] = [None]


def texts_of(texts: Iterable[str]) -> pa.LargeBinaryArray:
    """Return texts as a column."""
    return _array(text.encode(*_CODEC) for text in texts)


def text_at(texts: pa.LargeBinaryArray, row: int) -> str:
    """Return one of a column of texts."""
    text: bytes = texts[row].as_py()
    return text.decode(*_CODEC)


def _reader(column: pa.Array) -> Callable[[int], bytes]:
    """Return a function that reads one value of a column."""
    if isinstance(column, pa.DictionaryArray):
        codes, of_code = Label(column).codes, _reader(column.dictionary)
        return lambda row: of_code(int(codes[row]))
    if not len(column):
        return lambda row: b""
    _, ends, content = column.buffers()
    bounds = np.frombuffer(ends, np.int64)[column.offset : column.offset + len(column) + 1]
    whole = memoryview(content) if content is not None else memoryview(b"")
    return lambda row: bytes(whole[int(bounds[row]) : int(bounds[row + 1])])


def labels_of(rows: Iterable[Mapping[str, str]]) -> dict[str, Label]:
    """Turn the labels of each row into columns, in the order in which their names come up."""
    codes: dict[str, array[int]] = {}
    values: dict[str, dict[str, int]] = {}
    count = 0
    for count, labels in enumerate(rows, 1):
        for name, value in labels.items():
            if name not in codes:
                codes[name], values[name] = array("i"), {}
            column, code = codes[name], values[name]
            if len(column) < count - 1:
                column.extend([-1] * (count - 1 - len(column)))
            column.append(code.setdefault(value, len(code)))
    for column in codes.values():
        column.extend([-1] * (count - len(column)))
    return {name: Label.coded(codes[name], values[name]) for name in codes}


# Arrow's own function for these, ``pa.array``, imports pandas to ask whether it was given some of its objects, which
# takes a quarter of a second of every command.


def _array(values: Iterable[bytes]) -> pa.LargeBinaryArray:
    """Return bytes as a column."""
    remaining, parts = iter(values), []
    while part := list(islice(remaining, 16 * _CHUNK)):
        ends = np.zeros(len(part) + 1, np.int64)
        np.cumsum([len(each) for each in part], out=ends[1:])
        buffers = [None, pa.py_buffer(ends), pa.py_buffer(b"".join(part))]
        parts.append(pa.Array.from_buffers(pa.large_binary(), len(part), buffers))
    return pa.concat_arrays(parts) if parts else pa.nulls(0, pa.large_binary())


def _integers(numbers: NDArray[np.int32] | NDArray[np.int64]) -> pa.Array:
    """Return integers as a column, those below 0 as missing."""
    missing = numbers < 0
    present = pa.py_buffer(np.packbits(~missing, bitorder="little")) if missing.any() else None
    kind = pa.int32() if numbers.dtype == np.int32 else pa.int64()
    return pa.Array.from_buffers(kind, len(numbers), [present, pa.py_buffer(np.ascontiguousarray(numbers))])


def _one_limit(limits: Iterable[int]) -> int:
    different = set(limits) or {MAX_PIXELS}
    if len(different) > 1:
        raise ValueError("the rows of one set are read under one limit of pixels")
    return different.pop()


def _rows_of(columns: Sequence[pa.Array]) -> Iterator[tuple[bytes, ...]]:
    for start in range(0, len(columns[0]), _CHUNK):
        yield from zip(*(column[start : start + _CHUNK].to_pylist() for column in columns), strict=True)
