"""Where the lines and markers of the forest plot are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from embprobe.plots.style import MARKERS
from embprobe.probing.results import Conclusions, Result, Results
from embprobe.report.findings import Probe
from embprobe.report.forest import _SHAPES, Panel, forest, nice_ticks
from tests.report.conftest import row

NOWHERE = Path("nowhere")


def probe_of(rows: Sequence[Result], claims: Sequence[dict[str, Any]] = ()) -> Probe:
    nothing = Conclusions(key=None, numbers={}, sentences=[], checks=[])
    manifest = {"card": {"title": "T"}}
    return Probe(Results(manifest=manifest, rows=rows, scores=[], conclusions=nothing, claims=claims), NOWHERE)


def panels(probes: Sequence[Probe]) -> list[Panel]:
    return [panel for panel in forest(probes) if panel]


def test_a_scale_from_zero_to_half_by_hand() -> None:
    (panel,) = panels([probe_of([row(encoder="a/b", estimate=0.25, low=0.125, high=0.5)])])
    assert [text for _, text in panel.ticks] == ["0", "0.2", "0.4", "0.6"]  # a step of 0.1 would need six
    (line,) = panel.lines  # 2 % of the width stay free on each side, so 0.25 of 0.6 lies at 2 + 96 * 0.41667
    assert (line.low, line.at, line.high) == (22.0, 42.0, 82.0) and panel.ticks[-1][0] == 98.0
    assert line.told == "0.250 (0.125 to 0.500)"


def test_encoders_keep_their_shape_and_colour_and_references_come_last_in_grey() -> None:
    pixels, guessing = row(encoder="reference/pixels", role="reference"), row(encoder="guessing", role="baseline")
    one = probe_of([pixels, row(encoder="a/b"), row(encoder="c/d"), guessing])
    two = probe_of([row(encoder="c/d"), row(encoder="timm/r", role="reference"), row(encoder="a/b")])
    first, second = panels([one, two])
    assert [line.encoder for line in first.lines] == ["a/b", "c/d", "reference/pixels", "guessing"]
    assert [line.look for line in first.lines] == ["look-0", "look-1", "reference", "reference"]
    assert {line.encoder: line.look for line in second.lines} == {
        "c/d": "look-1",
        "a/b": "look-0",
        "timm/r": "reference",
    }
    assert len({line.path for line in first.lines[:3]}) == 3


def test_who_is_a_subject_is_stored_and_no_matter_of_names() -> None:
    rows = [row(encoder="python:mine:make", role="reference"), row(encoder="mine"), row(encoder="reference/pixels")]
    (panel,) = panels([probe_of(rows)])
    assert [(line.encoder, line.look) for line in panel.lines] == [
        ("mine", "look-0"), ("reference/pixels", "look-1"), ("python:mine:make", "reference")
    ]  # fmt: skip


def test_a_study_has_no_panel_and_its_encoders_no_looks() -> None:
    study, probe = probe_of([row(encoder="x/y")], claims=[{"verdict": "undecided"}]), probe_of([row(encoder="a/b")])
    none, panel = forest([study, probe])
    assert none is None and panel is not None and panel.lines[0].look == "look-0"


def test_every_marker_of_the_figures_has_a_path() -> None:
    assert set(MARKERS) == set(_SHAPES)


@given(st.floats(-1e6, 0), st.floats(0, 1e6))
def test_ticks_cover_what_they_are_for_and_are_few(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    near = max(1e-9, 1e-6 * (high - low))
    assert ticks[0] <= low + near and ticks[-1] >= high - near and 2 <= len(ticks) <= 7
    assert all(math.isfinite(tick) for tick in ticks) and 0 in ticks


def test_a_scale_of_no_width() -> None:
    assert nice_ticks(0, 0) == nice_ticks(0, 1e-128) == [0.0, 0.5]
