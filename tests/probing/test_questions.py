"""Which question is meant by a name, and which measures of a card answer it: by the names that results really have."""

from __future__ import annotations

from typing import Any

import pytest

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.images import Images
from embprobe.probing.card import Decoding, Displacement
from embprobe.probing.questions import find_question, only
from embprobe.probing.results import Question
from embprobe.probing.run import run_probe
from tests.conftest import noise, row_of
from tests.probing.conftest import card_of, reader

HUE: dict[str, Any] = {"kind": "displacement", "intervention": "hue", "strengths": [60, 120], "control": "lightness"}
GREY: dict[str, Any] = {"kind": "displacement", "intervention": "greyscale", "strengths": [1]}
FIT: dict[str, Any] = {
    "label": "category",
    "fit": {"where": {"split": ["train"]}},
    "tests": {"new ones": {"where": {"split": ["test"]}}},
}
NEAREST: dict[str, Any] = {"kind": "decoding", "classifier": "knn", "k": 1} | FIT
CALLED: dict[str, Any] = {"kind": "decoding", "classifier": "gda", "called": "kind:"} | FIT
NAMED: dict[str, Any] = {"kind": "zero-shot", "label": "name", "k": [1]}
SPREAD: dict[str, Any] = {"kind": "geometry", "statistics": ["effective rank", "mean cosine"]}
EVERY = [HUE, GREY, NEAREST, CALLED, NAMED, SPREAD]


def many() -> Images:
    """Twelve noisy pictures of as many concepts, half of them for training."""
    rows = [
        row_of(
            f"{i:02d}", noise(i), concept=f"c{i}", name=f"n{i}", category="ab"[i % 2], split=["train", "test"][i // 6]
        )
        for i in range(12)
    ]
    return Images("many", tuple(rows))


def test_a_question_that_was_answered_names_its_measure_and_no_other(workspace: Workspace) -> None:
    encoder = reader({f"n{i}": (i, 1, 12 - i) for i in range(12)})
    for asked in EVERY:
        results = run_probe(card_of(asked), many(), [encoder], [], Session(workspace))
        questions = {row.question for row in results.rows if not row.measure.startswith("recall")}
        assert questions
        whole = card_of(*EVERY)
        for question in questions:
            if question.strength == 60:
                continue  # the next test
            (kept,) = only(whole, [question]).measures
            assert kept == card_of(asked).measures[0]


def test_strengths_besides_the_headline_are_not_asked() -> None:
    headline = {"measure": "displacement", "intervention": "hue", "strength": 120, "says": "moves"}
    card = card_of(*EVERY, headline=headline)
    (kept,) = only(card, [Question("displacement", "hue", 120)]).measures
    assert isinstance(kept, Displacement) and kept.strengths == [120]
    with pytest.raises(ValueError, match="no measure of the card 'mine' answers 'hue 60: displacement'"):
        only(card, [Question("displacement", "hue", 60)])


def test_what_costs_more_is_left_out() -> None:
    card = card_of(CALLED | {"control_task": True, "shots": [1], "transforms": ["int8"]}, NEAREST)
    (kept,) = only(card, [Question("kind: GDA, new ones")]).measures
    assert isinstance(kept, Decoding) and not (kept.control_task or kept.shots or kept.transforms)


@pytest.mark.parametrize(
    "question",
    [
        Question("category k-NN, new one"),
        Question("category knn, new ones"),
        Question("kind: k-NN, new ones"),
        Question("category k-NN, new ones", "int8"),
        Question("zero-shot names"),
        Question("effective ranks"),
        Question("displacement", "hue", 90),
        Question("displacement", "tint", 120),
        Question("displacement beyond the control", "greyscale", 1),  # it has none
        Question(""),
    ],
    ids=str,
)
def test_a_misspelt_question_is_answered_by_nothing(question: Question) -> None:
    with pytest.raises(ValueError, match="no measure of the card 'mine' answers"):
        only(card_of(*EVERY), [Question("effective rank"), question])


def test_the_first_that_is_meant_is_found() -> None:
    asked = [
        Question("m", "hue", 60),
        Question("m", "hue", 120),
        Question("m", "tint", 60),
        Question("x, unseen images"),
    ]
    assert find_question(Question("m"), asked) == asked[0]
    assert find_question(Question("m", "tint"), asked) == asked[2]
    assert find_question(Question("m", None, 120), asked) == asked[1]
    assert find_question(Question("x, unseen concepts"), asked) == asked[3]  # asked in folds
    assert find_question(Question("n"), asked) is None
