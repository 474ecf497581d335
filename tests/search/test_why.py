"""Why neighbours are near: maps of queries and neighbours, in Python, in JSON and as sheets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import embprobe as ep
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import UsageError
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Row
from embprobe.search.neighbors import Query, find_neighbors
from embprobe.search.why import FIRST, QUERIES, explain_neighbors
from tests.conftest import CountingEncoder, Run, make_encoder, noise, row_of

COLORS = "reference/color-histogram"


def halves() -> CountingEncoder:
    """The red of the left half and of the right half; of a text, the half that it names."""

    def read(texts: object) -> torch.Tensor:
        return torch.tensor([[float(f"{side}" in str(texts)) for side in ("left", "right")]])

    def see(batch: torch.Tensor) -> torch.Tensor:
        red = batch[:, 0]
        return torch.stack([red[:, :, :4].mean((1, 2)), red[:, :, 4:].mean((1, 2))], 1)

    return make_encoder("halves", see, side=8, dimension=2, text=read)


def spotted(key: str, *spots: tuple[int, int]) -> Row:
    picture = Image.new("RGB", (8, 8))
    for spot in spots:
        picture.putpixel(spot, (255, 0, 0))
    return row_of(key, picture)


IMAGES = Images("spots", (spotted("l", (1, 1)), spotted("r", (6, 6)), spotted("both", (1, 1), (6, 6))))


def test_the_map_of_a_query_and_of_a_neighbour_by_hand(workspace: Workspace) -> None:
    encoder, session = halves(), Session(workspace)
    stores = session.stores(IMAGES, [encoder], "extracting")
    found = find_neighbors([Query(spotted("query", (1, 1), (1, 6)))], [encoder], stores, k=3)
    (explained,) = explain_neighbors(found, [encoder], stores, session)
    near, both, _ = explained.why["test/halves"]
    assert [each.neighbor.row.key for each in (near, both)] == ["l", "both"]
    # Without its only spot the neighbour is black, of no direction: the cosine falls from 1 to 0.
    assert near.of_neighbor.drop.max() == pytest.approx(1) and near.of_neighbor.drop[1, 0] == pytest.approx(1)
    # Of its two spots in one half the query needs one.
    assert near.of_query is not None and near.of_query.drop == pytest.approx(0, abs=1e-6)
    # Of (1, 1), of cosine 0.7 with (1, 0), the left spot makes them near, and the right one keeps them apart.
    apart = both.of_neighbor.drop
    assert apart.max() == pytest.approx(0.5**0.5) and apart.argmax() in (0, 1, 4, 5)
    assert apart.min() == pytest.approx(0.5**0.5 - 1) and apart.argmin() in (10, 11, 14, 15)
    assert both.of_neighbor.chance is None  # three images say nothing of it


def test_a_query_with_words_has_no_map_and_its_neighbours_have(workspace: Workspace) -> None:
    encoder, session = halves(), Session(workspace)
    stores = session.stores(IMAGES, [encoder], "extracting")
    queries = [Query(texts=("left",)), Query(IMAGES.rows[1], ("left",)), Query(IMAGES.rows[2])]
    found = explain_neighbors(find_neighbors(queries, [encoder], stores, k=1), [encoder], stores, session)
    word, sum_, image = (each.why["test/halves"][0] for each in found)
    assert word.of_query is None and word.neighbor.row.key == "l" and word.of_neighbor.drop.max() == pytest.approx(1)
    assert sum_.of_query is None and sum_.neighbor.row.key == "both"
    assert image.of_query is not None


def test_few_queries_and_neighbours_are_explained_and_what_is_gone_is_named(workspace: Workspace) -> None:
    gone: list[str] = []

    def source(i: int) -> Image.Image:
        if str(i) in gone:
            raise UnreadableImage("it is gone")
        return noise(i)

    rows = tuple(Row(f"{i}", {}, str(i), lambda i=i: source(i)) for i in range(80))  # type: ignore[misc]
    images, encoder, session = Images("noise", rows), make_encoder(side=8), Session(workspace)
    stores = session.stores(images, [encoder], "extracting")
    found = find_neighbors([Query(row) for row in rows[: QUERIES + 1]], [encoder], stores, k=FIRST + 2)
    gone.append(found[0].by_encoder["test/means"][1].row.key)
    told: list[str] = []
    explained = explain_neighbors(found, [encoder], stores, session, notify=told.append)
    assert f"'{gone[0]}' cannot be read (it is gone) and is not explained" in told
    assert [len(each.why.get("test/means", [])) for each in explained[1:]] == [FIRST] * (QUERIES - 1) + [0]
    first = [each.neighbor for each in explained[0].why["test/means"]]
    assert first == [found[0].by_encoder["test/means"][i] for i in (0, 2)]
    assert explained[0].why["test/means"][0].of_neighbor.chance is not None
    assert "why" not in explained[-1].as_json()


def test_the_command_draws_a_sheet_and_prints_the_maps(run: Run, photos: Path, space: Path) -> None:
    encoders = ("-e", COLORS, "-e", "reference/pixels")
    ran = run("neighbors", photos / "cat" / "d.png", "-i", photos, *encoders, "--why", "--json")
    assert ran.code == 0, ran.err
    content = json.loads(ran.out)
    assert content["why_figure"] == str(space / "figures" / "why-d.png")
    with Image.open(content["why_figure"]) as sheet:
        assert sheet.width > 1000 and len(sheet.convert("RGB").getcolors(2**24) or ()) > 500
    assert list(content["why"]) == [COLORS, "reference/pixels"]
    for encoder, count in ((COLORS, 7), ("reference/pixels", 4)):
        near = content["why"][encoder]
        assert [each["key"] for each in near] == [each["key"] for each in content["neighbors"][encoder]][:FIRST]
        assert np.shape(near[0]["of_query"]["drop"]) == np.shape(near[0]["of_neighbor"]["drop"]) == (count, count)
        assert near[0]["of_query"]["chance"] is None
    printed = run("neighbors", photos / "cat", "-i", photos, *encoders[:2], "--why")
    assert printed.code == 0 and printed.err.count("Why they are near: ") == 3
    without = json.loads(run("neighbors", photos / "cat" / "d.png", "-i", photos, *encoders, "--json").out)
    assert "why" not in without and "why_figure" not in without


def test_two_queries_of_one_name_have_two_sheets(run: Run, photos: Path, tmp_path: Path, space: Path) -> None:
    other = tmp_path / "other" / "d.png"
    other.parent.mkdir()
    noise(99).save(other)
    ran = run("neighbors", photos / "cat" / "d.png", other, "-i", photos, "-e", COLORS, "--why", "--json")
    assert ran.code == 0, ran.err
    sheets = [Path(each["why_figure"]) for each in json.loads(ran.out)]
    assert len(set(sheets)) == 2 and all(sheet.is_file() for sheet in sheets)


def test_vectors_without_a_network_are_refused_before_anything_is_searched(tmp_path: Path) -> None:
    mine = ep.EmbeddingSet.from_arrays({"mine": np.eye(12, dtype=np.float32)})
    with pytest.raises(UsageError, match="'mine' holds vectors and no network, and why two images are near is seen by"):
        ep.neighbors("3", mine, why=True, workspace=tmp_path / "space")
    with pytest.raises(UsageError, match="or leave --why out"):
        ep.compare(mine, [*mine.as_encoders(), "reference/pixels"], why=True, workspace=tmp_path / "space")
    assert not list((tmp_path / "space").glob("stores/*"))
