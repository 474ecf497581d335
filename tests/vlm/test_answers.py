"""Answers are written whole and read back as they were; damaged files are refused with their line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.system.models import DamagedFile
from embprobe.vlm.answers import Answer, Answers, answers_to, is_answers, read_answers, write_answers
from embprobe.vlm.question import Question, QuestionSet


def some_answers(keys: Sequence[str] = ("1", "2", "3")) -> Answers:
    rows = [Answer(key=key, score=i % 2 / 2, every=False, options=4, group="text") for i, key in enumerate(keys)]
    return Answers(name="bundled/clip", rows=rows, asked="drawings", questions="0123456789abcdef", notes=("a remark",))


def test_answers_come_back_as_they_were(tmp_path: Path) -> None:
    write_answers(tmp_path / "a.jsonl", some_answers())
    assert read_answers(tmp_path / "a.jsonl") == some_answers()
    assert is_answers(tmp_path / "a.jsonl")


@given(st.lists(st.text(st.characters(exclude_categories=())), min_size=1, unique=True))
def test_keys_may_be_any_text(tmp_path_factory: pytest.TempPathFactory, keys: list[str]) -> None:
    path = tmp_path_factory.getbasetemp() / "any.jsonl"
    write_answers(path, some_answers(keys))
    assert [row.key for row in read_answers(path).rows] == keys


def test_a_score_is_the_share_of_the_turns() -> None:
    two = [Question(key=key, image="i", text="?", options=("x", "y"), answer=0, group="text", pair="p") for key in "ab"]
    asked = QuestionSet("two", two, Images.without_pictures("none", ["i"]), notes=("one was left out",))
    answers = answers_to(asked, "m", [[True, False], [True, True]], notes=["on two cores"])
    assert [(row.key, row.score, row.every, row.options) for row in answers.rows] == [
        ("a", 0.5, False, 2),
        ("b", 1.0, True, 2),
    ]
    assert (answers.asked, answers.questions) == ("two", asked.fingerprint)
    assert answers.notes == ("one was left out", "on two cores")
    with pytest.raises(ValueError, match="shorter"):
        answers_to(asked, "m", [[True]])
    with pytest.raises(ValueError, match="was not asked"):
        answers_to(asked, "m", [[True], []])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "counts 3 answers; there are 2"),
        (lambda lines: [*lines[:2], lines[2][:20]], r"a\.jsonl:3' is damaged"),
        (lambda lines: [*lines, lines[1]], "counts 3 answers; there are 4"),
        (lambda lines: [*lines[:3], lines[1]], "two answers to the question '1'"),
        (lambda lines: [*lines[:3], lines[3].replace("0.0", "1.5")], r"a\.jsonl:4' is damaged at 'score'"),
        (lambda lines: [*lines[:3], lines[3].replace("false", '"no"')], r"a\.jsonl:4' is damaged at 'every'"),
        (lambda lines: [*lines[:3], lines[3].replace("0.0", "NaN")], r"a\.jsonl:4' is damaged"),
        (lambda lines: [lines[0].replace('"name"', '"nome"'), *lines[1:]], r"a\.jsonl:1' is damaged at 'name'"),
    ],
)
def test_a_damaged_file_is_refused_with_its_line(
    tmp_path: Path, change: Callable[[list[str]], list[str]], said: str
) -> None:
    path = tmp_path / "a.jsonl"
    write_answers(path, some_answers())
    path.write_text("\n".join(change(path.read_text().splitlines())))
    with pytest.raises(DamagedFile, match=said):
        read_answers(path)


@pytest.mark.parametrize("content", ["", "{}", "[1]", "index\tquestion\n", '{"format": "another"}'])
def test_another_file_is_no_answers(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    assert not is_answers(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="holds no answers of embprobe"):
        read_answers(tmp_path / "a.jsonl")


def test_a_later_schema_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_answers(path, some_answers())
    path.write_text(path.read_text().replace('"schema": 1', '"schema": 2'))
    with pytest.raises(UsageError, match="is of schema 2"):
        read_answers(path)
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        read_answers(tmp_path / "none.jsonl")


def test_nothing_is_left_of_answers_that_cannot_be_written(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write_answers(path, some_answers())
    before = path.read_bytes()
    broken = Answers(name="m", rows=[Answer(key="1", score=float("nan"), every=False)])
    with pytest.raises(ValueError, match="JSON"):
        write_answers(path, broken)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["a.jsonl"]


def test_two_answers_to_one_question_and_none_at_all_are_refused() -> None:
    with pytest.raises(EmbprobeError, match="two answers to the question '1'"):
        some_answers(["1", "1"])
    with pytest.raises(EmbprobeError, match="answered no question"):
        some_answers([])
