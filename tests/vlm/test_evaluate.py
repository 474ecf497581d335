"""Answers of models: of one that has a habit, of one that knows, and of one that a few lines compute, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from embprobe.errors import EmbprobeError
from embprobe.vlm.answers import Answers
from embprobe.vlm.evaluate import answer
from embprobe.vlm.language import Language
from embprobe.vlm.model import Batch, VisionLanguageModel, build_connector
from embprobe.vlm.question import Question, QuestionSet
from embprobe.vlm.recipe import Recipe, SmallModel
from embprobe.vlm.small import small_language
from tests.conftest import Reads
from tests.vlm.planted_tokens import PlantedTokens
from tests.vlm.tiny_llama import tiny_tokenizer

WORDS = ("fox", "dog", "red", "old", "sun", "sea", "one", "two")


def recipe(prompt: str, context: int = 400) -> Recipe:
    stage = {"name": "s", "data": "conversations", "trains": "both", "learning_rate": 1e-3, "batch_size": 2}
    language = {"scratch": {}, "prompt": prompt, "context": context}
    return Recipe.model_validate({"schema": 1, "name": "r", "language": language, "stages": [stage]})


def asked(options: Sequence[Sequence[str]], **facts: Sequence[str]) -> QuestionSet:
    """A question about each of as many images; the right option is the first, the second, … in turn."""
    questions = [
        Question(
            key=f"q{i}",
            image=f"{i:03d}",
            text="which is it ?",
            options=tuple(each),
            answer=i % len(each),
            **{name: values[i] for name, values in facts.items()},
        )
        for i, each in enumerate(options)
    ]
    return QuestionSet("asked", questions, Reads()(len(options)))


def drawn(number: int, *, words: int = 1) -> list[list[str]]:
    """Four options of so many words each, at random; with two, some share their first."""
    rng = np.random.default_rng(0)
    made: list[list[str]] = []
    while len(made) < number:
        options = [" ".join(rng.choice(WORDS, words)) for _ in range(4)]
        made += [options] if len(set(options)) == 4 else []
    return made


class FirstOfAll(VisionLanguageModel):
    """Expects of all tokens the one that stood earliest in the last 40: with letters or words, the first option."""

    def __init__(self) -> None:
        super().__init__(None, None)

    def logits(self, batch: Batch, tokens: Tensor | None) -> Tensor:
        found = torch.full((*batch.ids.shape, 400), -99.0)
        for row, (ids, length) in enumerate(zip(batch.ids.tolist(), batch.mask.sum(1).tolist(), strict=True)):
            for at in reversed(range(max(0, length - 40), length)):
                found[row, :, ids[at]] = -float(at)
        return found


class Knows(FirstOfAll):
    """Expects the token that is written into the image's tokens."""

    def logits(self, batch: Batch, tokens: Tensor | None) -> Tensor:
        assert tokens is not None
        found = torch.zeros((*batch.ids.shape, 400))
        for row, token in enumerate(tokens[:, 0, 0].int().tolist()):
            found[row, :, token] = 1.0
        return found


def small() -> Language:
    return small_language(
        [*WORDS, "which is it ? ,"], SmallModel(width=16, depth=1, heads=2, inner=16), context=64, seed=1
    )


def scores(found: Answers) -> list[float]:
    return [row.score for row in found.rows]


def test_a_habit_has_a_quarter_of_every_question() -> None:
    questions = asked(drawn(30))
    for prompt, tokenizer in (("words", small().tokenizer), ("vicuna-v1", tiny_tokenizer())):
        asks: dict[str, Any] = {"name": "habit", "tokenizer": tokenizer, "source": None}
        found = answer(FirstOfAll(), questions, recipe(prompt), **asks)
        assert scores(found) == [0.25] * 30 and not any(row.every for row in found.rows)
        once = answer(FirstOfAll(), questions, recipe(prompt), circular=False, **asks)
        assert scores(once) == [1.0, 0.0, 0.0, 0.0] * 7 + [1.0, 0.0]
    assert (found.name, found.asked, found.questions) == ("habit", "asked", questions.fingerprint)


