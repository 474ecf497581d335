"""Read the files in which VLMEvalKit keeps a model's predictions and whether they hit: a row for each question."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.text import printable, visible
from embprobe.vlm.answers import Answer, Answers, mark_of
from embprobe.vlm.multiple_choice import MMVP, MMVP_GROUP, column_names
from embprobe.vlm.question import LETTERS
from embprobe.vlm.responses import group_of, letter_of, share_of
from embprobe.vlm.tsv import table_of
from embprobe.vlm.xlsx import MAX_PART, read_xlsx

_WANTED = frozenset(
    {"index", "g_index", "question", "answer", "prediction", "hit", "category", "l2-category", *LETTERS}
)
_WHOLE = re.compile(r"(-?\d+)\.0+")
_TURN = 1_000_000
"""The index of a turn of a question is that of the question and a multiple of this (MMBench's circular evaluation)."""


@dataclass(frozen=True)
class _Scored:
    """A row with its score."""

    answer: Answer
    of: str
    """The index of the question that it is a turn of; its own where it is none."""
    text: str


def read_vlmevalkit(path: Path, *, name: str = "") -> Answers:
    """Read the answers of one model: the file of results, with a column ``hit``, or that of predictions.

    Without ``hit``, a question is right if the prediction chooses the letter in ``answer``
    (:func:`~embprobe.vlm.responses.letter_of`); predictions that choose none are wrong and counted. VLMEvalKit itself
    draws an option for those of VMCBench, and asks a language model about those of others. Turns of one question, as
    MMBench has them, become one answer. Of MMVP, by the file's name, every two rows by their index are a pair.

    Args:
        path: The file, ``.xlsx``, ``.tsv``, ``.csv`` or ``.json``.
        name: The model; without it the file's name, which begins with the model's.

    Raises:
        UsageError: The file cannot be read.
        EmbprobeError: It is damaged, lacks a column, or has no row with a score.
    """
    columns, table = _table(path)
    if "index" not in columns or ("hit" not in columns and not {"prediction", "answer"} <= columns):
        lacking = "'index'" if "index" not in columns else "'hit', and not both 'prediction' and 'answer'"
        raise EmbprobeError(
            f"'{path}' has no column {lacking}, so it is no file of answers of VLMEvalKit. "
            f"Its columns: {visible(', '.join(sorted(columns)[:20])) or 'none'}."
        )
    scored, unscored, unclear = [], 0, 0
    for row in table:
        options = {letter: row[letter] for letter in LETTERS if row.get(letter, "").strip()}
        chosen = "" if "hit" in columns else letter_of(row.get("prediction", ""), options)
        right = letter_of(row.get("answer", ""))
        score = share_of(row.get("hit", "")) if "hit" in columns else float(chosen == right) if right else None
        if score is None or not _index(row):
            unscored += 1
            continue
        unclear += "hit" not in columns and not chosen
        scored.append(_scored(row, score, len(options)))
    notes = [f"{unscored:,} rows left out, without an index or a score"] if unscored else []
    notes += [f"{unclear:,} predictions choose no option clearly and count as wrong"] if unclear else []
    rows = _turns_joined(scored)
    if "mmvp" in path.stem.casefold():
        rows, remark = _pairs(rows)
        notes += remark
    try:
        return Answers(
            name=name or printable(path.stem), rows=[each.answer for each in rows], asked="", notes=tuple(notes)
        )
    except EmbprobeError as error:
        raise EmbprobeError(f"'{path}': {error}") from None


def _table(path: Path) -> tuple[set[str], list[dict[str, str]]]:
    """Return the names of the columns, and of each row the cells that are needed, by them."""
    if path.suffix.lower() == ".xlsx":
        cells = read_xlsx(path)
        header = next(cells, {})
        names = dict(zip(header, column_names(header.values()), strict=True))
        rows = [{names[at]: text for at, text in row.items() if names.get(at) in _WANTED} for row in cells]
        return set(names.values()), rows
    if path.suffix.lower() == ".json":
        rows = [{name: _text(row[name]) for name in row.keys() & _WANTED} for row in _records(path)]
        return set[str]().union(*rows), rows
    with table_of(path, "," if path.suffix.lower() == ".csv" else "\t") as (columns, records):
        rows = [
            {name: cell for name, cell in zip(columns, cells, strict=False) if name in _WANTED}
            for _, _, cells in records
        ]
    return set(columns), rows


def _records(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file with a list of them."""
    try:
        if (size := path.stat().st_size) > MAX_PART:
            raise EmbprobeError(f"'{path}' has {size >> 20:,} MiB, more than the limit of {MAX_PART >> 20}.")
        records = json.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"'{path}' cannot be read: {error.strerror}.") from None
    except (ValueError, RecursionError) as error:
        raise EmbprobeError(f"'{path}' is no JSON: {error}.") from None
    if not isinstance(records, list) or not all(isinstance(each, dict) for each in records):
        raise EmbprobeError(f"'{path}' is no file of answers of VLMEvalKit: it holds no list of objects.")
    return [dict(zip(column_names(map(str, each)), each.values(), strict=True)) for each in records]


def _text(value: object) -> str:
    return "" if value is None or value != value else str(value)  # a missing number is NaN


def _index(row: Mapping[str, str], column: str = "index") -> str:
    """Return an index as text, without the zeros that a spreadsheet puts behind whole numbers."""
    text = row.get(column, "").strip()
    return whole[1] if (whole := _WHOLE.fullmatch(text)) else text


def _scored(row: Mapping[str, str], score: float, options: int) -> _Scored:
    key, category = _index(row), row.get("category", "").strip()
    text = " ".join(row.get("question", "").split())
    answer = Answer(
        key=key,
        score=score,
        every=score == 1,
        options=options,
        group=group_of(category, row.get("l2-category", "").strip()),
        kind=category,
        mark=mark_of("vlmevalkit", f"{text}\n{row.get('answer', '').strip()}"),
    )
    turn = int(key) if key.isascii() and key.isdecimal() and len(key) < 19 else 0
    return _Scored(answer, _index(row, "g_index") or (str(turn % _TURN) if turn >= _TURN else key), text.casefold())


def _turns_joined(scored: Sequence[_Scored]) -> list[_Scored]:
    """Make one answer of the turns of a question; rows are no turns unless the question itself is among them."""
    keys = {each.answer.key for each in scored}
    turns: dict[str, list[_Scored]] = {}
    for each in scored:
        turns.setdefault(each.of if each.of in keys else each.answer.key, []).append(each)
    joined = []
    for key, rows in turns.items():
        same = [each for each in rows if each.answer.key == key]
        if len(same) > 1:  # rows that repeat an index, which Answers refuses
            joined += rows
            continue
        score = sum(each.answer.score for each in rows) / len(rows)
        every = all(each.answer.every for each in rows)
        joined.append(replace(same[0], answer=replace(same[0].answer, score=score, every=every)))
    return joined


def _pairs(rows: Sequence[_Scored]) -> tuple[list[_Scored], list[str]]:
    """Make pairs of every two rows by their index, as VLMEvalKit does of MMVP."""
    if all(each.answer.key.isdecimal() for each in rows):
        rows = sorted(rows, key=lambda each: int(each.answer.key))
    if len(rows) % 2 or any(a.text != b.text for a, b in zip(rows[::2], rows[1::2], strict=True)):
        return list(rows), ["the rows of MMVP are no pairs that ask the same, so each question counts by itself"]
    return [
        replace(each, answer=replace(each.answer, group=MMVP_GROUP, kind=MMVP, pair=str(i // 2 + 1)))
        for i, each in enumerate(rows)
    ], []
