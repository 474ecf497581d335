"""Write questions with their images and answers to a folder, in forms that other tools read, and read them again."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.columns import texts_of
from embprobe.images.decoding import UnreadableImage
from embprobe.images.readers.folder import file_rows
from embprobe.images.rows import Images
from embprobe.system.files import making, write_json
from embprobe.system.models import Count, DamagedFile, parse_json
from embprobe.system.text import printable, visible
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.generate import Generated
from embprobe.vlm.prompts import PROMPTS, conversations_of
from embprobe.vlm.question import Question, QuestionSet, left_without

QUESTIONS, CONVERSATIONS, CAPTIONS, PICTURES = "questions.jsonl", "conversations.json", "captions.json", "images"
_DESCRIBE = "Describe the image."


def write_questions(
    generated: Generated, folder: Path, *, preview: Callable[[Path], object] = lambda folder: None
) -> Path:
    """Write a folder of questions, whole or not at all.

    It holds ``questions.jsonl`` (a question a line, with its right answer), ``images/KEY.png``, and, in LLaVA's JSON
    format, ``conversations.json`` (the questions about one image are the turns of one conversation) and
    ``captions.json``.

    Args:
        generated: Questions whose images have keys that are names of files, as generated ones have.
        folder: It must not be there, or be empty.
        preview: Writes more into the folder that it is given.

    Returns:
        The folder.

    Raises:
        UsageError: There is something in the folder.
        EmbprobeError: An image cannot be drawn, or nothing can be written there.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"'{folder}' is there and not an empty folder: choose another for the questions.")
    asked = generated.questions
    captions = dict(zip(asked.images.keys, generated.captions, strict=True))
    described = [
        Conversation(key=key, image=key, turns=(Turn(f"{IMAGE}\n{_DESCRIBE}", caption),))
        for key, caption in captions.items()
    ]
    try:
        with making(folder) as temporary:
            (temporary / PICTURES).mkdir()
            _write_pictures(asked.images, temporary / PICTURES)
            lines = (json.dumps(_described(each), ensure_ascii=False) for each in asked.questions)
            (temporary / QUESTIONS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            write_json(temporary / CONVERSATIONS, llava(conversations_of(asked, PROMPTS["vicuna-v1"])))
            write_json(temporary / CAPTIONS, llava(described))
            preview(temporary)
    except OSError as error:
        raise EmbprobeError(f"The questions cannot be written to '{folder}': {error.strerror or error}.") from None
    return folder


def read_questions(folder: Path) -> QuestionSet:
    """Read the questions and images of a folder that :func:`write_questions` wrote.

    Questions without an image in ``images/`` are left out, both of a pair, and counted in the notes. Images are decoded
    when they are needed.

    Raises:
        UsageError: There is no ``questions.jsonl``, or it cannot be read.
        DamagedFile: A line of it is no question; the message has its number.
        EmbprobeError: Two questions have one key, or no question has an image.
    """
    path, name = folder / QUESTIONS, printable(folder.resolve().name or "questions")
    try:
        with path.open("rb") as file:
            lines = [_question(path, number, line) for number, line in enumerate(file, 1) if line.strip()]
    except OSError as error:
        raise UsageError(f"The questions '{visible(str(path))}' cannot be read: {error.strerror}.") from None
    there = {key for key in dict.fromkeys(each.image for each in lines) if _has_picture(folder, key)}
    left = left_without(lines, lambda each: each.image not in there)
    if not left:
        raise EmbprobeError(
            f"There is no question to ask in '{visible(str(folder))}': "
            + (f"none of its {len(lines):,} has an image in '{PICTURES}'." if lines else f"'{QUESTIONS}' is empty.")
        )
    lost = len(lines) - len(left)
    note = f"{lost:,} question{'s' * (lost > 1)} left out without an image in '{PICTURES}'"
    keys = list(dict.fromkeys(each.image for each in left))
    files = file_rows(folder / PICTURES, [f"{key}.png" for key in keys], [{} for _ in keys])
    images = Images(name, replace(files, keys=texts_of(keys)), place=str(folder.resolve()))
    return QuestionSet(name, left, images, (note,) if lost else ())


@dataclass(frozen=True)
class _Line:
    """A line of ``questions.jsonl``."""

    key: str
    image: str
    text: str
    options: list[str]
    answer: Count
    group: str = ""
    kind: str = ""
    concept: str = ""
    pair: str = ""


_LINE = TypeAdapter(_Line)


def _question(path: Path, number: int, line: bytes) -> Question:
    """Return the question of a line, its image by the key and not the file."""
    at = path.with_name(f"{path.name}:{number}")
    content = parse_json(line, at)
    try:
        facts = asdict(_LINE.validate_python(content))
        image = facts["image"].removeprefix(f"{PICTURES}/").removesuffix(".png")
        return Question(**{**facts, "options": tuple(facts["options"]), "image": image})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"])) or "the top"
        raise DamagedFile(f"'{visible(str(at))}' is no question, at '{visible(key)}': {first['msg']}.") from None
    except EmbprobeError as error:
        raise DamagedFile(f"'{visible(str(at))}' is no question. {error}") from None


def _has_picture(folder: Path, key: str) -> bool:
    """Return whether an image is a file within the folder of images, and not by a way out of it."""
    pictures = (folder / PICTURES).resolve()
    try:
        path = (pictures / f"{key}.png").resolve()
        return path.is_relative_to(pictures) and path.is_file() and ".." not in Path(key).parts
    except (OSError, ValueError, RuntimeError):  # no name of a file, or links in a circle
        return False


def llava(conversations: Iterable[Conversation]) -> list[dict[str, Any]]:
    """Return conversations as LLaVA's JSON has them; images are ``KEY.png``."""
    return [
        {
            "id": each.key,
            **({} if each.image is None else {"image": f"{each.image}.png"}),
            "conversations": [
                {"from": speaker, "value": text}
                for turn in each.turns
                for speaker, text in (("human", turn.human), ("gpt", turn.assistant))
            ],
        }
        for each in conversations
    ]


def summary(asked: QuestionSet) -> dict[str, Mapping[str, int]]:
    """Return, for each group, the number of questions of each kind."""
    kinds: dict[str, Counter[str]] = defaultdict(Counter)
    for each in asked.questions:
        kinds[each.group][each.kind] += 1
    return {group: dict(counts) for group, counts in sorted(kinds.items())}


def _described(question: Question) -> dict[str, Any]:
    return {**asdict(question), "image": f"{PICTURES}/{question.image}.png", "right": question.right}


def _write_pictures(images: Images, folder: Path) -> None:
    for row in images.rows:
        try:
            row.load().save(folder / f"{row.key}.png", "PNG", compress_level=1)
        except UnreadableImage as reason:
            raise EmbprobeError(
                f"The scene '{row.key}' cannot be drawn: {visible(str(reason))}. Leave that image out; nothing was "
                "written."
            ) from None


def shown(asked: QuestionSet, number: int) -> Sequence[tuple[str, list[Question]]]:
    """Return some images and their questions, the kinds of scenes in turn."""
    kinds: dict[str, list[str]] = defaultdict(list)
    for key, kind in zip(asked.images.keys, asked.images.values("scene"), strict=True):
        kinds[kind or ""].append(key)
    order = [keys[i] for i in range(number) for keys in kinds.values() if i < len(keys)][:number]
    return [(key, [each for each in asked.questions if each.image == key]) for key in order]
