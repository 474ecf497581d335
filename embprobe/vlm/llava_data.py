"""Read conversations about images in the format of LLaVA's JSON files."""

from __future__ import annotations

import json
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, overload

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.readers.folder import file_rows
from embprobe.images.rows import Images
from embprobe.system.text import printable, visible
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.training import TrainingData

_READ = 2**20
"""Letters that are read at a time."""
_LONGEST = 2**26
"""The most letters of one conversation; a longer one would have to be held in memory whole."""


_DECODE = json.JSONDecoder().raw_decode


class _Unusable(Exception):
    """The reason why a conversation cannot be learned from."""


def read_conversations(
    file: Path, image_folder: Path, *, max_left_out: int = 0
) -> tuple[Images, Sequence[Conversation]]:
    """Read a list of conversations, and the images they are about, as LLaVA's files for both stages have them.

    Such a file is a JSON list of ``{"id": ..., "image": PATH, "conversations": [{"from": "human", "value": ...},
    {"from": "gpt", "value": ...}, ...]}``; a conversation without ``image`` is one of texts alone. As in LLaVA's code
    (``preprocess_multimodal`` and ``preprocess_v1``), the mark of the image is put at the start of the first question,
    and an answer before the first question is passed over. A question without an answer at the end is passed over, too,
    since nothing is learned from it. An ``id`` that comes again gets a number behind it.

    The file is read piece by piece, and conversations are kept as packed texts: memory is about the file's size.

    Args:
        file: The JSON file.
        image_folder: The folder that paths of images start from.
        max_left_out: The most conversations that may be left out because their image is missing, or they are not in
            that form; a remark in the notes of the images counts them.

    Returns:
        The images, each once, in the order of the file, their keys the paths in it; and the conversations.

    Raises:
        UsageError: There is no such file or folder.
        EmbprobeError: The file is no such list, more conversations than ``max_left_out`` cannot be used, none can, or
            none has an image.
    """
    if not image_folder.is_dir():
        raise UsageError(f"There is no folder '{image_folder}' of images.")
    seen, there = Counter[str](), dict[str, bool]()
    packed, unusable = _Packed(), _Unusables(file, image_folder)
    repeated = 0
    for number, element in enumerate(_elements(file)):
        key = _key(element, number)
        try:
            image, turns = _conversation(element)
            if image is not None and image not in there:
                there[image] = os.path.isfile(image_folder / image)  # noqa: PTH113  # a folder of 665,000 images
            if image is not None and not there[image]:
                raise _Unusable(f"its image '{visible(image)}' is not there")
        except _Unusable as reason:
            unusable.add(key, str(reason))
            continue
        seen[key] += 1
        repeated += seen[key] > 1
        packed.add(key if seen[key] == 1 else f"{key}#{seen[key]}", image, turns)
    unusable.check(max_left_out, number_of_all=len(packed) + unusable.count)
    keys = [image for image, found in there.items() if found]
    if not keys:
        raise EmbprobeError(f"No conversation in '{file}' has an image.")
    notes = (
        *unusable.notes(),
        *(
            [f"{repeated:,} conversations have an id that others have, too; it got a number behind it"]
            if repeated
            else []
        ),
    )
    rows = file_rows(image_folder, keys, [{}] * len(keys))
    return Images(printable(file.stem), rows, notes, place=str(image_folder.resolve())), packed


def captions_of(conversations: Iterable[Conversation]) -> dict[str, str]:
    """Return the caption of each image: the first answer about it, as LLaVA's first stage learns it.

    Example:
        >>> about = Conversation(key="1", image="a.png", turns=[Turn("<image>\\nDescribe it.", "a red dog")])
        >>> captions_of([about])
        {'a.png': 'a red dog'}
    """
    captions = dict[str, str]()
    for each in conversations:
        if each.image is not None:
            captions.setdefault(each.image, each.turns[0].assistant)
    return captions


