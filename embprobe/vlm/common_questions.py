"""The questions that several models have answered, as rows of scores: matched by key, pairs as one row."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import UsageError
from embprobe.system.text import listed, visible
from embprobe.vlm.answers import Answer, Answers


@dataclass(frozen=True, eq=False)
class Row:
    """A question, or a pair of them, that all models have answered."""

    group: str
    kind: str
    resampled: str
    """The value that it is resampled with: its concept, else its pair, else its key."""
    unit: str
    """The word for that value: ``concept``, ``pair`` or ``question``."""
    chance: float | None
    """The probability that a guess is right; None where the number of options is unknown."""
    scores: NDArray[np.float64]
    """Of each model, ``[m]``, from 0 to 1."""
    every: NDArray[np.float64]
    """1 where a model answered all turns rightly, else 0, ``[m]``."""
    questions: int = 1
    """The number of questions that the row is about."""


def common_questions(answers: Sequence[Answers]) -> tuple[list[Row], tuple[str, ...]]:
    """Match the answers of several models by the keys of their questions.

    The questions of a pair become one row: its score is the product of theirs, the probability that independently
    drawn turns of all of them are right, and 1 or 0 where each was asked once. Facts about a question that one file
    lacks, such as its group, come from the first other file that has them.

    Returns:
        The rows, in the order of the first model's answers, and remarks on the questions that were left out.

    Raises:
        UsageError: There are no answers, two models have one name, or a file answers another set of questions: it has
            no question in common with the first, or more than half of the common keys are of different questions.
    """
    if not answers:
        raise UsageError("There are no answers to compare: give the files of at least one model.")
    names = [each.name for each in answers]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"Two files are of '{visible(twice)}': name them apart, as in 'clip=FILE'.")
    by_key = [{row.key: row for row in each.rows} for each in answers]
    for each, rows in zip(answers[1:], by_key[1:], strict=True):
        _check_same_set(answers[0], by_key[0], each, rows)
    shared = [key for key in by_key[0] if all(key in rows for rows in by_key)]
    same = [key for key in shared if _same_question([rows[key] for rows in by_key])]
    notes = [*_left_out(answers, shared), *_different(len(shared) - len(same))]
    if not same:
        raise UsageError(f"No question was answered by all of {listed([visible(name) for name in names])}.")
    every_key = {row.pair: set[str]() for rows in by_key for row in rows.values() if row.pair}
    for rows in by_key:
        for row in rows.values():
            if row.pair:
                every_key[row.pair].add(row.key)
    singles, pairs = dict[str, list[str]](), dict[str, list[str]]()
    for key in same:
        pair = _fact([rows[key] for rows in by_key], "pair")
        (pairs if pair else singles).setdefault(pair or key, []).append(key)
    whole = {pair: keys for pair, keys in pairs.items() if len(keys) > 1 and set(keys) == every_key[pair]}
    if cut := len(pairs) - len(whole):
        notes.append(f"{cut:,} pairs left out: not all of their questions were answered by all")
    return [_row(keys, by_key) for keys in (*singles.values(), *whole.values())], tuple(notes)


def _check_same_set(first: Answers, firsts: Mapping[str, Answer], other: Answers, others: Mapping[str, Answer]) -> None:
    common = firsts.keys() & others.keys()
    same = sum(_same_question([firsts[key], others[key]]) for key in common)
    if 2 * same > len(common):
        return
    of_common = f"of {len(common):,} common keys {same:,} are of the same question" if common else "none is in both"
    raise UsageError(
        f"'{visible(other.name)}' has answered another set of questions than '{visible(first.name)}': of "
        f"{len(firsts):,} and {len(others):,} questions, {of_common}. Compare answers to one set."
    )


def _same_question(rows: Sequence[Answer]) -> bool:
    """Return whether marks that are comparable agree."""
    marks: dict[str, str] = {}
    return all(marks.setdefault(row.mark.split(":")[0], row.mark) == row.mark for row in rows if row.mark)


def _left_out(answers: Sequence[Answers], shared: Sequence[str]) -> list[str]:
    lost = [f"{len(each) - len(shared):,} of '{visible(each.name)}'" for each in answers if len(each) > len(shared)]
    return [f"{len(shared):,} questions were answered by all; left out: {listed(lost)}"] if lost else []


def _different(count: int) -> list[str]:
    return [f"{count:,} left out, whose keys are of different questions in different files"] if count else []


def _fact(rows: Sequence[Answer], name: str) -> str:
    """Return a fact of a question from the first answer that has it."""
    return next((value for row in rows if (value := str(getattr(row, name)))), "")


def _row(keys: Sequence[str], by_key: Sequence[Mapping[str, Answer]]) -> Row:
    of_models = [[rows[key] for key in keys] for rows in by_key]
    flat = [row for rows in of_models for row in rows]
    pair, concept = _fact(flat, "pair"), _fact(flat, "concept")
    options = [max(rows[key].options for rows in by_key) for key in keys]
    return Row(
        group=_fact(flat, "group"),
        kind=_fact(flat, "kind"),
        resampled=concept or pair or keys[0],
        unit="concept" if concept else "pair" if pair else "question",
        chance=1 / math.prod(options) if all(options) else None,
        scores=np.array([math.prod(row.score for row in rows) for rows in of_models]),
        every=np.array([float(all(row.every for row in rows)) for rows in of_models]),
        questions=len(keys),
    )
