"""Check claims: probe cards x the encoders in their roles -> a verdict on every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from embprobe.claims.learning import Learning
from embprobe.claims.model import CONTENT, RANK, Claim, VectorChoice, bundled_claims
from embprobe.claims.numbers import CardNumbers, RunNumbers, Wanted, measure_cards
from embprobe.claims.pairs import Answer, PairQuestion, measure_pairs
from embprobe.claims.questions import LACKING, Answered, measure_questions
from embprobe.claims.roles import PIXELS, TWIN, Cast
from embprobe.claims.verdicts import Decision, Difference, decide, measure_difference
from embprobe.encoders.spec import Encoder
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.probing.context import NotApplicable
from embprobe.probing.results import Conclusions, Result, Results
from embprobe.statistics import holm, resample
from embprobe.system.text import listed
from embprobe.system.threads import one_thread
from embprobe.vlm.compare import VlmComparison

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
    """Encoders by role; several are training runs."""
    inside: VlmComparison | None = None
    """How a small vision-language model answers on each encoder's tokens, if it was asked."""


def run_study(
    cast: Cast,
    images: Images,
    session: Session,
    *,
    claims: Sequence[Claim] | None = None,
    vlm: bool = False,
) -> Study:
    """Check every claim whose roles are played on these images; the others are listed with why they are not checked.

    Each card is run once, with no more measures and encoders than are needed.

    Args:
        cast: The encoders in their roles.
        images: The images that the cards are put to.
        session: The workspace, the device and the seed.
        claims: Those to check; by default all that come with embprobe.
        vlm: Whether to train a small vision-language model on each encoder's tokens, for the claims about questions;
            else these are not asked.

    Raises:
        UsageError: No claim has both its roles played, or a claim's card does not give its number.
        NotApplicable: No claim can be checked on these images.
    """
    claims = bundled_claims() if claims is None else claims
    asked = [_Asked.of(claim, cast) for claim in claims]
    played = [each for each in asked if each is not None]
    if not played:
        lacking = "; ".join(dict.fromkeys(cast.lacking.values()))
        raise UsageError(f"No claim has both its encoders: {lacking}. Name them, as in -e clip=NAME -e dino=NAME.")
    answered = _answered(played, cast, images, session) if vlm else LACKING
    with one_thread():
        return _decided(claims, asked, played, cast, images, session, answered)


def _answered(asked: Sequence[_Asked], cast: Cast, images: Images, session: Session) -> Answered | str:
    """Return the answers of the models of all encoders that claims about questions need, or why there are none."""
    encoders = {each.spec.name: each for one in asked if one.claim.questions for half in one.encoders for each in half}
    if not encoders:
        return LACKING
    references = [each for each in cast.references if each.spec.name in (cast.twin.spec.name, PIXELS)]
    beside = [each for each in references if each.spec.name not in encoders]
    try:
        return measure_questions(list(encoders.values()), beside, images, session)
    except NotApplicable as error:
        return str(error).removesuffix(".")


def _decided(
    claims: Sequence[Claim],
    asked: Sequence[_Asked | None],
    played: Sequence[_Asked],
    cast: Cast,
    images: Images,
    session: Session,
    answered: Answered | str,
) -> Study:
    """Measure what is no question to a language model, and decide."""
    measured = _measure(played, cast, images, session, answered)
    learned = [each for role in cast.encoders if (each := _learning(role, cast, measured.cards, session.seed))]
    decisions = _decide(claims, asked, cast, measured, learned, session.seed)
    if all(decision.difference is None for decision in decisions):
        reasons = "; ".join(dict.fromkeys(decision.because for decision in decisions))
        raise NotApplicable(f"None of the claims can be asked of '{images.name}': {reasons}.")
    results = _results(claims, cast, measured, decisions, learned)
    names = {
        role: listed([name, *(run.spec.name for run in cast.more.get(role, ()))]) for role, name in cast.names().items()
    }
    inside = None if isinstance(answered, str) else answered.comparison
    return Study(results, decisions, learned, names, inside)


@dataclass(frozen=True)
class _Asked:
    """A claim whose roles are both played, with the encoders that answer it: a training run or several of each role."""

    claim: Claim
    encoders: _Runs
    others: _Runs | None
    """The same encoders with the other vector, if that is another one."""

    @classmethod
    def of(cls, claim: Claim, cast: Cast) -> Self | None:
        """Return the claim with its encoders; None if a role is not played."""
        if not {claim.a, claim.b} <= cast.encoders.keys():
            return None
        own, tokens = ((cast.answering(claim.a, vectors), cast.answering(claim.b, vectors)) for vectors in _CHOICES)
        if claim.vectors == _CHOICES[1]:
            own, tokens = tokens, own
        return cls(claim, own, tokens if claim.vectors and own != tokens else None)


