"""What is in the tree is in the wheel."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = [path.parent for path in ROOT.glob("embprobe/**/__init__.py")]
    there = {".".join(path.relative_to(ROOT).parts) for path in found}
    assert set(listed) == there | {"embprobe.probes", "embprobe.datasets"}
