"""Check claims: probe cards x the encoders in their roles -> a verdict on every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embprobe.claims.learning import Learning
from embprobe.claims.model import CONTENT, RANK, Claim, bundled_claims, card_of
from embprobe.claims.roles import PIXELS, TWIN, Cast
from embprobe.claims.verdicts import Decision, decide, measure_difference
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.probing.context import NotApplicable
from embprobe.probing.kinds.decoding import UNSEEN
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.results import Conclusions, Result, Results
from embprobe.probing.run import Asked, run_probes
from embprobe.probing.scores import Scores
from embprobe.statistics import Estimate, holm, resample
from embprobe.system.threads import one_thread

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session


@dataclass(frozen=True)
class Study:
    """What became of the claims, and everything that was measured for it."""

    results: Results
    decisions: Sequence[Decision]
    """One a claim, in the claims' order."""
    learned: Sequence[Learning]
    """One an encoder."""
    names: Mapping[str, str]
    """Encoders by role."""


@one_thread()
def run_study(cast: Cast, images: Images, session: Session, *, claims: Sequence[Claim] | None = None) -> Study:
    """Check every claim whose roles are played on these images; the others are listed with why they are not checked.

    Each card is run once, with no more measures and encoders than are needed.

    Args:
        cast: The encoders in their roles.
        images: The images that the cards are put to.
        session: The workspace, the device and the seed.
        claims: Those to check; by default all that come with embprobe.

    Raises:
        UsageError: No claim has both its roles played, or a claim's card does not give its number.
        NotApplicable: No claim can be checked on these images.
    """
    claims = bundled_claims() if claims is None else claims
    played = [claim for claim in claims if {claim.a, claim.b} <= cast.encoders.keys()]
    if not played:
        lacking = "; ".join(dict.fromkeys(cast.lacking.values()))
        raise UsageError(f"No claim has both its encoders: {lacking}. Name them, as in -e clip=NAME -e dino=NAME.")
    measured, failed = _measure(played, cast, images, session)
    learned = [each for role in cast.encoders if (each := _learning(role, cast, measured, session.seed))]
    decisions = _decide(claims, cast, measured, failed, learned, session.seed)
    if all(decision.difference is None for decision in decisions):
        reasons = "; ".join(dict.fromkeys(decision.because for decision in decisions))
        raise NotApplicable(f"None of the claims can be asked of '{images.name}': {reasons}.")
    results = _results(claims, cast, [each.results for each in measured.values()], decisions, learned, failed)
    return Study(results, decisions, learned, cast.names())


@dataclass(frozen=True)
class _Pair:
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
class _CardResults:
    """What one card measured."""

    results: Results

    def row(self, number: KeyPattern, encoder: str) -> Result | None:
        """Return an encoder's estimate, if it was measured."""
        key = number.find((row.key for row in self.results.rows), folds=UNSEEN)
        return next((row for row in self.results.rows if (row.key, row.label) == (key, encoder)), None)

    def pair(self, number: KeyPattern, a: str, b: str) -> _Pair | None:
        """Return two encoders' estimates, if both were measured."""
        first, second = self.row(number, a), self.row(number, b)
        if first is None or second is None:
            return None
        scores = {each.encoder: each for each in self.results.scores if each.key == first.key}
        return _Pair((first, second), (scores[a], scores[b]))


def _measure(
    claims: Sequence[Claim], cast: Cast, images: Images, session: Session
) -> tuple[dict[str, _CardResults], dict[str, str]]:
    """Return by card what it measured, or why it could measure nothing."""
    roles = tuple(cast.encoders)
    wanted = [(*CONTENT, roles), (*RANK, roles), *((c.card, c.number, (c.a, c.b)) for c in claims)]
    asked: dict[str, Asked] = {}
    for name in dict.fromkeys(name for name, _, _ in wanted):
        here = [(number, needed) for of, number, needed in wanted if of == name]
        card = card_of(name)
        card = card.only(
            [*(number for number, _ in here), *card.of(images, max_unlabelled=session.max_unlabelled).must_fail]
        )
        encoders = cast.playing(role for role in roles if any(role in needed for _, needed in here))
        references = [each for each in cast.references if each.spec.name not in [e.spec.name for e in encoders]]
        asked[name] = Asked(card, encoders, references)
    measured: dict[str, _CardResults] = {}
    failed: dict[str, str] = {}
    every_card = run_probes(list(asked.values()), images, session, differences=False)  # they are the claims' business
    for name, results in zip(asked, every_card, strict=True):
        if isinstance(results, NotApplicable):
            failed[name] = str(results).removesuffix(".")
        else:
            measured[name] = _CardResults(results)
    return measured, failed