_Runs = tuple[Sequence[Encoder], Sequence[Encoder]]
_CHOICES: tuple[VectorChoice, VectorChoice] = ("own", "class token")


@dataclass(frozen=True)
class _Measured:
    """The numbers of all cards and pairs, and why some are missing."""

    cards: Mapping[str, CardNumbers]
    failed: Mapping[str, str]
    pairs: Mapping[tuple[str, str, str], Answer]
    questions: Answered | str
    """Or why there are none."""

    def answer(self, claim: Claim, encoders: _Runs) -> Answer:
        """Return the numbers of two roles for a claim, or why there are none."""
        a, b = ([encoder.spec.name for encoder in half] for half in encoders)
        if claim.questions:
            return self.questions if isinstance(self.questions, str) else self.questions.numbers(claim.questions, a, b)
        if claim.number is None:
            answers = [self.pairs[one, other, claim.pairs] for one, other in zip(a, b, strict=False)]
            missing = next((each for each in answers if isinstance(each, str)), None)
            return missing or RunNumbers.joined([each for each in answers if not isinstance(each, str)])
        if claim.card in self.failed:
            return self.failed[claim.card]
        card = self.cards[claim.card]
        found = card.numbers(claim.number, a, b)
        if found is not None:
            return found
        silent = [name for name in dict.fromkeys([*a, *b]) if card.row(claim.number, name) is None]
        reasons = "".join(f" ({reason})" for reason in card.results.left_out)
        return f"{listed(silent)} cannot be asked for {claim.question}{reasons}"


def _measure(
    asked: Sequence[_Asked], cast: Cast, images: Images, session: Session, answered: Answered | str
) -> _Measured:
    """Measure what the claims need, and what each encoder has learned."""
    everyone = [run for role in cast.encoders for run in cast.answering(role, "own")]
    wanted = [Wanted(*CONTENT, everyone), Wanted(*RANK, everyone)]
    questions: list[PairQuestion] = []
    for each in asked:
        for encoders in filter(None, (each.encoders, each.others)):
            if each.claim.questions:
                continue
            if each.claim.number is None:  # pairs are of two networks: run by run
                questions += [PairQuestion(a, b, each.claim.pairs) for a, b in zip(*encoders, strict=False)]
            else:
                wanted.append(Wanted(each.claim.card, each.claim.number, [*encoders[0], *encoders[1]]))
    cards, failed = measure_cards(wanted, cast.references, images, session)
    pairs = measure_pairs(questions, images, session) if questions else {}
    return _Measured(cards, failed, pairs, answered)


def _learning(role: str, cast: Cast, measured: Mapping[str, CardNumbers], seed: int) -> Learning | None:
    """Return how an encoder does beside its twin, if that could be measured."""
    card, number = CONTENT
    names = cast.names()
    found = measured[card].numbers(number, [names[role]], [names[TWIN]]) if card in measured else None
    if found is None:
        return None
    a, b = found.arrays()
    own, twin = found.means(seed=seed)
    drawn = resample(a - b, found.groups, seed=seed, unit=own.resampled)
    pixels = measured[card].row(number, PIXELS)
    return Learning(
        role=role,
        own=own,
        twin=twin,
        difference=found.difference(drawn.mean(0), seed=seed),
        pixels=None if pixels is None else pixels.estimate,
        rank=measured[RANK[0]].row(RANK[1], names[role]) if RANK[0] in measured else None,
    )


def _decide(
    claims: Sequence[Claim],
    asked: Sequence[_Asked | None],
    cast: Cast,
    measured: _Measured,
    learned: Sequence[Learning],
    seed: int,
) -> list[Decision]:
    """Return one decision a claim, with p corrected over those that were checked."""
    answers = [None if each is None else measured.answer(each.claim, each.encoders) for each in asked]
    estimates = [
        _estimated(claim, answer, seed) if isinstance(answer, RunNumbers) else None
        for claim, answer in zip(claims, answers, strict=True)
    ]
    adjusted = iter(holm([each.estimate.p or 0.0 for each in estimates if each is not None]))
    decisions = []
    for claim, each, answer, found in zip(claims, asked, answers, estimates, strict=True):
        if each is None or found is None or not isinstance(answer, RunNumbers):
            reason = answer if isinstance(answer, str) else _missing(claim, cast)
            decisions.append(Decision(claim=claim, verdict="not asked", because=reason))
            continue
        p = next(adjusted)
        unlearned = _unlearned(claim, learned)
        decisions.append(
            Decision(
                claim=claim,
                verdict="undecided" if unlearned else decide(claim, found.estimate.low, found.estimate.high, p),
                because=unlearned,
                estimates=answer.means(seed=seed),
                difference=answer.difference(found.estimate, seed=seed, p=found.estimate.p, p_adjusted=p),
                runs=answer.runs,
                spread=found.spread,
                beside=_beside(each, measured, seed),
            )
        )
    return decisions


