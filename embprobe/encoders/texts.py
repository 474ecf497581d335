"""Encode texts, and note those that are longer than an encoder's context: its tokenizer cuts them without a word."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from embprobe.system.text import visible

if TYPE_CHECKING:
    from embprobe.encoders.spec import Encoder, Floats

log = logging.getLogger("embprobe")
_SHOWN = 30
"""Letters of a text that a note shows."""
_AT_ONCE = 256
"""Texts that go through a text tower at once."""


def encode_texts(encoder: Encoder, texts: Sequence[str]) -> Floats:
    """Return vectors of texts ``[n, d]``; embprobe's own encoders split them themselves, and count those they cut."""
    from embprobe.encoders.network import NetworkEncoder

    if isinstance(encoder, NetworkEncoder):
        return encoder.encode_texts(texts)
    blocks = [encoder.encode_texts(texts[i : i + _AT_ONCE]) for i in range(0, len(texts), _AT_ONCE)]
    return np.concatenate(blocks)


@dataclass(frozen=True)
class CutText:
    """A text that a tokenizer cuts."""

    text: str
    tokens: int
    """Its number of tokens, those at the start and the end among them."""
    limit: int
    """The number of tokens that the encoder reads."""
    rest: str
    """The part that does not count, as the tokenizer writes it."""


def may_be_cut(text: str, limit: int) -> bool:
    """Return whether a text may have more tokens than the limit: none of them stands for less than a byte.

    Two tokens more may stand at its start and end.
    """
    return len(text) + 2 > limit or len(text.encode("utf-8", "replace")) + 2 > limit


def cut_by(tokenizer: Any, text: str, limit: int) -> CutText | None:
    """Return a text that a Hugging Face tokenizer cuts after ``limit`` tokens; None if it reads the whole."""
    if not may_be_cut(text, limit):
        return None
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]
    special = tokenizer.num_special_tokens_to_add()
    if len(ids) + special <= limit:
        return None
    return CutText(text, len(ids) + special, limit, tokenizer.decode(ids[max(limit - special, 0) :]))


def note_cut(encoder: str, cut: Sequence[CutText], count: int) -> None:
    """Log one warning about the texts that an encoder cuts, with the first of them.

    Args:
        encoder: The encoder's name.
        cut: Those that it cuts.
        count: The number of all texts.
    """
    if not cut:
        return
    first = cut[0]
    if count == 1:
        start = f"The text '{_start(first.text)}' has {first.tokens:,} tokens, and '{encoder}' reads {first.limit:,}"
    else:
        start = (
            f"{len(cut):,} of {count:,} texts are longer than the {first.limit:,} tokens that '{encoder}' reads, first "
            f"'{_start(first.text)}' of {first.tokens:,}"
        )
    log.warning("%s: the rest, from '%s', does not count.", start, _start(first.rest))


def _start(text: str) -> str:
    """Return the first letters of a text, on one line."""
    line = " ".join(text.split())
    return visible(line[:_SHOWN]) + ("…" if len(line) > _SHOWN else "")
