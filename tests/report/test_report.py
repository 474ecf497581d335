import json
from pathlib import Path

import pytest

from embprobe.errors import EmbprobeError
from embprobe.report import write_report
from embprobe.results import VERSION, Result
from embprobe.workspace import Workspace

HOSTILE = "<script>alert(1)</script> & {{ 7 * 7 }} \u202e"


def save(workspace: Workspace, name: str) -> None:
    row = Result(
        attribute="color", measure=HOSTILE, intervention=None, strength=None, encoder=HOSTILE, resampled="concept",
        groups=5, images=10, estimate=0.25, low=0.125, high=0.5, unit="accuracy",
    )  # fmt: skip
    content = {
        "version": VERSION,
        "card": {"title": HOSTILE, "question": HOSTILE, "resample": "concept", "sources": [HOSTILE]},
        "images": {"name": HOSTILE, "fingerprint": "0", "count": 10},
        "encoders": [],
        "seed": 0,
        "versions": {"embprobe": "0"},
        "results": [vars(row)],
    }
    folder = workspace.results(name)
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content), encoding="utf-8")


def test_everything_is_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "space")
    save(workspace, "one")
    page = write_report(workspace, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page and "&lt;script&gt;alert(1)&lt;/script&gt; &amp; {{ 7 * 7 }}" in page
    assert "http" not in page.replace("http-equiv", "")


def test_every_result_has_its_numbers_on_the_page(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "space")
    save(workspace, "one")
    save(workspace, "two")
    page = write_report(workspace, tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count("0.250") == page.count("0.125 to 0.500") == page.count("<section>") == 2


def test_without_results_there_is_no_page(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="no results in"):
        write_report(Workspace.open(tmp_path / "space"), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
