"""Numbers that decide claims: two encoders' estimates of the same thing, from a probe card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embprobe.claims.model import card_of
from embprobe.encoders.spec import Encoder
from embprobe.images.rows import Images
from embprobe.probing.context import NotApplicable
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.results import Result, Results
from embprobe.probing.run import Asked, run_probes
from embprobe.probing.scores import Scores
from embprobe.statistics import Estimate

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session


@dataclass(frozen=True)
class PairOfNumbers:
    """Two encoders' estimates of one number, and the scores behind them, of the same images."""

    rows: tuple[Result, Result]
    scores: tuple[Scores, Scores]

    def difference(self, estimate: Estimate, *, p: float | None = None, p_adjusted: float | None = None) -> Result:
        """Return the row of the first less the second."""
        first, second = self.rows
        return replace(
            first,
            against=second.encoder,
            role="subject",
            estimate=estimate.estimate,
            low=estimate.low,
            high=estimate.high,
            p=p,
            p_adjusted=p_adjusted,
        )


@dataclass(frozen=True)
class CardNumbers:
    """The numbers of one card."""

    results: Results

    def row(self, number: KeyPattern, encoder: str) -> Result | None:
        """Return an encoder's estimate, if it was measured."""
        key = number.find((row.key for row in self.results.rows), folds=UNSEEN)
        return next((row for row in self.results.rows if (row.key, row.label) == (key, encoder)), None)

    def pair(self, number: KeyPattern, a: str, b: str) -> PairOfNumbers | None:
        """Return two encoders' estimates, if both were measured."""
        first, second = self.row(number, a), self.row(number, b)
        if first is None or second is None:
            return None
        scores = {each.encoder: each for each in self.results.scores if each.key == first.key}
        return PairOfNumbers((first, second), (scores[a], scores[b]))


@dataclass(frozen=True)
class Wanted:
    """A number of a card, and the encoders it is needed of."""

    card: str
    number: KeyPattern
    encoders: Sequence[Encoder]


def measure_cards(
    wanted: Iterable[Wanted], references: Sequence[Encoder], images: Images, session: Session
) -> tuple[dict[str, CardNumbers], dict[str, str]]:
    """Measure each card once, with no more measures and encoders than are needed.

    Returns:
        The numbers by card, and by card why it could measure nothing.
    """
    by_card: dict[str, list[Wanted]] = {}
    for each in wanted:
        by_card.setdefault(each.card, []).append(each)
    asked: dict[str, Asked] = {}
    for name, here in by_card.items():
        card = card_of(name)
        must_fail = card.of(images, max_unlabelled=session.max_unlabelled).must_fail
        encoders = _once(encoder for each in here for encoder in each.encoders)
        names = {encoder.spec.name for encoder in encoders}
        beside = [each for each in references if each.spec.name not in names]
        asked[name] = Asked(card.only([*(each.number for each in here), *must_fail]), encoders, beside)
    measured: dict[str, CardNumbers] = {}
    failed: dict[str, str] = {}
    every_card = run_probes(list(asked.values()), images, session, differences=False)  # they are the claims' business
    for name, results in zip(asked, every_card, strict=True):
        if isinstance(results, NotApplicable):
            failed[name] = str(results).removesuffix(".")
        else:
            measured[name] = CardNumbers(results)
    return measured, failed


def _once(encoders: Iterable[Encoder]) -> list[Encoder]:
    found: Mapping[str, Encoder] = {encoder.spec.name: encoder for encoder in encoders}
    return list(found.values())
