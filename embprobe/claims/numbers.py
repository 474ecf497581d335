"""Numbers that decide claims: estimates of two encoders, or of several training runs of each, from a probe card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np

from embprobe.claims.model import card_of
from embprobe.encoders.spec import Encoder
from embprobe.images.rows import Images
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.card import Card, MustFail
from embprobe.probing.context import NotApplicable
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.results import Result, Results
from embprobe.probing.run import Asked, run_probes
from embprobe.probing.scores import Scores
from embprobe.statistics import Estimate, resample
from embprobe.system.text import listed

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session


@dataclass(frozen=True)
class RunNumbers:
    """One number of the training runs of two recipes, of the same images; mostly there is one run of each."""

    rows: tuple[Sequence[Result], Sequence[Result]]
    scores: tuple[Sequence[Scores], Sequence[Scores]]
    """Those behind the rows, in the same order."""

    @classmethod
    def joined(cls, one: Sequence[RunNumbers]) -> Self:
        """Put together numbers of one run of each recipe, run by run."""
        return cls(
            (_flat(each.rows[0] for each in one), _flat(each.rows[1] for each in one)),
            (_flat(each.scores[0] for each in one), _flat(each.scores[1] for each in one)),
        )

    @property
    def groups(self) -> Sequence[str]:
        """The resampled group of each image."""
        return self.scores[0][0].groups

    @property
    def runs(self) -> tuple[int, int]:
        """The number of runs of each recipe."""
        return len(self.rows[0]), len(self.rows[1])

    def arrays(self) -> tuple[ScoreArray, ScoreArray]:
        """Return the scores of both recipes, ``[n, runs]`` each."""
        a, b = (np.stack([each.values for each in half], axis=1) for half in self.scores)
        return a, b

    def means(self, *, seed: int) -> tuple[Result, Result]:
        """Return the estimates of both recipes: that of the one run, or the mean over several, over the same images."""
        a, b = (
            half[0] if len(half) == 1 else self._mean(half, scores, seed)
            for half, scores in zip(self.rows, self.arrays(), strict=True)
        )
        return a, b

    def _mean(self, rows: Sequence[Result], scores: ScoreArray, seed: int) -> Result:
        drawn = resample(scores.mean(1)[:, None], self.groups, seed=seed, unit=rows[0].resampled).mean(0)
        name = f"mean of {listed([row.encoder for row in rows])}"
        return replace(rows[0], encoder=name, estimate=drawn.estimate, low=drawn.low, high=drawn.high)

    def difference(
        self, estimate: Estimate, *, seed: int, p: float | None = None, p_adjusted: float | None = None
    ) -> Result:
        """Return the row of the first less the second."""
        first, second = self.means(seed=seed)
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


Item = TypeVar("Item")


def _flat(parts: Iterable[Sequence[Item]]) -> list[Item]:
    return [each for part in parts for each in part]


@dataclass(frozen=True)
class CardNumbers:
    """The numbers of one card."""

    results: Results

    def row(self, number: KeyPattern, encoder: str) -> Result | None:
        """Return an encoder's estimate, if it was measured."""
        key = number.find((row.key for row in self.results.rows), folds=UNSEEN)
        return next((row for row in self.results.rows if (row.key, row.label) == (key, encoder)), None)

    def numbers(self, number: KeyPattern, a: Sequence[str], b: Sequence[str]) -> RunNumbers | None:
        """Return the numbers of two recipes by the names of their encoders, if all were measured."""
        rows = [[self.row(number, name) for name in half] for half in (a, b)]
        known = [[row for row in half if row is not None] for half in rows]
        if [len(half) for half in known] != [len(half) for half in rows]:
            return None
        scores = {each.encoder: each for each in self.results.scores if each.key == known[0][0].key}
        return RunNumbers((known[0], known[1]), ([scores[name] for name in a], [scores[name] for name in b]))


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
        numbers = [each.number for each in here]
        checks = card.of(images, max_unlabelled=session.max_unlabelled).must_fail
        encoders = _once(encoder for each in here for encoder in each.encoders)
        names = {encoder.spec.name for encoder in encoders}
        beside = [each for each in references if each.spec.name not in names]
        asked[name] = Asked(card.only([*numbers, *_related(checks, card, numbers)]), encoders, beside)
    measured: dict[str, CardNumbers] = {}
    failed: dict[str, str] = {}
    every_card = run_probes(list(asked.values()), images, session, differences=False)  # they are the claims' business
    for name, results in zip(asked, every_card, strict=True):
        if isinstance(results, NotApplicable):
            failed[name] = str(results).removesuffix(".")
        else:
            measured[name] = CardNumbers(results)
    return measured, failed


def _related(checks: Sequence[MustFail], card: Card, numbers: Sequence[KeyPattern]) -> list[MustFail]:
    """Return the checks of measures that give one of the numbers: others say nothing about these, and cost time."""
    declared = [measure.declared_keys() for measure in card.measures]
    giving = [keys for keys in declared if any(number.find(keys, folds=UNSEEN) for number in numbers)]
    return [check for check in checks if any(check.find(keys, folds=UNSEEN) for keys in giving)]


def _once(encoders: Iterable[Encoder]) -> list[Encoder]:
    found: Mapping[str, Encoder] = {encoder.spec.name: encoder for encoder in encoders}
    return list(found.values())
