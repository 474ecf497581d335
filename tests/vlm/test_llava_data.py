"""LLaVA's files of conversations: both stages' forms, and those that nobody should learn from."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.vlm import llava_data
from embprobe.vlm.conversation import IMAGE, Conversation, Turn
from embprobe.vlm.llava_data import captions_of, read_conversations


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, colour in (("00453/004539375.jpg", "red"), ("coco/train2017/000000033471.jpg", "blue")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True)
        Image.new("RGB", (8, 8), colour).save(path)
    return tmp_path / "images"


def messages(*values: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[i % 2], "value": value} for i, value in enumerate(values)]


def read(folder: Path, *elements: Any, max_left_out: int = 0) -> tuple[Images, Sequence[Conversation]]:
    file = folder.parent / "data.json"
    file.write_text(json.dumps(elements), encoding="utf-8")
    return read_conversations(file, folder, max_left_out=max_left_out)


BUS = "coco/train2017/000000033471.jpg"
STAGE_1 = {
    "id": "004539375",
    "image": "00453/004539375.jpg",
    "conversations": messages("Render a clear and concise summary of the photo.\n<image>", "select luxury furniture"),
}
STAGE_2 = {
    "id": "000000033471",
    "image": BUS,
    "conversations": messages("<image>\nWhat are the colors of the bus?", "Red.", "Is it old?", "No."),
}
TEXTS = {"id": "wNBG8Gp_0", "model": "", "conversations": messages("How are you?", "Well.")}


def test_the_first_stages_form_gives_captions(folder: Path) -> None:
    images, conversations = read(folder, STAGE_1)
    question = "<image>\nRender a clear and concise summary of the photo."
    assert list(conversations) == [
        Conversation(key="004539375", image="00453/004539375.jpg", turns=[Turn(question, "select luxury furniture")])
    ]
    assert captions_of(conversations) == {"00453/004539375.jpg": "select luxury furniture"}
    assert images.name == "data" and images.rows[0].load().getpixel((0, 0)) == pytest.approx((254, 0, 0), abs=2)


def test_the_second_stages_form_has_conversations_without_an_image(folder: Path) -> None:
    images, conversations = read(folder, STAGE_2, TEXTS, STAGE_1)
    assert images.keys == [BUS, "00453/004539375.jpg"]
    first, second, _ = conversations
    assert first.turns == [Turn("<image>\nWhat are the colors of the bus?", "Red."), Turn("Is it old?", "No.")]
    assert (second.image, second.turns) == (None, [Turn("How are you?", "Well.")])
    assert [each.key for each in conversations[1:]] == ["wNBG8Gp_0", "004539375"] and images.notes == ()


def test_an_answer_before_the_first_question_and_a_question_after_the_last_answer_are_passed_over(folder: Path) -> None:
    before = {"id": 1, "conversations": [{"from": "gpt", "value": "Hi."}, *messages("a", "b", "c")]}
    _, conversations = read(folder, STAGE_2, before)
    assert (conversations[1].key, conversations[1].turns) == ("1", [Turn("a", "b")])


def test_an_id_that_comes_again_gets_a_number(folder: Path) -> None:
    images, conversations = read(folder, STAGE_2, STAGE_2, {**TEXTS, "id": None}, STAGE_2)
    assert [each.key for each in conversations] == ["000000033471", "000000033471#2", "2", "000000033471#3"]
    assert images.keys == [BUS]
    assert images.notes == ("2 conversations have an id that others have, too; it got a number behind it",)


def changed(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in {**STAGE_2, **values}.items() if value != "left out"}


UNUSABLE = [
    (changed(image="coco/gone.jpg"), "its image 'coco/gone.jpg' is not there"),
    (changed(image="coco"), "its image 'coco' is not there"),
    (changed(image="../images/" + BUS), "no path below the folder"),
    (changed(image="coco/../../secret.jpg"), "no path below the folder"),
    (changed(image="..\\secret.jpg"), "no path below the folder"),
    (changed(image="/etc/passwd"), "no path below the folder"),
    (changed(image="C:\\secret.jpg"), "no path below the folder"),
    (changed(image="."), "no path below the folder"),
    (changed(image="a\0.jpg"), "its 'image' is no path"),
    (changed(image=""), "its 'image' is no path"),
    (changed(image=["a.jpg"]), "its 'image' is no path"),
    (changed(conversations="left out"), "no list 'conversations'"),
    (changed(conversations=[]), "no question with an answer"),
    (changed(conversations=messages("<image>\na")), "no question with an answer"),
    (changed(conversations=messages("a", "b", "<image>", "c")), "first question holds '<image>' 0 times"),
    (changed(conversations=messages("<image> <image>", "b")), "first question holds '<image>' 2 times"),
    (changed(conversations=messages("<image>", "<image>")), "an answer holds '<image>'"),
    (changed(conversations=messages("<image>", "b", "<image>", "c")), "a question without an image holds '<image>'"),
    (changed(image="left out"), "a question without an image holds '<image>'"),
    (changed(conversations=messages("<image>", " \n")), "an answer is empty"),
    (changed(conversations=messages("<image>", "a", "", "b")), "is empty"),
    (changed(conversations=messages("<image>", "a")[::-1] + messages("b")), "not of 'human' and 'gpt' in turn"),
    (changed(conversations=[*messages("<image>"), *messages("a")]), "not of 'human' and 'gpt' in turn"),
    (changed(conversations=[{"from": "human", "value": 7}, *messages("a")]), "a message has no text 'value'"),
    (changed(conversations=["<image>"]), "a message has no text 'value'"),
    (changed(conversations=messages("<image>", "\ud800")), "half of a surrogate pair"),
]


@pytest.mark.parametrize(("element", "reason"), UNUSABLE, ids=[reason for _, reason in UNUSABLE])
def test_a_conversation_that_cannot_be_used_is_a_sentence_and_may_be_left_out(
    element: dict[str, Any], reason: str, folder: Path
) -> None:
    with pytest.raises(EmbprobeError) as error:
        read(folder, STAGE_1, element, element)
    message = str(error.value)
    assert message.startswith("2 of 3 conversations in '") and "\n" not in message
    assert "first '000000033471': " in message and reason in message and "--max-left-out 2." in message
    with pytest.raises(EmbprobeError):
        read(folder, STAGE_1, element, element, max_left_out=1)
    images, conversations = read(folder, STAGE_1, element, element, max_left_out=2)
    assert [each.key for each in conversations] == ["004539375"] and images.keys == ["00453/004539375.jpg"]
    assert images.notes[0].startswith("2 conversations left out, first '000000033471': ")


def test_if_nothing_can_be_used_it_is_a_sentence(folder: Path) -> None:
    with pytest.raises(EmbprobeError, match=r"no conversation in .* that can be used, first .* is not there"):
        read(folder, changed(image="gone.jpg"), max_left_out=9)
    with pytest.raises(EmbprobeError, match="no conversation in .* that can be used"):
        read(folder)
    with pytest.raises(EmbprobeError, match="No conversation in .* has an image"):
        read(folder, TEXTS)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"{}",
        b"7",
        b"[7]",
        b'["a"]',
        b"[{}",
        b"[{},]",
        b"[{} {}]",
        b"[{}] 7",
        b"[,{}]",
        b'[{"id": "a]',
        b'[{"id": ' + b"[" * 100_000,
        b'{"id": 1}\n{"id": 2}',
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_no_list_of_conversations_is_a_sentence(content: bytes, folder: Path) -> None:
    file = folder.parent / "data.json"
    file.write_bytes(content)
    with pytest.raises(EmbprobeError, match="no JSON list|no text in UTF-8"):
        read_conversations(file, folder)


def test_a_file_or_folder_that_is_not_there_is_a_sentence(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone.json' cannot be read: No such file"):
        read_conversations(tmp_path / "gone.json", folder)
    with pytest.raises(UsageError, match="There is no folder .*gone' of images"):
        read_conversations(tmp_path / "gone.json", tmp_path / "gone")


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.text(), st.text() | st.lists(st.integers())), max_size=6), st.sampled_from([0, 2]))
def test_objects_are_read_whole_wherever_the_text_is_cut(elements: list[dict[str, Any]], indent: int) -> None:
    text = json.dumps(elements, indent=indent or None, ensure_ascii=False)
    for size in (1, 3, len(text)):
        places = iter(range(0, len(text), size))

        def pieces(_: int, size: int = size, places: Any = places) -> str:
            at = next(places, len(text))
            return text[at : at + size]

        assert list(llava_data._objects(llava_data._Text(pieces))) == elements


def test_memory_is_about_the_files_size(folder: Path) -> None:
    answer = "It is a long answer. " * 10
    elements = [{**STAGE_2, "id": str(i), "conversations": messages("<image>", *[answer] * 9)} for i in range(2000)]
    file = folder.parent / "data.json"
    file.write_text(json.dumps(elements), encoding="utf-8")
    del elements
    tracemalloc.start()
    _, conversations = read_conversations(file, folder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(conversations) == 2000 and conversations[-1].turns[4].human == answer
    assert peak < 2.5 * file.stat().st_size + 6 * llava_data._READ  # json.load alone takes five times the size
    assert IMAGE in conversations[0].turns[0].human
