"""The controlled study: probe cards x the encoders in their roles -> a verdict on every claim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from embprobe.claims.content import Content
from embprobe.claims.model import CLAIMS, CONTENT, RANK, ROLES, Claim
from embprobe.claims.roles import PIXELS, TWIN, Cast
from embprobe.claims.verdicts import Decision, decide, measure_difference
from embprobe.embeddings.session import Session
from embprobe.errors import UsageError
from embprobe.images.rows import Images
from embprobe.probing.card import bundled_card
from embprobe.probing.context import NotApplicable
from embprobe.probing.questions import find_question, only
from embprobe.probing.results import Conclusions, Question, Result, Results, Scores
from embprobe.probing.run import run_probe
from embprobe.statistics import Estimate, holm, resample


@dataclass(frozen=True)
class Study:
    """What became of the claims, and everything that was measured for it."""

    results: Results
    decisions: Sequence[Decision]
    """One a claim, in the claims' order."""
    contents: Sequence[Content]
    """One an encoder."""
    names: Mapping[str, str]
    """Encoders by role."""


def run_study(cast: Cast, images: Images, session: Session, *, claims: Sequence[Claim] = CLAIMS) -> Study:
    """Every claim whose roles are played, asked of these images; the others are listed with why they are not asked.

    Each card is run once, with no more measures and encoders than are needed. Raises :class:`UsageError` if no claim
    has both its roles played, :class:`NotApplicable` if none can be asked of these images.
    """
    played = [claim for claim in claims if {claim.a, claim.b} <= cast.encoders.keys()]
    if not played:
        lacking = "; ".join(dict.fromkeys(cast.lacking.values()))
        raise UsageError(f"No claim has both its encoders: {lacking}. Name them, as in -e clip=NAME -e dino=NAME.")
    answers, unasked = _ask(played, cast, images, session)
    contents = [content for role in cast.encoders if (content := _content(role, cast, answers, session.seed))]
    decisions = _decide(claims, cast, answers, unasked, contents, session.seed)
    if all(decision.difference is None for decision in decisions):
        reasons = "; ".join(dict.fromkeys(decision.because for decision in decisions))
        raise NotApplicable(f"None of the claims can be asked of '{images.name}': {reasons}.")
    results = _results(claims, cast, [each.results for each in answers.values()], decisions, contents, unasked)
    return Study(results, decisions, contents, cast.names())


@dataclass(frozen=True)
class _Pair:
    """Two encoders' estimates at one question, and the scores behind them, of the same images."""

    rows: tuple[Result, Result]
    scores: tuple[Scores, Scores]

    def difference(self, found: Estimate, *, p: float | None = None, p_adjusted: float | None = None) -> Result:
        """The row of the first less the second."""
        first, second = self.rows
        return replace(
            first,
            against=second.encoder,
            kind="difference",
            estimate=found.estimate,
            low=found.low,
            high=found.high,
            p=p,
            p_adjusted=p_adjusted,
        )


@dataclass(frozen=True)
class _Answers:
    """What one card found."""

    results: Results

    def row(self, question: Question, encoder: str) -> Result | None:
        """An encoder's estimate, if it was asked."""
        meant = find_question(question, [row.question for row in self.results.rows])
        return next((row for row in self.results.rows if (row.question, row.who) == (meant, encoder)), None)

    def pair(self, question: Question, a: str, b: str) -> _Pair | None:
        """Two encoders, if both were asked."""
        first, second = self.row(question, a), self.row(question, b)
        if first is None or second is None:
            return None
        scores = {each.encoder: each for each in self.results.scores if each.question == first.question}
        return _Pair((first, second), (scores[a], scores[b]))


def _ask(
    claims: Sequence[Claim], cast: Cast, images: Images, session: Session
) -> tuple[dict[str, _Answers], dict[str, str]]:
    """By card what it found, or why nothing of it could be asked."""
    wanted = [(*CONTENT, ROLES), (*RANK, ROLES), *((c.attribute, c.question, (c.a, c.b)) for c in claims)]
    answers: dict[str, _Answers] = {}
    unasked: dict[str, str] = {}
    for attribute in dict.fromkeys(attribute for attribute, _, _ in wanted):
        here = [(question, roles) for of, question, roles in wanted if of == attribute]
        card = only(bundled_card(attribute), [question for question, _ in here])
        encoders = cast.playing(role for role in ROLES if any(role in roles for _, roles in here))
        try:  # as references, who are not compared: that is the claims' business
            answers[attribute] = _Answers(run_probe(card, images, [], encoders, session))
        except NotApplicable as reason:
            unasked[attribute] = str(reason).removesuffix(".")
    return answers, unasked


