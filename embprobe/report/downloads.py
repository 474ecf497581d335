"""The numbers behind the page, as files that it carries."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Sequence

from embprobe.probing.results import COLUMNS, as_columns
from embprobe.report.findings import Findings, Probe
from embprobe.system.files import json_text
from embprobe.system.text import printable

LARGEST = 2_000_000
"""Characters of a link that browsers follow: Chromium's limit is 2 MiB."""


def numbers_csv(probes: Sequence[Probe]) -> str:
    """Every result as a line: which images, its measure in words, then the fields of its key and the others."""
    sink = io.StringIO()
    lines = csv.DictWriter(sink, ["images_name", "seed", *COLUMNS])
    lines.writeheader()
    for probe in probes:
        about = {"images_name": probe.manifest["images"]["name"], "seed": probe.manifest["seed"]}
        for row in probe.rows:
            line = about | as_columns(row)
            lines.writerow({name: printable(v) if isinstance(v, str) else v for name, v in line.items()})
    return sink.getvalue()


def numbers_json(findings: Findings) -> str:
    """All results with their manifests, and all comparisons, of layers too, as they are in the workspace."""
    probes = [probe.results.as_json() for probe in findings.probes]
    comparisons, layers = (
        [each.as_json() for each in found] for found in (findings.comparisons, findings.layers.values())
    )
    return json_text({"probes": probes, "comparisons": comparisons, "layers": layers})


def link_to(text: str, kind: str) -> str:
    """A ``data:`` URI, or nothing if it would be longer than a browser follows."""
    found = f"data:{kind};charset=utf-8;base64,{base64.b64encode(text.encode('utf-8')).decode('ascii')}"
    return found if len(found) <= LARGEST else ""
