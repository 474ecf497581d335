"""What the map's script is given: places, neighbours and labels that one can work out by hand."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from embprobe.embeddings.extract import extract
from embprobe.embeddings.session import joined
from embprobe.embeddings.store import Store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.report.atlas import Atlas, atlas_json, make_atlas
from embprobe.report.thumbnails import Sheets
from embprobe.search.maps import saved_maps
from tests.conftest import make_encoder, row_of, solid
from tests.report.conftest import PAIR

SHEETS = Sheets(16, ["data:"], [])


def unpacked(text: str, kind: str) -> list[int]:
    found: list[int] = np.frombuffer(base64.b64decode(text), kind).tolist()
    return found


def stores_of(images: Images, workspace: Workspace) -> list[Store]:
    return extract(images, [load_encoder(name) for name in PAIR], workspace)


def test_places_neighbours_and_labels_as_the_script_reads_them() -> None:
    rows = [row_of(f"k{i}", solid((i, 0, 0)), kind="warm" if i else "cold", name=f"n{i}") for i in range(3)]
    layout = np.array([[0, 0], [2, 0], [0, 1]], np.float32)  # 2 wide, 1 high: y from a quarter to three quarters
    cosines, near = np.array([[0.5], [-0.126], [1.0]], np.float32), np.array([[1], [2], [0]])
    told = atlas_json(Atlas(Images("three", tuple(rows)), 3, "pca", {"a": layout}, {"a": cosines}, {"a": near}), SHEETS)
    (encoder,) = told["encoders"]
    assert unpacked(encoder["points"], "<u2") == [0, 49151, 65535, 49151, 0, 16384]
    assert unpacked(encoder["nearest"], "<u2") == [1, 2, 0] and unpacked(encoder["cosines"], "i1") == [50, -13, 100]
    (kind, _) = told["labels"]
    assert (kind["name"], kind["values"], kind["counts"]) == ("kind", ["warm", "cold"], [2, 1])
    assert unpacked(kind["codes"], "u1") == [1, 0, 0]
    assert told["keys"] == ["k0", "k1", "k2"] and told["names"] == ["n0", "n1", "n2"] and told["count"] == 3


def test_labels_with_one_value_or_too_many_colour_nothing() -> None:
    rows = [row_of(f"{i}", solid((i, 0, 0)), same="x", each=f"{i}") for i in range(41)]
    some: dict[str, Any] = {"a": np.zeros((41, 1), np.int64)}
    atlas = Atlas(Images("many", tuple(rows)), 41, "pca", {"a": np.ones((41, 2), np.float32)}, some, some)
    assert atlas_json(atlas, SHEETS)["labels"] == []


def test_names_that_try_to_act_become_text_on_one_line() -> None:
    rows = [row_of(f"\u202e{i}\n{'x' * 100}", solid((i, 0, 0))) for i in range(2)]
    some: dict[str, Any] = {"a": np.zeros((2, 1), np.int64)}
    atlas = Atlas(Images("two", tuple(rows)), 2, "pca", {"a": np.ones((2, 2), np.float32)}, some, some)
    key = atlas_json(atlas, SHEETS)["keys"][0]
    assert key.startswith("\\u202e0\\nxxx") and key.endswith("x…") and len(key) == 80


def test_the_map_is_the_saved_one_if_there_is_one(few: Images, workspace: Workspace) -> None:
    stores = stores_of(few, workspace)
    assert make_atlas(stores, workspace).method == "pca"
    embedded = joined(stores)
    maps = saved_maps(embedded, [store.spec for store in stores], workspace, "umap", 0)
    places = {name: np.arange(2 * len(few), dtype=np.float32).reshape(-1, 2) for name in PAIR}
    from embprobe.search.maps import _write

    _write(maps.table, embedded.keys(), places)
    found = make_atlas(stores, workspace)
    assert found.method == "umap" and found.layouts[PAIR[0]].tolist() == places[PAIR[0]].tolist()


def test_of_too_many_images_random_ones_are_drawn_with_neighbours_among_them(few: Images, workspace: Workspace) -> None:
    stores = stores_of(few, workspace)
    found = make_atlas(stores, workspace, most=10)
    assert (len(found.images), found.of, found.k) == (10, 40, 8)
    keys = [row.key for row in found.images.rows]
    assert keys == [row.key for row in few.rows if row.key in set(keys)] and keys != [r.key for r in few.rows[:10]]
    assert all(near.shape == (10, 8) and near.max() == 9 for near in found.nearest.values())


def test_images_that_all_look_alike_have_no_map(workspace: Workspace) -> None:
    rows = tuple(row_of(str(i), solid((9, 9, 9))) for i in range(20))
    with pytest.raises(EmbprobeError, match="All embeddings coincide"):
        make_atlas(stores_of(Images("same", rows), workspace), workspace)


def test_an_image_without_a_direction_is_not_on_the_map_and_named(workspace: Workspace) -> None:
    rows = tuple(row_of(str(i), solid((20 * i, 9 * i, 4 * i * (i % 3)))) for i in range(12))
    stores = extract(Images("black", rows), [make_encoder("raw"), load_encoder(PAIR[0])], workspace)
    atlas = make_atlas(stores, workspace)
    assert [row.key for row in atlas.images.rows] == [str(i) for i in range(1, 12)]
    assert atlas.notes == ("1 of 12 images have a vector of zeros by test/raw and are left out: '0'",)
