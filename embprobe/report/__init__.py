"""One self-contained HTML page with what the probes found: no scripts, no network, everything escaped."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader

from embprobe.errors import EmbprobeError
from embprobe.files import replacing
from embprobe.results import Result, load_results
from embprobe.workspace import Workspace

_NEEDED = {"card", "images", "encoders", "seed", "versions", "conclusions", "left_out"}


@dataclass(frozen=True)
class _Section:
    manifest: dict[str, Any]
    rows: Sequence[Result]
    figure: str
    """The figure's PNG in base64."""


def write_report(workspace: Workspace, out: Path) -> Path:
    """The page, from every result in the workspace, the newest first; :class:`EmbprobeError` if there is none."""
    found = sorted(workspace.root.glob("results/*/results.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    if not found:
        raise EmbprobeError(f"There are no results in '{workspace.root}' yet. Run 'embprobe probe' first.")
    sections = [_section(path) for path in found]
    sheets = {path.stem: _base64(path) for path in sorted(workspace.root.glob("figures/neighbors-*.png"))}
    environment = Environment(loader=PackageLoader("embprobe.report", "."), autoescape=True, trim_blocks=True)
    page = environment.get_template("page.html").render(sections=sections, sheets=sheets)
    with replacing(out) as path:
        path.write_text(page, encoding="utf-8")
    return out


def _section(path: Path) -> _Section:
    manifest, rows = load_results(path)
    if lacking := _NEEDED - manifest.keys():
        raise EmbprobeError(
            f"'{path}' is damaged: it lacks {', '.join(sorted(lacking))}. Remove it, and run the probe again."
        )
    return _Section(manifest, rows, _base64(path.with_name("figure.png")))


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii") if path.exists() else ""
