"""The page: every number and every failed check is on it, and nothing of what it shows can act."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from embprobe.errors import EmbprobeError
from embprobe.report import write_report
from embprobe.results import VERSION, Result
from embprobe.workspace import Workspace

HOSTILE = "<script>alert(1)</script> & {{ 7 * 7 }} \u202e"
SAID: dict[str, Any] = {
    "question": None,
    "numbers": {},
    "sentences": ["a notices it 2.00 times as much as b.", HOSTILE],
    "checks": [
        {"encoder": "reference/pixels", "measure": "m", "passed": True, "text": f"it failed as it should {HOSTILE}"},
        {"encoder": "reference/pixels", "measure": "m", "passed": False, "text": f"0.9, above the limit {HOSTILE}"},
    ],
}


def row(**changes: Any) -> Result:
    facts: dict[str, Any] = {
        "attribute": "color",
        "measure": HOSTILE,
        "intervention": None,
        "strength": None,
        "encoder": HOSTILE,
        "kind": "estimate",
        "resampled": "concept",
        "groups": 5,
        "images": 10,
        "estimate": 0.25,
        "low": 0.125,
        "high": 0.5,
        "unit": "accuracy",
    }
    return Result(**facts | changes)


def save(workspace: Workspace, name: str, *rows: Result, **changes: Any) -> None:
    content = {
        "version": VERSION,
        "card": {
            "title": HOSTILE, "question": HOSTILE, "about": HOSTILE, "resample": "concept", "sources": [HOSTILE]
        },
        "images": {"name": HOSTILE, "fingerprint": "0", "count": 10},
        "encoders": [],
        "seed": 0,
        "versions": {"embprobe": "0"},
        "conclusions": SAID,
        "left_out": [f"zero-shot: nobody reads {HOSTILE}"],
        "results": [vars(each) for each in rows or (row(),)],
        **changes,
    }  # fmt: skip
    folder = workspace.results(name)
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture
def space(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "space")


def page_of(workspace: Workspace) -> str:
    return write_report(workspace, workspace.root / "page.html").read_text(encoding="utf-8")


def test_everything_is_escaped_and_nothing_is_fetched(space: Workspace) -> None:
    save(space, "one")
    page = page_of(space)
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7 * 7 }}" in page
    assert "http" not in page.replace("http-equiv", "")


def test_every_result_has_its_numbers_on_the_page(space: Workspace) -> None:
    save(space, "one")
    save(space, "two")
    page = page_of(space)
    assert page.count("0.250") == page.count("0.125 to 0.500") == page.count("<section>") == 2


def test_what_is_concluded_and_what_failed_is_seen_at_once(space: Workspace) -> None:
    save(space, "one")
    page = page_of(space)
    assert '<p class="said">a notices it 2.00 times as much as b.</p>' in page
    assert '<p class="small">Check passed: it failed as it should' in page
    assert '<p class="failed">CHECK FAILED: do not believe this probe here: 0.9, above the limit' in page
    assert page.index("CHECK FAILED") < page.index("<table>")


def test_without_conclusions_nothing_is_concluded(space: Workspace) -> None:
    save(space, "one", conclusions={"question": None, "numbers": {}, "sentences": [], "checks": []}, left_out=[])
    page = page_of(space)
    assert "CHECK" not in page and "Check passed" not in page and '<p class="said">' not in page
    assert "Left out" not in page


def test_what_was_left_out_is_said_with_the_details(space: Workspace) -> None:
    save(space, "one")
    assert "Left out: zero-shot: nobody reads &lt;script&gt;" in page_of(space)


def test_a_row_names_its_question_and_a_difference_both_encoders(space: Workspace) -> None:
    moved = row(measure="displacement", intervention="hue", strength=120.0, encoder="a/b")
    save(
        space,
        "one",
        moved,
        row(encoder="a/b", against="c/d", kind="difference", estimate=0.5, p=0.01, p_adjusted=0.02),
        row(encoder="a/b", against="e/f", kind="difference", estimate=0.25, p=2e-5, p_adjusted=4e-4),
    )
    page = page_of(space)
    assert "<td>hue 120: displacement</td>" in page
    assert '<tr class="difference">' in page and "<td>a/b - c/d</td>" in page
    assert "+0.500" in page and ">0.020<" in page and ">&lt; 0.001<" in page


def test_without_results_there_is_no_page(space: Workspace) -> None:
    with pytest.raises(EmbprobeError, match="no results in"):
        page_of(space)
    assert not (space.root / "page.html").exists()


@pytest.mark.parametrize("changes", [{"version": 1}, {"results": [{"no": "result"}]}])
def test_results_of_another_time_are_named(space: Workspace, changes: dict[str, Any]) -> None:
    save(space, "old", **changes)
    with pytest.raises(EmbprobeError, match=r"old/results\.json"):
        page_of(space)


@pytest.mark.parametrize("lost", ["card", "conclusions", "images"])
def test_results_that_lost_a_part_are_named_with_it(space: Workspace, lost: str) -> None:
    save(space, "color", row())
    path = space.root / "results" / "color" / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    del content[lost]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(EmbprobeError, match=f"color.*results.json' is damaged: it lacks {lost}"):
        write_report(space, space.root / "report.html")


def test_results_without_a_row_are_damaged(space: Workspace) -> None:
    save(space, "color", row())
    path = space.root / "results" / "color" / "results.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**content, "results": []}), encoding="utf-8")
    with pytest.raises(EmbprobeError, match="is damaged"):
        write_report(space, space.root / "report.html")
