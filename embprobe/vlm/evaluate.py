"""Put questions to a vision-language model: every order of the options, so that a habit gains nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from embprobe.errors import EmbprobeError
from embprobe.system.processes import Machine
from embprobe.system.text import visible
from embprobe.vlm.answers import Answers, answers_to
from embprobe.vlm.benchmarks import without_images
from embprobe.vlm.conversation import Turn
from embprobe.vlm.image_tokens import TokenSource
from embprobe.vlm.model import VisionLanguageModel, collate
from embprobe.vlm.prompts import PROMPTS, UNLEARNED, Prompt, Sample, encode
from embprobe.vlm.question import Question, QuestionSet, left_without
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
        An answer for each question, in their order. Questions whose image has no tokens, and those that are longer than
        the context, are left out, both of a pair, and counted in the notes.

    Raises:
        EmbprobeError: No question is left.
    """
    machine = machine or Machine()
    prompt, context = PROMPTS[recipe.language.prompt], recipe.language.context
    if source is not None:
        questions = without_images(questions, set(questions.images.keys) - set(source.keys))
    asked = questions.questions
    found, long = dict[str, list[bool]](), list[Question]()
    for start in range(0, len(asked), BATCH):
        turns: list[tuple[Question, list[_Pass]]] = []
        for each in asked[start : start + BATCH]:
            turned = [each.turned(by) for by in range(len(each.options) if circular else 1)]
            passes = [_passes(turn, prompt, tokenizer) for turn in turned]
            if all(_length(one, source) <= context for of_turn in passes for one in of_turn):
                turns += zip(turned, passes, strict=True)
            else:
                long.append(each)
        rights = _right(model, turns, context, source, machine)
        for (question, _), right in zip(turns, rights, strict=True):
            found.setdefault(question.key, []).append(right)
        if progress is not None:
            progress(len(asked[start : start + BATCH]))
    questions = _without_long(questions, long, context)
    return answers_to(questions, name, [found[each.key] for each in questions.questions])


def _length(one: _Pass, source: TokenSource | None) -> int:
    """Return the number of tokens, those of the image among them."""
    return len(one.sample.ids) - 1 + (0 if source is None else source.count)


def _without_long(questions: QuestionSet, long: Sequence[Question], context: int) -> QuestionSet:
    """Leave out questions that are longer than the context, both of a pair, and count them in the notes."""
    if not long:
        return questions
    keys = {each.key for each in long}
    left = left_without(questions.questions, lambda each: each.key in keys)
    if not left:
        raise EmbprobeError(
            f"No question of '{visible(questions.name)}' fits into a context of {context:,} tokens, the image's among "
            "them: train with a larger one in the recipe."
        )
    lost = len(questions) - len(left)
    note = f"{lost:,} question{'s' * (lost > 1)} left out, longer than the context of {context:,} tokens"
    return replace(questions, questions=left, notes=(*questions.notes, note))


def _right(
    model: VisionLanguageModel,
    turns: Sequence[tuple[Question, Sequence[_Pass]]],
    context: int,
    source: TokenSource | None,
    machine: Machine,
) -> list[bool]:
    """Return whether each question is answered rightly."""
    passes = [each for _, of_turn in turns for each in of_turn]
    order = sorted(range(len(passes)), key=lambda i: len(passes[i].sample.ids))  # alike in length, for less padding
    found = dict[int, list[float]]()
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        scores = _log_likelihoods(model, [passes[i] for i in chosen], context, source, machine)
        found |= dict(zip(chosen, scores, strict=True))
    likely = iter([score for i in range(len(passes)) for score in found[i]])
    return [int(np.argmax([next(likely) for _ in each.options])) == each.answer for each, _ in turns]


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
        logits = model.logits(batch, tokens)
    lengths = batch.mask.sum(1)
    scores = []
    for row, (each, length) in enumerate(zip(passes, lengths.tolist(), strict=True)):
        if each.firsts:
            scores.append(logits[row, length - 1].float().log_softmax(-1)[list(each.firsts)].tolist())
            continue
        labels = batch.labels[row, 1:length]
        learned = labels != UNLEARNED
        expected = logits[row, : length - 1][learned].float().log_softmax(-1)
        chosen = expected.gather(1, labels[learned][:, None])
        scores.append([float(chosen.sum())])
    return scores
