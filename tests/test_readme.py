"""The README is short, its Python runs, and a package index can show it."""

from __future__ import annotations

import io
import re
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from setuptools import Distribution
from setuptools.config.pyprojecttoml import apply_configuration

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def long_description() -> str:
    """Return the text of the package index, from the metadata that a build writes."""
    metadata = io.StringIO()
    apply_configuration(Distribution(), ROOT / "pyproject.toml").metadata.write_pkg_file(metadata)
    message = Parser().parsestr(metadata.getvalue())
    assert message["Description-Content-Type"].startswith("text/markdown")
    return str(message.get_payload())


def test_a_newcomer_reads_it_in_two_minutes() -> None:
    lines = README.splitlines()
    assert len(lines) <= 130
    assert lines[2].split()[:2] == ["make", "demo"] and lines[3].split()[:2] == ["make", "test"]
    commands = [line.partition("  #")[0].strip() for line in lines if line.startswith("    embprobe ")]
    assert commands[:3] == ["embprobe extract", "embprobe probe --attribute color", "embprobe neighbors image.jpg"]


def test_its_table_fits_a_screen() -> None:
    shown = re.sub(r"<!--.*?-->", "", README)
    assert max(len(line) for line in shown.splitlines() if line.startswith("|")) <= 120


def test_the_index_gets_no_picture_or_link_that_it_cannot_follow(long_description: str) -> None:
    links = re.findall(r"\]\(([^)]*)\)", long_description)
    assert links and all(link.startswith("https://") for link in links)
    assert "<img" not in long_description and "<!--" not in long_description


def test_the_index_gets_all_else(long_description: str) -> None:
    headings = re.findall(r"(?m)^#+ .*$", README)
    assert re.findall(r"(?m)^#+ .*$", long_description) == headings
    assert "`docs/statistics.md`" in long_description
    assert re.findall(r"(?m)^    .*$", long_description) == re.findall(r"(?m)^    .*$", README)


def test_its_python_runs_as_it_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for category in ("cat", "dog"):
        folder = tmp_path / "photos" / category
        folder.mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
    vectors = rng.normal(size=(20, 4))
    keys, categories = [f"photo {i}" for i in range(20)], ["cat", "dog"] * 10
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {"vectors": vectors, "keys": keys, "categories": categories})
    assert len(list((tmp_path / "embprobe-workspace" / "results").iterdir())) == 2
