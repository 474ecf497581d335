"""A text that is longer than an encoder's context is cut, and one warning says so and counts."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import open_clip
import pytest

from embprobe.encoders import load_encoder
from embprobe.encoders.families.open_clip import _find_cut
from embprobe.encoders.texts import CutText, note_cut
from embprobe.encoders.towers.two_towers import Tokenizer
from tests.encoders.conftest import Put

WORDS = "one two three four five six seven eight nine ten"


@pytest.mark.parametrize("letters", range(5))
def test_our_tokenizer_reads_twenty_four_tokens(letters: int) -> None:
    """A start token, and one for each letter of unknown words: 1 + 7 x 3 and those of the last word."""
    cut = Tokenizer([]).cut("Abc " * 7 + "X" * letters)
    expected = CutText("Abc " * 7 + "X" * letters, 22 + letters, 24, "x" * letters)
    assert cut == (expected if letters > 2 else None)


def test_a_known_word_is_one_token() -> None:
    tokenizer = Tokenizer(WORDS.split())
    assert tokenizer.cut(" ".join(WORDS.split()[:8] * 2)) is None  # 1 + 16 tokens
    cut = tokenizer.cut(f"{WORDS} {WORDS} {WORDS}")
    assert cut is not None and cut.tokens == 31
    assert cut.rest == "four five six seven eight nine ten"  # 1 + 23 tokens are read: the third 'three' is the last


def test_a_text_for_clip_is_cut_after_seventy_seven_tokens() -> None:
    tokenizer = open_clip.SimpleTokenizer()
    find = _find_cut(lambda: tokenizer)
    fits, long = "cat " * 75, "cat " * 75 + "Dog and mouse"
    assert find(None, [fits]) == []
    assert find(None, ["short", long]) == [CutText(long, 80, 77, "dog and mouse ")]
    # the tokens that are read are those of the text without the rest
    assert tokenizer([long]).tolist() == tokenizer([fits]).tolist()


def test_texts_of_a_tokenizer_of_the_hub(clips: dict[str, Path], hub: Put, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("transformers")
    hub("owner/siglip", clips["siglip"])
    encoder = load_encoder("open_clip/hf-hub:owner/siglip")
    logging.disable(logging.NOTSET)
    vectors = encoder.encode_texts(["cat " * 12, "cat " * 12 + "dog dog"])
    assert np.array_equal(vectors[0], vectors[1])
    assert caplog.messages == [
        "1 of 2 texts are longer than the 12 tokens that 'open_clip/hf-hub:owner/siglip' reads, first "
        "'cat cat cat cat cat cat cat ca…' of 14: the rest, from 'dog dog', does not count."
    ]


def test_one_warning_counts_the_texts_and_none_comes_twice(caplog: pytest.LogCaptureFixture) -> None:
    encoder = load_encoder("bundled/clip")
    long = [f"{letter} " * 30 for letter in "abcdefghijkl"]
    texts = [f"text {i}" for i in range(588)] + long
    vectors = encoder.encode_texts(texts)
    assert len(caplog.messages) == 1 and caplog.messages[0].startswith(
        "12 of 600 texts are longer than the 24 tokens that 'bundled/clip' reads, first 'a a a a"
    )
    again = encoder.encode_texts(long)
    assert len(caplog.messages) == 1 and np.abs(again - vectors[588:]).max() < 1e-5
    encoder.encode_texts(["m " * 30])
    assert caplog.messages[1] == (
        "The text 'm m m m m m m m m m m m m m m …' has 31 tokens, and 'bundled/clip' reads 24: "
        "the rest, from 'm m m m m m m', does not count."
    )


def test_a_note_keeps_to_one_line(caplog: pytest.LogCaptureFixture) -> None:
    note_cut("x", [CutText("a\n\x1b[31mb", 9, 8, "\r\nend\x1b[0m")], 1)
    assert caplog.messages == [
        r"The text 'a \x1b[31mb' has 9 tokens, and 'x' reads 8: the rest, from 'end\x1b[0m', does not count."
    ]
