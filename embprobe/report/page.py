"""The HTML of the page, from its parts."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader
from markupsafe import Markup

from embprobe.plots.style import PALETTE
from embprobe.report.atlas import METHODS, NEIGHBORS, Atlas, atlas_json
from embprobe.report.benchmarks import Benchmarked
from embprobe.report.downloads import link_to, numbers_csv, numbers_json
from embprobe.report.examples import Examples
from embprobe.report.findings import Findings, Probe
from embprobe.report.forest import Panel
from embprobe.report.layers import ComparedByLayers
from embprobe.report.near import Example
from embprobe.report.pairs import Compared, Drawn
from embprobe.report.thumbnails import Sheets
from embprobe.system.text import visible

_SPACE = re.compile(r"\s+")
_SCRIPTS = ("data.js", "panel.js", "map.js")


@dataclass(frozen=True)
class Section:
    """One probe with its panel of the forest plot, its examples and its figure."""

    probe: Probe
    anchor: str
    panel: Panel | None
    examples: Examples | None
    """None if the images cannot be opened."""
    figure: Drawn | None


def render(
    *,
    findings: Findings,
    sections: Sequence[Section],
    comparisons: Sequence[Compared],
    layers: Sequence[ComparedByLayers],
    benchmarks: Sequence[Benchmarked],
    near: Sequence[Example],
    sheets: Sequence[Drawn],
    whys: Sequence[Drawn],
    atlas: Atlas | None,
    thumbnails: Sheets | None,
    notes: Sequence[str],
) -> str:
    """Write the page. All text is escaped, on one line, and cannot turn the direction of the text after it."""
    environment = Environment(
        loader=PackageLoader("embprobe.report", "templates"), autoescape=True, trim_blocks=True, finalize=_plain
    )
    script = "".join(_resource(name) for name in _SCRIPTS) if atlas else ""
    return environment.get_template("page.html").render(
        policy=policy(script),
        palette=PALETTE,
        css=Markup(_resource("page.css")),
        script=Markup(script),
        sections=sections,
        measured=_measured(findings),
        comparisons=comparisons,
        layers=layers,
        benchmarks=benchmarks,
        examples_near=near,
        sheets=sheets,
        whys=whys,
        atlas=atlas,
        data=atlas_json(atlas, thumbnails) if atlas and thumbnails else {},
        method=METHODS[atlas.method] if atlas else "",
        most_neighbors=NEIGHBORS,
        notes=notes,
        specs=_specs(findings),
        version=version("embprobe"),
        versions_used=_once([probe.manifest["versions"] for probe in findings.probes]),
        csv=Markup(link_to(numbers_csv(findings.probes), "text/csv")) if findings.probes else "",
        json=Markup(link_to(numbers_json(findings), "application/json")),
    )


def policy(script: str) -> str:
    """Return a Content-Security-Policy under which nothing is fetched and only this script runs, or none if empty."""
    rules = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    if not script:
        return rules
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return f"{rules}; script-src 'sha256-{digest}'"


def _plain(value: Any) -> Any:
    """Put text on one line and make control characters visible; leave markup and other values as they are."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible(_SPACE.sub(" ", value))


def _resource(name: str) -> str:
    return (files("embprobe.report") / "templates" / name).read_text(encoding="utf-8")


def _measured(findings: Findings) -> list[str]:
    """Describe the measured images and their encoders, in the order of the results."""
    counts = {probe.manifest["images"]["fingerprint"]: probe.manifest["images"]["count"] for probe in findings.probes}
    counts |= {cell.dataset.fingerprint: cell.dataset.images for cell in findings.benchmarks.cells}
    counts |= {comparison.images.fingerprint: comparison.images.count for comparison in findings.comparisons}
    counts |= {each.images.fingerprint: each.images.count for each in findings.layers.values()}
    sentences = [
        f"{counts[each.fingerprint]:,} images of {each.name}"
        + (f" by {', '.join(each.encoders)}" if each.encoders else "")
        for each in findings.measured
    ]
    return list(dict.fromkeys(sentences))


def _specs(findings: Findings) -> list[Any]:
    return _once([spec for probe in findings.probes for spec in probe.manifest["encoders"]])


def _once(values: Sequence[Any]) -> list[Any]:
    """Drop repeated values, which need not be hashable."""
    return [value for i, value in enumerate(values) if value not in values[:i]]
