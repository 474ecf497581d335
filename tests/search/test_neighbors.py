"""Neighbours: the nearest by cosine, never the image itself, and how far two encoders agree."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_image
from embprobe.images.rows import Row
from embprobe.search.neighbors import Neighborhood, Query, find_neighbors, mean_overlaps
from embprobe.search.queries import encoders_for, parse_queries, parse_where
from tests.conftest import CountingEncoder, Reads, make_encoder, row_of, solid


def angle(channel: int) -> CountingEncoder:
    """Sees one channel only: the vector points at as many degrees as the channel is per cent, times 0.9."""

    def encode(batch: Tensor) -> Tensor:
        turn = batch[:, channel].mean((1, 2)) * torch.pi / 2
        return torch.stack([turn.cos(), turn.sin()], 1)

    return make_encoder("rgb"[channel], encode, dimension=2)


def colors(**values: tuple[int, int, int]) -> Images:
    return Images("colors", tuple(row_of(key, solid(value)) for key, value in values.items()))


FOUR = colors(a=(25, 230, 0), b=(50, 25, 0), c=(200, 50, 0), d=(230, 200, 0))
QUERY = colors(query=(0, 0, 0))


def neighbors_of(
    query: Images,
    images: Images,
    encoders: list[CountingEncoder],
    workspace: Workspace,
    *,
    k: int,
    include_self: bool = False,
    where: dict[str, list[str]] | None = None,
    told: list[str] | None = None,
) -> Neighborhood:
    stores = extract(images, encoders, workspace)
    asked, notify = Query(query.rows[0]), (lambda _: None) if told is None else told.append
    (found,) = find_neighbors([asked], encoders, stores, k=k, include_self=include_self, where=where, notify=notify)
    return found


def keys(found: Neighborhood, encoder: str) -> str:
    return "".join(neighbor.row.key for neighbor in found.by_encoder[encoder])


def test_neighbours_and_overlap_by_hand(workspace: Workspace) -> None:
    found = neighbors_of(QUERY, FOUR, [angle(0), angle(1)], workspace, k=2)
    assert keys(found, "test/r") == "ab"  # red 25 and 50
    assert keys(found, "test/g") == "bc"  # green 25 and 50
    # 25 of 255 is a turn by 0.154, whose cosine is 0.988
    assert found.by_encoder["test/r"][0].similarity == pytest.approx(np.cos(25 / 255 * np.pi / 2), abs=1e-6)
    assert found.overlap == {("test/r", "test/g"): 0.5}  # b is one of two


def test_three_encoders_have_three_overlaps(workspace: Workspace) -> None:
    found = neighbors_of(QUERY, FOUR, [angle(0), angle(1), angle(2)], workspace, k=4)
    assert found.overlap == {
        ("test/r", "test/g"): 1,
        ("test/r", "test/b"): 1,
        ("test/g", "test/b"): 1,
    }


def test_the_image_itself_is_no_neighbour_unless_asked(workspace: Workspace) -> None:
    images = Images("colors", (*FOUR.rows, row_of("self", solid((0, 0, 0)))))
    found = neighbors_of(QUERY, images, [angle(0)], workspace, k=2)
    assert keys(found, "test/r") == "ab"
    found = neighbors_of(QUERY, images, [angle(0)], workspace, k=2, include_self=True)
    assert keys(found, "test/r") == "selfa"


def test_every_copy_of_the_image_is_left_out(workspace: Workspace) -> None:
    copies = [row_of(f"copy {i}", solid((0, 0, 0))) for i in range(20)]
    found = neighbors_of(QUERY, Images("copies", (*copies, *FOUR.rows)), [angle(0)], workspace, k=3)
    assert keys(found, "test/r") == "abc"


def test_another_image_with_the_same_vector_is_a_neighbour(workspace: Workspace) -> None:
    images = Images("colors", (*FOUR.rows, row_of("twin", solid((0, 0, 99)))))  # red sees no difference
    found = neighbors_of(QUERY, images, [angle(0)], workspace, k=1)
    assert keys(found, "test/r") == "twin"
    assert found.by_encoder["test/r"][0].similarity == pytest.approx(1)


@given(count=st.integers(1, 9), k=st.integers(1, 100), among=st.booleans())
@settings(max_examples=30, deadline=None)
def test_k_is_cut_to_the_images_there_are(count: int, k: int, among: bool) -> None:
    reads = Reads()
    images = reads(count)
    query = images.take([0]) if among else Images("other", (Row("x", {}, "x", lambda: solid((9, 9, 9))),))
    others = count - among
    encoder = make_encoder(side=8)
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace.open(Path(folder))
        if not others:
            with pytest.raises(EmbprobeError, match="nothing but the query itself in 'noise'"):
                neighbors_of(query, images, [encoder], space, k=k)
            return
        told: list[str] = []
        found = neighbors_of(query, images, [encoder], space, k=k, told=told)
    assert told == ([f"{k} neighbours are asked for, and there are {others}"] if k > others else [])
    similarities = [neighbor.similarity for neighbor in found.by_encoder["test/means"]]
    assert len(similarities) == min(k, others)
    assert similarities == sorted(similarities, reverse=True)


def test_unreadable_images_do_not_shift_the_neighbours(workspace: Workspace, reads: Reads) -> None:
    images = reads(6, unreadable=[0, 2, 3])
    found = neighbors_of(images.take([4]), images, [make_encoder(side=8)], workspace, k=5, include_self=True)
    assert found.by_encoder["test/means"][0].row.key == "004"
    assert found.by_encoder["test/means"][0].similarity == pytest.approx(1)
    assert {neighbor.row.key for neighbor in found.by_encoder["test/means"]} == {"001", "004", "005"}


def test_the_json_holds_keys_cosines_labels_and_overlap(workspace: Workspace) -> None:
    images = Images("one", (row_of("caf\udce9", solid((25, 0, 0)), category="na\udcefve"),))
    content = neighbors_of(QUERY, images, [angle(0), angle(1)], workspace, k=1).as_json()
    assert json.loads(json.dumps(content, ensure_ascii=False).encode("utf-8")) == {
        "query": "query",
        "neighbors": {
            "test/r": [{"key": "caf\\xe9", "similarity": 0.9882, "labels": {"category": "na\\xefve"}}],
            "test/g": [{"key": "caf\\xe9", "similarity": 1.0, "labels": {"category": "na\\xefve"}}],
        },
        "overlap": [{"encoders": ["test/r", "test/g"], "share": 1.0}],
        "overlap_by_chance": 1.0,
    }


def test_a_query_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "torn.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(EmbprobeError, match=r"torn\.png' cannot be read as an image"):
        load_image(str(path))


# --- several queries, texts, sums and conditions ----------------------------------------------------------------------


def talking() -> CountingEncoder:
    """Red, green and blue as they are; of a text, the colours it names."""

    def read(texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(color in text) for color in ("red", "green", "blue")] for text in texts])

    return make_encoder("talking", lambda batch: batch.mean((2, 3)), dimension=3, text=read)


def asked(queries: list[Query], images: Images, workspace: Workspace, **options: Any) -> list[Neighborhood]:
    encoders = [talking()]
    return find_neighbors(queries, encoders, extract(images, encoders, workspace), **options)


PURE = colors(red=(200, 0, 0), green=(0, 200, 0), blue=(0, 0, 200), yellow=(200, 200, 0), purple=(200, 0, 200))


def test_a_text_finds_what_it_names_and_a_sum_what_is_like_all_of_it(workspace: Workspace) -> None:
    red, green = PURE.rows[0], PURE.rows[1]
    found = asked(
        [
            Query(texts=("red",)),
            Query(texts=("red and blue",)),
            Query(red, ("green",)),  # (1, 0, 0) + (0, 1, 0)
            Query(PURE.rows[3], minus_rows=(green,)),  # (1, 1, 0) / sqrt 2 - (0, 1, 0): red, a little against green
            Query(texts=("red", "green"), minus_texts=("green",)),
        ],
        PURE,
        workspace,
        k=1,
    )
    nearest = [each.by_encoder["test/talking"][0] for each in found]
    assert [n.row.key for n in nearest] == ["red", "purple", "yellow", "red", "red"]
    assert nearest[2].similarity == pytest.approx(1) and nearest[4].similarity == pytest.approx(1)
    assert nearest[3].similarity == pytest.approx(0.5**0.5 / np.hypot(0.5**0.5, 1 - 0.5**0.5))
    assert [each.query.name for each in found] == [
        '"red"',
        '"red and blue"',
        'red + "green"',
        "yellow - green",
        '"red" + "green" - "green"',
    ]


def test_only_images_with_these_labels_are_found(workspace: Workspace) -> None:
    images = colors(a=(25, 230, 0), b=(50, 25, 0), c=(200, 50, 0), d=(230, 200, 0))
    images = images.labelled(lambda row: {"kind": "vowel" if row.key == "a" else "consonant", "n": row.key})
    found = neighbors_of(QUERY, images, [angle(0)], workspace, k=4, where={"kind": ["consonant"]})
    assert keys(found, "test/r") == "bcd"
    found = neighbors_of(QUERY, images, [angle(0)], workspace, k=4, where={"kind": ["consonant"], "n": ["a", "c"]})
    assert keys(found, "test/r") == "c"
    with pytest.raises(UsageError, match="No image in 'colors' has kind=x,y. Values of 'kind': consonant, vowel."):
        neighbors_of(QUERY, images, [angle(0)], workspace, k=1, where={"kind": ["x", "y"]})
    with pytest.raises(UsageError, match="has a label 'size'. Their labels: kind, n."):
        neighbors_of(QUERY, images, [angle(0)], workspace, k=1, where={"size": ["x"]})


def test_chance_is_the_overlap_of_random_choices(workspace: Workspace, reads: Reads) -> None:
    # of 40 images 10 are chosen twice at random: each of the second choice is in the first with 10 / 40
    images = reads(40)
    rng = np.random.default_rng(0)
    drawn = [len(set(rng.permutation(40)[:10]) & set(rng.permutation(40)[:10])) / 10 for _ in range(2000)]
    found = neighbors_of(QUERY, images, [angle(0)], workspace, k=10)
    assert found.chance == 0.25 == pytest.approx(np.mean(drawn), abs=0.01)


def test_the_mean_over_queries_has_an_interval(workspace: Workspace) -> None:
    encoders = [angle(0), angle(1)]
    stores = extract(FOUR, encoders, workspace)
    found = find_neighbors([Query(row) for row in FOUR.rows], encoders, stores, k=1)
    shares = [each.overlap["test/r", "test/g"] for each in found]
    estimate = mean_overlaps(found)["test/r", "test/g"]
    assert estimate.estimate == pytest.approx(np.mean(shares)) and estimate.low <= estimate.estimate <= estimate.high


def test_an_encoder_without_text_cannot_be_asked_by_text(workspace: Workspace) -> None:
    with pytest.raises(UsageError, match="'test/r' takes no text"):
        find_neighbors([Query(texts=("red",))], [angle(0)], extract(FOUR, [angle(0)], workspace))


# --- what was typed ---------------------------------------------------------------------------------------------------


def test_files_folders_keys_and_texts_become_queries(photos: Path) -> None:
    images = PURE.labelled(lambda row: {})
    found = parse_queries([str(photos / "cat"), "red", str(photos / "dog" / "f.gif")], images)
    assert [query.name for query in found] == ["c.jpeg", "d.png", "e.webp", "red", "f.gif"]
    assert [query.file_name for query in found] == ["c", "d", "e", "red", "f"]
    (one,) = parse_queries(
        [], images, texts=["a cat", "in snow"], minus=["red", "a dog", str(photos / "cat" / "d.png")]
    )
    assert one.name == '"a cat" + "in snow" - red - d.png - "a dog"' and one.has_text
    assert not parse_queries(["red"], images, minus=["blue"])[0].has_text
    for names, texts, told in (
        ([], [], "Say what to look for"),
        (["rod"], [], "no image file 'rod', and no image of that key in 'colors'. Did you mean red"),
        ([], [" "], "must say something"),
    ):
        with pytest.raises(UsageError, match=told):
            parse_queries(names, images, texts=texts)


def test_conditions_that_are_none() -> None:
    for wrong in ("category", "=Food", "category=", ""):
        with pytest.raises(UsageError, match="wants LABEL=VALUE"):
            parse_where([wrong])
    assert parse_where(["a=1", "a=2,3", "b=x=y"]) == {"a": ["1", "2", "3"], "b": ["x=y"]}


def test_only_a_query_with_text_leaves_encoders_out(reads: Reads) -> None:
    silent, able = make_encoder("silent"), make_encoder("able", text=lambda texts: torch.ones(len(texts), 3))
    assert encoders_for([Query(reads(1).rows[0])], [silent, able]) == ([silent, able], [])
    assert encoders_for([Query(texts=("red",))], [silent, able]) == ([able], [silent])
    with pytest.raises(UsageError, match=r"None of the encoders takes text \(test/silent\)"):
        encoders_for([Query(texts=("red",))], [silent])


# --- vectors without a direction -------------------------------------------------------------------------------------


def raw(batch: Tensor) -> Tensor:
    """The channel means: zeros for black, and not a number for white."""
    means = batch.mean((2, 3))
    return torch.where((means > 0.999).all(1, keepdim=True), torch.full_like(means, torch.nan), means)


WITH_BLACK = colors(red=(250, 9, 9), dull=(200, 9, 9), black=(0, 0, 0), blue=(0, 0, 250), green=(0, 250, 0))


def test_zeros_are_nobodys_neighbour(workspace: Workspace) -> None:
    """Their cosine would be 0, which is as near as blue is to green."""
    found = neighbors_of(colors(query=(0, 0, 9)), WITH_BLACK, [make_encoder("raw", raw)], workspace, k=9)
    assert {neighbor.row.key for neighbor in found.by_encoder["test/raw"]} == {"blue", "green", "red", "dull"}


def test_a_query_without_a_direction_is_left_out_and_alone_it_is_an_error(workspace: Workspace) -> None:
    encoders = [make_encoder("raw", raw), angle(0)]
    stores = extract(WITH_BLACK, encoders, workspace)
    told: list[str] = []
    asked = [Query(row) for row in (*WITH_BLACK.rows, *colors(white=(255, 255, 255)).rows)]
    found = find_neighbors(asked, encoders, stores, k=2, notify=told.append)
    assert [one.query.name for one in found] == ["red", "dull", "blue", "green"]
    assert told == [
        "left out: 'black' is a vector of zeros by test/raw, and nothing is near to it or far from it",
        "left out: 'white' has a vector by test/raw that is not finite (nan or inf); it computes in float32, so look "
        "at its weights and its preprocessing",
    ]
    with pytest.raises(
        EmbprobeError, match="'black' is a vector of zeros by test/raw, .*: ask by another image or text"
    ):
        find_neighbors(asked[2:3], encoders, stores)


def test_a_sum_that_comes_to_nothing_has_no_neighbours(workspace: Workspace) -> None:
    (red, *_), encoder = WITH_BLACK.rows, make_encoder("raw", raw)
    stores = extract(WITH_BLACK, [encoder], workspace)
    with pytest.raises(EmbprobeError, match="'red - red' is a vector of zeros"):
        find_neighbors([Query(red, minus_rows=(red,))], [encoder], stores)
