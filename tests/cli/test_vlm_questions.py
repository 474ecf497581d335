"""``embprobe vlm questions``: a whole folder in forms that others read, or a sentence and nothing."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner, Result

from embprobe.cli.vlm_questions import questions
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import load_images
from embprobe.vlm.generate import generate

app = typer.Typer()
app.command()(questions)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_folder_holds_questions_pictures_and_conversations(tmp_path: Path) -> None:
    out = tmp_path / "asked"
    result = run("--scenes", "13", "--seed", "5", "--out", str(out), "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    asked = generate(load_images("bundled/emoji:train"), scenes=13, seed=5).questions
    assert document["questions"] == len(asked) == sum(sum(kinds.values()) for kinds in document["groups"].values())
    assert list(document["groups"]) == sorted(asked.groups)

    lines = [json.loads(line) for line in (out / "questions.jsonl").read_text(encoding="utf-8").splitlines()]
    for line, question in zip(lines, asked.questions, strict=True):
        assert (line["key"], tuple(line["options"]), line["answer"]) == (
            question.key,
            question.options,
            question.answer,
        )
        assert line["options"][line["answer"]] == line["right"] == question.right
        assert (out / line["image"]).is_file()
    for row in asked.images.rows:
        with Image.open(out / "images" / f"{row.key}.png") as picture:
            assert np.array_equal(np.asarray(picture), np.asarray(row.load()))

    talks = json.loads((out / "conversations.json").read_text(encoding="utf-8"))
    assert [each["id"] for each in talks] == asked.images.keys
    letters = [turn["value"] for talk in talks for turn in talk["conversations"] if turn["from"] == "gpt"]
    assert letters == ["ABCD"[each.answer] for each in asked.questions]
    for talk in talks:
        values = [turn["value"] for turn in talk["conversations"]]
        assert [value.count("<image>") for value in values] == [1] + [0] * (len(values) - 1)
        assert (out / "images" / talk["image"]).is_file()
    captions = json.loads((out / "captions.json").read_text(encoding="utf-8"))
    assert [each["id"] for each in captions] == asked.images.keys
    assert (out / "examples.png").stat().st_size > 10_000


def test_a_table_counts_questions_by_group(tmp_path: Path) -> None:
    result = run("bundled/emoji:unseen-concept", "--scenes", "13", "--no-names", "--out", str(tmp_path / "asked"))
    assert result.exit_code == 0, result.output
    assert "name" not in result.stdout.replace("names", "")
    assert [line.split()[0] for line in result.stdout.splitlines()] == sorted(
        ("text", "category", "colour", "style", "vision-centric", "reasoning")
    )


def test_words_can_be_chosen(tmp_path: Path) -> None:
    words = [part for word in ("dust", "jazz", "quiz", "wolf") for part in ("--word", word)]
    assert run("--scenes", "13", *words, "--out", str(tmp_path / "asked")).exit_code == 0
    lines = (tmp_path / "asked" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    offered = {tuple(sorted(each["options"])) for each in map(json.loads, lines) if each["kind"] == "word"}
    assert offered == {("dust", "jazz", "quiz", "wolf")}


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "mine.txt").write_text("mine")
    result = run("--scenes", "1", "--out", str(tmp_path / "asked"))
    assert isinstance(result.exception, UsageError)
    assert "not an empty folder" in str(result.exception)
    assert [path.name for path in (tmp_path / "asked").iterdir()] == ["mine.txt"]


def test_a_scene_that_cannot_be_drawn_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(9):
        drawing = Image.new("RGBA", (16, 16))
        drawing.paste((0, 0, 99, 255), (4, 4, 12, 12 - number % 2))
        drawing = drawing.convert("RGB") if number == 2 else drawing
        (tmp_path / "cut").mkdir(exist_ok=True)
        drawing.save(tmp_path / "cut" / f"{number}.png")
    result = run(str(tmp_path / "cut"), "--scenes", "60", "--out", str(tmp_path / "asked"))
    assert isinstance(result.exception, EmbprobeError)
    assert "cannot be drawn" in str(result.exception)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut"]
