"""Read the first sheet of a spreadsheet (.xlsx) that anybody may have made: its values as text, row by row.

It is a zip of XML (ECMA-376, part 1, section 18.3). Formulas are not computed: a cell has the value that was stored
with it. Document types, by which XML defines entities that grow without bounds, are refused, as are parts that unpack
to more than 256 MiB.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.parsers import expat

from embprobe.errors import EmbprobeError, UsageError

MAX_PART = 2**28
"""Bytes of a part of the file when it is unpacked."""
_CHUNK = 2**16
_COLUMN = re.compile(r"([A-Z]{1,3})\d*")
_MOST_COLUMNS = 16_384
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_DAMAGED = (zipfile.BadZipFile, zlib.error, expat.ExpatError, EOFError, RuntimeError, NotImplementedError, ValueError)
"""Raised on damaged and encrypted files, and on ways to pack that Python lacks."""


def read_xlsx(path: Path) -> Iterator[dict[int, str]]:
    """Yield the cells of each row that has any, by column from 0; truth values are ``1`` and ``0``.

    Raises:
        UsageError: The file cannot be read.
        EmbprobeError: It is no spreadsheet, damaged, or unpacks to too much.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
            shared = list(_shared(archive, path)) if "xl/sharedStrings.xml" in names else []
            sheet = _first_sheet(archive, path)
            yield from _rows(archive, sheet, shared, path)
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except KeyError as lacking:
        raise EmbprobeError(f"'{path}' is no spreadsheet in the form .xlsx: {lacking.args[0]}.") from None
    except _DAMAGED as error:
        raise EmbprobeError(f"'{path}' cannot be read as a spreadsheet (.xlsx): {error}.") from None


def _first_sheet(archive: zipfile.ZipFile, path: Path) -> str:
    """Return the name of the part that holds the first sheet."""
    sheets: list[str] = []
    targets: dict[str, str] = {}

    def sheet(name: str, facts: dict[str, str]) -> None:
        if name == "sheet":
            sheets.extend(value for key, value in facts.items() if key.rsplit(" ", 1)[-1] == "id")

    def relation(name: str, facts: dict[str, str]) -> None:
        if name == "Relationship":
            targets[facts.get("Id", "")] = facts.get("Target", "")

    for part, start in (("xl/workbook.xml", sheet), ("xl/_rels/workbook.xml.rels", relation)):
        for _ in _parsed(archive, part, path, start):
            pass
    target = targets.get(sheets[0] if sheets else "", "worksheets/sheet1.xml")
    return target.removeprefix("/") if target.startswith("/") else f"xl/{target}"


def _shared(archive: zipfile.ZipFile, path: Path) -> Iterator[str]:
    """Yield the texts that cells refer to by number."""
    texts: list[str] = []
    parts: list[str] = []
    inside: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        if name == "si":
            parts.clear()
        inside.append(name)

    def data(text: str) -> None:
        if inside[-1:] == ["t"] and "rPh" not in inside:  # not how a text is pronounced
            parts.append(text)

    def end(name: str) -> None:
        inside.pop()
        if name == "si":
            texts.append(_unescaped("".join(parts)))

    for _ in _parsed(archive, "xl/sharedStrings.xml", path, start, data, end):
        yield from texts
        texts.clear()
    yield from texts


def _rows(archive: zipfile.ZipFile, part: str, shared: list[str], path: Path) -> Iterator[dict[int, str]]:
    done: list[dict[int, str]] = []
    row: dict[int, str] = {}
    inside: list[str] = []
    parts: list[str] = []
    kind, column = "n", -1

    def start(name: str, facts: dict[str, str]) -> None:
        nonlocal kind, column
        inside.append(name)
        if name == "row":
            row.clear()
            column = -1
        elif name == "c":
            kind, column = facts.get("t", "n"), _column(facts.get("r", ""), column + 1)
            parts.clear()

    def data(text: str) -> None:
        if inside[-1] == "v" or (inside[-1] == "t" and "is" in inside):
            parts.append(text)

    def end(name: str) -> None:
        inside.pop()
        if name == "c" and (text := _value("".join(parts), kind, shared)):
            row[column] = text
        elif name == "row" and row:
            done.append(dict(row))

    for _ in _parsed(archive, part, path, start, data, end):
        yield from done
        done.clear()
    yield from done


def _value(text: str, kind: str, shared: list[str]) -> str:
    if kind == "s":
        number = int(text or "-1")
        if not 0 <= number < len(shared):
            raise ValueError(f"a cell refers to text {number:,} of {len(shared):,}")
        return shared[number]
    return "" if kind == "e" else _unescaped(text)  # an error such as #DIV/0! is no value


def _column(reference: str, following: int) -> int:
    """Return the column of a cell such as ``C5``, from 0; cells without a reference follow each other."""
    letters = _COLUMN.fullmatch(reference)
    if letters is None:
        return following
    number = 0
    for letter in letters[1]:
        number = 26 * number + ord(letter) - ord("A") + 1
    if number > _MOST_COLUMNS:
        raise ValueError(f"there is no column {letters[1]}")
    return number - 1


def _unescaped(text: str) -> str:
    """Return a text with the letters that XML cannot hold, which are written as ``_x000D_``."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if "_x" in text else text


def _parsed(
    archive: zipfile.ZipFile,
    part: str,
    path: Path,
    start: Callable[[str, dict[str, str]], None],
    data: Callable[[str], None] | None = None,
    end: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Parse a part, calling back with the names of elements without their namespaces; yield after every chunk."""
    if (size := archive.getinfo(part).file_size) > MAX_PART:
        raise EmbprobeError(f"'{path}' unpacks to {size >> 20:,} MiB, more than the limit of {MAX_PART >> 20}.")

    def refuse(*_: object) -> None:
        raise ValueError("it defines a document type")

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = lambda name, facts: start(name.rsplit(" ", 1)[-1], facts)
    parser.EndElementHandler = (lambda name: end(name.rsplit(" ", 1)[-1])) if end is not None else None
    parser.CharacterDataHandler = data
    with archive.open(part) as file:  # which ends after as many bytes as the archive declares
        while chunk := file.read(_CHUNK):
            parser.Parse(chunk)
            yield
    parser.Parse(b"", True)
