"""What follows from a card's numbers: one number per encoder, one sentence per pair, and whether the probe counts."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from embprobe.probing.card import Card, Headline, MustFail
from embprobe.probing.context import GUESS
from embprobe.probing.questions import find_question
from embprobe.probing.results import Check, Conclusions, Question, Result, Scores, p_told
from embprobe.statistics import Resampled

CERTAIN = 0.05
"""A corrected p below this decides."""

Answers = Mapping[Question, Sequence[Scores]]
Statistics = Mapping[Question, Resampled]


def conclude(
    card: Card, rows: Sequence[Result], statistics: Statistics, answers: Answers, subjects: Sequence[str]
) -> Conclusions:
    """The headline of a card and its checks; empty where the images could not be asked for it."""
    checked = [_check(each, rows, statistics, answers) for each in card.must_fail]
    checks = [check for check in checked if check is not None]
    question = _headline_question(card, answers)
    if question is None or card.headline is None:
        return Conclusions(None, {}, [], checks)
    numbers = {
        row.encoder: row.estimate
        for row in rows
        if row.question == question and row.kind == "estimate" and row.encoder in subjects
    }
    found, columns = statistics[question], [score.encoder for score in answers[question]]
    sentences = []
    for a, b in itertools.combinations([name for name in subjects if name in columns], 2):
        row = next(r for r in rows if r.question == question and r.encoder == a and r.against == b)
        sentences.append(_sentence(card.headline, row, found, columns.index(a), columns.index(b)))
    return Conclusions(question, numbers, sentences, checks)


def _headline_question(card: Card, answers: Answers) -> Question | None:
    return None if card.headline is None else find_question(card.headline, list(answers))


def _sentence(headline: Headline, row: Result, found: Resampled, a: int, b: int) -> str:
    """A ratio where both numbers are above zero beyond their intervals, else a difference."""
    p = row.p_adjusted if row.p_adjusted is not None else 1.0
    evidence = f"{p_told(p)}, {row.groups:,} {row.resampled}s"
    first, second = (row.encoder, str(row.against))
    if p >= CERTAIN:
        return (
            f"Undecided whether {first} or {second} {headline.says} more: the difference is {row.estimate:+.3f} "
            f"({row.low:+.3f} to {row.high:+.3f}, {evidence})."
        )
    if row.estimate < 0:
        first, second, a, b = second, first, b, a
    ratio = found.ratio(a, b)
    if ratio is None:
        low, high = (-row.high, -row.low) if row.estimate < 0 else (row.low, row.high)
        return (
            f"{first} {headline.says} more than {second}: by {abs(row.estimate):.3f} ({low:.3f} to {high:.3f}, "
            f"{row.unit}; {evidence})."
        )
    return (
        f"{first} {headline.says} {ratio.estimate:.2f} times {headline.much} as {second} "
        f"({ratio.low:.2f} to {ratio.high:.2f}, {evidence})."
    )


def _check(check: MustFail, rows: Sequence[Result], statistics: Statistics, answers: Answers) -> Check | None:
    """Whether the reference failed as it should; None if it was not asked."""
    question = find_question(check, list(answers))
    row = next((r for r in rows if r.question == question and r.who == check.encoder), None)
    if row is None:
        return None
    if check.no_better_than is not None:
        return _compared(check, row, statistics, answers)
    if check.at_most is not None:
        guess = next((r for r in rows if r.question == row.question and r.encoder == GUESS), None)
        if guess is None:
            return None
        limit, what = check.at_most * guess.estimate, f"{check.at_most:g} times guessing"
    else:
        limit, what = float(check.below or 0.0), "the limit"
    passed = row.estimate <= limit
    return Check(
        check.encoder,
        row.measure,
        passed,
        f"{check.encoder} must fail at '{row.question}', because {check.because}: {row.estimate:.3f}, "
        f"{'at most' if passed else 'above'} {what} ({limit:.3f}).",
    )


def _compared(check: MustFail, row: Result, statistics: Statistics, answers: Answers) -> Check | None:
    columns = [score.encoder for score in answers[row.question]]
    if check.no_better_than not in columns:
        return None
    found = statistics[row.question].difference(columns.index(check.encoder), columns.index(check.no_better_than))
    passed = found.low <= 0
    return Check(
        check.encoder,
        row.measure,
        passed,
        f"{check.encoder} must be no better than {check.no_better_than} at '{row.question}', because {check.because}: "
        f"{found.estimate:+.3f} ({found.low:+.3f} to {found.high:+.3f}).",
    )
