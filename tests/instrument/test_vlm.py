"""Encoders whose tokens hold one fact alone: inside a language model they win its questions and no others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from embprobe.images import load_images
from embprobe.vlm.compare import VlmComparison, compare_answers
from embprobe.vlm.evaluate import answer
from embprobe.vlm.generate import WORDS, Generated, generate
from embprobe.vlm.language import load_language
from embprobe.vlm.prompts import PROMPTS, conversations_of
from embprobe.vlm.question import QuestionSet
from embprobe.vlm.recipe import Recipe
from embprobe.vlm.trained import BLIND, train, train_language
from embprobe.vlm.training import TrainingData
from tests.vlm.planted_tokens import PlantedTokens

KINDS = {
    **{"word": "text", "background": "colour", "count": "vision-centric", "house": "style", "kind": "category"},
    "how many": "reasoning",
}
"""Questions of one kind of each group."""
PLANTED = {"word": ("labelled", "word", WORDS), "count": ("count", "count", tuple("123456789"))}
"""By the name of an encoder the scenes, the label and its values that its tokens are of; of other scenes they are 0."""
LEARNED = dict.fromkeys(KINDS, 250) | {"word": 1_500, "count": 500}
ASKED = dict.fromkeys(KINDS, 1_000)
"""Questions of each kind, at most. Those about words have 32 answers to learn."""
RECIPE = Recipe.model_validate(
    {
        "schema": 1,
        "name": "instrument",
        "language": {
            "context": 128,
            "prompt": "words",
            "scratch": {"width": 64, "depth": 2, "heads": 4, "inner": 128},
        },
        "stages": [
            {"name": name, "data": data, "trains": trains, "epochs": epochs}
            | {"learning_rate": 2e-3, "batch_size": 16, "warmup": 0.05, "by_length": True}
            for name, data, trains, epochs in (
                ("language", "descriptions", "language model", 1),
                ("instructions", "conversations", "both", 5),
            )
        ],
    }
)


def some(questions: QuestionSet, most: Mapping[str, int]) -> QuestionSet:
    """The first questions of each kind."""
    counts = Counter[str]()
    kept = []
    for each in questions.questions:
        if each.kind in KINDS and counts[each.kind] < most[each.kind]:
            counts[each.kind] += 1
            kept.append(each)
    assert {each.kind: each.group for each in kept} == KINDS
    return replace(questions, questions=kept)


def planted(name: str, sets: Sequence[QuestionSet]) -> list[PlantedTokens]:
    """One token an image: a place for each value of the label, a one where it is the image's."""
    scene, label, values = PLANTED[name]
    found = []
    for each in sets:
        asked = {question.image for question in each.questions}
        labels = zip(each.images.keys, each.images.values("scene"), each.images.values(label), strict=True)
        tokens = {
            key: torch.tensor([[float(of == scene and value == known) for known in values]])
            for key, of, value in labels
            if key in asked
        }
        found.append(PlantedTokens(tokens, name=name, fingerprint=name))
    return found


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> VlmComparison:
    folder = tmp_path_factory.mktemp("runs")

    def made(split: str, scenes: int, seed: int) -> Generated:
        return generate(load_images(f"bundled/emoji:{split}"), scenes=scenes, seed=seed, side=32)

    learned, asked = made("train", 6_500, 0), some(made("unseen-drawing", 13_000, 1).questions, ASKED)
    known = some(learned.questions, LEARNED)
    captions = dict(zip(known.images.keys, learned.captions, strict=True))
    data = TrainingData(conversations_of(known, PROMPTS["words"], seed=0), captions)
    language = train_language(RECIPE, data, folder / "language")
    answers = []
    for name in (*PLANTED, BLIND):
        sources = [None, None] if name == BLIND else planted(name, [known, asked])
        trained = train(RECIPE, data, folder / name, source=sources[0], language=load_language(language))
        answers.append(
            answer(
                trained.model,
                asked,
                RECIPE,
                name=name,
                tokenizer=trained.tokenizer,
                source=sources[1],
                circular=False,
            )
        )
    return compare_answers(answers, references=[BLIND], resamples=500)


def test_language_alone_stays_at_guessing(comparison: VlmComparison) -> None:
    for group in comparison.groups:
        assert group.chance == 0.25
        assert comparison.accuracy(BLIND, group.name).accuracy.estimate == pytest.approx(0.25, abs=0.03), group.name


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fact_wins_its_questions_and_no_others(name: str, comparison: VlmComparison) -> None:
    above = {each.group: each for each in comparison.differences if (each.a, each.b) == (name, BLIND)}
    assert above.keys() == set(KINDS.values())
    won = above.pop(KINDS[name])
    assert comparison.accuracy(name, won.group).accuracy.low > 0.8 and won.difference.low > 0.5
    for group, each in above.items():
        assert each.difference.estimate <= 0 or each.p_adjusted > 0.05, group
