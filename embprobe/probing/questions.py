"""Which question is meant by a name, and which measures of a card answer it."""

from __future__ import annotations

from collections.abc import Sequence

from embprobe.probing.card import AnyMeasure, Card, Decoding, Displacement, Geometry, Headline, MustFail, ZeroShot
from embprobe.probing.kinds import decoding, displacement, zero_shot
from embprobe.probing.results import Question


def find_question(wanted: Headline | MustFail | Question, asked: Sequence[Question]) -> Question | None:
    """The first question with this measure, and this intervention and strength if they are given.

    A decoding whose tests these images could not be split into was asked in folds: then that is meant.
    """
    same = next((question for question in asked if _is_meant(wanted, question, wanted.measure)), None)
    in_folds = f"{wanted.measure.rpartition(', ')[0]}, {decoding.UNSEEN}"
    return same or next((question for question in asked if _is_meant(wanted, question, in_folds)), None)


def only(card: Card, questions: Sequence[Question]) -> Card:
    """The card with the measures that answer these questions, and without what is more than its headline needs.

    Raises ValueError for a question that then nothing answers. Decoding, zero-shot, displacement and geometry are
    known here; the names of what other kinds of measure find depend on the images.
    """
    kept = [measure for measure in card.measures if any(_answers(measure, question) for question in questions)]
    brief = card.briefly(kept)
    for question in questions:
        if not any(_answers(measure, question) for measure in brief.measures):
            raise ValueError(f"no measure of the card '{card.attribute}' answers '{question}'")
    return brief


def _is_meant(wanted: Headline | MustFail | Question, question: Question, measure: str) -> bool:
    return (
        measure == question.measure
        and wanted.intervention in (None, question.intervention)
        and wanted.strength in (None, question.strength)
    )


def _answers(measure: AnyMeasure, question: Question) -> bool:
    plain = question.intervention is None and question.strength is None
    match measure:
        case Decoding():
            called, _, test = question.measure.rpartition(", ")
            return plain and called == decoding.called(measure) and test in measure.tests
        case ZeroShot():
            return plain and question.measure == zero_shot.called(measure) and "none" in measure.treatments
        case Geometry():
            return plain and question.measure in measure.statistics
        case Displacement():
            names = displacement.NAMES if measure.control else displacement.NAMES_WITHOUT_CONTROL
            return (
                question.measure in names
                and question.intervention == measure.intervention
                and question.strength in measure.strengths
            )
    return False
