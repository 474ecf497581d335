"""The sheet of neighbours, whatever the files are called."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.plots.neighbors import agreement, plot_neighbors
from embprobe.plots.thumbnails import describe
from embprobe.search.neighbors import Neighbor, Neighborhood, Query
from embprobe.system.text import printable
from tests.conftest import noise, row_of


def sheet_of(tmp_path: Path, name: str, *, neighbors: int = 3) -> Image.Image:
    near = [
        Neighbor(row_of(f"{name} {i}", noise(i, (600, 40)), name=name, style=name), 1 - i / 10)
        for i in range(neighbors)
    ]
    encoder = f"timm/{printable(name)}"
    found = Neighborhood(
        Query(row_of(name, noise(9, (30, 700)))),
        {encoder: near, "b": near[:1]},
        {(encoder, "b"): 1 / 3},
        0.01,
    )
    out = tmp_path / "figures" / "sheet.png"
    plot_neighbors(found, out)
    assert list(out.parent.iterdir()) == [out]
    with Image.open(out) as image:
        image.load()
        return image.copy()


def test_the_sheet_has_a_row_per_encoder_and_grows_with_the_neighbours(tmp_path: Path) -> None:
    small, large = (sheet_of(tmp_path / str(n), "cat.png", neighbors=n) for n in (1, 6))
    assert small.format is None and large.width > 2 * small.width and large.height == small.height > 300
    assert len(np.unique(np.asarray(large.convert("L")))) > 100


@pytest.mark.parametrize(
    "name",
    [r"$\frac{$", "<b>bold</b> \u202e\u200f", "two\nlines {0} %s", "日本語", "no text \udce9", "x" * 300],
)
@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, name: str) -> None:
    assert sheet_of(tmp_path, name, neighbors=2).width > 300


def test_a_row_is_described_by_name_and_style_or_by_its_key() -> None:
    picture = noise(0)
    assert describe(row_of("1f431/noto", picture, name="cat", style="noto", category="Animals")) == ["cat", "noto"]
    assert describe(row_of("cats/caf\udce9.png", picture, category="cats")) == ["cats/caf\\xe9.png"]


def test_a_query_in_words_and_six_encoders_fit(tmp_path: Path) -> None:
    near = {f"family/a-rather-long-name-{i}": [Neighbor(row_of("x", noise(i)), 0.5)] * 8 for i in range(6)}
    overlap = {(a, b): (i % 4) / 8 for i, (a, b) in enumerate(itertools.combinations(near, 2))}
    found = Neighborhood(Query(texts=("a rather long sentence about a red car in the snow",)), near, overlap, 0.002)
    plot_neighbors(found, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width > 1400 and image.height > 1400
    assert agreement(found) == "any two of the encoders share 0% to 38% of their neighbours, by chance 0.20%"
    pair = Neighborhood(found.query, near, {("a", "b"): 0.25}, 0.01)
    assert agreement(pair) == "a and b share 25% of their neighbours, by chance 1.00%"
    assert agreement(Neighborhood(found.query, {}, {}, 0.01)) == ""
