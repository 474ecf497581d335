"""Prompts: how conversations and questions become the text that a language model reads, and which of it it learns."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, overload

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.question import LETTERS, Question, QuestionSet
from embprobe.vlm.recipe import PromptName

IMAGE_ID = -200
"""Stands in a sequence of token ids for a token of the image, which has no id of its own."""
UNLEARNED = -100
"""The label of a token that is not learned, as in transformers."""


@dataclass(frozen=True)
class Span:
    """A stretch of text; the model learns to write those that are ``learned`` and reads the others."""

    text: str
    learned: bool = False


@dataclass(frozen=True)
class Prompt:
    """How turns are written down: what stands before, between and behind their texts."""

    human: str
    """Before the words of the human."""
    assistant: str
    """Between these and the answer, without a space at its end."""
    end: str
    """Behind the answer; learned, so that a model knows where to stop."""
    answers: Literal["letter", "option"]
    """Whether the letter of an option is answered, or the option itself."""
    system: str = ""
    """Before all."""
    end_of_text: bool = True
    """Whether the tokenizer's own end of a text stands behind each answer."""
    caption_end: str | None = None
    """Behind a caption that is learned alone; None for the tokenizer's own end of a text."""

    def spans(self, turns: Sequence[Turn], *, end: str) -> list[Span]:
        """Return the text of some turns; ``end`` is the tokenizer's end of a text.

        Example:
            >>> PROMPTS["words"].spans([Turn("<image> what is shown ?", "dog")], end="</s>")
            [Span(text='<image> what is shown ?', learned=False), Span(text=' dog</s> ', learned=True)]
        """
        spans = [Span(self.system)] if self.system else []
        stop = (end if self.end_of_text else "") + self.end
        for turn in turns:
            spans += [Span(f"{self.human}{turn.human}{self.assistant}"), Span(f" {turn.assistant}{stop}", True)]
        return spans

    def ask(self, question: Question) -> Turn:
        """Return the turn of a question with its right answer, the image before the question.

        Example:
            >>> moon = Question(key="1", image="a", text="what is written ?", options=("dust", "moon"), answer=1)
            >>> PROMPTS["words"].ask(moon)
            Turn(human='<image> what is written ? dust , moon ?', assistant='moon')
            >>> print(PROMPTS["vicuna-v1"].ask(moon).human)
            <image>
            what is written ?
            A. dust
            B. moon
            Answer with the option's letter from the given choices directly.
        """
        return Turn(self.before_question + self.with_options(question), self.candidates(question)[question.answer])

    @property
    def before_question(self) -> str:
        """The place of the image, before a first question."""
        return f"{IMAGE}\n" if self.answers == "letter" else f"{IMAGE} "

    def with_options(self, question: Question) -> str:
        """Return a question with its options, as it is put."""
        if self.answers == "option":
            return f"{question.text} {' , '.join(question.options)} ?"
        lines = [f"{letter}. {option}" for letter, option in zip(LETTERS, question.options, strict=False)]
        return "\n".join([question.text, *lines, "Answer with the option's letter from the given choices directly."])

    def candidates(self, question: Question) -> list[str]:
        """Return what may be answered, in the order of the options."""
        if self.answers == "option":
            return list(question.options)
        return list(LETTERS[: len(question.options)])


PROMPTS: dict[PromptName, Prompt] = {
    # as FastChat's template of Vicuna 1.1, which LLaVA-1.5 calls v1
    "vicuna-v1": Prompt(
        system="A chat between a curious user and an artificial intelligence assistant. The assistant gives helpful, "
        "detailed, and polite answers to the user's questions. ",
        human="USER: ",  # without a space before it, behind the end of the last answer
        assistant=" ASSISTANT:",
        end="",
        answers="letter",
        caption_end="\n",  # its first stage separates captions by the template that it calls "plain"
    ),
    "words": Prompt(human="", assistant="", end=" ", answers="option"),
}