def read_training_data(
    *,
    captions: Path | None,
    conversations: Path | None,
    image_folder: Path,
    caption_images: Path | None = None,
    max_left_out: int = 0,
) -> tuple[Images, TrainingData]:
    """Read the files of both stages, and the images of both as one set.

    Args:
        captions: The file of the first stage, whose first answers are captions; None if there is none.
        conversations: The file of the second stage; None if there is none.
        image_folder: The folder that paths of images start from.
        caption_images: That of the first stage, where it is another.
        max_left_out: The most conversations of each file that may be left out.

    Raises:
        UsageError: There is neither file.
        EmbprobeError: As :func:`read_conversations`; or two images in different folders have the same path.
    """
    first = second = None
    if captions is not None:
        first = read_conversations(captions, caption_images or image_folder, max_left_out=max_left_out)
    if conversations is not None:
        second = read_conversations(conversations, image_folder, max_left_out=max_left_out)
    if first is None and second is None:
        raise UsageError("There is nothing to learn from: give a file of captions, of conversations, or both.")
    sets = [part[0] for part in (first, second) if part is not None]
    data = TrainingData([] if second is None else second[1], {} if first is None else captions_of(first[1]))
    if len(sets) == 1:
        return sets[0], data
    known = set(sets[0].keys)
    shared = [key for key in sets[1].keys if key in known]
    if shared and sets[0].place != sets[1].place:
        raise EmbprobeError(
            f"{len(shared):,} images of captions and conversations have the same path in two folders, first "
            f"'{visible(shared[0])}': give one folder above both, and paths from there."
        )
    others = sets[1].take([i for i, key in enumerate(sets[1].keys) if key not in known])
    joined = Images.joined(f"{sets[0].name}+{sets[1].name}", [sets[0], others])
    return replace(joined, notes=(*sets[0].notes, *sets[1].notes)), data


class _Packed(Sequence[Conversation]):
    """Conversations as packed texts, each made anew when it is asked for."""

    def __init__(self) -> None:
        self._texts, self._ends = bytearray(), array("q", [0])

    def add(self, key: str, image: str | None, turns: Sequence[Turn]) -> None:
        """Append a conversation."""
        facts = [key, image, [[turn.human, turn.assistant] for turn in turns]]
        self._texts += json.dumps(facts, ensure_ascii=False, separators=(",", ":")).encode()
        self._ends.append(len(self._texts))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, index: int) -> Conversation: ...
    @overload
    def __getitem__(self, index: slice) -> list[Conversation]: ...
    def __getitem__(self, index: int | slice) -> Conversation | list[Conversation]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        at = range(len(self))[index]
        key, image, turns = json.loads(self._texts[self._ends[at] : self._ends[at + 1]])
        return Conversation(key=key, image=image, turns=[Turn(*turn) for turn in turns])


class _Unusables:
    """Conversations that are left out: their number, and the first one."""

    def __init__(self, file: Path, folder: Path) -> None:
        self.file, self.folder, self.count, self.first = file, folder, 0, ""

    def add(self, key: str, reason: str) -> None:
        """Count one more."""
        self.count += 1
        self.first = self.first or f"first '{visible(key[:80])}': {reason}"

    def check(self, most: int, *, number_of_all: int) -> None:
        """Raise EmbprobeError if they are more than ``most``, or all."""
        if self.count > most:
            raise EmbprobeError(
                f"{self.count:,} of {number_of_all:,} conversations in '{self.file}' cannot be used with the images in "
                f"'{self.folder}', {self.first}. Mend them, or train without them: --max-left-out {self.count}."
            )
        if self.count == number_of_all:
            reason = f", {self.first}" if self.count else ""
            raise EmbprobeError(f"There is no conversation in '{self.file}' that can be used{reason}.")

    def notes(self) -> list[str]:
        """Return a remark on them; none if there are none."""
        return [f"{self.count:,} conversations left out, {self.first}"] if self.count else []


# --- one conversation ----------------------------------------------------------------------------------------------


def _key(element: Mapping[str, Any], number: int) -> str:
    """Return the ``id`` of a conversation, or its position from 0 where there is none."""
    given = element.get("id")
    return printable(str(given)) if isinstance(given, str | int) and given != "" else str(number)


