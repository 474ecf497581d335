"""Multiple-choice questions about images, whoever wrote them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images
from embprobe.system.text import visible

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""By which options are named."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question about one image, with two options or more, one of which is right.

    Example:
        >>> asked = Question(key="1", image="a.png", text="What is written?", options=("dust", "moon"), answer=1)
        >>> asked.right, asked.turned(1).options, asked.turned(1).right
        ('moon', ('moon', 'dust'), 'moon')
    """

    key: str
    """Its name, of its own within the set."""
    image: str
    """The key of its image."""
    text: str
    """What is asked, without the options."""
    options: tuple[str, ...]
    """Each another text."""
    answer: int
    """The position of the right option, from 0."""
    group: str = ""
    """What it takes to answer it: ``text``, ``vision-centric``."""
    kind: str = ""
    """Which question it is within its group: ``count``, or the benchmark it comes from."""
    concept: str = ""
    """The value that it is resampled with: what the image shows; its key where it has none."""
    pair: str = ""
    """Questions of one pair count together: it is right if all of them are."""

    def __post_init__(self) -> None:
        if len(set(self.options)) < len(self.options):
            twice = next(option for option, number in Counter(self.options).items() if number > 1)
            raise EmbprobeError(f"Two options of the question '{visible(self.key)}' are the same: '{visible(twice)}'.")
        if not 2 <= len(self.options) <= len(LETTERS) or not 0 <= self.answer < len(self.options):
            raise EmbprobeError(
                f"The question '{visible(self.key)}' has {len(self.options)} options and the answer {self.answer + 1}: "
                f"it needs 2 to {len(LETTERS)} and an answer among them."
            )

    @property
    def right(self) -> str:
        """The right option."""
        return self.options[self.answer]

    def turned(self, by: int) -> Question:
        """Return the question with its options moved up by so many places, the first ones behind the last.

        All its turns together are circular evaluation (Liu et al. 2023, "MMBench", section 4.2).
        """
        by %= len(self.options)
        options = self.options[by:] + self.options[:by]
        return replace(self, options=options, answer=(self.answer - by) % len(self.options))


def left_without(questions: Sequence[Question], lost: Callable[[Question], bool]) -> list[Question]:
    """Return the questions that are left without those that are lost, and without the others of their pairs."""
    gone = [lost(each) for each in questions]
    pairs = {each.pair for each, is_gone in zip(questions, gone, strict=True) if is_gone and each.pair}
    return [each for each, is_gone in zip(questions, gone, strict=True) if not is_gone and each.pair not in pairs]


@dataclass(frozen=True)
class QuestionSet:
    """Questions and the images they are about.

    Raises:
        EmbprobeError: Two questions have one key, or an image is not among the images.
    """

    name: str
    questions: Sequence[Question]
    images: Images
    notes: tuple[str, ...] = ()
    """Remarks of the reader or the generator, such as the number of questions that were left out."""

    def __post_init__(self) -> None:
        keys = Counter(each.key for each in self.questions)
        if twice := next((key for key, number in keys.items() if number > 1), None):
            raise EmbprobeError(f"Two questions of '{self.name}' have the key '{visible(twice)}'.")
        known = set(self.images.keys)
        if (lost := next((each for each in self.questions if each.image not in known), None)) is not None:
            raise EmbprobeError(
                f"The image '{visible(lost.image)}' of the question '{visible(lost.key)}' is not in '{self.name}'."
            )

    def __len__(self) -> int:
        return len(self.questions)

    @property
    def groups(self) -> list[str]:
        """The groups in the order in which they first occur."""
        return list(dict.fromkeys(each.group for each in self.questions))

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with any question or image."""
        facts = [repr(each) for each in self.questions]
        return hashlib.sha256("\n".join([*facts, self.images.fingerprint]).encode("utf-8", "replace")).hexdigest()[:16]

    def where(self, chosen: Callable[[Question], bool]) -> QuestionSet:
        """Return the questions for which ``chosen`` is true, with all images."""
        return replace(self, questions=[each for each in self.questions if chosen(each)])
