"""Maps: what is drawn of few points and of many, and whose images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from embprobe.images.rows import Row
from embprobe.plots import map as drawing
from embprobe.plots.map import plot_maps
from embprobe.plots.style import PALETTE
from tests.conftest import row_of, solid

RED, GREEN, BLUE = (250, 0, 0), (0, 250, 0), (0, 0, 250)


def colors_in(path: Path) -> set[object]:
    with Image.open(path) as picture:
        return {color for _, color in picture.convert("RGB").getcolors(2**24) or []}


def rgb(name: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(name.removeprefix("#")))


def test_names_from_strangers_are_drawn_as_they_are_and_there_is_an_svg(tmp_path: Path) -> None:
    points = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    out = tmp_path / "map.png"
    maps, labels = {"a": points, "$b$\n\x1b": points[::-1]}, ["$x", "<y>\u202e"] * 30
    plot_maps(maps, labels, out, label="end$")
    with Image.open(out) as picture:
        assert picture.width > 800
    first = out.with_suffix(".svg").read_bytes()
    assert b"<svg" in first and b"\x1b" not in first
    plot_maps(maps, labels, out, label="end$")
    assert out.with_suffix(".svg").read_bytes() == first  # no date, no random names


def test_every_value_has_a_look_of_its_own() -> None:
    looks = [(drawing._color(i), drawing._marker(i)) for i in range(-1, drawing._DISTINCT)]
    assert len(set(looks)) == len(looks)


def test_images_are_drawn_where_they_are(tmp_path: Path) -> None:
    points = np.array([[0, 0], [0.1, 0], [10, 10]], np.float32)
    rows: list[Row] = [row_of("a", solid(RED)), row_of("b", solid(BLUE)), row_of("c", solid(GREEN))]
    out = tmp_path / "map.png"
    plot_maps({"x": points}, ["v", "v", "w"], out, label="kind", rows=rows, thumbnails=2)
    found = colors_in(out)
    assert GREEN in found and len(found & {RED, BLUE}) == 1  # the far one, and one of the two
    plot_maps({"x": points}, ["v", "v", "w"], out, label="kind", rows=rows)
    assert not {RED, GREEN, BLUE} & colors_in(out)
    plot_maps({"x": points[:, ::-1]}, ["v", "v", "w"], out, label="kind", rows=rows, thumbnails=99)  # there are three
    assert GREEN in colors_in(out)


def test_of_many_points_the_density_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing, "CROWDED", 999)
    points = np.repeat([[0.0, 0.0], [10.0, 0.0]], 500, axis=0).astype(np.float32)
    points[-1] = [10, 10]
    labels = ["many"] * 500 + ["few"] * 499 + ["many"]
    out = tmp_path / "map.png"
    plot_maps({"x": points}, labels, out, label="kind")
    found = colors_in(out)
    # a hexagon of 500 points is in its colour; one of a single point is near white: 0.15 and log 2 / log 501 of it
    share = 0.15 + 0.85 * np.log(2) / np.log(501)
    pale = np.array([share * ink + (1 - share) * 255 for ink in rgb(PALETTE[0])])
    assert rgb(PALETTE[0]) in found and rgb(PALETTE[1]) in found
    assert min(np.abs(np.array(color) - pale).max() for color in found) <= 1
