"""Verdicts by hand: every kind of claim with its interval inside, outside and across the end of its region."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embprobe.claims.model import Claim, Relation
from embprobe.claims.verdicts import Decision, Verdict, decide, measure_difference
from embprobe.probing.key import Key
from embprobe.probing.pattern import KeyPattern
from embprobe.probing.results import Result
from embprobe.statistics import compare_recipes

CLAIM = Claim(
    a="clip",
    b="dino",
    relation="more",
    quality="sharp",
    card="mine",
    number=KeyPattern(kind="mine", target="notice"),
    source="nobody",
    names={"clip": "A", "dino": "B"},
)
MARGIN = 0.1


def claim_of(relation: Relation) -> Claim:
    return CLAIM.model_copy(update={"relation": relation, "margin": 0 if relation == "more" else MARGIN})


@pytest.mark.parametrize(
    ("relation", "low", "high", "verdict"),
    [
        ("more", 0.01, 0.3, "reproduced"),
        ("more", -0.01, 0.3, "undecided"),
        ("more", -0.3, 0.01, "undecided"),
        ("more", -0.3, -0.01, "not reproduced"),
        ("more", 0.0, 0.0, "undecided"),
        ("at least", 0.01, 0.3, "reproduced"),
        ("at least", -0.09, -0.01, "reproduced"),  # worse, but by less than the margin
        ("at least", -0.11, 0.3, "undecided"),
        ("at least", -0.3, -0.09, "undecided"),
        ("at least", -0.3, -0.11, "not reproduced"),
        ("similar", -0.09, 0.09, "reproduced"),
        ("similar", 0.01, 0.09, "reproduced"),  # there is a difference, and it is small
        ("similar", 0.05, 0.11, "undecided"),
        ("similar", -0.11, 0.11, "undecided"),
        ("similar", -0.2, -0.05, "undecided"),
        ("similar", 0.11, 0.2, "not reproduced"),
        ("similar", -0.2, -0.11, "not reproduced"),
        ("similar", 0.0, 0.0, "reproduced"),
    ],
)
def test_where_the_interval_lies_decides_if_p_allows(
    relation: Relation, low: float, high: float, verdict: Verdict
) -> None:
    assert decide(claim_of(relation), low, high, 0.049) == verdict
    assert decide(claim_of(relation), low, high, 0.05) == "undecided"


@pytest.mark.parametrize(
    ("relation", "difference", "p"),
    [
        # Eight concepts that differ alike: of 256 flips the two that flip all or none are as far from what is tested.
        ("more", 0.05, 2 / 256),
        ("more", -0.05, 2 / 256),
        ("more", 0.0, 1.0),  # every flip gives 0
        ("at least", 0.0, 2 / 256),
        ("at least", -0.1, 1.0),  # exactly the margin
        ("similar", 0.05, 2 / 256),
        ("similar", 0.1, 1.0),
        ("similar", -0.1, 1.0),
        ("similar", 0.3, 2 / 256),
    ],
)
def test_p_is_of_the_margin_by_hand(relation: Relation, difference: float, p: float) -> None:
    b = np.linspace(0, 1, 8)
    found = measure_difference(claim_of(relation), b + difference, b, list("abcdefgh"), seed=0).estimate
    assert found.p == pytest.approx(p)
    assert (found.estimate, found.low, found.high) == pytest.approx((difference,) * 3)


def test_of_two_margins_the_nearer_gives_p() -> None:
    claim, b = claim_of("similar"), np.zeros(4)
    # Differences of 0.06 and 0.02 lie beyond -0.1 and short of 0.1, all of them: two flips of 16 are as far, each way.
    assert measure_difference(claim, np.array([0.06, 0.02, 0.06, 0.02]), b, list("abcd"), seed=0).estimate.p == 2 / 16
    # 0.11 and 0.07, less 0.1: 0.01 and -0.03, twice, sum -0.04. Flipped, the two 0.03 give 0.06, 0, 0 or -0.06, the two
    # 0.01 at most 0.02: as far as 0.04 whenever the two 0.03 agree, in 8 of 16.
    assert measure_difference(claim, np.array([0.11, 0.07, 0.11, 0.07]), b, list("abcd"), seed=0).estimate.p == 8 / 16


def test_the_difference_is_of_images_and_its_interval_of_concepts() -> None:
    # Concept x has two images that differ by 1 and 0, y one that differs by 2: the mean is 3 / 3.
    found = measure_difference(CLAIM, np.array([1.0, 0.0, 2.0]), np.zeros(3), ["x", "x", "y"], seed=0).estimate
    assert (found.estimate, found.images, found.groups) == (1.0, 3, 2)
    assert (found.low, found.high) == (0.5, 2.0)  # x alone, y alone


def test_of_several_runs_the_interval_is_over_images_and_runs() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(200, 1))
    a, b = images + [0.5, 0.7, 0.6], images + [[0.1, 0.3]]
    groups = [f"{i}" for i in range(200)]
    found = measure_difference(CLAIM, a, b, groups, seed=0)
    assert found.estimate.estimate == pytest.approx(0.4)
    assert found.spread == pytest.approx((0.1, np.std([0.1, 0.3], ddof=1)))
    assert found.estimate == replace(compare_recipes(a, b, groups, seed=0).both, p=found.estimate.p)
    # the same means, each of one run: images alone vary, and the difference of all images is the same
    alone = measure_difference(CLAIM, a.mean(1), b.mean(1), groups, seed=0)
    assert alone.spread is None and alone.estimate.high - alone.estimate.low < 1e-9
    one = measure_difference(CLAIM, a, b[:, :1], groups, seed=0)  # a spread needs several runs of both
    assert one.spread is None and one.estimate.estimate == pytest.approx(0.5)


def test_over_runs_by_hand() -> None:
    # Images that do not differ: runs of 0.9 and 0.7, of 0.5 and 0.5. The difference is 0.3 with a standard error of 0.1
    # and one degree of freedom, so t is 3 against 0, and 1 against a margin of 0.2.
    a, b = np.tile([0.9, 0.7], (6, 1)), np.tile([0.5, 0.5], (6, 1))
    more = measure_difference(CLAIM, a, b, list("abcdef"), seed=0).estimate
    assert (more.estimate, more.low, more.high) == pytest.approx((0.3, 0.3 - 1.2706, 0.3 + 1.2706), abs=1e-4)
    assert more.p == pytest.approx(0.2048, abs=1e-4)
    similar = claim_of("similar").model_copy(update={"margin": 0.2})
    assert measure_difference(similar, a, b, list("abcdef"), seed=0).estimate.p == pytest.approx(0.5)


def test_p_of_a_margin_over_runs_is_that_of_its_nearer_end() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 50, 3))
    groups = [f"{i}" for i in range(50)]
    found = compare_recipes(a, b, groups, seed=0)
    similar = measure_difference(claim_of("similar"), a, b, groups, seed=0).estimate.p
    assert similar == max(found.p_against(-0.1), found.p_against(0.1))
    assert found.p_against(0) == pytest.approx(found.both.p)
    with pytest.raises(ValueError, match="finite number"):
        found.p_against(np.inf)


# --- in words ----------------------------------------------------------------------------------------------------

ROW = Result(
    attribute="mine", key=Key(kind="mine", target="notice"), encoder="x", role="subject", resampled="concept",
    groups=5, images=5, estimate=0.5, low=0.4, high=0.6, unit="accuracy",
)  # fmt: skip
DIFFERENCE = replace(ROW, against="y", estimate=0.25, low=0.125, high=0.5, p=0.001, p_adjusted=0.011)


def test_a_verdict_is_a_sentence_with_its_numbers() -> None:
    decision = Decision(claim=CLAIM, verdict="reproduced", estimates=(ROW, ROW), difference=DIFFERENCE)
    assert decision.sentence == (
        "Reproduced: A is more sharp than B (clip - dino at 'notice': +0.250, +0.125 to +0.500; p = 0.011)."
    )
    similar = claim_of("similar")
    margin = replace(decision, claim=similar, verdict="undecided", because="dino has learned nothing")
    assert margin.sentence == (
        "Undecided: A and B are similarly sharp (clip - dino at 'notice': +0.250, +0.125 to +0.500, margin 0.1; "
        "p = 0.011), because dino has learned nothing."
    )
    unasked = Decision(claim=CLAIM, verdict="not asked", because="bundled/dino is not trained")
    assert unasked.sentence == "Not asked: A is more sharp than B (bundled/dino is not trained)."


def test_for_machines_a_decision_holds_its_claim_and_its_numbers() -> None:
    told = Decision(claim=CLAIM, verdict="reproduced", estimates=(ROW, ROW), difference=DIFFERENCE).as_json()
    assert told["verdict"] == "reproduced" and told["sentence"] == "A is more sharp than B"
    assert told["number"] == {
        "kind": "mine",
        "target": "notice",
        "test": None,
        "variant": None,
        "condition": None,
        "strength": None,
        "measure": None,
        "intervention": None,
    }
    assert {name: told[name] for name in ("a", "b", "relation", "margin", "card", "source")} == {
        "a": "clip", "b": "dino", "relation": "more", "margin": 0.0, "card": "mine", "source": "nobody"
    }  # fmt: skip
    assert told["difference"]["p_adjusted"] == 0.011 and [row["estimate"] for row in told["estimates"]] == [0.5, 0.5]
    unasked = Decision(claim=CLAIM, verdict="not asked", because="no").as_json()
    assert unasked["difference"] is None and unasked["estimates"] is None
