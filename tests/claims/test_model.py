"""The table of claims: each names a question that its card answers, and says what would be wrong with it."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from embprobe.claims.model import CLAIMS, CONTENT, RANK, ROLES, Claim
from embprobe.probing.card import bundled_card
from embprobe.probing.questions import only
from embprobe.probing.results import Question


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.sentence)
def test_every_claim_names_a_question_that_its_card_answers_cheaply(claim: Claim) -> None:
    card = bundled_card(claim.attribute)
    (measure,) = only(card, [claim.question]).measures
    assert measure.images.limit is None or measure.images.limit <= 200
    misspelt = replace(claim, question=replace(claim.question, measure=claim.question.measure + "s"))
    with pytest.raises(ValueError, match="answers"):
        only(card, [misspelt.question])


@pytest.mark.parametrize(("attribute", "question"), [CONTENT, RANK], ids=["content", "rank"])
def test_what_shows_that_something_was_learned_is_asked_by_its_card(attribute: str, question: Question) -> None:
    assert len(only(bundled_card(attribute), [question]).measures) == 1


def test_the_four_attributes_are_decided_by_the_headlines_of_their_cards() -> None:
    for claim in CLAIMS[:4]:
        headline = bundled_card(claim.attribute).headline
        assert headline is not None
        assert claim.question == Question(headline.measure, headline.intervention, headline.strength)
    assert [claim.attribute for claim in CLAIMS[:4]] == ["category", "text", "color", "style"]


def test_claims_are_about_roles_that_exist_and_differ() -> None:
    assert {role for claim in CLAIMS for role in (claim.a, claim.b)} == set(ROLES)
    assert all(claim.a != claim.b and claim.learned in ("", *ROLES) for claim in CLAIMS)
    assert len({claim.sentence for claim in CLAIMS}) == len(CLAIMS)


def test_a_margin_goes_with_what_is_similar_or_at_least_as_good() -> None:
    assert all((claim.margin > 0) == (claim.kind != "more") for claim in CLAIMS)


def test_regions_by_hand() -> None:
    claim = replace(CLAIMS[0], margin=0.25)
    assert replace(claim, kind="more").region == (0, math.inf)
    assert replace(claim, kind="at least").region == (-0.25, math.inf)
    assert replace(claim, kind="similar").region == (-0.25, 0.25)