def _estimated(claim: Claim, numbers: RunNumbers, seed: int) -> Difference:
    return measure_difference(claim, *numbers.arrays(), numbers.groups, seed=seed, unit=numbers.rows[0][0].resampled)


def _beside(asked: _Asked, measured: _Measured, seed: int) -> Result | None:
    """Return the same difference with the other vector, if there is one; it is not tested."""
    if asked.others is None:
        return None
    answer = measured.answer(asked.claim, asked.others)
    if isinstance(answer, str):
        return None
    return answer.difference(_estimated(asked.claim, answer, seed).estimate, seed=seed)


def _missing(claim: Claim, cast: Cast) -> str:
    """Return why a role of a claim is not played."""
    return listed([cast.lacking[role] for role in (claim.a, claim.b) if role in cast.lacking])


def _unlearned(claim: Claim, learned: Sequence[Learning]) -> str:
    """Return what the role that a claim wants to have learned content lacks; empty if nothing."""
    if not claim.learned:
        return ""
    learning = next((each for each in learned if each.role == claim.learned), None)
    return f"whether {claim.learned} has learned content could not be asked" if learning is None else learning.lacking


def _results(
    claims: Sequence[Claim],
    cast: Cast,
    measured: _Measured,
    decisions: Sequence[Decision],
    learned: Sequence[Learning],
) -> Results:
    """Return all cards' results as one: every estimate, and of the differences those that a sentence is about."""
    results_of_cards = [each.results for each in measured.cards.values()]
    pairs = [answer for answer in measured.pairs.values() if isinstance(answer, RunNumbers)]
    first = results_of_cards[0].manifest
    encoders = {encoder["fingerprint"]: encoder for each in results_of_cards for encoder in each.manifest["encoders"]}
    card = {
        "attribute": "study",
        "title": "The study's claims",
        "question": "What do encoders notice that differ in their supervision alone?",
        "about": "Each claim is one difference of two encoders at one question. Where a role is played by one training "
        "run, what another seed would give is not in the intervals.",
        "sources": list(dict.fromkeys(claim.source for claim in claims)),
        "claims": [claim.model_dump() for claim in claims],
        "cards": [each.manifest["card"] for each in results_of_cards],
    }
    differences = [_without_margin(each) for each in decisions] + [each.difference for each in learned]
    reasons = [*(reason for each in results_of_cards for reason in each.left_out), *measured.failed.values()]
    return Results(
        manifest={
            **first,
            "card": card,
            "roles": cast.names(),
            "more_runs": {role: [run.spec.name for run in runs] for role, runs in cast.more.items()},
            "encoders": list(encoders.values()),
        },
        rows=[
            *(row for each in results_of_cards for row in each.rows),
            *(row for each in pairs for half in each.rows for row in half),
            *(() if isinstance(measured.questions, str) else measured.questions.rows),
            *(row for row in differences if row),
        ],
        scores=[
            *(scores for each in results_of_cards for scores in each.scores),
            *(scores for each in pairs for half in each.scores for scores in half),
            *(() if isinstance(measured.questions, str) else measured.questions.scores),
        ],
        conclusions=Conclusions(
            key=None,
            numbers={},
            sentences=[*(decision.sentence for decision in decisions), *(each.sentence for each in learned)],
            checks=[  # that a card's headline is unchecked says nothing of a claim
                check for each in results_of_cards for check in each.conclusions.checks if check.passed is not None
            ],
        ),
        left_out=list(dict.fromkeys(reasons)),
        claims=[decision.as_json() for decision in decisions],
    )


def _without_margin(decision: Decision) -> Result | None:
    """Return the difference, with a p only if it is of no difference."""
    if decision.difference is None or not decision.claim.margin:
        return decision.difference
    return replace(decision.difference, p=None, p_adjusted=None)
