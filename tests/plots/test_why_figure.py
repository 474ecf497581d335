"""Sheets of occlusion maps: their colours, their outlines, and whatever the files are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.embeddings.occlusion import OcclusionMap
from embprobe.plots.why import plot_why_neighbors
from embprobe.search.neighbors import ExplainedNeighbor, Neighbor, Neighborhood, Query
from tests.conftest import noise, row_of

WHITE = np.full((48, 48, 3), 255, np.uint8)


def map_of(*drops: float, chance: tuple[float, float] | None = None) -> OcclusionMap:
    return OcclusionMap(WHITE, np.array(drops, np.float32).reshape(2, 2), chance)


def sheet_of(tmp_path: Path, shown: OcclusionMap, *, name: str = "cat", of_query: bool = False) -> Image.Image:
    neighbor = Neighbor(row_of(name, noise(1), name=name), 0.5)
    explained = ExplainedNeighbor(neighbor, shown if of_query else None, shown)
    query = Query(row_of(name, Image.fromarray(WHITE))) if of_query else Query(texts=(name,))
    found = Neighborhood(query, {"a": [neighbor]}, {}, 0.1, why={"a": [explained]})
    plot_why_neighbors(found, tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        return image.convert("RGB")


def amount(sheet: Image.Image, color: str) -> int:
    """How many pixels of the maps, above the bar of colours, are orange, purple or black."""
    red, _, blue = np.moveaxis(np.asarray(sheet, int)[: int(sheet.height * 0.74), :], 2, 0)
    return int({"orange": red - blue > 60, "purple": blue - red > 40}[color].sum())


def test_what_makes_them_near_is_orange_and_what_keeps_them_apart_purple(tmp_path: Path) -> None:
    near, apart, nothing = (sheet_of(tmp_path, map_of(drop, 0, 0, 0)) for drop in (0.3, -0.3, 0))
    assert amount(near, "orange") > 500 > amount(near, "purple")
    assert amount(apart, "purple") > 500 > amount(apart, "orange")
    assert amount(nothing, "orange") == amount(nothing, "purple") == 0


def test_blocks_beyond_chance_are_outlined(tmp_path: Path) -> None:
    inside = sheet_of(tmp_path, map_of(0.3, 0, 0, 0, chance=(-0.4, 0.4)))
    beyond = sheet_of(tmp_path, map_of(0.3, 0, 0, 0, chance=(-0.2, 0.2)))
    unknown = sheet_of(tmp_path, map_of(0.3, 0, 0, 0))
    assert inside.tobytes() == unknown.tobytes()
    assert (np.asarray(beyond).max(2) < 60).sum() > (np.asarray(inside).max(2) < 60).sum() + 100


def test_all_maps_of_a_sheet_have_one_scale(tmp_path: Path) -> None:
    neighbor = Neighbor(row_of("x", noise(1)), 0.5)

    def sheet(other: float) -> int:
        found = [ExplainedNeighbor(neighbor, None, map_of(drop, 0, 0, 0)) for drop in (0.1, other)]
        plot_why_neighbors(
            Neighborhood(Query(texts=("x",)), {"a": [neighbor]}, {}, 0.1, why={"a": found}), tmp_path / "sheet.png"
        )
        with Image.open(tmp_path / "sheet.png") as image:
            return amount(image.convert("RGB").crop((0, 0, image.width * 3 // 5, image.height)), "orange")

    assert sheet(0.1) > 500 > sheet(1.0)  # beside a drop of 1, one of 0.1 is pale


@pytest.mark.parametrize(
    "name", [r"$\frac{$", "<b>bold</b> \u202e", "two\nlines {0} %s", "日本語", "\udce9", "x" * 300]
)
@pytest.mark.parametrize("of_query", [False, True])
@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names_are_drawn_as_they_are(tmp_path: Path, name: str, of_query: bool) -> None:
    assert sheet_of(tmp_path, map_of(0.1, 0.2, -0.3, 0), name=name, of_query=of_query).width > 600


def test_an_encoder_whose_neighbours_cannot_be_read_leaves_a_line_with_the_query(tmp_path: Path) -> None:
    neighbor = Neighbor(row_of("x", noise(1)), 0.5)
    found = Neighborhood(Query(texts=("x",)), {"a": [neighbor], "b": [neighbor]}, {}, 0.1)
    some = [ExplainedNeighbor(neighbor, None, map_of(0.1, 0, 0, 0))]
    lines: list[dict[str, list[ExplainedNeighbor]]] = [{"a": some, "b": []}, {"a": [], "b": []}]
    for number, why in enumerate(lines):
        out = tmp_path / f"{number}.png"
        plot_why_neighbors(replace(found, why=why), out)
        assert out.is_file()