def _conversation(element: Mapping[str, Any]) -> tuple[str | None, list[Turn]]:
    """Return the path of a conversation's image, None if there is none, and its turns."""
    image = element.get("image")
    if image is not None:
        image = _path(image)
    messages = element.get("conversations")
    if not isinstance(messages, list):
        raise _Unusable("it has no list 'conversations'")
    values = [_message(message) for message in messages]
    if values and values[0][0] == "gpt":
        values = values[1:]
    turns = []
    for place, ((asks, question), (answers, answer)) in enumerate(zip(values[::2], values[1::2], strict=False)):
        if (asks, answers) != ("human", "gpt"):
            raise _Unusable("its messages are not of 'human' and 'gpt' in turn")
        if not answer.strip():
            raise _Unusable("an answer is empty")
        turns.append(Turn(_marked(question, image is not None and place == 0), _unmarked(answer, "an answer")))
    if not turns:
        raise _Unusable("it has no question with an answer")
    return image, turns


def _message(message: object) -> tuple[str, str]:
    """Return the speaker and the text of a message."""
    if not isinstance(message, dict) or not isinstance(message.get("value"), str):
        raise _Unusable("a message has no text 'value'")
    text = message["value"]
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _Unusable("a text holds half of a surrogate pair") from None
    return str(message.get("from")), text


def _marked(question: str, has_image: bool) -> str:
    """Return a question with the mark of the image before it, if it has one."""
    if not has_image:
        return _unmarked(question, "a question without an image")
    marks = question.count(IMAGE)
    if marks != 1:
        raise _Unusable(f"its first question holds '{IMAGE}' {marks} times, and there is one image")
    return f"{IMAGE}\n{question.replace(IMAGE, '').strip()}".strip()


def _unmarked(text: str, name: str) -> str:
    """Return a text that holds no mark of an image."""
    if IMAGE in text:
        raise _Unusable(f"{name} holds '{IMAGE}'")
    if not text.strip():
        raise _Unusable(f"{name} is empty")
    return text


def _path(image: object) -> str:
    """Return the path of an image below the folder, with forward slashes."""
    if not isinstance(image, str) or not image or "\0" in image:
        raise _Unusable("its 'image' is no path")
    path = PurePosixPath(image.replace("\\", "/"))
    outside = path.is_absolute() or ".." in path.parts or not path.parts or ":" in path.parts[0]
    if outside or printable(image) != image:
        raise _Unusable(f"its image '{visible(image)}' is no path below the folder")
    return str(path)


# --- the file ------------------------------------------------------------------------------------------------------


def _elements(file: Path) -> Iterator[dict[str, Any]]:
    """Read the objects of a JSON list one by one.

    Raises:
        UsageError: The file cannot be opened.
        EmbprobeError: It is no JSON list of objects.
    """
    try:
        with file.open(encoding="utf-8-sig") as stream:
            yield from _objects(_Text(stream.read))
    except OSError as error:
        raise UsageError(f"The conversations '{file}' cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise EmbprobeError(f"The conversations '{file}' are no text in UTF-8.") from None
    except (json.JSONDecodeError, RecursionError):
        raise EmbprobeError(f"'{file}' is damaged, or no JSON list of conversations as LLaVA writes it.") from None


def _objects(text: _Text) -> Iterator[dict[str, Any]]:
    text.expect("[")
    while text.next() != "]":
        yield text.object()
        if text.next() != "]":
            text.expect(",")
            if text.next() == "]":
                text.expect("{")
    text.expect("]")
    text.expect("")


class _Text:
    """JSON that is read piece by piece."""

    def __init__(self, read: Callable[[int], str]) -> None:
        self._read, self._text, self._at = read, "", 0

    def next(self) -> str:
        """Return the next letter that is no space, and stay before it; "" at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            self._text, self._at = self._read(_READ), 0
            if not self._text:
                return ""

    def expect(self, letter: str) -> None:
        """Go on behind the next letter; JSONDecodeError if it is another one."""
        if self.next() != letter:
            raise json.JSONDecodeError(f"expected '{letter}'", "", 0)
        self._at += 1

    def object(self) -> dict[str, Any]:
        """Read one object."""
        if self.next() != "{":
            self.expect("{")
        while True:
            try:
                element, self._at = _DECODE(self._text, self._at)
            except json.JSONDecodeError:
                rest = self._text[self._at :]
                more = self._read(max(_READ, len(rest)))  # twice as much each time, or long ones take quadratic time
                if not more or len(rest) > _LONGEST:
                    raise
                self._text, self._at = rest + more, 0
            else:
                found: dict[str, Any] = element
                return found
