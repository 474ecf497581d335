"""What is concluded: a ratio, a difference or nothing, with numbers made for it; and whether the probe counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embprobe.measures.vectors import ScoreArray
from embprobe.probing.card import Card
from embprobe.probing.conclusions import Measured, conclude
from embprobe.probing.context import GUESSING
from embprobe.probing.key import Key
from embprobe.probing.results import Conclusions, Result
from embprobe.probing.scores import Role, Scores
from embprobe.statistics import Estimate, holm, resample
from tests.probing.conftest import card_of

Q = Key(kind="notice", target="notice")
"""Of a kind that another package may have added: its sentence is its target."""
NAMED = {"kind": "notice", "target": "notice"}
HEADLINE = NAMED | {"says": "notices it"}
ANY = {"kind": "geometry", "statistics": ["uniformity"]}
GROUPS = 12
STEPS = np.linspace(-0.1, 0.1, GROUPS)
"""Noise of mean 0."""


def card(headline: Mapping[str, Any] | None = HEADLINE, *checks: Mapping[str, Any]) -> Card:
    named = sorted({check[key] for check in checks for key in ("encoder", "no_better_than") if key in check})
    return card_of(ANY, headline=headline, must_fail=list(checks), references=named)


def concluded(
    card: Card,
    measured: Mapping[Key, Mapping[str, ScoreArray]],
    subjects: Sequence[str] = ("a", "b"),
    *,
    floor: float | None = 0.0,
    unit: str = "a unit",
) -> Conclusions:
    """What is concluded from scores, one a concept, by key and encoder."""
    groups = [f"c{i}" for i in range(GROUPS)]
    scores, resampled, rows = {}, {}, []

    def role(encoder: str) -> Role:
        return "baseline" if encoder == GUESSING else "subject" if encoder in subjects else "reference"

    def row(key: Key, encoder: str, found: Estimate, against: str | None = None) -> Result:
        return Result(
            attribute="mine",
            key=key,
            encoder=encoder,
            role=role(encoder),
            against=against,
            resampled="concept",
            groups=found.groups,
            images=found.images,
            estimate=found.estimate,
            low=found.low,
            high=found.high,
            p=found.p,
            unit=unit,
            floor=floor,
        )

    for key, by_encoder in measured.items():
        scores[key] = [
            Scores(
                key=key,
                encoder=encoder,
                role=role(encoder),
                unit=unit,
                floor=floor,
                keys=groups,
                groups=groups,
                values=values,
            )
            for encoder, values in by_encoder.items()
        ]
        resampled[key] = found = resample(np.array([each.values for each in scores[key]]).T, groups, seed=0)
        names = list(by_encoder)
        rows += [row(key, name, found.mean(i)) for i, name in enumerate(names)]
        rows += [
            row(key, a, found.difference(names.index(a), names.index(b)), b)
            for i, a in enumerate(subjects)
            for b in subjects[i + 1 :]
            if a in names and b in names
        ]
    tested = [i for i, each in enumerate(rows) if each.p is not None]
    for i, p in zip(tested, holm([rows[i].p or 0 for i in tested]), strict=True):
        rows[i] = replace(rows[i], p_adjusted=p)
    return conclude(card, Measured(scores, resampled, rows), subjects)


# --- sentences ---------------------------------------------------------------------------------------------------


def test_twice_as_much_is_a_ratio() -> None:
    # a is 2 b in every concept, so in every resample: no interval. Of 2^12 flips two are as far: p = 2 / 4096.
    found = concluded(card(), {Q: {"a": 2 * (1 + STEPS), "b": 1 + STEPS}})
    assert found.sentences == ["a notices it 2.00 times as much as b (2.00 to 2.00, p < 0.001, 12 concepts)."]
    assert found.key == Q
    assert found.numbers == {"a": pytest.approx(2), "b": pytest.approx(1)}


def test_the_larger_is_named_first() -> None:
    headline = HEADLINE | {"much": "as often", "says": "tells cats"}
    found = concluded(card(headline), {Q: {"a": 1 + STEPS, "b": 2 * (1 + STEPS)}})
    assert found.sentences == ["b tells cats 2.00 times as often as a (2.00 to 2.00, p < 0.001, 12 concepts)."]


@pytest.mark.parametrize("larger_first", [True, False])
def test_where_one_is_not_above_zero_it_is_a_difference(larger_first: bool) -> None:
    # b is 0 on average and a one more, in every concept.
    more, none = 1 + 10 * STEPS, 10 * STEPS
    scores = {"a": more, "b": none} if larger_first else {"a": none, "b": more}
    first, second = ("a", "b") if larger_first else ("b", "a")
    found = concluded(card(), {Q: scores})
    assert found.sentences == [
        f"{first} notices it more than {second}: by 1.000 (1.000 to 1.000, a unit; p < 0.001, 12 concepts)."
    ]


def test_an_interval_beyond_zero_stays_beyond_it_when_the_names_are_turned() -> None:
    """p comes from sign flips, the interval from the bootstrap: near 0.05 they may differ."""
    scores = {"a": 10 * STEPS, "b": 1 + 10 * STEPS}
    of_both = [
        Scores(key=Q, encoder=name, role="subject", unit="a unit", keys=list("0" * GROUPS), groups=[], values=values)
        for name, values in scores.items()
    ]
    resampled = {Q: resample(np.array(list(scores.values())).T, [str(i) for i in range(GROUPS)], seed=0)}
    difference = Result(
        attribute="mine", key=Q, encoder="a", role="subject", against="b", resampled="concept", groups=GROUPS,
        images=GROUPS, estimate=-0.2, low=-0.4, high=0.01, p=0.04, p_adjusted=0.04, unit="a unit",
    )  # fmt: skip
    (sentence,) = conclude(card(), Measured({Q: of_both}, resampled, [difference]), ["a", "b"]).sentences
    assert sentence == "b notices it more than a: by 0.200 (-0.010 to 0.400, a unit; p = 0.040, 12 concepts)."


def test_what_is_undecided_is_said_to_be() -> None:
    # They differ by +0.5 and -0.5 in turn, less 0.05 in all: half of the flips are at least as far.
    signs = np.where(np.arange(GROUPS) % 2, 0.5, -0.5)
    (sentence,) = concluded(card(), {Q: {"a": 1 + STEPS, "b": 1.05 + STEPS + signs}}).sentences
    assert sentence.startswith("Undecided whether a or b notices it more: the difference is -0.050 (-0.")
    assert "to +0." in sentence and "12 concepts); these images would have shown one of 0." in sentence
    assert "p = " in sentence and float(sentence.split("p = ")[1][:5]) > 0.3


def test_p_is_the_corrected_one() -> None:
    # p of this difference is 2 / 4096; a second, of another key, makes it twice that with Holm.
    other, third = replace(Q, target="other"), replace(Q, target="third")
    scores = {"a": 10 * (1 + STEPS), "b": 1 + STEPS}
    (sentence,) = concluded(card(), {Q: scores, other: scores, third: scores}).sentences
    assert f"p = {3 * 2 / 4096:.3f}" in sentence


def test_three_encoders_make_three_sentences_and_references_none() -> None:
    scores = {
        "a": 3 * (1 + STEPS),
        "b": 2 * (1 + STEPS),
        "c": 1 + STEPS,
        "reference/pixels": 5 + STEPS,
        GUESSING: STEPS,
    }
    found = concluded(card(), {Q: scores}, subjects=["a", "b", "c"])
    assert [sentence.split(" times")[0] for sentence in found.sentences] == [
        "a notices it 1.50",
        "a notices it 3.00",
        "b notices it 2.00",
    ]
    assert list(found.numbers) == ["a", "b", "c"]


def test_one_encoder_has_a_number_and_no_sentence() -> None:
    found = concluded(card(), {Q: {"a": 1 + STEPS}}, subjects=["a"])
    assert found.numbers == {"a": pytest.approx(1)} and found.sentences == []


def test_a_subject_that_was_not_asked_is_in_no_sentence() -> None:
    """One without text, under zero-shot."""
    found = concluded(card(), {Q: {"a": 1 + STEPS, "c": 2 + STEPS}}, subjects=["a", "b", "c"])
    assert list(found.numbers) == ["a", "c"] and len(found.sentences) == 1


def test_the_headline_is_the_number_that_is_meant() -> None:
    done = [("hue", 60), ("hue", 120), ("tint", 60)]
    keys = [replace(Q, condition=name, strength=strength) for name, strength in done]
    scores = {key: {"a": float(i) + STEPS, "b": STEPS} for i, key in enumerate(keys)}
    for wanted, expected in (({}, 0), ({"strength": 120}, 1), ({"condition": "tint"}, 2)):
        found = concluded(card(HEADLINE | wanted), scores)
        assert found.key == keys[expected]
        assert found.numbers["a"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("headline", [None, HEADLINE | {"target": "else"}, HEADLINE | {"strength": 3}])
def test_without_what_the_headline_asks_there_is_none(headline: dict[str, Any] | None) -> None:
    found = concluded(card(headline), {Q: {"a": 1 + STEPS, "b": STEPS}})
    assert found == Conclusions(key=None, numbers={}, sentences=[], checks=[])


def test_what_was_asked_in_folds_counts_for_a_test_that_could_not_be_made() -> None:
    exact = Key(kind="decoding", target="cat", variant="linear probe", test="unseen concepts")
    in_folds = replace(exact, test="unseen images")
    fields = {"kind": "decoding", "target": "cat", "variant": "linear probe", "test": "unseen concepts"}
    for spelling in (fields, {"measure": "cat decoding, unseen concepts"}):
        named = card(spelling | {"says": "tells cats"})
        assert concluded(named, {in_folds: {"a": 1 + STEPS}}, subjects=["a"]).key == in_folds
        both = {in_folds: {"a": 1 + STEPS}, exact: {"a": 1 + STEPS}}
        assert concluded(named, both, subjects=["a"]).key == exact


def test_above_guessing_it_is_a_ratio_of_what_is_above_it() -> None:
    # 0.7 and 0.3 where guessing has 0.1: 0.6 / 0.2. As shares of right answers it would be 2.33 times as often.
    found = concluded(card(), {Q: {"a": 0.7 + STEPS, "b": 0.3 + STEPS / 3}}, floor=0.1, unit="accuracy")
    (sentence,) = found.sentences
    assert sentence == (
        "a notices it 3.00 times as far above guessing as b (3.00 to 3.00, p < 0.001, 12 concepts): 0.700 and 0.300, "
        "guessing 0.100."
    )


def test_a_number_without_a_floor_is_compared_by_its_difference() -> None:
    (sentence,) = concluded(card(), {Q: {"a": 2 + STEPS, "b": 1 + STEPS}}, floor=None).sentences
    assert sentence == "a notices it more than b: by 1.000 (1.000 to 1.000, a unit; p < 0.001, 12 concepts)."


def test_the_sentence_names_the_test_of_the_number() -> None:
    for test in ("unseen concepts", "unseen images"):
        key = Key(kind="decoding", target="cat", variant="linear probe", test=test)
        headline = {"kind": "decoding", "target": "cat", "test": "unseen concepts", "says": "tells cats in {test}"}
        (sentence,) = concluded(card(headline), {key: {"a": 2 + STEPS, "b": 1 + STEPS}}).sentences
        assert sentence.startswith(f"a tells cats in {test} 2.00 times as much as b (")


# --- who must fail -----------------------------------------------------------------------------------------------

FAILS = NAMED | {"encoder": "reference/pixels", "because": "it cannot"}
NOISE = 10 * STEPS


@pytest.mark.parametrize(
    ("bound", "mean", "passed", "text"),
    [
        ({"at_most": 1.5}, 0.29, True, "at most 1.5 times guessing (0.300)."),
        ({"at_most": 1.5}, 0.31, False, "above 1.5 times guessing (0.300)."),
        ({"within": 0.1}, 0.29, True, "at most a blind encoder's 0.200 + 0.1 (0.300)."),
        ({"within": 0.1}, 0.31, False, "above a blind encoder's 0.200 + 0.1 (0.300)."),
        ({"below": 0.3}, 0.29, True, "at most the limit (0.300)."),
        ({"below": 0.3}, 0.31, False, "above the limit (0.300)."),
        ({"below": -1}, -0.5, False, "above the limit (-1.000)."),
    ],
)
def test_bounds_by_hand(bound: dict[str, float], mean: float, passed: bool, text: str) -> None:
    scores = {"a": 1 + STEPS, "reference/pixels": mean + STEPS, GUESSING: 0.2 + STEPS}
    (check,) = concluded(card(HEADLINE, FAILS | bound), {Q: scores}, subjects=["a"], floor=0.2).checks
    assert check.passed is passed
    assert check.text.startswith(f"reference/pixels must fail at 'notice', because it cannot: {mean:.3f} (")
    assert check.text.endswith(f"), {text}")
    assert (check.encoder, check.key) == ("reference/pixels", Q)


@pytest.mark.parametrize(
    ("mean", "passed", "text"),
    [
        (1.2, False, "+0.200 (+0.200 to +0.200)."),  # 0.2 better in every concept
        (0.8, True, "-0.200 (-0.200 to -0.200)."),
    ],
)
def test_no_better_than_another_by_hand(mean: float, passed: bool, text: str) -> None:
    must = FAILS | {"no_better_than": "reference/random-vit"}
    scores = {"reference/pixels": mean + STEPS, "reference/random-vit": 1 + STEPS}
    (check,) = concluded(card(HEADLINE, must), {Q: scores}, subjects=[]).checks
    assert check.passed is passed
    assert check.text == (
        f"reference/pixels must be no better than reference/random-vit at 'notice', because it cannot: {text}"
    )


def test_better_within_the_interval_is_no_better() -> None:
    must = FAILS | {"no_better_than": "reference/random-vit"}
    scores = {"reference/pixels": 1.05 + NOISE, "reference/random-vit": 1 - NOISE}
    (check,) = concluded(card(HEADLINE, must), {Q: scores}, subjects=[]).checks
    assert check.passed and ": +0.050 (-" in check.text


def test_a_check_is_of_the_number_it_names() -> None:
    means = {replace(Q, condition="hue", strength=strength): mean for strength, mean in ((60, 0.1), (120, 0.9))}
    scores = {key: {"reference/pixels": mean + STEPS} for key, mean in means.items()}
    for strength, passed in ((60, True), (120, False)):
        must = FAILS | {"below": 0.5, "condition": "hue", "strength": strength}
        (check,) = concluded(card(HEADLINE, must), scores, subjects=[]).checks
        assert check.passed is passed and f"'hue {strength}: notice'" in check.text


@pytest.mark.parametrize(
    ("bound", "scores"),
    [
        ({"below": 0.5}, {"a": STEPS}),  # it was not measured
        ({"below": 0.5, "target": "else"}, {"reference/pixels": STEPS}),  # not at this
        ({"no_better_than": "reference/random-vit"}, {"reference/pixels": STEPS}),  # the other was not measured
    ],
)
def test_a_headline_without_a_check_is_unchecked(bound: dict[str, Any], scores: dict[str, Any]) -> None:
    (check,) = concluded(card(HEADLINE, FAILS | bound), {Q: scores}, subjects=[]).checks
    assert check.passed is None and check.encoder is None
    assert check.text == "no reference is known to fail at 'notice' on images like these."


def test_a_bound_by_guessing_needs_a_guess() -> None:
    checks = concluded(card(HEADLINE, FAILS | {"at_most": 2}), {Q: {"reference/pixels": STEPS}}, floor=None).checks
    assert [check.passed for check in checks] == [None]


def test_an_interval_that_reaches_what_a_blind_encoder_has_is_within() -> None:
    scores = {"a": 1 + STEPS, "reference/pixels": 0.25 + NOISE}  # above 0.2 by 0.05, by far less than its interval
    (check,) = concluded(card(HEADLINE, FAILS | {"within": 0.0}), {Q: scores}, subjects=["a"], floor=0.2).checks
    assert check.passed


def test_without_a_name_every_encoder_must_fail_and_the_worst_is_named() -> None:
    must = {name: value for name, value in FAILS.items() if name != "encoder"} | {"within": 0.05}
    scores = {"a": 0.9 + STEPS, "b": 0.2 + STEPS, "reference/pixels": 0.5 + STEPS}
    (check,) = concluded(card(HEADLINE, must), {Q: scores}, floor=0.2).checks
    assert check.passed is False and check.encoder is None
    assert check.text.startswith("every encoder must fail at 'notice', because it cannot: 0.900 (")
    assert " by a, above a blind encoder's 0.200 + 0.05 (0.250)." in check.text


def test_where_all_images_agree_nothing_is_said_of_what_could_be_seen() -> None:
    (sentence,) = concluded(card(), {Q: {"a": np.zeros(GROUPS), "b": np.zeros(GROUPS)}}).sentences
    assert sentence.endswith("(+0.000 to +0.000, p = 1.000, 12 concepts).")