def test_knowledge_has_all_turns() -> None:
    questions, tokenizer = asked(drawn(30)), small().tokenizer
    source = PlantedTokens(
        {q.image: torch.full((2, 1), float(tokenizer.convert_tokens_to_ids(q.right))) for q in questions.questions}
    )
    counted: list[int] = []
    found = answer(
        Knows(), questions, recipe("words"), name="k", tokenizer=tokenizer, source=source, progress=counted.append
    )
    assert scores(found) == [1.0] * 30 and all(row.every for row in found.rows) and sum(counted) == 30


def reference(model: VisionLanguageModel, question: Question, tokenizer: Any, tokens: Tensor) -> bool:
    """Whether the likeliest option is right, each put alone: no batch, no filling up."""
    assert model.connector is not None
    embeddings = model.language.get_input_embeddings()

    def ids(text: str) -> Tensor:
        return torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])

    start = torch.tensor([tokenizer.bos_token_id])
    asks = ids(f"{question.text} {' , '.join(question.options)} ?")
    options = [torch.cat([ids(option), torch.tensor([tokenizer.eos_token_id])]) for option in question.options]
    alike = len({int(each[0]) for each in options}) < len(options)
    found = []
    with torch.no_grad():
        for option in options:
            whole = torch.cat([embeddings(start), model.connector(tokens), embeddings(asks), embeddings(option)])
            expected = model.language(inputs_embeds=whole[None]).logits[0].log_softmax(-1)
            at = len(whole) - len(option) - 1
            every = [float(expected[at + i, token]) for i, token in enumerate(option)]
            found.append(sum(every) if alike else every[0])
    return found.index(max(found)) == question.answer


def test_every_option_scores_as_it_does_alone() -> None:
    language, (one, two) = small(), (drawn(5), drawn(11, words=2))
    questions = asked(one + two)
    assert 2 < sum(len({each.split()[0] for each in options}) < 4 for options in two) < 11  # scored as a whole
    with torch.no_grad():
        for weights in language.model.parameters():
            weights *= 6  # fresh weights expect all words alike
    model = VisionLanguageModel(language.model, build_connector(3, 16, depth=2, seed=0)).eval()
    generator = torch.Generator().manual_seed(0)
    tokens = {each.image: torch.randn(2, 3, generator=generator) for each in questions.questions}
    asks: dict[str, Any] = {"name": "n", "tokenizer": language.tokenizer, "source": PlantedTokens(tokens)}
    found = answer(model, questions, recipe("words", 64), **asks)
    expected = [
        sum(reference(model, each.turned(by), language.tokenizer, tokens[each.image]) for by in range(4)) / 4
        for each in questions.questions
    ]
    assert scores(found) == expected and len(set(expected)) > 2


def test_images_without_tokens_take_their_questions_and_pairs_out() -> None:
    questions, tokenizer = asked(drawn(6), pair=["a", "a", "b", "b", "", ""]), small().tokenizer
    right = {q.image: float(tokenizer.convert_tokens_to_ids(q.right)) for q in questions.questions}
    source = PlantedTokens({image: torch.full((1, 1), right[image]) for image in list(right)[1:5]})
    found = answer(Knows(), questions, recipe("words"), name="k", tokenizer=tokenizer, source=source)
    assert [row.key for row in found.rows] == ["q2", "q3", "q4"]
    assert found.notes == ("3 questions left out because of images that cannot be read",)
    other = PlantedTokens({"elsewhere": torch.zeros(1, 1)})
    with pytest.raises(EmbprobeError, match="No image of 'asked' can be read"):
        answer(Knows(), questions, recipe("words"), name="k", tokenizer=tokenizer, source=other)


def test_what_is_longer_than_the_context_is_left_out_and_counted() -> None:
    options = drawn(4)
    options[1][2] = "one " * 9 + "two"
    questions = asked(options, pair=["a", "a", "", ""])
    # a start, 4 tokens of the question, 4 options with 3 commas and a mark, the last option's token alone: 13 and
    # nothing behind them, and 9 more
    asks: dict[str, Any] = {"name": "n", "tokenizer": small().tokenizer, "source": None}
    found = answer(FirstOfAll(), questions, recipe("words", 16), **asks)
    assert [row.key for row in found.rows] == ["q2", "q3"] and scores(found) == [0.25, 0.25]
    assert found.notes == ("2 questions left out, longer than the context of 16 tokens",)
    long = questions.where(lambda each: each.key == "q1")
    with pytest.raises(EmbprobeError, match="No question of 'asked' fits into a context of 16 tokens"):
        answer(FirstOfAll(), long, recipe("words", 16), **asks)
