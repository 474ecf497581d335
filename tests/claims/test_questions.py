"""Claims about questions inside a language model: numbers by hand, sentences, and why they are not asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from embprobe.claims.model import QUESTIONS, Claim, bundled_claims
from embprobe.claims.questions import ALL, LACKING, Answered, as_results
from embprobe.claims.roles import Cast
from embprobe.claims.run import run_study
from embprobe.embeddings.workspace import Workspace
from embprobe.probing.scores import Role
from embprobe.vlm.answers import Answer, Answers
from embprobe.vlm.controlled import SEEN, UNSEEN
from tests.claims.test_run import Knows, claim_of, drawn
from tests.conftest import make_encoder
from tests.probing.conftest import Told

ROLES: Mapping[str, Role] = {"clip": "subject", "dino": "subject", "blind": "baseline"}


def answers(name: str, text: Sequence[float], style: Sequence[float]) -> Answers:
    """Answers to questions of two groups, every two of one concept; with four options, and two about styles."""
    rows = [
        Answer(key=f"{group}{i}", score=score, every=score == 1, options=options, group=group, concept=f"c{i // 2}")
        for group, options, scores in (("text", 4, text), ("style", 2, style))
        for i, score in enumerate(scores)
    ]
    return Answers(name=name, rows=rows, asked="drawings")


FOUND = {
    "clip": {SEEN: answers("clip", [1, 1, 1, 0.5], [0.5, 0]), UNSEEN: answers("clip", [1, 1, 1, 1], [1, 1])},
    "dino": {SEEN: answers("dino", [0, 0.5, 0.25, 0.25], [1, 1]), UNSEEN: answers("dino", [0, 0, 0, 0], [0, 0])},
    "blind": {SEEN: answers("blind", [0.25] * 4, [0.5] * 2), UNSEEN: answers("blind", [0.25] * 4, [0.5] * 2)},
}


@pytest.fixture(scope="module")
def answered() -> Answered:
    # style has one concept, which gives no interval of its own: two more questions of another
    wider = {
        name: {
            test: Answers(
                name=name,
                asked="drawings",
                rows=[*each.rows, Answer(key="s9", score=0.0, every=False, options=2, group="style", concept="c1")],
            )
            for test, each in tests.items()
        }
        for name, tests in FOUND.items()
    }
    return as_results(wider, "emoji", ROLES, seed=0)


def test_accuracies_by_hand(answered: Answered) -> None:
    found = {(row.encoder, row.key.target, row.key.test): row for row in answered.rows}
    assert len(found) == len(answered.rows) == 3 * 3 * 2  # models, groups and all, tests
    text = found["clip", "text", SEEN]
    assert text.estimate == (1 + 1 + 1 + 0.5) / 4 and text.low <= text.estimate <= text.high
    assert (text.images, text.groups, text.floor, text.role) == (4, 2, 0.25, "subject")
    assert found["dino", "style", SEEN].estimate == pytest.approx(2 / 3)
    everything = found["dino", ALL, SEEN]
    assert everything.estimate == pytest.approx((0 + 0.5 + 0.25 + 0.25 + 1 + 1 + 0) / 7)
    assert everything.floor == pytest.approx((4 * 0.25 + 3 * 0.5) / 7)
    assert found["blind", "text", UNSEEN].role == "baseline"
    assert (text.attribute, text.key.kind, text.key.dataset, text.unit) == ("vlm", "questions", "emoji", "accuracy")


def test_scores_are_those_of_the_questions(answered: Answered) -> None:
    (scores,) = [s for s in answered.scores if (s.encoder, s.key.target, s.key.test) == ("dino", "text", SEEN)]
    assert list(scores.values) == [0, 0.5, 0.25, 0.25] and list(scores.keys) == [f"text{i}" for i in range(4)]
    assert list(scores.groups) == ["c0", "c0", "c1", "c1"]


def test_the_numbers_of_two_roles_are_those_of_drawings_that_were_not_seen(answered: Answered) -> None:
    numbers = answered.numbers("text", ["clip"], ["dino"])
    assert not isinstance(numbers, str)
    a, b = numbers.arrays()
    assert (a - b).ravel().tolist() == [1, 0.5, 0.75, 0.25]
    assert answered.numbers("text", ["clip"], ["pca"]) == "pca gives no tokens that a language model could read"
    assert answered.numbers("colour", ["clip"], ["dino"]) == "there are no questions about colour of these images"


def test_a_blind_model_is_a_reference_of_the_comparison(answered: Answered) -> None:
    assert answered.comparison.models == ("clip", "dino", "blind")
    assert answered.comparison.references == ("blind",)


# --- claims --------------------------------------------------------------------------------------------------------


def claim(**changes: Any) -> Claim:
    return Claim.model_validate({"a": "clip", "b": "dino", "relation": "more", "questions": "text"} | changes)


def test_sentences_are_made_of_the_groups() -> None:
    names = {"clip": "CLIP", "dino": "DINO"}
    assert claim(names=names).sentence == (
        "CLIP is more accurate at questions about text inside a language model than DINO"
    )
    similar = claim(questions="vision-centric", relation="similar", margin=0.05)
    assert similar.sentence == (
        "clip and dino are similarly accurate at vision-centric questions inside a language model"
    )
    assert claim(questions="all", relation="at least", margin=0.1).sentence == (
        "clip is at least as accurate at all questions inside a language model as dino"
    )
    assert claim().question == "questions, text"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"questions": "smell"}, "there are no questions about 'smell', but about text, category, colour"),
        ({"card": "text"}, "a claim has quality, card and number, or else pairs, or else questions"),
        ({"pairs": "category"}, "or else pairs, or else questions"),
        ({"quality": "good"}, "or else pairs, or else questions"),
        ({"margin": 0.1}, "a margin goes with"),
    ],
)
def test_a_claim_about_questions_is_about_nothing_else(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        claim(**changes)


def test_the_bundled_claims_ask_groups_that_there_are() -> None:
    asked = [each for each in bundled_claims() if each.questions]
    assert asked and {each.questions for each in asked} <= set(QUESTIONS)
    assert all(each.vectors == "" for each in asked)  # a language model reads tokens, not one vector or another


def test_without_a_language_model_claims_about_questions_are_not_asked(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*arguments: object, **options: object) -> None:
        raise AssertionError("nothing is trained")

    monkeypatch.setattr("embprobe.claims.run.measure_questions", never)
    encoders = {role: make_encoder(role) for role in ("clip", "dino")}
    session = Told(workspace, vectors={"test/clip": Knows(6, 0), "test/dino": Knows(6, 6), "test/twin": Knows(6, 6)})
    cast = Cast(encoders, [make_encoder("twin")])
    study = run_study(cast, drawn(6), session, claims=[claim_of(), claim()])
    assert [each.verdict for each in study.decisions] == ["reproduced", "not asked"]
    assert study.decisions[1].because == LACKING and "say --vlm" in LACKING
    assert study.decisions[0].difference is not None
    assert study.decisions[0].difference.p_adjusted == 2 / 64  # what is not asked is not corrected for
    assert study.inside is None
