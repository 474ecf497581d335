"""Folders of questions: read as they were written, and read in safety whoever wrote them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import load_images
from embprobe.vlm.answers import answers_to
from embprobe.vlm.benchmarks import open_questions
from embprobe.vlm.generate import Generated, generate
from embprobe.vlm.question_files import QUESTIONS, read_questions, write_questions


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate(load_images("bundled/emoji:train"), scenes=4, seed=0)


@pytest.fixture(scope="module")
def written(generated: Generated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions(generated, tmp_path_factory.mktemp("questions") / "asked")


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return shutil.copytree(written, tmp_path / "copy")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / QUESTIONS).read_text(encoding="utf-8").splitlines()]


def rewrite(folder: Path, change: Callable[[list[dict[str, Any]]], Any]) -> None:
    made = lines(folder)
    change(made)
    (folder / QUESTIONS).write_text("".join(json.dumps(each) + "\n" for each in made))


def test_questions_are_read_as_they_were_written(generated: Generated, written: Path) -> None:
    found = open_questions(written)
    assert found.questions == generated.questions.questions and found.name == "asked" and not found.notes
    assert found.images.keys == generated.questions.images.keys
    for own, other in zip(found.images.rows, generated.questions.images.rows, strict=True):
        assert np.array_equal(np.asarray(own.load()), np.asarray(other.load()))
    # answers to both are to the same questions
    rights = [[True]] * len(found)
    marks = [[row.mark for row in answers_to(each, "n", rights).rows] for each in (found, generated.questions)]
    assert marks[0] == marks[1]


def test_missing_images_take_their_questions_and_pairs_out_with_a_note(copy: Path) -> None:
    images = list(dict.fromkeys(each["image"] for each in lines(copy)))
    first, second = ([i for i, each in enumerate(lines(copy)) if each["image"] == image] for image in images[:2])
    rewrite(copy, lambda made: [made[i].update(pair="a") for i in (first[0], second[0])])
    (copy / images[0]).unlink()
    found = read_questions(copy)
    left = [each["key"] for i, each in enumerate(lines(copy)) if i not in (*first, second[0])]
    assert [each.key for each in found.questions] == left
    assert found.notes == (f"{len(first) + 1} questions left out without an image in 'images'",)
    shutil.rmtree(copy / "images")
    with pytest.raises(EmbprobeError, match=rf"none of its {len(lines(copy))} has an image in 'images'"):
        read_questions(copy)


@pytest.mark.parametrize("image", ["images/../../secret.png", "../secret.png", "{secret}", "images/link.png", "a\0b"])
def test_images_outside_of_the_folder_are_not_read(image: str, copy: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    shutil.copy(copy / lines(copy)[0]["image"], secret)
    (copy / "images" / "link.png").symlink_to(secret)
    image = image.replace("{secret}", str(secret))
    rewrite(copy, lambda made: made[0].update(image=image))
    found = read_questions(copy)
    assert len(found) == len(lines(copy)) - 1 and len(found.notes) == 1


def test_names_that_no_file_can_have_are_counted(copy: Path) -> None:
    (copy / "images" / "round.png").symlink_to("round.png")
    rewrite(copy, lambda made: [made[0].update(image="images/" + "a" * 999), made[1].update(image="images/round.png")])
    assert len(read_questions(copy)) == len(lines(copy)) - 2


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "questions.jsonl:2' is damaged"),
        ("[]", "questions.jsonl:2' is damaged"),
        ("[" * 9999, "questions.jsonl:2' is damaged"),
        ("{}", "questions.jsonl:2' is no question, at 'key': Field required"),
        ({"options": "ab"}, "questions.jsonl:2' is no question, at 'options'"),
        ({"text": 7}, "questions.jsonl:2' is no question, at 'text'"),
        ({"options": ["a"]}, r"questions.jsonl:2' is no question. The question '\S+' has 1 options"),
        ({"options": ["a", "a"], "answer": 0}, "questions.jsonl:2' is no question. Two options of the question"),
        ({"answer": 4}, r"questions.jsonl:2' is no question. The question '\S+' has 4 options and the answer 5"),
        ({"answer": True}, "questions.jsonl:2' is no question, at 'answer'"),
    ],
)
def test_a_line_that_is_no_question_is_named(line: str | dict[str, Any], reason: str, copy: Path) -> None:
    made = [json.dumps(each) for each in lines(copy)]
    made[1] = line if isinstance(line, str) else json.dumps(lines(copy)[1] | line)
    (copy / QUESTIONS).write_text("\n".join(made))
    with pytest.raises(EmbprobeError, match=reason) as error:
        open_questions(copy)
    assert "\n" not in str(error.value)


def test_other_bytes_an_empty_file_and_none_are_sentences(copy: Path) -> None:
    (copy / QUESTIONS).write_bytes(b"\xff\xfe\n")
    with pytest.raises(EmbprobeError, match="jsonl:1' is damaged"):
        read_questions(copy)
    (copy / QUESTIONS).write_bytes(b"\n")
    with pytest.raises(EmbprobeError, match="'questions.jsonl' is empty"):
        read_questions(copy)
    (copy / QUESTIONS).unlink()
    with pytest.raises(UsageError, match=r"questions.jsonl' cannot be read: No such file"):
        read_questions(copy)
    with pytest.raises(UsageError, match="give a folder of 'embprobe vlm questions'"):
        open_questions(copy)


def test_two_questions_of_one_key_are_a_sentence(copy: Path) -> None:
    rewrite(copy, lambda made: made[1].update(key=made[0]["key"]))
    with pytest.raises(EmbprobeError, match="Two questions of 'copy' have the key"):
        read_questions(copy)
