"""Texts as token ids and labels, in both prompts, by a tokenizer of words."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.prompts import (
    IMAGE_ID,
    PROMPTS,
    UNLEARNED,
    PackedSamples,
    Sample,
    Span,
    caption_sample,
    conversations_of,
    described_sample,
    encode,
    sample_of,
)
from embprobe.vlm.question import Question, QuestionSet
from embprobe.vlm.small import word_tokenizer

WORDS = PROMPTS["words"]
TEXTS = ["a b c d e ?"]
TOKENIZER: Any = word_tokenizer(TEXTS)
# <unk> 0, <s> 1, </s> 2, then in the alphabet's order: ? 3, a 4, b 5, c 6, d 7, e 8


def asked(key: str, image: str, text: str = "a ?") -> Question:
    return Question(key=key, image=image, text=text, options=("b", "c"), answer=1)


# --- ids and labels --------------------------------------------------------------------------------------------------


def test_a_conversation_by_hand() -> None:
    talk = Conversation(key="1", image="x", turns=[Turn(f"{IMAGE} a ?", "b"), Turn("c ?", "d e")])
    sample = sample_of(talk, WORDS, TOKENIZER)
    learned = [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 1]
    assert sample.ids == (1, IMAGE_ID, 4, 3, 5, 2, 6, 3, 7, 8, 2)
    assert sample.labels == tuple(id if on else UNLEARNED for id, on in zip(sample.ids, learned, strict=True))
    assert sample.image == "x"


def test_a_caption_by_hand() -> None:
    assert caption_sample("x", "a b", WORDS, TOKENIZER) == Sample(
        (1, IMAGE_ID, 4, 5, 2), (UNLEARNED, UNLEARNED, 4, 5, 2), "x"
    )


def test_a_caption_stands_in_the_place_of_the_image() -> None:
    talk = Conversation(key="1", image="x", turns=[Turn(f"{IMAGE} a ?", "b"), Turn("c ?", "d")])
    sample = described_sample(talk, "e e", WORDS, TOKENIZER)
    assert sample.image is None and sample.ids == (1, 8, 8, 4, 3, 5, 2, 6, 3, 7, 2)
    assert [label for label in sample.labels if label != UNLEARNED] == [5, 2, 7, 2]  # the caption is read alone


def test_an_unknown_word_is_read_and_learned_as_one() -> None:
    sample = encode([Span("a zebra"), Span(" zebra", True)], TOKENIZER)
    assert sample.ids == (1, 4, 0, 0) and sample.labels == (UNLEARNED, UNLEARNED, UNLEARNED, 0)


@pytest.mark.parametrize(
    ("text", "image", "reason"),
    [
        ("a", "x", f"with an image holds '{IMAGE}' 0 times"),
        (f"{IMAGE} {IMAGE}", "x", f"with an image holds '{IMAGE}' 2 times"),
        (f"{IMAGE} a", None, f"without an image holds '{IMAGE}' 1 times"),
    ],
)
def test_an_image_has_one_place(text: str, image: str | None, reason: str) -> None:
    with pytest.raises(EmbprobeError, match=f"A sample {reason}"):
        encode([Span(text)], TOKENIZER, image=image)


@given(st.lists(st.tuples(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4), st.booleans()), max_size=6))
def test_what_is_learned_is_what_the_spans_say(parts: list[tuple[list[str], bool]]) -> None:
    sample = encode([Span(f" {' '.join(words)}", on) for words, on in parts], TOKENIZER)
    expected = [(word, on) for words, on in parts for word in words]
    assert TOKENIZER.convert_ids_to_tokens(list(sample.ids[1:])) == [word for word, _ in expected]
    assert [label != UNLEARNED for label in sample.labels[1:]] == [on for _, on in expected]


samples = st.lists(
    st.lists(st.tuples(st.sampled_from([IMAGE_ID, 0, 1, 2**31 - 1]), st.booleans()), max_size=5).map(
        lambda tokens: Sample(
            tuple(id for id, _ in tokens),
            tuple(id if on and id != IMAGE_ID else UNLEARNED for id, on in tokens),
            "x" if any(id == IMAGE_ID for id, _ in tokens) else None,
        )
    ),
    max_size=5,
)


@given(samples)
def test_packed_samples_are_what_went_in(each: list[Sample]) -> None:
    packed = PackedSamples(each)
    assert list(packed) == each and len(packed) == len(each)
    assert packed[1:3] == each[1:3] and packed[::-1] == each[::-1]
    for position in (len(each), -len(each) - 1):
        with pytest.raises(IndexError):
            packed[position]


# --- questions -------------------------------------------------------------------------------------------------------


def test_a_question_in_both_prompts() -> None:
    question = asked("1", "x")
    assert WORDS.ask(question) == Turn(f"{IMAGE} a ? b , c ?", "c")
    assert WORDS.candidates(question) == ["b", "c"]
    vicuna = PROMPTS["vicuna-v1"]
    letters = "a ?\nA. b\nB. c\nAnswer with the option's letter from the given choices directly."
    assert vicuna.ask(question) == Turn(f"{IMAGE}\n{letters}", "B")
    assert vicuna.candidates(question) == ["A", "B"]
    assert vicuna.ask(question.turned(1)).assistant == "A"


def test_the_questions_about_an_image_are_the_turns_of_one_conversation() -> None:
    rows = Images.without_pictures("two", ["x", "y"], {})
    questions = [asked("1", "x", "a ?"), asked("2", "y", "b ?"), asked("3", "x", "c ?"), asked("4", "x", "d ?")]
    of_x, of_y = conversations_of(QuestionSet("q", questions, rows), WORDS)
    assert (of_x.key, of_x.image, of_y.image) == ("x", "x", "y")
    assert list(of_x.turns) == [
        Turn(f"{IMAGE} a ? b , c ?", "c"),
        Turn("c ? b , c ?", "c"),  # the image is shown once
        Turn("d ? b , c ?", "c"),
    ]
    assert list(of_y.turns) == [Turn(f"{IMAGE} b ? b , c ?", "c")]


def test_a_seed_shuffles_the_questions_of_each_image() -> None:
    rows = Images.without_pictures("many", [f"{i}" for i in range(40)], {})
    questions = [asked(f"{i} {text}", f"{i}", f"{text} ?") for i in range(40) for text in "abc"]
    made = QuestionSet("q", questions, rows)
    talks = conversations_of(made, WORDS, seed=0)
    assert talks == conversations_of(made, WORDS, seed=0) != conversations_of(made, WORDS, seed=1)
    orders = Counter("".join(turn.human.removeprefix(f"{IMAGE} ")[0] for turn in talk.turns) for talk in talks)
    assert set(orders) == {"abc", "acb", "bac", "bca", "cab", "cba"}
    assert all([IMAGE in turn.human for turn in talk.turns] == [True, False, False] for talk in talks)
