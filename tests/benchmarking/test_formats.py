"""Records are found, joined and written as tables that run nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from embprobe.benchmarking.cell import Cell
from embprobe.benchmarking.formats import FORMATS, find_format, to_html, to_latex, to_markdown
from embprobe.benchmarking.records import find_records
from embprobe.benchmarking.run import run_benchmark
from embprobe.benchmarking.tasks import find_task
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from tests.benchmarking.planted import encoder, flowers, session


@pytest.fixture
def workspace_with_cells(workspace: Workspace) -> Workspace:
    dataset = flowers({"rose": 20, "iris": 20}, test=0, style=["photo", "sketch"] * 20)
    both = [encoder("b/one", dataset, noise=0.3), encoder("a_two", dataset, noise=0.9)]
    run_benchmark([dataset], both, [find_task("gda"), find_task("knn-1")], session(workspace))
    return workspace


def hostile(cell: Cell, name: str) -> Cell:
    return cell.model_copy(update={"encoder": cell.encoder.model_copy(update={"name": name})})


def test_cells_of_several_workspaces_are_joined_once(workspace_with_cells: Workspace, tmp_path: Path) -> None:
    root = workspace_with_cells.root
    shutil.copytree(root, tmp_path / "copy")
    records = find_records([root, tmp_path / "copy"])
    assert [(cell.task, cell.encoder.name) for cell in records.cells] == [
        ("knn-1", "a_two"),
        ("knn-1", "b/one"),
        ("gda", "a_two"),
        ("gda", "b/one"),
    ]
    assert all(path.is_relative_to(root) for path in records.paths)
    assert [cell.task for cell in find_records([root], tasks="g*", encoders="a*").cells] == ["gda"]
    with pytest.raises(EmbprobeError, match="There are no such records of benchmarks in"):
        find_records([root], datasets="trees")
    with pytest.raises(EmbprobeError, match="There is no folder"):
        find_records([tmp_path / "nowhere"])


def test_a_damaged_record_is_passed_over_and_said(workspace_with_cells: Workspace) -> None:
    path = find_records([workspace_with_cells.root]).paths[0]
    path.write_text("{")
    records = find_records([workspace_with_cells.root])
    assert len(records.cells) == 3 and len(records.notes) == 1 and "is damaged" in records.notes[0]


def test_a_table_has_a_line_a_task_and_a_column_an_encoder(workspace_with_cells: Workspace) -> None:
    cells = find_records([workspace_with_cells.root]).cells
    head, rule, *lines = to_markdown(cells).splitlines()
    assert head == "| data set | split | task | chance | a\\_two | b/one |" and rule.count("---") == 6
    value = cells[0].value
    assert f"| k-NN (1) | 0.500 | {value.estimate:.3f} ({value.low:.3f} to {value.high:.3f}) |" in lines[0]
    assert len(lines) == 2


def test_names_of_strangers_are_text_in_every_format(workspace_with_cells: Workspace) -> None:
    cell = find_records([workspace_with_cells.root]).cells[0]
    assert "&lt;script&gt;" in to_html([hostile(cell, "<script>alert(1)</script>")])
    assert "<script>alert" not in to_html([hostile(cell, "<script>alert(1)</script>")])
    assert r"\textbackslash{}input\{x\}" in to_latex([hostile(cell, r"\input{x}")])
    assert r"\|" in to_markdown([hostile(cell, "a|b")]) and r"\[x\]" in to_markdown([hostile(cell, "[x](y)")])
    assert "\\u202e" in to_markdown([hostile(cell, "a\u202eb")]) or "\u202e" not in to_markdown(
        [hostile(cell, "\u202e")]
    )


def test_formats_are_named() -> None:
    assert {find_format(name) for name in FORMATS} == set(FORMATS.values())
    with pytest.raises(UsageError, match="There is no format 'pdf': markdown, csv, latex, html"):
        find_format("pdf")
