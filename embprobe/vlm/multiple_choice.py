"""Rows of tables become multiple-choice questions; rows that cannot are left out and counted by reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from embprobe.errors import EmbprobeError
from embprobe.system.text import visible
from embprobe.vlm.question import LETTERS, Question
from embprobe.vlm.vmcbench import VMCBENCH

_NAMED = re.compile(r"[(\[]?([A-Za-z])[)\].:]?")
_LISTED = re.compile(r"\(([a-z])\)", re.IGNORECASE)
TEXTS = frozenset(
    {"index", "question", "hint", "options", "answer", "correct answer", "category", "l2-category", *LETTERS}
)
"""The columns of texts that a question is made of, in the names of :func:`column_names`."""
MMVP_GROUP, MMVP = "vision-centric", "MMVP"
_SWAPPED = 98
"""The row of MMVP's first question about tusks, from 0."""


class Unusable(Exception):
    """A row is no question that can be asked; the message is the reason, after "questions"."""


@dataclass
class Gathered:
    """The questions of a table by their rows, and the keys of the rows that were left out, by reason."""

    questions: list[Question | None] = field(default_factory=list)
    """One a row; None where it was left out."""
    texts: list[str] = field(default_factory=list)
    """The text of the question of every row, for pairs."""
    left_out: dict[str, list[str]] = field(default_factory=dict)
    _keys: set[str] = field(default_factory=set)

    def add(self, fields: Mapping[str, str], image: str | Unusable) -> None:
        """Take a row: its cells by the names of the columns, and the key of its image or why there is none."""
        key = fields.get("index", "").strip() or str(len(self.questions) + 1)
        self.texts.append(" ".join(fields.get("question", "").split()).casefold())
        try:
            if isinstance(image, Unusable):
                raise image
            if key in self._keys:
                raise Unusable("with an index that an earlier one has")
            question = question_of(fields, key=key, image=image)
            self._keys.add(key)
        except Unusable as reason:
            self.leave_out(key, str(reason))
            self.questions.append(None)
        else:
            self.questions.append(question)

    def leave_out(self, key: str, reason: str) -> None:
        """Count a question that is left out."""
        self.left_out.setdefault(reason, []).append(key)

    @property
    def notes(self) -> tuple[str, ...]:
        """A remark for each reason."""
        return tuple(
            f"{len(keys):,} question{'s' * (len(keys) > 1)} left out {reason}, the first '{visible(keys[0])}'"
            for reason, keys in self.left_out.items()
        )

    def usable(self, name: str) -> list[Question]:
        """Return the questions; raises :class:`EmbprobeError` if there is none."""
        found = [question for question in self.questions if question is not None]
        if not found:
            reasons = "; ".join(self.notes) or "it has no rows"
            raise EmbprobeError(f"There is no question to ask in '{visible(name)}': {reasons}.")
        return found


def question_of(fields: Mapping[str, str], *, key: str, image: str) -> Question:
    """Return the question of a row.

    Args:
        fields: Its cells by column: ``question``; the options ``A``, ``B``, … or ``options`` as "(a) one (b) two";
            ``answer`` or ``correct answer``, a letter or the text of an option; and, where there are any, ``hint``,
            which is put before the question, ``category`` and ``l2-category``.
        key: The key of the question.
        image: The key of its image.

    Raises:
        Unusable: It lacks a text, two different options or an answer.

    Example:
        >>> row = {"question": "Open or shut?", "options": "(a) Open (b) Shut", "correct answer": "(b)"}
        >>> question_of(row, key="1", image="1.jpg").right
        'Shut'
    """
    text = fields.get("question", "").strip()
    if not text:
        raise Unusable("without a text")
    if hint := fields.get("hint", "").strip():
        text = f"{hint}\n{text}"
    options = _options(fields)
    if len(options) < 2:
        raise Unusable("with fewer than two options")
    if len(set(options)) < len(options):
        raise Unusable("with two options that are the same")
    kind = fields.get("category", "").strip()
    group = VMCBENCH.get(kind) or fields.get("l2-category", "").strip() or kind
    answer = _answer(fields.get("answer", "") or fields.get("correct answer", ""), options)
    return Question(key=key, image=image, text=text, options=options, answer=answer, group=group, kind=kind)


def pair_up(gathered: Gathered, name: str) -> None:
    """Make pairs of every two rows, as in MMVP: both or neither of a pair can be asked.

    Raises:
        EmbprobeError: Two rows that should be a pair do not ask the same.
    """
    rows = gathered.questions
    for i in range(0, len(rows), 2):
        if gathered.texts[i : i + 1] != gathered.texts[i + 1 : i + 2]:
            raise EmbprobeError(
                f"'{visible(name)}' holds no pairs: its rows {i + 1} and {i + 2} do not ask the same. "
                "Every two rows of MMVP are one pair."
            )
        pair = [rows[i], rows[i + 1]]
        for at, question in enumerate(pair, i):
            if question is not None and None in pair:
                gathered.leave_out(question.key, "because the other of their pair is")
                rows[at] = None
            elif question is not None:
                rows[at] = replace(question, pair=str(i // 2 + 1), group=MMVP_GROUP, kind=MMVP)


def notes_on_mmvp(gathered: Gathered) -> tuple[str, ...]:
    """Return a remark if four answers of MMVP stand as first published, which are taken to be swapped."""
    first = gathered.questions[_SWAPPED] if len(gathered.questions) == 300 else None
    if first is None or "tusks" not in first.text or first.answer != 0:
        return ()
    return (
        "the answers to questions 99 and 100, and 279 and 280, are read as first published; lmms-eval takes them to "
        "be swapped (its issue 1018)",
    )


def column_names(names: Iterable[str]) -> list[str]:
    """Return names of columns in lower case but for the letters of options, as VLMEvalKit reads them."""
    return [name if len(name) == 1 and name in LETTERS else name.strip().lower() for name in names]


def _options(fields: Mapping[str, str]) -> tuple[str, ...]:
    if listed := fields.get("options", ""):
        return tuple(part.strip() for part in _LISTED.split(listed)[2::2])
    options = []
    for letter in LETTERS:
        if not (option := fields.get(letter, "").strip()):
            break
        options.append(option)
    return tuple(options)


def _answer(text: str, options: tuple[str, ...]) -> int:
    text = text.strip()
    if not text:
        raise Unusable("without an answer")
    if named := _NAMED.fullmatch(text):
        place = LETTERS.index(named[1].upper())
        if place < len(options):
            return place
    if text in options:
        return options.index(text)
    raise Unusable("with an answer that is none of the options")
