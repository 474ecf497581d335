"""The figure of a probe, whatever the names in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from embprobe.plots import probe
from embprobe.plots.probe import plot_probe
from embprobe.plots.style import figure
from embprobe.probing.card import attributes, bundled_card
from embprobe.probing.key import Key
from embprobe.probing.results import Result
from embprobe.probing.scores import Role

CURVE = [
    Result(
        attribute="color",
        key=Key(kind="displacement", target="hue", strength=strength),
        encoder=encoder,
        role="reference" if encoder == "reference/pixels" else "subject",
        resampled="concept",
        groups=50,
        images=50,
        estimate=strength / 200,
        low=strength / 250,
        high=strength / 150,
        unit="distance to an unrelated image",
    )
    for encoder in ("bundled/clip", "bundled/dino", "reference/pixels")
    for strength in (60.0, 120.0)
]
CATEGORY = Key(kind="decoding", target="category", variant="linear probe", test="unseen concepts")
SHUFFLED = replace(CATEGORY, condition="shuffled labels")
DOTS = [replace(row, key=CATEGORY) for row in CURVE[::2]]
DIFFERENCE = replace(CURVE[0], against="bundled/dino", p=0.5, p_adjusted=1.0)


def drawn(path: Path) -> Image.Image:
    """The figure, if it is a picture with something in it."""
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and image.width > 400 and image.height > 300
        assert len(np.unique(np.asarray(image.convert("L")))) > 20
        return image.copy()


def test_decoding_is_drawn_over_its_control_task(axes: list[Axes], tmp_path: Path) -> None:
    decoded = [replace(row, unit="accuracy") for row in DOTS]
    memory = [
        replace(row, key=SHUFFLED, estimate=0.1, low=0.05, high=0.2)
        for row in decoded[:2]  # nobody asked it of the third
    ]
    plot_probe([*decoded, *memory], tmp_path / "figure.png", question="?")
    dots, scatter = axes[:2]
    assert (dots.get_xlabel(), scatter.get_xlabel()) == ("accuracy", "accuracy of shuffled labels")
    assert titles(axes)[1] == "category decoding, unseen concepts, against shuffled labels"
    assert [line.get_label() for line in scatter.containers] == ["bundled/clip", "bundled/dino"]
    points = [(float(x[0]), float(y[0])) for x, y in (line[0].get_data() for line in scatter.containers)]
    assert points == [(0.1, row.estimate) for row in decoded[:2]]
    alone = replace(memory[0], key=replace(SHUFFLED, target="color"))
    plot_probe([alone], tmp_path / "alone.png", question="?")  # nothing to set it against: dots


def test_curves_and_dots_are_drawn(tmp_path: Path) -> None:
    out = tmp_path / "new" / "figure.png"
    plot_probe([*CURVE, DIFFERENCE, *DOTS], out, question="Does it move?")
    drawn(out)
    assert sorted(out.parent.iterdir()) == [out, out.with_suffix(".svg")]


def test_the_same_numbers_give_the_same_picture_and_others_another(tmp_path: Path) -> None:
    for name, rows in {"a": CURVE, "b": CURVE, "c": [replace(CURVE[0], estimate=0.25), *CURVE[1:]]}.items():
        plot_probe(rows, tmp_path / f"{name}.png", question="?")
    a, b, c = (np.asarray(drawn(tmp_path / f"{name}.png")) for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize("name", [r"$\frac{$", "<script>alert(1)</script> \u202e\u200f", "two\nlines {0} %s", "日本語"])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    key = replace(CATEGORY, target=name)
    rows = [replace(row, key=key, encoder=f"open_clip/{name}", resampled=name) for row in DOTS]
    curves = [replace(row, encoder=f"open_clip/{name}", unit=name) for row in CURVE[:2]]
    plot_probe([*curves, *rows], tmp_path / "figure.png", question=f"Does {name} move?")
    drawn(tmp_path / "figure.png")


def test_an_interval_that_misses_its_estimate_by_rounding_is_drawn(tmp_path: Path) -> None:
    # the mean of equal scores, summed in another order in every resample
    low = float(np.nextafter(0.1, 1))
    plot_probe([replace(DOTS[0], estimate=0.1, low=low, high=low)], tmp_path / "figure.png", question="?")
    drawn(tmp_path / "figure.png")


def test_a_single_row_is_drawn(tmp_path: Path) -> None:
    plot_probe(DOTS[:1], tmp_path / "figure.png", question="?")
    drawn(tmp_path / "figure.png")


# --- what is drawn where -----------------------------------------------------------------------------------------


def watch(monkeypatch: pytest.MonkeyPatch, look: Callable[[Figure], None]) -> None:
    """Let ``look`` see every figure once it is drawn."""

    @contextmanager
    def watched(**size: Any) -> Iterator[Any]:
        with figure(**size) as (canvas, found):
            yield canvas, found
            look(canvas)

    monkeypatch.setattr(probe, "figure", watched)


@pytest.fixture
def axes(monkeypatch: pytest.MonkeyPatch) -> list[Axes]:
    """The axes of the figure, as they are when it is done."""
    kept: list[Axes] = []
    watch(monkeypatch, lambda canvas: kept.extend(canvas.axes))
    return kept


def titles(axes: list[Axes]) -> list[str]:
    return [axis.get_title(loc="left").replace("\n", " ") for axis in axes]


def test_a_panel_is_a_measure_under_a_condition(axes: list[Axes], tmp_path: Path) -> None:
    truncated = [replace(row, key=replace(CATEGORY, condition="pca:32")) for row in DOTS]
    plot_probe([*CURVE, DIFFERENCE, *DOTS, *truncated], tmp_path / "figure.png", question="?")
    assert titles(axes) == [
        "hue: displacement",
        "category decoding, unseen concepts",
        "pca:32: category decoding, unseen concepts",
    ]


def test_the_headline_comes_first(axes: list[Axes], tmp_path: Path) -> None:
    plot_probe([*CURVE, *DOTS], tmp_path / "figure.png", question="?", first=CATEGORY)
    assert titles(axes) == ["category decoding, unseen concepts", "hue: displacement"]
    axes.clear()
    beyond = [replace(row, key=replace(row.key, variant="beyond control")) for row in CURVE]
    headline = beyond[1].key  # its panel has the other strengths, too
    plot_probe([*DOTS, *CURVE, *beyond], tmp_path / "figure.png", question="?", first=headline)
    assert titles(axes) == [
        "hue: displacement beyond the control",
        "category decoding, unseen concepts",
        "hue: displacement",
    ]


def test_axes_say_what_their_numbers_are(axes: list[Axes], tmp_path: Path) -> None:
    name = Key(kind="zero-shot", target="name", variant="accuracy")

    def under(key: Key, condition: str) -> list[Result]:
        return [replace(row, key=replace(key, condition=condition, strength=row.key.strength)) for row in CURVE]

    few = [replace(row, unit="accuracy") for row in under(replace(CATEGORY, variant="GDA"), "shots")]
    word = [replace(row, unit="accuracy") for row in under(name, "word=thus")]
    control = under(name, "word-conflicts/shuffled")
    plot_probe([*CURVE, *few, *word, *control, *DOTS], tmp_path / "figure.png", question="?")
    assert [axis.get_xlabel() for axis in axes] == [
        "degrees in OKLCh",
        "images of each value that the classifier was fitted on",
        "share of the image's width",
        "share of the image's width",
        "distance to an unrelated image",
    ]
    assert [axis.get_ylabel() for axis in axes[:2]] == ["distance to an unrelated\nimage", "accuracy"]


def test_references_are_grey_and_encoders_are_not(axes: list[Axes], tmp_path: Path) -> None:
    roles: dict[str, Role] = {
        "open_clip/a": "subject",
        "mine": "subject",  # without a slash
        "reference/pixels": "reference",
        "python:mine:make": "reference",
        "guessing": "baseline",
    }
    names = list(roles)
    rows = [replace(DOTS[0], encoder=name, role=role) for name, role in roles.items()]
    plot_probe(rows, tmp_path / "figure.png", question="?")
    (axis,) = axes
    assert [label.get_text() for label in axis.get_yticklabels()] == names
    colors = [
        to_rgb(line.get_color())
        for line in axis.lines
        if line.get_markersize() == 5 and str(line.get_marker()) not in "|_"
    ]
    assert [len(set(color)) == 1 for color in colors] == [False, False, True, True, True]
    assert len(set(colors)) == 5  # and each has its own


def test_a_reference_that_is_studied_has_a_colour(axes: list[Axes], tmp_path: Path) -> None:
    rows = [
        replace(DOTS[0], encoder="reference/pixels", role="subject"),
        replace(DOTS[0], encoder="bundled/clip", role="reference"),
    ]
    plot_probe(rows, tmp_path / "figure.png", question="?")
    colors = [
        to_rgb(line.get_color())
        for line in axes[0].lines
        if line.get_markersize() == 5 and str(line.get_marker()) not in "|_"
    ]
    assert [len(set(color)) == 1 for color in colors] == [False, True]


def test_lengths_start_at_zero_where_they_can(axes: list[Axes], tmp_path: Path) -> None:
    below = [replace(row, key=Key(kind="geometry", target="uniformity"), estimate=-2, low=-3, high=-1) for row in DOTS]
    across = [replace(row, key=Key(kind="variance", target="style"), low=-0.1) for row in DOTS]
    plot_probe([*CURVE, *DOTS, *below, *across], tmp_path / "figure.png", question="?")
    assert axes[0].get_ylim()[0] == 0 and axes[1].get_xlim()[0] == 0
    assert axes[2].get_xlim()[1] == 0 and axes[2].get_xlim()[0] < -2.9
    assert axes[3].get_xlim()[0] < -0.09


def test_the_heading_says_over_what_intervals_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    watch(monkeypatch, lambda canvas: said.append(canvas.get_suptitle()))
    plot_probe(
        [*DOTS, replace(DOTS[0], key=Key(kind="geometry", target="x"), groups=7)],
        tmp_path / "figure.png",
        question="Does it move?",
    )
    assert said == ["Does it move?\n95 % intervals over 7 to 50 concepts"]


def test_a_long_question_stays_inside_a_narrow_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends: list[float] = []

    def look(canvas: Figure) -> None:
        canvas.draw_without_rendering()
        (heading,) = canvas.texts
        ends.append(heading.get_window_extent().x1 / canvas.bbox.x1)

    watch(monkeypatch, look)
    for attribute in attributes():
        plot_probe(DOTS, tmp_path / "figure.png", question=bundled_card(attribute).question)
    assert max(ends) < 1
