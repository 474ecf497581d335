"""What the documentation lists is what there is."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from embprobe.benchmarking.cell import Value
from embprobe.benchmarking.records import find_records
from embprobe.benchmarking.tasks import TASKS
from embprobe.claims.model import bundled_claims
from embprobe.encoders import load_encoder
from embprobe.interventions import INTERVENTIONS
from embprobe.system.files import write_json
from tests.conftest import Run

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def render_docs() -> Any:
    """Load the script as a module."""
    script = ROOT / "scripts" / "render_docs.py"
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    spec.loader.exec_module(module)
    return module


RENDER = render_docs()


def test_every_intervention_is_documented_with_its_unit_and_its_range() -> None:
    lines = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")]
    found = {row[0].strip("`"): (row[1], row[2]) for row in rows}
    assert found == {
        each.name: (
            each.unit,
            "0 or 1" if each.whole else "{:g} to {:g}".format(*each.range),
        )
        for each in INTERVENTIONS.values()
    }


def test_every_control_is_documented() -> None:
    text = (ROOT / "docs" / "interventions.md").read_text(encoding="utf-8")
    assert all(f"`{control}`" in text for each in INTERVENTIONS.values() for control in each.controls)


def test_every_claim_is_documented_with_how_it_differs() -> None:
    (section,) = re.findall(r"(?ms)^## The claims\n(.*?)^## ", (ROOT / "docs" / "study.md").read_text(encoding="utf-8"))
    for i, claim in enumerate(bundled_claims(), 1):
        assert f"{i}. **{claim.sentence}.**" in section and claim.differs in section and claim.source in section
        assert claim.paper.removesuffix(".") in section and claim.differs


def test_the_encoder_of_ones_own_works_as_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8"), re.S)
    (code,) = (code for code in printed if "network_encoder" in code)
    (tmp_path / "my_encoders.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    spec = load_encoder("python:my_encoders:resnet,layers=34").spec
    assert spec.name == "python:my_encoders:resnet,layers=34"
    image_input = spec.require_image_input()
    assert (spec.dimension, image_input.input_size, image_input.resize_to, spec.pooling) == (512, 224, 256, "mean")


def blocks_of(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def two_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder ``photos`` in the current folder, with six dark and six light images."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 60), ("light", 190)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(6):
            pixels = rng.integers(level - 60, level + 60, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("two_classes")
def test_the_benchmark_s_commands_run_as_they_are_printed(run: Run, tmp_path: Path) -> None:
    (code,) = blocks_of("benchmark.md", "sh")
    printed = []
    for line in code.splitlines():
        command, *arguments = shlex.split(line)
        assert command == "embprobe"
        done = run(*arguments)
        assert done.code == 0, done.err
        printed.append(done.out)
    assert (tmp_path / "cells.csv").read_text().count("\n") == 1 + 2 * 2
    assert printed[1].startswith("| data set |") and printed[1].count("\n") == 2 + 2
    assert (tmp_path / "table.tex").read_text().startswith("\\begin{tabular}{lllrr}")
    assert (tmp_path / "table.html").read_text().startswith("<!doctype html>")


@pytest.mark.usefixtures("two_classes")
def test_the_benchmark_s_python_runs_as_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks_of("benchmark.md", "python")
    names: dict[str, Any] = {}
    exec(code, names)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        [task, encoder]
        for encoder in ("reference/pixels", "reference/color-histogram")
        for task in ("knn-1", "linear-probe")
    ]
    assert len(lines) == 4 + 2 and len(names["frame"]) == 4


def test_every_task_of_a_benchmark_is_documented() -> None:
    text = (ROOT / "docs" / "benchmark.md").read_text(encoding="utf-8")
    assert [name for name in TASKS if f"`{name}`" not in text] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_number_in_a_page_is_its_record_s() -> None:
    assert RENDER.differences() == ""


def test_every_record_holds_the_command_that_prints_it() -> None:
    for name, command in RENDER.COMMANDS.items():
        content = RENDER.record(name)
        assert content["command"] == f"embprobe {command}"
        assert content["versions"]["embprobe"] and content["images"]["name"] and content["encoders"] and content["rows"]
    for path in RENDER.RECORDS.glob("*.json"):
        content = RENDER.record(path.stem)
        assert content["command"] and ("versions" in content) != ("transcribed" in content)


def test_what_the_arms_script_writes_becomes_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    difference = {"attribute": "text", "estimate": 0.25, "low": 0.125, "high": 0.5, "p_adjusted": 0.03}
    claim = {"a": "clip", "b": "dino", "verdict": "reproduced", "difference": difference}
    (tmp_path / "found.json").write_text(json.dumps([{"arm": "seed 0", "claims": [claim]}]))
    (tmp_path / "arms.json").write_text(json.dumps(RENDER.record("arms")))
    monkeypatch.setattr(RENDER, "RECORDS", tmp_path)
    RENDER.write_arms(tmp_path / "found.json")
    assert RENDER.arms().splitlines()[0] == "| arm | text (clip - dino) |"
    assert RENDER.arms().splitlines()[-1] == "| seed 0 | +0.250 (+0.125 to +0.500), reproduced |"


def test_a_number_that_differs_is_shown_beside_its_record_s() -> None:
    wrong = "is <!-- n: text; word decoding, unseen concepts; clip; estimate -->0.999<!-- /n --> of"
    right = RENDER.render(wrong)
    measured = [row for row in RENDER.record("text")["rows"] if row["measure"] == "word decoding, unseen concepts"]
    (row,) = [row for row in measured if row["encoder"] == "bundled/clip" and not row["against"]]
    assert right == wrong.replace("0.999", f"{row['estimate']:.3f}") != wrong


def test_a_difference_is_found_in_either_order() -> None:
    one, other = (
        RENDER.find_row("style", "same style nearer, another concept", pair) for pair in ("clip - dino", "dino - clip")
    )
    assert (one["estimate"], one["low"], one["high"]) == (-other["estimate"], -other["high"], -other["low"])


def planted(tmp_path: Path, split: str, encoder: str, estimate: float) -> None:
    """Write a record into a folder, after one of the repository."""
    cell = next(cell for cell in find_records([ROOT / "results"]).cells if cell.task == "knn-1")
    kind: Literal["folds", "domain"] = "folds" if split == "5 folds over images" else "domain"
    cell = cell.model_copy(
        update={
            "fingerprint": f"{split}{encoder}",
            "dataset": cell.dataset.model_copy(update={"name": "flowers", "classes": 2}),
            "split": cell.split.model_copy(update={"name": split, "kind": kind, "tested": 8, "resampled": "image"}),
            "encoder": cell.encoder.model_copy(update={"name": encoder}),
            "numbers": {"accuracy": Value(estimate=estimate, low=estimate - 0.25, high=estimate + 0.125)},
            "chance": 0.5,
            "versions": {"embprobe": "1.2.3"},
        }
    )
    folder = tmp_path / "flowers" / split / "knn-1"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{encoder.replace('/', '_')}.json", cell.model_dump(mode="json", by_alias=True))


def test_a_benchmark_s_records_are_shown_by_encoder_the_references_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RENDER, "RESULTS", tmp_path)
    planted(tmp_path, "5 folds over images", "a/net", 0.75)
    planted(tmp_path, "5 folds over images", "reference/a", 0.5)
    planted(tmp_path, "sketch, fitted on the other styles", "reference/a", 0.25)
    assert RENDER.benchmark("flowers").splitlines() == [
        "| task | chance | a/net | reference/a |",
        "|---|---:|---:|---:|",
        "| k-NN (1) | 0.500 | 0.750 (0.500 to 0.875) | 0.500 (0.250 to 0.625) |",
        "",
        "5 folds over images: 8 images to test, each tested by what the other folds fitted; 2 classes. Main number: "
        "accuracy, with 95 % intervals. Measured with embprobe 1.2.3.",
    ]
    assert RENDER.domains("flowers", "knn-1").splitlines()[2:] == [
        "| 5 folds over images | 8 | 0.500 | 0.750 (0.500 to 0.875) | 0.500 (0.250 to 0.625) |",
        "| sketch, fitted on the other styles | 8 | 0.500 |  | 0.250 (0.000 to 0.375) |",
    ]
    with pytest.raises(RENDER.RecordError, match="no record of the task 'gda' on 'flowers'"):
        RENDER.domains("flowers", "gda")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a <!-- n: nothing; x; clip -->1<!-- /n -->", "there is no record 'nothing'"),
        ("a <!-- n: text; smell; clip -->1<!-- /n -->", "has 0 rows of 'smell' for 'clip'"),
        ("a <!-- n: text; clip -->1<!-- /n -->", "is no 'record; measure; encoder; form'"),
        ("a\n<!-- n: text; smell; clip -->1<!-- /n -->", "line 2 begins with a comment"),
        ("a <!-- n: text; word decoding, unseen concepts; clip -->1", "is not closed"),
        ("<!-- numbers: benchmark; birds -->\n<!-- /numbers -->", "results/ has no record of 'birds'; it has bundled"),
        ("<!-- numbers: graph; text -->\n<!-- /numbers -->", "there is no block 'graph'"),
    ],
)
def test_a_number_that_no_record_holds_is_an_error(text: str, message: str) -> None:
    with pytest.raises(RENDER.RecordError, match=re.escape(message)):
        RENDER.render(text)
