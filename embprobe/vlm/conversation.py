"""Conversations about images, from which a vision-language model learns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

IMAGE = "<image>"
"""Where the tokens of the image stand in a text, as in LLaVA's files."""


@dataclass(frozen=True)
class Turn:
    """A question, or an instruction, and the answer that is learned."""

    human: str
    assistant: str


@dataclass(frozen=True, kw_only=True)
class Conversation:
    """Turns about one image, or about none.

    The first turn's ``human`` holds :data:`IMAGE` once where there is an image; no other text holds it.
    """

    key: str
    image: str | None
    """The key of the image among the rows; None of a conversation without one."""
    turns: Sequence[Turn]
