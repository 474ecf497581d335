"""Put questions to a vision-language model: every order of the options, so that a habit gains nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from embprobe.errors import EmbprobeError
from embprobe.system.processes import Machine
from embprobe.vlm.answers import Answers, answers_to
from embprobe.vlm.conversation import Turn
from embprobe.vlm.image_tokens import TokenSource
from embprobe.vlm.model import VisionLanguageModel, collate
from embprobe.vlm.prompts import PROMPTS, UNLEARNED, Prompt, Sample, encode
from embprobe.vlm.question import Question, QuestionSet
from embprobe.vlm.recipe import Recipe

BATCH = 128
"""Sequences of a forward pass."""


def answer(
    model: VisionLanguageModel,
    questions: QuestionSet,
    recipe: Recipe,
    *,
    name: str,
    tokenizer: Any,
    source: TokenSource | None,
    machine: Machine | None = None,
    circular: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Answers:
    """Let a model answer questions: of the options the one that it finds likeliest.

    Likeliness is the probability of the first token where the options differ in it, else that of the whole text. With
    ``circular``, a question is put once for every turn of its options, and its score is the share of the turns that are
    answered rightly: who always says the first has 1 / (number of options) (Liu et al. 2023, "MMBench", section 4.2,
    where a question counts only if every turn is right: ``every`` of its answer).

    Args:
        model: The model.
        questions: Those to put.
        recipe: Its prompt and context are those that the model was trained with.
        name: Of the model, as results call it.
        tokenizer: Of the language model.
        source: The tokens of the questions' images; None for a model that sees none.
        machine: The device and its precision.
        circular: Whether options are turned.
        progress: Called with the number of questions just answered.

    Returns:
        An answer for each question whose image has tokens, in their order.

    Raises:
        EmbprobeError: No question has.
    """
    machine = machine or Machine()
    prompt = PROMPTS[recipe.language.prompt]
    seen = None if source is None else set(source.keys)
    asked = [each for each in questions.questions if seen is None or each.image in seen]
    found = list[list[bool]]()
    for start in range(0, len(asked), BATCH):
        part = asked[start : start + BATCH]
        turns = [[each.turned(by) for by in range(len(each.options) if circular else 1)] for each in part]
        flat = [turn for of_question in turns for turn in of_question]
        rights = iter(_right(model, flat, prompt, recipe.language.context, tokenizer, source, machine))
        found += [[next(rights) for _ in of_question] for of_question in turns]
        if progress is not None:
            progress(len(part))
    if not asked:
        raise EmbprobeError(f"None of the questions of '{questions.name}' has an image with tokens.")
    return answers_to(replace(questions, questions=asked), name, found)


def _right(
    model: VisionLanguageModel,
    questions: Sequence[Question],
    prompt: Prompt,
    context: int,
    tokenizer: Any,
    source: TokenSource | None,
    machine: Machine,
) -> list[bool]:
    """Return whether each question is answered rightly."""
    passes = [each for question in questions for each in _passes(question, prompt, tokenizer)]
    order = sorted(range(len(passes)), key=lambda i: len(passes[i].sample.ids))  # alike in length, for less padding
    found = dict[int, list[float]]()
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        scores = _log_likelihoods(model, [passes[i] for i in chosen], context, source, machine)
        found |= dict(zip(chosen, scores, strict=True))
    likely = iter([score for i in range(len(passes)) for score in found[i]])
    return [int(np.argmax([next(likely) for _ in each.options])) == each.answer for each in questions]


@dataclass(frozen=True)
class _Pass:
    """A sequence, and what its likelihoods are taken of."""

    sample: Sample
    firsts: tuple[int, ...] = ()
    """The first token of each option, behind the sequence; empty: the learned tokens of the sequence itself."""


def _passes(question: Question, prompt: Prompt, tokenizer: Any) -> list[_Pass]:
    """Return the sequences of a question: one, where the options differ in their first token, else one an option."""
    human = prompt.ask(question).human
    whole = [
        encode(prompt.spans([Turn(human, option)], end=tokenizer.eos_token or ""), tokenizer, image=question.image)
        for option in prompt.candidates(question)
    ]
    starts = {next(i for i, label in enumerate(each.labels) if label != UNLEARNED) for each in whole}
    start = min(starts)
    firsts = tuple(each.ids[start] for each in whole)
    if len(starts) > 1 or len(set(firsts)) < len(firsts):
        return [_Pass(each) for each in whole]
    return [_Pass(replace(whole[0], ids=whole[0].ids[:start], labels=whole[0].labels[:start]), firsts)]


@torch.inference_mode()
def _log_likelihoods(
    model: VisionLanguageModel,
    passes: Sequence[_Pass],
    context: int,
    source: TokenSource | None,
    machine: Machine,
) -> list[list[float]]:
    """Return for each sequence the logarithm of the probability of each option that it is asked for."""
    batch = collate([each.sample for each in passes], 0 if source is None else source.count, context=context)
    batch = batch.to(machine.device)
    keys = [each.sample.image for each in passes if each.sample.image is not None]
    tokens = None if source is None or not keys else source(keys).to(machine.device)
    with machine.autocast():
        expected = model.logits(batch, tokens).float().log_softmax(-1)
    lengths = batch.mask.sum(1)
    scores = []
    for row, (each, length) in enumerate(zip(passes, lengths.tolist(), strict=True)):
        if each.firsts:
            scores.append(expected[row, length - 1, list(each.firsts)].tolist())
            continue
        labels = batch.labels[row, 1:length]
        learned = labels != UNLEARNED
        chosen = expected[row, : length - 1][learned].gather(1, labels[learned][:, None])
        scores.append([float(chosen.sum())])
    return scores
