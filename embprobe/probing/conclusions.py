"""Conclusions: one number per encoder, one sentence per pair, and whether the references that must fail did."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from embprobe.probing.card import Card, MustFail
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
    checks = [check for must_fail in card.must_fail if (check := _check(must_fail, measured)) is not None]
    key = headline_key(card, measured.scores)
    if key is None or card.headline is None:
        return Conclusions(key=None, numbers={}, sentences=[], checks=checks)
    if not any((check.key.kind, check.key.target) == (key.kind, key.target) for check in checks):
        text = f"no reference is known to fail at '{key}' on images like these."
        checks.append(Check(encoder=None, key=key, passed=None, text=text))
    columns = measured.columns(key)
    compared = [name for name in subjects if name in columns]
    numbers = {name: row.estimate for name in compared if (row := measured.row(key, name))}
    says = card.headline.sentence(key)
    sentences = [
        _sentence(says, card.headline.much, row, measured, columns.index(a), columns.index(b))
        for a, b in itertools.combinations(compared, 2)
        if (row := measured.row(key, a, b))
    ]
    return Conclusions(key=key, numbers=numbers, sentences=sentences, checks=checks)


def headline_key(card: Card, keys: Iterable[Key]) -> Key | None:
    """Return the key of the card's headline among those that were measured."""
    return None if card.headline is None else card.headline.find(keys, folds=UNSEEN)


def _sentence(says: str, much: str, row: Result, measured: Measured, a: int, b: int) -> str:
    """Compare two encoders: by a ratio where both are surely above a blind encoder, else by the difference."""
    p = row.p_adjusted if row.p_adjusted is not None else 1.0
    evidence = f"{format_p(p)}, {row.groups:,} {row.resampled}s"
    first, second = (row.encoder, str(row.against))
    if p >= CERTAIN:
        detectable = row.detectable or 0.0  # 0 where all images agree, of which nothing follows for others
        shown = f"; these images would have shown one of {detectable:.3f}" if detectable >= 0.0005 else ""
        return (
            f"Undecided whether {first} or {second} {says} more: the difference is {row.estimate:+.3f} "
            f"({row.low:+.3f} to {row.high:+.3f}, {evidence}){shown}."
        )
    if row.estimate < 0:
        first, second, a, b = second, first, b, a
    resampled = measured.resampled[row.key]
    ratio = None if row.floor is None else resampled.ratio(a, b, above=row.floor)
    if ratio is None:
        low, high = (-row.high, -row.low) if row.estimate < 0 else (row.low, row.high)
        return (
            f"{first} {says} more than {second}: by {abs(row.estimate):.3f} ({low:.3f} to {high:.3f}, "
            f"{row.unit}; {evidence})."
        )
    interval = f"({ratio.low:.2f} to {ratio.high:.2f}, {evidence})"
    if not row.floor:
        return f"{first} {says} {ratio.estimate:.2f} times {much} as {second} {interval}."
    numbers = [resampled.mean(i).estimate for i in (a, b)]
    blind = "guessing" if row.unit.endswith("accuracy") else "a blind encoder"
    return (
        f"{first} {says} {ratio.estimate:.2f} times as far above {blind} as {second} {interval}: {numbers[0]:.3f} "
        f"and {numbers[1]:.3f}, {blind} {row.floor:.3f}."
    )


def _check(must_fail: MustFail, measured: Measured) -> Check | None:
    """Return whether the reference failed as it should; None if it was not measured."""
    key = must_fail.find(measured.scores, folds=UNSEEN)
    if key is None:
        return None
    if must_fail.no_better_than is not None:
        return _no_better(must_fail, key, measured)
    named = [name for name in measured.columns(key) if must_fail.encoder in (None, name)]
    rows = [row for name in named if (row := measured.row(key, name)) and row.role != "baseline"]
    limit, bound = _limit(must_fail, measured.scores[key][0].floor)
    if not rows or limit is None:
        return None
    above = [row for row in rows if row.estimate > limit and not _reaches_floor(must_fail, row)]
    worst = max(above or rows, key=lambda row: row.estimate)
    name = must_fail.encoder or "every encoder"
    among = "" if must_fail.encoder else f" by {worst.encoder}"
    return Check(
        encoder=must_fail.encoder,
        key=key,
        passed=not above,
        text=f"{name} must fail at '{key}', because {must_fail.because}: {worst.estimate:.3f} ({worst.low:.3f} to "
        f"{worst.high:.3f}){among}, {'above' if above else 'at most'} {bound} ({limit:.3f}).",
    )


def _limit(must_fail: MustFail, floor: float | None) -> tuple[float | None, str]:
    """Return the estimate above which a reference has not failed, and in words; None where it has no number."""
    if must_fail.below is not None:
        return must_fail.below, "the limit"
    if floor is None:
        return None, ""
    if must_fail.within is not None:
        return floor + must_fail.within, f"a blind encoder's {floor:.3f} + {must_fail.within:g}"
    return (must_fail.at_most or 0.0) * floor, f"{must_fail.at_most:g} times guessing"


def _reaches_floor(must_fail: MustFail, row: Result) -> bool:
    """Return whether an estimate's interval holds what a blind encoder has, or lies below it: enough for ``within``."""
    return must_fail.within is not None and row.floor is not None and row.low <= row.floor


def _no_better(must_fail: MustFail, key: Key, measured: Measured) -> Check | None:
    columns = measured.columns(key)
    if must_fail.encoder not in columns or must_fail.no_better_than not in columns:
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
