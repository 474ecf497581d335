"""``embprobe vlm eval``: trained models answer our questions and those of benchmarks, or there is a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.images import load_images
from embprobe.vlm.answers import Answers, read_answers
from embprobe.vlm.evaluate import answer
from embprobe.vlm.generate import Generated, generate
from embprobe.vlm.image_tokens import stored_tokens
from embprobe.vlm.prompts import PROMPTS, conversations_of
from embprobe.vlm.question_files import write_questions
from embprobe.vlm.recipe import Recipe
from embprobe.vlm.small import small_language
from embprobe.vlm.trained import train
from embprobe.vlm.training import TrainingData
from tests.conftest import Run, snapshot
from tests.vlm.test_benchmarks import mmvp_folder, row, write

PIXELS = "reference/pixels,pooling=tokens"
RECIPE = Recipe.model_validate(
    {
        "schema": 1,
        "name": "tiny",
        "language": {
            "scratch": {"width": 16, "depth": 1, "heads": 2, "inner": 16},
            "context": 256,
            "prompt": "words",
        },
        "stages": [
            {"name": "s", "data": "conversations", "trains": "both", "learning_rate": 1e-3, "batch_size": 2}
            | {"epochs": 0.01}
        ],
    }
)


@pytest.fixture(scope="module")
def generated() -> Generated:
    return generate(load_images("bundled/emoji:train"), scenes=26, seed=0, side=32)


@pytest.fixture(scope="module")
def material(generated: Generated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with questions, and with three runs of a step: of pixels, of pixels with another seed, and blind."""
    folder = tmp_path_factory.mktemp("material")
    asked = generated.questions
    write_questions(generated, folder / "asked")
    data = TrainingData(conversations_of(asked, PROMPTS["words"]), {})
    source = stored_tokens(asked.images, load_encoder(PIXELS), Session(Workspace.open(folder / "space")))
    for name, seed, seen in (("one", 0, source), ("two", 1, source), ("nothing", 0, None)):
        assert RECIPE.language.scratch is not None
        language = small_language(data.texts(), RECIPE.language.scratch, context=256, seed=0)
        train(RECIPE, data, folder / name, source=seen, language=language, seed=seed)
    return folder


@pytest.fixture
def runs(material: Path, tmp_path: Path) -> Callable[..., list[Path]]:
    """Copies of runs by their names, so that answers beside one are not there for the next test."""

    def copied(*names: str) -> list[Path]:
        return [shutil.copytree(material / name, tmp_path / name) for name in names]

    return copied


def evaluated(run: Run, runs: Sequence[Path], questions: Path, *more: str | Path) -> tuple[int, str, str]:
    code, out, err = run("vlm", "eval", *runs, "--questions", questions, "--device", "cpu", *more)
    return int(str(code or 0)), out, err


