"""The command and the figure that show accuracies by group."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from matplotlib.collections import LineCollection
from PIL import Image
from typer.testing import CliRunner

from embprobe.cli.vlm_compare import compare
from embprobe.errors import EmbprobeError, UsageError
from embprobe.plots.vlm import draw_vlm
from embprobe.probing.key import Key
from embprobe.probing.results import Conclusions, Result, Results
from embprobe.vlm.answers import Answer, Answers, write_answers
from embprobe.vlm.compare import compare_answers

app = typer.Typer()
app.command()(compare)
GROUPS = {"text": 2, "vision-centric": 4}
ENCODERS = ("bundled/clip", "bundled/dino", "reference/pixels", "blind")


def answers(place: int, name: str) -> Answers:
    rows = [
        Answer(
            key=f"{group}{i}", score=i % 5 / 4 if i % 4 > place else 0, every=i % 5 == 4, options=options, group=group
        )
        for group, options in GROUPS.items()
        for i in range(40)
    ]
    return Answers(name=name, rows=rows, asked="drawings")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / f"{place}.jsonl" for place in range(4)]
    for place, (path, name) in enumerate(zip(paths, ENCODERS, strict=True)):
        write_answers(path, answers(place, name))
    return [str(path) for path in paths]


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None:
        raise result.exception
    return result.stdout


def saved_probe(folder: Path) -> str:
    key = Key(kind="decoding", target="word")
    numbers = {name: 1.0 - place / 10 for place, name in enumerate(ENCODERS)}
    rows = [
        Result(
            attribute="text", key=key, encoder=name, role="subject", resampled="concept", groups=9, images=9,
            estimate=value, low=value, high=value, unit="accuracy",
        )
        for name, value in numbers.items()
    ]  # fmt: skip
    found = Conclusions(key=key, numbers=numbers, sentences=[], checks=[])
    Results(manifest={"card": {"attribute": "text"}}, rows=rows, scores=[], conclusions=found).save(folder)
    return str(folder)


def test_tables_show_groups_models_and_differences(files: list[str]) -> None:
    shown = run(*files[:2])
    assert all(word in shown for word in (*GROUPS, "bundled/clip", "40 questions", "0.250", "0.500", "every turn"))
    assert "bundled/clip - bundled/dino" in shown and "Holm-corrected over 2." in " ".join(shown.split())


def test_json_holds_the_comparison_and_what_probes_predict(files: list[str], tmp_path: Path) -> None:
    folder = saved_probe(tmp_path / "probe")
    content = json.loads(run(*files, "--json", "--probe", folder, "--reference", "blind", "--seed", "3"))
    expected = compare_answers([answers(*each) for each in enumerate(ENCODERS)], references=["blind"], seed=3)
    predictions = content.pop("predictions")
    assert content == json.loads(json.dumps(expected.as_json()))
    assert [(each["attribute"], each["group"]) for each in predictions] == [("text", group) for group in GROUPS]
    assert predictions[0]["agreement"]["spearman"] == pytest.approx(1)
    assert "Spearman's rank correlation over 4 encoders" in run(*files, "--probe", folder)
    with pytest.raises(EmbprobeError, match="of 3 encoders"):
        run(*files[:3], "--probe", folder)


def test_a_name_before_the_file_names_the_model(files: list[str], tmp_path: Path) -> None:
    content = json.loads(run(f"mine={files[0]}", files[1], "--json"))
    assert content["models"] == ["mine", "bundled/dino"]
    odd = tmp_path / "a=b.jsonl"
    odd.write_bytes(Path(files[0]).read_bytes())
    assert json.loads(run(str(odd), "--json"))["models"] == ["bundled/clip"]


def test_a_figure_is_drawn_as_png_and_svg(files: list[str], tmp_path: Path) -> None:
    run(*files, "--out", str(tmp_path / "figures" / "vlm.png"))
    with Image.open(tmp_path / "figures" / "vlm.png") as picture:
        assert picture.width > 500
    assert (tmp_path / "figures" / "vlm.svg").is_file()
    with pytest.raises(UsageError, match="--out must end in .png, not 'vlm.pdf'"):
        run(*files, "--out", str(tmp_path / "vlm.pdf"))


def test_other_names_and_files_are_refused(files: list[str]) -> None:
    with pytest.raises(UsageError, match="The reference 'pixels' is none of the models: bundled/clip, bundled/dino"):
        run(*files[:2], "--reference", "pixels")
    with pytest.raises(UsageError, match="There is no file 'none.jsonl'"):
        run("none.jsonl")
    with pytest.raises(UsageError, match="Two files are of 'bundled/clip'"):
        run(files[0], files[0])


def test_the_figure_shows_the_estimates_the_intervals_and_guessing() -> None:
    found = compare_answers([answers(*each) for each in enumerate(ENCODERS)], references=["blind", "reference/pixels"])
    (axis,) = draw_vlm(found).axes
    points = [line.get_xdata() for line in axis.lines if line.get_linestyle() == "None" and line.get_marker() != "|"]
    assert [[*map(float, np.asarray(each))] for each in points] == [
        [found.accuracy(name, group).accuracy.estimate for group in GROUPS] for name in ENCODERS
    ]
    guesses = [
        float(segment[0][0])
        for each in axis.collections
        if isinstance(each, LineCollection)
        for segment in each.get_segments()
        if segment[0][0] == segment[1][0] and segment[1][1] - segment[0][1] == 1
    ]
    assert guesses == [0.5, 0.25]
    assert [label.get_text() for label in axis.get_yticklabels()] == [
        "text\n40 questions",
        "vision-centric\n40 questions",
    ]


def test_references_are_not_compared_with_each_other() -> None:
    three = [answers(place, name) for place, name in enumerate("abc")]
    found = compare_answers(three, references=["b", "c"])
    assert {(each.a, each.b) for each in found.differences} == {("a", "b"), ("a", "c")}
    assert found.references == ("b", "c")