def _content(role: str, cast: Cast, answers: Mapping[str, _Answers], seed: int) -> Content | None:
    """How an encoder does beside its twin, if that could be asked."""
    attribute, question = CONTENT
    names = cast.names()
    pair = answers[attribute].pair(question, names[role], names[TWIN]) if attribute in answers else None
    if pair is None:
        return None
    a, b = pair.scores
    found = resample(np.subtract(a.values, b.values)[:, None], a.groups, seed=seed, unit=pair.rows[0].resampled)
    pixels = answers[attribute].row(question, PIXELS)
    return Content(
        role=role,
        own=pair.rows[0],
        twin=pair.rows[1],
        difference=pair.difference(found.mean(0)),
        pixels=None if pixels is None else pixels.estimate,
        rank=answers[RANK[0]].row(RANK[1], names[role]) if RANK[0] in answers else None,
    )


def _decide(
    claims: Sequence[Claim],
    cast: Cast,
    answers: Mapping[str, _Answers],
    unasked: Mapping[str, str],
    contents: Sequence[Content],
    seed: int,
) -> list[Decision]:
    """One decision a claim, with p corrected over those that were asked."""
    names = cast.names()
    pairs = [
        answers[claim.attribute].pair(claim.question, names[claim.a], names[claim.b])
        if claim.attribute in answers and {claim.a, claim.b} <= names.keys()
        else None
        for claim in claims
    ]
    found = [
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
    adjusted = iter(holm([each.p or 0.0 for each in found if each is not None]))
    decisions = []
    for claim, pair, each in zip(claims, pairs, found, strict=True):
        if pair is None or each is None:
            reason = _why_not(claim, cast, unasked, answers)
            decisions.append(Decision(claim=claim, verdict="not asked", because=reason))
            continue
        p = next(adjusted)
        unlearned = _unlearned(claim, contents)
        decisions.append(
            Decision(
                claim=claim,
                verdict="undecided" if unlearned else decide(claim, each.low, each.high, p),
                because=unlearned,
                estimates=pair.rows,
                difference=pair.difference(each, p=each.p, p_adjusted=p),
            )
        )
    return decisions


def _why_not(claim: Claim, cast: Cast, unasked: Mapping[str, str], answers: Mapping[str, _Answers]) -> str:
    """Why a claim could not be asked."""
    missing = [cast.lacking[role] for role in (claim.a, claim.b) if role in cast.lacking]
    if missing:
        return " and ".join(missing)
    if claim.attribute in unasked:
        return unasked[claim.attribute]
    found = answers[claim.attribute]
    names = cast.names()
    silent = [names[role] for role in (claim.a, claim.b) if found.row(claim.question, names[role]) is None]
    reasons = "".join(f" ({reason})" for reason in found.results.left_out)
    return f"{' and '.join(dict.fromkeys(silent))} cannot be asked for '{claim.question}'{reasons}"


def _unlearned(claim: Claim, contents: Sequence[Content]) -> str:
    """What the role that a claim wants to have learned content lacks; empty if nothing."""
    if not claim.learned:
        return ""
    content = next((each for each in contents if each.role == claim.learned), None)
    return f"whether {claim.learned} has learned content could not be asked" if content is None else content.lacking


def _results(
    claims: Sequence[Claim],
    cast: Cast,
    found: Sequence[Results],
    decisions: Sequence[Decision],
    contents: Sequence[Content],
    unasked: Mapping[str, str],
) -> Results:
    """All cards' results as one: every estimate, and of the differences those that something was said of."""
    first = found[0].manifest
    encoders = {encoder["fingerprint"]: encoder for results in found for encoder in results.manifest["encoders"]}
    card = {
        "attribute": "study",
        "title": "The study's claims",
        "question": "What do encoders notice that differ in their supervision alone?",
        "about": "Each claim is one difference of two encoders at one question. One training run of each encoder: what "
        "another seed would give is not in the intervals.",
        "sources": list(dict.fromkeys(claim.source for claim in claims)),
        "claims": [asdict(claim) for claim in claims],
        "cards": [results.manifest["card"] for results in found],
    }
    differences = [_without_margin(each) for each in decisions] + [content.difference for content in contents]
    return Results(
        {**first, "card": card, "roles": cast.names(), "encoders": list(encoders.values())},
        [*(row for results in found for row in results.rows), *(row for row in differences if row is not None)],
        [scores for results in found for scores in results.scores],
        Conclusions(
            None,
            {},
            [*(decision.sentence for decision in decisions), *(content.sentence for content in contents)],
            [check for results in found for check in results.conclusions.checks],
        ),
        list(dict.fromkeys([*(reason for results in found for reason in results.left_out), *unasked.values()])),
        claims=[decision.as_json() for decision in decisions],
    )


def _without_margin(decision: Decision) -> Result | None:
    """The difference, with a p only if it is of no difference."""
    if decision.difference is None or not decision.claim.margin:
        return decision.difference
    return replace(decision.difference, p=None, p_adjusted=None)
