"""Names in figures: in any script, of any length, and with the signs of formulas."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from embprobe.plots import letters
from embprobe.plots import map as drawing
from embprobe.plots.letters import drawable
from embprobe.plots.map import plot_maps
from embprobe.plots.style import figure, free_path, save

POINTS = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
LONG = [f"class {i} with a long descriptive name that goes on for eighty letters in all, {i}" for i in range(9)]
ODD = ["$5 bill", "a_b^c", "_hidden", "__", "<b>x</b>", r"$\frac{$", "%s {0}", r"\n", "#1 & ~"]


@pytest.fixture
def canvases(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures of maps, as they are when they are saved."""
    kept: list[Figure] = []

    @contextmanager
    def watched(**size: Any) -> Iterator[Any]:
        with figure(**size) as (canvas, axes):
            yield canvas, axes
            kept.append(canvas)

    monkeypatch.setattr(drawing, "figure", watched)
    return kept


def legend_of(canvas: Figure) -> list[str]:
    """The names in the legend below the maps, each on one line; every text lies inside the figure."""
    (legend,) = canvas.legends
    canvas.draw_without_rendering()
    for text in canvas.findobj(Text):
        if isinstance(text, Text) and text.get_text():
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= -1 and box.x1 <= canvas.bbox.width and box.y1 <= canvas.bbox.height + 1
    return [text.get_text().replace("\n", " ") for text in legend.get_texts()]


@pytest.mark.parametrize("maps", [1, 3])
@pytest.mark.parametrize("names", [LONG, ODD, ["a", "b"]], ids=["long", "odd", "short"])
def test_a_legend_holds_every_name_whole(canvases: list[Figure], tmp_path: Path, names: list[str], maps: int) -> None:
    labels = [names[i % len(names)] for i in range(60)]
    with warnings.catch_warnings(action="error"):
        plot_maps({f"x/{i}": POINTS for i in range(maps)}, labels, tmp_path / "map.png", label="_kind$" * 20)
    assert sorted(legend_of(canvases[0])) == sorted(names)
    high = canvases[0].get_figheight()
    assert high == pytest.approx(5.8, abs=0.3) if names == ["a", "b"] else high < 12


def test_of_many_names_the_rest_are_counted(canvases: list[Figure], tmp_path: Path) -> None:
    labels = [f"class_{i % 30}_" + "x" * 70 for i in range(60)]
    plot_maps({"x": POINTS}, labels, tmp_path / "map.png", label="kind")
    *shown, others = legend_of(canvases[0])
    assert len(shown) == 9 and others == "21 others"


def test_a_letter_is_drawn_in_a_font_that_has_it_or_else_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = letters._usual_letters()
    monkeypatch.setattr(letters, "_usual_letters", lambda: usual - {ord("é"), 0x10FFFE})
    letters._font_of.cache_clear()
    try:
        assert drawable("café \U0010fffe\x1b") == "café \\U0010fffe\\x1b"
        (needed,) = letters._needs(["é"])
        with figure(width=2, height=1) as (canvas, axes):
            axes[0].set_title("é")
            axes[0].set_yticks([0, 1], ["é", "\x1b"])
        families = [t.get_fontfamily() for t in canvas.findobj(Text) if isinstance(t, Text) and t.get_text() == "é"]
        assert len(families) >= 2 and all(needed in family for family in families)
        assert [label.get_text() for label in axes[0].get_yticklabels()] == ["é", "\\x1b"]
    finally:
        letters._font_of.cache_clear()


@given(st.text(max_size=6))
@example("日本 😀 ع ह 한")
@example("$\\frac{$_^%")
@example("\u200d\ufe0f\u202e\ue000\U0010ffff")
@settings(max_examples=15)
def test_every_text_is_drawn_and_nothing_is_warned_of(text: str) -> None:
    with warnings.catch_warnings(action="error"), figure(width=6, height=4) as (canvas, axes):
        axes[0].set_title(text)
        axes[0].set_xticks([0, 1], [text, "b"])
        canvas.suptitle(text)
    with warnings.catch_warnings(action="error"):
        canvas.draw_without_rendering()


def test_a_path_is_given_to_one_subject(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert free_path(path, "x") == path
    with figure(width=1, height=1) as (canvas, _):
        save(canvas, path, subject="x")
    assert free_path(path, "x") == path
    other = free_path(path, "y")
    assert other != path and other.parent == tmp_path and free_path(path, "y") == other != free_path(path, "z")
    for content in (b"", b"no figure", path.read_bytes()[:40]):
        path.write_bytes(content)
        assert free_path(path, "x") != path
    path.unlink()
    path.mkdir()
    assert free_path(path, "x") != path