@pytest.fixture
def circular(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether options were turned, by each time that a model was asked."""
    seen: list[bool] = []

    def watched(*arguments: Any, circular: bool, **options: Any) -> Answers:
        seen.append(circular)
        return answer(*arguments, circular=circular, **options)

    monkeypatch.setattr("embprobe.vlm.evaluate.answer", watched)
    return seen


def test_answers_lie_beside_each_model_and_are_compared(
    run: Run, runs: Callable[..., list[Path]], material: Path, generated: Generated, circular: list[bool]
) -> None:
    pixels, blind = runs("one", "nothing")
    code, out, err = evaluated(run, [pixels, blind], material / "asked", "--json")
    assert code == 0, err
    assert circular == [True, True]
    found = json.loads(out)
    assert (found["models"], found["references"], found["asked"]) == ([PIXELS, "blind"], ["blind"], "asked")
    assert sorted(group["name"] for group in found["groups"]) == sorted(generated.questions.groups)
    for folder, name in ((pixels, PIXELS), (blind, "blind")):
        answers = read_answers(folder / "asked-answers.jsonl")
        assert answers.name == name and [r.key for r in answers.rows] == [q.key for q in generated.questions.questions]
        assert f"Answers: {folder / 'asked-answers.jsonl'}" in err


def test_runs_of_one_encoder_are_called_by_their_folders_and_asked_once(
    run: Run, material: Path, tmp_path: Path, circular: list[bool]
) -> None:
    folders = [material / name for name in ("one", "two", "nothing")]
    before = snapshot(material)
    code, out, err = evaluated(run, folders, material / "asked", "--once", "--out", tmp_path / "out")
    assert code == 0, err
    assert circular == [False] * 3
    assert all(word in out for word in ("guessing", "one - two", "blind", "vision-centric"))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["nothing.jsonl", "one.jsonl", "two.jsonl"]
    for name, called in (("one", "one"), ("nothing", "blind")):
        answers = read_answers(tmp_path / "out" / f"{name}.jsonl")
        assert answers.name == called and {row.score for row in answers.rows} <= {0.0, 1.0}
    assert snapshot(material) == before


def test_benchmarks_are_asked_in_their_own_forms(run: Run, runs: Callable[..., list[Path]], tmp_path: Path) -> None:
    (blind,) = runs("nothing")
    rows = [row(i, category=category) for i, category in enumerate(["OCRVQA"] * 4 + ["GQA"] * 4)]
    bad = [row(8, category="GQA", answer="")]
    code, out, err = evaluated(run, [blind], write(tmp_path / "VMCBench_DEV.tsv", rows + bad), "--json")
    assert code == 0, err
    assert {group["name"]: group["questions"] for group in json.loads(out)["groups"]} == {"ocr": 4, "reasoning": 4}
    assert err.count("1 question left out without an answer") == 1
    assert len(read_answers(blind / "VMCBench_DEV-answers.jsonl")) == 8

    (tmp_path / "MMVP").mkdir()
    pairs = [("Open?", "(a) Yes (b) No", "(a)"), ("Open?", "(a) Yes (b) No", "(b)")] * 3
    code, out, err = evaluated(run, [blind], mmvp_folder(tmp_path / "MMVP", pairs, 6), "--json")
    assert code == 0, err
    (group,) = json.loads(out)["groups"]
    assert (group["name"], group["questions"], group["pairs"], group["chance"]) == ("vision-centric", 6, 3, 0.25)
    # one that sees nothing answers both of a pair alike, and half of its turns rightly
    assert len(read_answers(blind / "MMVP-answers.jsonl")) == 6


def test_what_cannot_be_asked_is_a_sentence_and_writes_nothing(run: Run, material: Path, tmp_path: Path) -> None:
    one, blind, asked = material / "one", material / "nothing", material / "asked"
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("mine")
    torn = shutil.copytree(one, tmp_path / "torn")
    (torn / "vlm.json").write_text("{")
    foreign = shutil.copytree(one, tmp_path / "foreign")
    facts = json.loads((foreign / "vlm.json").read_text())
    (foreign / "vlm.json").write_text(json.dumps(facts | {"encoder": "timm/no-such-network"}))
    again = shutil.copytree(one, tmp_path / "again" / "one")
    cases: list[tuple[list[Path], Path, list[str], int, str]] = [
        (
            [blind, tmp_path / "empty"],
            asked,
            [],
            2,
            "empty' holds no trained vision-language model: it has no vlm.json",
        ),
        ([blind, torn], asked, [], 1, "torn' is damaged"),
        ([blind, foreign], asked, [], 2, "no-such-network"),
        ([blind], tmp_path / "gone", [], 2, "There is no file or folder"),
        ([blind], tmp_path / "empty", [], 2, "holds no questions of a known form"),
        ([blind, one], asked, ["-e", PIXELS], 2, "--encoder names the encoder of one run"),
        ([one], asked, ["-e", "reference/gist"], 2, "reference/gist"),
        ([one, again], asked, [], 2, "Two runs are in folders called 'one'"),
        ([blind], asked, ["--out", str(tmp_path / "file")], 2, "--out must be a folder"),
    ]
    before = snapshot(material), snapshot(tmp_path)
    for folders, questions, more, expected, sentence in cases:
        code, out, err = evaluated(run, folders, questions, "--workspace", tmp_path.parent / "unused", *more)
        assert (code, out) == (expected, "") and sentence in err, (err, sentence)
        assert (snapshot(material), snapshot(tmp_path)) == before, sentence


def test_tokens_of_another_width_are_refused(
    run: Run, runs: Callable[..., list[Path]], material: Path, tmp_path: Path
) -> None:
    (one,) = runs("one")
    code, _, err = evaluated(run, [one], material / "asked", "-e", "bundled/clip")
    assert code == 2 and "numbers, and the model was trained on those of 'reference/pixels,pooling=tokens'" in err
    assert not (one / "asked-answers.jsonl").exists()
