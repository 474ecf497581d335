"""Answered questions: which questions a model got right, in a file of JSON lines."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import Field, StrictBool, TypeAdapter, ValidationError

from embprobe.errors import EmbprobeError, UsageError
from embprobe.system.files import replacing
from embprobe.system.models import Count, DamagedFile, parse_json
from embprobe.system.text import visible
from embprobe.vlm.question import QuestionSet

SCHEMA = 1
FORMAT = "embprobe-answers"
"""The value of ``format`` in the first line of a file."""
Share = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """Whether a model got one question right."""

    key: str
    """The key of the question."""
    score: Share
    """The share of the turns of its options that were answered rightly; 1 or 0 where it was asked once."""
    every: StrictBool
    """Whether all turns were answered rightly."""
    options: Count = 0
    """The number of options, for the rate of guessing; 0 where it is unknown."""
    group: str = ""
    kind: str = ""
    concept: str = ""
    pair: str = ""
    """These four are the question's (:class:`~embprobe.vlm.question.Question`)."""
    mark: str = ""
    """Changes with the question: two answers to one key with different marks are to different questions. Marks are
    comparable where they agree up to the colon; "" where nothing is known of the question."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one model to a set of questions.

    Raises:
        EmbprobeError: Two answers have one key, or there is none.
    """

    name: str
    """The model, or the encoder inside it."""
    rows: Sequence[Answer]
    asked: str = ""
    """The name of the set of questions."""
    questions: str = ""
    """Its fingerprint; "" where it is unknown, as of the files of other tools."""
    notes: tuple[str, ...] = ()
    """Remarks, such as the number of rows that a reader left out."""

    def __post_init__(self) -> None:
        if not self.rows:
            raise EmbprobeError(f"'{visible(self.name)}' has answered no question.")
        keys = Counter(each.key for each in self.rows)
        if twice := next((key for key, number in keys.items() if number > 1), None):
            raise EmbprobeError(f"'{visible(self.name)}' has two answers to the question '{visible(twice)}'.")

    def __len__(self) -> int:
        return len(self.rows)


def answers_to(
    questions: QuestionSet, name: str, right: Sequence[Sequence[bool]], *, notes: Sequence[str] = ()
) -> Answers:
    """Return the answers of a model to all questions of a set.

    Args:
        questions: The questions.
        name: The model, or the encoder inside it.
        right: For each question in its order, whether each turn of its options was answered rightly: one where it was
            asked once, as many as it has options for circular evaluation.
        notes: Remarks.

    Raises:
        ValueError: ``right`` and the questions differ in number, or a question has no turn.
    """
    rows = []
    for question, turns in zip(questions.questions, right, strict=True):
        if not len(turns):
            raise ValueError(f"the question '{question.key}' was not asked")
        rows.append(
            Answer(
                key=question.key,
                score=sum(map(bool, turns)) / len(turns),
                every=all(turns),
                options=len(question.options),
                group=question.group,
                kind=question.kind,
                concept=question.concept,
                pair=question.pair,
                mark=mark_of("embprobe", repr(question)),
            )
        )
    return Answers(
        name=name, rows=rows, asked=questions.name, questions=questions.fingerprint, notes=(*questions.notes, *notes)
    )


def mark_of(kind: str, content: str) -> str:
    """Return the mark of a question by its content; marks of one ``kind`` are comparable.

    Example:
        >>> mark_of("lmms-eval", "B") == mark_of("lmms-eval", "B") != mark_of("lmms-eval", "C")
        True
    """
    return f"{kind}:{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def write_answers(path: Path, answers: Answers) -> None:
    """Replace a file by answers, whole or not at all: a line about all of them, then a line each."""
    about = _About(SCHEMA, len(answers), answers.name, answers.asked, answers.questions, answers.notes)
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="\n") as file:
        for line in ({"format": FORMAT, **asdict(about)}, *(asdict(row) for row in answers.rows)):
            file.write(json.dumps(line, allow_nan=False) + "\n")


def read_answers(path: Path) -> Answers:
    """Read a file of :func:`write_answers`.

    Raises:
        UsageError: There is no such file, or it is none of answers.
        DamagedFile: It is damaged, or cut short; the message names the line.
    """
    try:
        with path.open("rb") as file:
            lines = enumerate(file, 1)
            about = _about(path, next((line for _, line in lines), b""))
            rows = [_line(_ANSWER, parse_json(line, _at(path, number)), path, number) for number, line in lines]
    except OSError as error:
        raise UsageError(f"The answers '{path}' cannot be read: {error.strerror}.") from None
    if len(rows) != about.answers:
        raise DamagedFile(
            f"'{path}' is damaged: its first line counts {about.answers:,} answers; there are {len(rows):,}."
        )
    try:
        return Answers(name=about.name, rows=rows, asked=about.asked, questions=about.questions, notes=about.notes)
    except EmbprobeError as error:
        raise DamagedFile(f"'{path}' is damaged: {error}") from None


def is_answers(path: Path) -> bool:
    """Return whether the first line of a file says that answers of embprobe follow."""
    with path.open("rb") as file:
        line = file.readline(_LONGEST)
    try:
        return parse_json(line, path).get("format") == FORMAT
    except DamagedFile:
        return False


@dataclass(frozen=True)
class _About:
    """The first line of a file."""

    schema: Count
    answers: Count
    name: str
    asked: str = ""
    questions: str = ""
    notes: tuple[str, ...] = ()


_LONGEST = 2**20
"""The bytes of a first line that are looked at."""
_ABOUT, _ANSWER = TypeAdapter(_About), TypeAdapter(Answer)
_Line = TypeVar("_Line")


def _about(path: Path, line: bytes) -> _About:
    content = parse_json(line, _at(path, 1)) if line.startswith(b"{") else {}
    if content.get("format") != FORMAT:
        raise UsageError(f"'{path}' holds no answers of embprobe: 'embprobe vlm eval' writes them.")
    about = _line(_ABOUT, content, path, 1)
    if about.schema > SCHEMA:
        raise UsageError(f"'{path}' is of schema {about.schema}, and this embprobe reads up to {SCHEMA}: update it.")
    return about


def _line(kind: TypeAdapter[_Line], content: dict[str, Any], path: Path, number: int) -> _Line:
    try:
        return kind.validate_python(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the top"
        raise DamagedFile(f"'{_at(path, number)}' is damaged at '{key}': {first['msg']}.") from None


def _at(path: Path, number: int) -> Path:
    """Return the path with the number of a line, for messages."""
    return path.with_name(f"{path.name}:{number}")
