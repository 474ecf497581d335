"""Conclusions: one number per encoder, one sentence per pair, and whether the references that must fail did."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embprobe.probing.card import Card, Headline, MustFail
from embprobe.probing.key import Key
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.results import Check, Conclusions, Result, format_p
from embprobe.probing.scores import Scores
from embprobe.statistics import CERTAIN, Resampled


@dataclass(frozen=True)
class Measured:
    """Everything a card measured: by key the scores of the encoders, their resamples, and the rows made of them."""

    scores: Mapping[Key, Sequence[Scores]]
    resampled: Mapping[Key, Resampled]
    rows: Sequence[Result]

    def columns(self, key: Key) -> list[str]:
        """Return the encoders that have scores for a key, in the order of the resamples' columns."""
        return [each.encoder for each in self.scores[key]]

    def row(self, key: Key | None, encoder: str, against: str | None = None) -> Result | None:
        """Return the estimate of an encoder for a key, or its difference from another, if there is one."""
        identity = (key, encoder, against)
        return next((row for row in self.rows if (row.key, row.encoder, row.against) == identity), None)


def conclude(card: Card, measured: Measured, subjects: Sequence[str]) -> Conclusions:
    """Return the headline of a card and its checks; without a headline where these images do not allow it."""
    checks = [check for each in card.must_fail if (check := _check(each, measured)) is not None]
    key = None if card.headline is None else card.headline.find(measured.scores, folds=UNSEEN)
    if key is None or card.headline is None:
        return Conclusions(key=None, numbers={}, sentences=[], checks=checks)
    columns = measured.columns(key)
    compared = [name for name in subjects if name in columns]
    numbers = {name: row.estimate for name in compared if (row := measured.row(key, name))}
    sentences = [
        _sentence(card.headline, row, measured.resampled[key], columns.index(a), columns.index(b))
        for a, b in itertools.combinations(compared, 2)
        if (row := measured.row(key, a, b))
    ]
    return Conclusions(key=key, numbers=numbers, sentences=sentences, checks=checks)


def _sentence(headline: Headline, row: Result, resampled: Resampled, a: int, b: int) -> str:
    """Return a ratio where both numbers are above zero beyond their intervals, else a difference."""
    p = row.p_adjusted if row.p_adjusted is not None else 1.0
    evidence = f"{format_p(p)}, {row.groups:,} {row.resampled}s"
    first, second = (row.encoder, str(row.against))
    if p >= CERTAIN:
        return (
            f"Undecided whether {first} or {second} {headline.says} more: the difference is {row.estimate:+.3f} "
            f"({row.low:+.3f} to {row.high:+.3f}, {evidence})."
        )
    if row.estimate < 0:
        first, second, a, b = second, first, b, a
    ratio = resampled.ratio(a, b)
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


def _check(must_fail: MustFail, measured: Measured) -> Check | None:
    """Return whether the reference failed as it should; None if it was not measured."""
    key = must_fail.find(measured.scores, folds=UNSEEN)
    row = measured.row(key, must_fail.encoder)
    if key is None or row is None:
        return None
    if must_fail.no_better_than is not None:
        return _no_better(must_fail, key, measured)
    if must_fail.at_most is not None:
        baseline = next((row for row in measured.rows if row.key == key and row.role == "baseline"), None)
        if baseline is None:
            return None
        limit, name = must_fail.at_most * baseline.estimate, f"{must_fail.at_most:g} times guessing"
    else:
        limit, name = float(must_fail.below or 0.0), "the limit"
    passed = row.estimate <= limit
    return Check(
        encoder=must_fail.encoder,
        key=key,
        passed=passed,
        text=f"{must_fail.encoder} must fail at '{key}', because {must_fail.because}: {row.estimate:.3f}, "
        f"{'at most' if passed else 'above'} {name} ({limit:.3f}).",
    )


def _no_better(must_fail: MustFail, key: Key, measured: Measured) -> Check | None:
    columns = measured.columns(key)
    if must_fail.no_better_than not in columns:
        return None
    pair = columns.index(must_fail.encoder), columns.index(must_fail.no_better_than)
    difference = measured.resampled[key].difference(*pair)
    return Check(
        encoder=must_fail.encoder,
        key=key,
        passed=difference.low <= 0,
        text=f"{must_fail.encoder} must be no better than {must_fail.no_better_than} at '{key}', because "
        f"{must_fail.because}: {difference.estimate:+.3f} ({difference.low:+.3f} to {difference.high:+.3f}).",
    )
