"""The headlines of several probes beside each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from embprobe.plots import forest
from embprobe.plots.forest import plot_forest
from embprobe.plots.style import figure
from embprobe.probing.key import Key
from embprobe.probing.results import Conclusions, Result, Results
from embprobe.probing.scores import Role

ONE = Key(kind="geometry", target="the one")


def results(attribute: str, *estimates: tuple[str, float], headline: bool = True) -> Results:
    """A probe with one headline, a difference, and a measure that is none."""
    facts: dict[str, Any] = {
        "attribute": attribute, "resampled": "concept", "groups": 60, "images": 90, "unit": "accuracy", "key": ONE,
    }  # fmt: skip
    rows = [
        Result(**facts, role=role_of(name), encoder=name, estimate=value, low=value - 0.1, high=value + 0.1)
        for name, value in estimates
    ]
    rows.append(
        Result(
            **facts,
            role="subject",
            encoder="a/x",
            against="b/y",
            estimate=9,
            low=9,
            high=9,
        )
    )
    another = facts | {"key": replace(ONE, target="another")}
    rows.append(Result(**another, role="subject", encoder="a/x", estimate=9, low=9, high=9))
    key = ONE if headline else None
    return Results(
        manifest={"card": {"question": f"What of {attribute}?"}},
        rows=rows,
        scores=[],
        conclusions=Conclusions(key=key, numbers=dict(estimates), sentences=[], checks=[]),
    )


def role_of(encoder: str) -> Role:
    return "reference" if encoder.startswith("reference/") else "subject"


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    kept: list[Axes] = []

    @contextmanager
    def watched(**size: Any) -> Iterator[Any]:
        with figure(**size) as (canvas, drawn):
            yield canvas, drawn
            kept.extend(canvas.axes)

    monkeypatch.setattr(forest, "figure", watched)
    return kept


def test_a_panel_a_probe_an_encoder_a_line(axes: list[Axes], tmp_path: Path) -> None:
    found = [
        results("color", ("a/x", 0.2), ("b/y", 0.4)),
        results("text", ("a/x", 0.9), ("b/y", 0.1), ("reference/pixels", 0.1)),
        results("silent", ("a/x", 0.5), headline=False),
        results("style", ("b/y", 0.3)),
    ]
    out = tmp_path / "attributes.png"
    assert plot_forest(found, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attributes.png", "attributes.svg"]
    assert [axis.get_title(loc="left") for axis in axes] == [
        f"What of {each}?\nthe one" for each in ("color", "text", "style")
    ]
    told = [[label.get_text() for label in axis.get_yticklabels()] for axis in axes]
    assert told == [["a/x", "b/y"], ["a/x", "b/y", "reference/pixels"], ["b/y"]]
    points = [[float(bar[0].get_xdata()[0]) for bar in axis.containers] for axis in axes]
    assert points == [[0.2, 0.4], [0.9, 0.1, 0.1], [0.3]]
    colors = [[bar[0].get_color() for bar in axis.containers] for axis in axes]
    assert colors[0] == colors[1][:2] and colors[2] == colors[0][1:]  # an encoder looks the same everywhere


def test_without_a_headline_there_is_nothing_to_draw(tmp_path: Path) -> None:
    assert not plot_forest([results("color", ("a/x", 0.2), headline=False)], tmp_path / "figure.png")
    assert list(tmp_path.iterdir()) == []
