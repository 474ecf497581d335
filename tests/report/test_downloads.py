"""The files that the page carries: every number, with the fields of its key."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict

import pytest

from embprobe.embeddings.workspace import Workspace
from embprobe.probing.key import Key
from embprobe.report.downloads import numbers_csv, numbers_json
from embprobe.report.findings import read_findings
from tests.report.conftest import HOSTILE, row, save

HUE = Key(kind="displacement", target="hue", strength=120.0, dataset="photos")


def test_a_line_of_the_csv_is_a_number_with_the_fields_of_its_key(space: Workspace) -> None:
    difference = row(key=HUE, encoder="a/b", against="c/d", p=0.5, p_adjusted=1.0)
    odd = row(key=Key(kind="geometry", target="half a pair \ud800"), encoder="mine", role="reference")
    save(space, "one", row(key=HUE, encoder="a/b"), difference, odd)
    first, second, third = csv.DictReader(io.StringIO(numbers_csv(read_findings(space).probes)))
    assert first == {
        "images_name": HOSTILE, "seed": "0", "measure": "hue 120: displacement", "kind": "displacement",
        "target": "hue", "test": "", "variant": "", "condition": "", "strength": "120.0", "dataset": "photos",
        "layer": "", "attribute": "color", "encoder": "a/b", "role": "subject", "against": "", "resampled": "concept",
        "groups": "5", "images": "10", "estimate": "0.25", "low": "0.125", "high": "0.5", "p": "", "p_adjusted": "",
        "unit": "accuracy", "floor": "", "detectable": "",
    }  # fmt: skip
    detectable = second.pop("detectable")  # 2.8 standard errors; the interval is 2 * 1.96 of them, 0.375
    assert float(detectable) == pytest.approx(2.8 * 0.375 / 3.92)
    del first["detectable"]
    assert second == first | {"against": "c/d", "p": "0.5", "p_adjusted": "1.0"}
    assert (third["target"], third["encoder"], third["role"]) == ("half a pair \\ud800", "mine", "reference")


def test_the_json_is_what_the_workspace_holds(space: Workspace) -> None:
    save(space, "one", row(key=HUE, encoder="a/b"))
    content = json.loads(numbers_json(read_findings(space)))
    saved = json.loads((space.results("one") / "results.json").read_text(encoding="utf-8"))
    assert content == {"probes": [saved], "comparisons": [], "layers": []}
    assert content["probes"][0]["results"][0]["key"] == asdict(HUE)