@dataclass(frozen=True)
class Sample:
    """One training sample as token ids, the image's place as ``IMAGE_ID`` once."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """Ids that are learned, and :data:`UNLEARNED`."""
    image: str | None
    """The key of the image."""


class PackedSamples(Sequence[Sample]):
    """Samples in 5 bytes a token, each made anew when it is asked for: LLaVA's 665,000 would take 14 GB as tuples.

    Example:
        >>> packed = PackedSamples([Sample((5, IMAGE_ID, 6), (UNLEARNED, UNLEARNED, 6), "a")])
        >>> packed[0]
        Sample(ids=(5, -200, 6), labels=(-100, -100, 6), image='a')
    """

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._ids, self._learned, self._ends = array("i"), bytearray(), array("q", [0])
        self._images: list[str | None] = []
        for sample in samples:
            self._ids.extend(sample.ids)
            self._learned.extend(label != UNLEARNED for label in sample.labels)
            self._ends.append(len(self._ids))
            self._images.append(sample.image)

    def __len__(self) -> int:
        return len(self._images)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        span = slice(self._ends[at], self._ends[at + 1])
        ids = tuple(self._ids[span])
        labels = tuple(token if on else UNLEARNED for token, on in zip(ids, self._learned[span], strict=True))
        return Sample(ids, labels, self._images[at])


def encode(spans: Sequence[Span], tokenizer: Any, *, image: str | None = None) -> Sample:
    """Turn spans into token ids and labels.

    The text is tokenized as a whole on each side of the image, as LLaVA's code does, and a token is learned if it
    begins within a learned span.

    Args:
        spans: The text.
        tokenizer: A fast tokenizer of transformers.
        image: The key of the image, whose place the text marks; None where there is none.

    Raises:
        EmbprobeError: The text holds the mark of an image more than once, or not although there is one.
    """
    text = "".join(span.text for span in spans)
    parts = text.split(IMAGE)
    if len(parts) != 1 + (image is not None):
        raise EmbprobeError(
            f"A sample {'with' if image is not None else 'without'} an image holds '{IMAGE}' {len(parts) - 1} times."
        )
    learned = [span.learned for span in spans for _ in span.text]
    start = tokenizer.bos_token_id
    ids: list[int] = [] if start is None else [start]
    labels = [UNLEARNED] * len(ids)
    offset = 0
    for number, part in enumerate(parts):
        if number:
            ids.append(IMAGE_ID)
            labels.append(UNLEARNED)
        encoded = tokenizer(part, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        for token, (first, last) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            ids.append(token)
            labels.append(token if learned[offset + max(first, last - 1)] else UNLEARNED)
        offset += len(part) + len(IMAGE)
    return Sample(tuple(ids), tuple(labels), image)


def conversations_of(questions: QuestionSet, prompt: Prompt, *, seed: int | None = None) -> list[Conversation]:
    """Return a conversation about each image, whose turns are its questions and their right answers.

    Args:
        questions: The questions.
        prompt: How they are put.
        seed: Of the order of an image's questions; None for that of the set.

    Example:
        >>> from embprobe.images import load_images
        >>> from embprobe.vlm.generate import generate
        >>> asked = generate(load_images("bundled/emoji:train"), scenes=1, seed=1).questions
        >>> (talk,) = conversations_of(asked, PROMPTS["words"])
        >>> talk.image, len(talk.turns), talk.turns[0].human.count(IMAGE), talk.turns[-1].human.count(IMAGE)
        ('labelled-000000', 5, 1, 0)
    """
    rng = None if seed is None else np.random.default_rng(seed)
    of_image: dict[str, list[Question]] = {}
    for each in questions.questions:
        of_image.setdefault(each.image, []).append(each)
    made = []
    for image, asked in of_image.items():
        first, *others = asked if rng is None else [asked[i] for i in rng.permutation(len(asked))]
        later = [Turn(prompt.with_options(each), prompt.candidates(each)[each.answer]) for each in others]
        made.append(Conversation(key=image, image=image, turns=(prompt.ask(first), *later)))
    return made


def sample_of(conversation: Conversation, prompt: Prompt, tokenizer: Any) -> Sample:
    """Return a conversation as a training sample."""
    spans = prompt.spans(conversation.turns, end=tokenizer.eos_token or "")
    return encode(spans, tokenizer, image=conversation.image)


def caption_sample(key: str, caption: str, prompt: Prompt, tokenizer: Any) -> Sample:
    """Return an image and its caption as a training sample, as LLaVA's first stage has it: nothing but the two."""
    end = (tokenizer.eos_token or "") if prompt.caption_end is None else prompt.caption_end
    return encode([Span(IMAGE), Span(f"{caption}{end}", True)], tokenizer, image=key)


def described_sample(conversation: Conversation, caption: str, prompt: Prompt, tokenizer: Any) -> Sample:
    """Return a conversation as a training sample without an image, whose caption stands in its place."""
    turns = [Turn(turn.human.replace(IMAGE, caption), turn.assistant) for turn in conversation.turns]
    return encode(prompt.spans(turns, end=tokenizer.eos_token or ""), tokenizer)