def _learning(role: str, cast: Cast, measured: Mapping[str, _CardResults], seed: int) -> Learning | None:
    """Return how an encoder does beside its twin, if that could be measured."""
    card, number = CONTENT
    names = cast.names()
    pair = measured[card].pair(number, names[role], names[TWIN]) if card in measured else None
    if pair is None:
        return None
    a, b = pair.scores
    resampled = resample((a.values - b.values)[:, None], a.groups, seed=seed, unit=pair.rows[0].resampled)
    pixels = measured[card].row(number, PIXELS)
    return Learning(
        role=role,
        own=pair.rows[0],
        twin=pair.rows[1],
        difference=pair.difference(resampled.mean(0)),
        pixels=None if pixels is None else pixels.estimate,
        rank=measured[RANK[0]].row(RANK[1], names[role]) if RANK[0] in measured else None,
    )


def _decide(
    claims: Sequence[Claim],
    cast: Cast,
    measured: Mapping[str, _CardResults],
    failed: Mapping[str, str],
    learned: Sequence[Learning],
    seed: int,
) -> list[Decision]:
    """Return one decision a claim, with p corrected over those that were checked."""
    names = cast.names()
    pairs = [
        measured[claim.card].pair(claim.number, names[claim.a], names[claim.b])
        if claim.card in measured and {claim.a, claim.b} <= names.keys()
        else None
        for claim in claims
    ]
    estimates = [
        None
        if pair is None
        else measure_difference(
            claim,
            pair.scores[0].values,
            pair.scores[1].values,
            pair.scores[0].groups,
            seed=seed,
            unit=pair.rows[0].resampled,
        )
        for claim, pair in zip(claims, pairs, strict=True)
    ]
    adjusted = iter(holm([each.p or 0.0 for each in estimates if each is not None]))
    decisions = []
    for claim, pair, estimate in zip(claims, pairs, estimates, strict=True):
        if pair is None or estimate is None:
            reason = _why_not(claim, cast, failed, measured)
            decisions.append(Decision(claim=claim, verdict="not asked", because=reason))
            continue
        p = next(adjusted)
        unlearned = _unlearned(claim, learned)
        decisions.append(
            Decision(
                claim=claim,
                verdict="undecided" if unlearned else decide(claim, estimate.low, estimate.high, p),
                because=unlearned,
                estimates=pair.rows,
                difference=pair.difference(estimate, p=estimate.p, p_adjusted=p),
            )
        )
    return decisions


def _why_not(claim: Claim, cast: Cast, failed: Mapping[str, str], measured: Mapping[str, _CardResults]) -> str:
    """Return why a claim could not be checked."""
    missing = [cast.lacking[role] for role in (claim.a, claim.b) if role in cast.lacking]
    if missing:
        return " and ".join(missing)
    if claim.card in failed:
        return failed[claim.card]
    card = measured[claim.card]
    names = cast.names()
    silent = [names[role] for role in (claim.a, claim.b) if card.row(claim.number, names[role]) is None]
    reasons = "".join(f" ({reason})" for reason in card.results.left_out)
    return f"{' and '.join(dict.fromkeys(silent))} cannot be asked for {claim.number.describe()}{reasons}"


def _unlearned(claim: Claim, learned: Sequence[Learning]) -> str:
    """Return what the role that a claim wants to have learned content lacks; empty if nothing."""
    if not claim.learned:
        return ""
    learning = next((each for each in learned if each.role == claim.learned), None)
    return f"whether {claim.learned} has learned content could not be asked" if learning is None else learning.lacking


def _results(
    claims: Sequence[Claim],
    cast: Cast,
    results_of_cards: Sequence[Results],
    decisions: Sequence[Decision],
    learned: Sequence[Learning],
    failed: Mapping[str, str],
) -> Results:
    """Return all cards' results as one: every estimate, and of the differences those that a sentence is about."""
    first = results_of_cards[0].manifest
    encoders = {encoder["fingerprint"]: encoder for each in results_of_cards for encoder in each.manifest["encoders"]}
    card = {
        "attribute": "study",
        "title": "The study's claims",
        "question": "What do encoders notice that differ in their supervision alone?",
        "about": "Each claim is one difference of two encoders at one question. One training run of each encoder: what "
        "another seed would give is not in the intervals.",
        "sources": list(dict.fromkeys(claim.source for claim in claims)),
        "claims": [claim.model_dump() for claim in claims],
        "cards": [each.manifest["card"] for each in results_of_cards],
    }
    differences = [_without_margin(each) for each in decisions] + [each.difference for each in learned]
    reasons = [*(reason for each in results_of_cards for reason in each.left_out), *failed.values()]
    return Results(
        manifest={**first, "card": card, "roles": cast.names(), "encoders": list(encoders.values())},
        rows=[*(row for each in results_of_cards for row in each.rows), *(row for row in differences if row)],
        scores=[scores for each in results_of_cards for scores in each.scores],
        conclusions=Conclusions(
            key=None,
            numbers={},
            sentences=[*(decision.sentence for decision in decisions), *(each.sentence for each in learned)],
            checks=[check for each in results_of_cards for check in each.conclusions.checks],
        ),
        left_out=list(dict.fromkeys(reasons)),
        claims=[decision.as_json() for decision in decisions],
    )


def _without_margin(decision: Decision) -> Result | None:
    """Return the difference, with a p only if it is of no difference."""
    if decision.difference is None or not decision.claim.margin:
        return decision.difference
    return replace(decision.difference, p=None, p_adjusted=None)
