"""Embedding sets of arrays: matched with images by key, or with rows of their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.encoders.given import given_vectors
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from embprobe.interventions import intervene
from tests.conftest import Reads

X = np.arange(8.0).reshape(4, 2)
TABLE = {"key": list("abcd"), "kind": ["cat", "dog", None, "cat"]}


def test_without_images_every_key_is_a_row() -> None:
    mine = EmbeddingSet.from_arrays({"mine": X, "other": X[:, :1]}, labels=TABLE)
    assert mine.keys() == list("abcd") and not mine.rows.has_pictures and len(mine) == 4
    assert [row.labels.get("kind") for row in mine.rows.rows] == ["cat", "dog", None, "cat"]
    assert np.array_equal(mine.vectors["mine"], X) and mine.vectors["other"].shape == (4, 1)
    with pytest.raises(EmbprobeError, match="'kind', which 1 of the 4 images .* lack, first 'c'"):
        mine.label("kind")


@pytest.mark.parametrize("table", [TABLE, pa.table(TABLE), "pandas"])
def test_a_table_may_be_of_any_make(table: object) -> None:
    if table == "pandas":
        table = pytest.importorskip("pandas").DataFrame(TABLE)
    mine = EmbeddingSet.from_arrays({"mine": X}, labels=table)
    assert mine.keys() == list("abcd") and mine.rows.rows[2].labels == {}


def test_with_images_rows_are_matched_by_key_whatever_the_order(reads: Reads) -> None:
    first, *others = reads(3).rows  # 000, 001, 002
    images = Images("noise", (replace(first, labels={"kind": "own"}), *others))
    table = {"key": ["002", "nobody", "000"], "kind": ["from table", "x", "from table"]}
    mine = EmbeddingSet.from_arrays({"mine": X[:3]}, labels=table, images=images)
    assert mine.keys() == ["000", "002"] and mine.vectors["mine"].tolist() == [[4, 5], [0, 1]]
    assert [row.labels["kind"] for row in mine.rows.rows] == ["own", "from table"]  # the images' own labels count first
    assert mine.notes == ("1 of 3 images have no vector in 'mine' and are left out, first '001'",)


def test_by_position_only_when_it_is_asked_for(reads: Reads) -> None:
    images = reads(4)
    with pytest.raises(EmbprobeError, match="No image has a vector in 'mine': the first key there is '0'"):
        EmbeddingSet.from_arrays({"mine": X}, images=images)
    mine = EmbeddingSet.from_arrays({"mine": X}, images=images, by_position=True)
    assert mine.keys() == ["000", "001", "002", "003"] and np.array_equal(mine.vectors["mine"], X)
    with pytest.raises(EmbprobeError, match="4 vectors for 3 images"):
        EmbeddingSet.from_arrays({"mine": X}, images=reads(3), by_position=True)


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(EmbprobeError, match="needs vectors: give a name and an array"):
        EmbeddingSet.from_arrays({})
    with pytest.raises(EmbprobeError, match="labels must be a table"):
        EmbeddingSet.from_arrays({"mine": X}, labels=[1, 2, 3, 4])


# --- in a session ------------------------------------------------------------------------------------------------


def test_a_session_joins_given_vectors_with_those_of_encoders(workspace: Workspace, reads: Reads) -> None:
    images, notes = reads(3), list[str]()
    session = Session(workspace, note=notes.append)
    pixels, mine = load_encoder("reference/pixels"), given_vectors("mine", X[:2], ["002", "000"])
    embedded = session.embed(images, [mine, pixels], "embedding")
    assert list(embedded.vectors) == ["mine", "reference/pixels"] and embedded.keys() == ["000", "002"]
    assert embedded.vectors["mine"].tolist() == [[2, 3], [0, 1]]
    alone = session.embed(images, [pixels], "embedding").at(["000", "002"])
    assert np.array_equal(embedded.vectors["reference/pixels"], alone.vectors["reference/pixels"])
    assert notes == ["1 of 3 images have no vector in 'mine' and are left out, first '001'"]


def test_changed_images_have_no_given_vectors(workspace: Workspace, reads: Reads) -> None:
    images = intervene(reads(3), "greyscale", 1, seed=0)
    with pytest.raises(UsageError, match="There are no vectors of changed images in mine"):
        Session(workspace).embed(images, [given_vectors("mine", X[:3], ["000", "001", "002"])], "embedding")


def test_encoders_need_pictures(workspace: Workspace) -> None:
    rows = EmbeddingSet.from_arrays({"mine": X}, labels=TABLE).rows
    with pytest.raises(UsageError, match="'mine' has vectors and no pictures, so reference/pixels cannot embed them"):
        Session(workspace).embed(rows, [load_encoder("reference/pixels")], "embedding")


def test_given_vectors_are_kept_as_a_store(workspace: Workspace, reads: Reads) -> None:
    images, mine = reads(3), given_vectors("mine", X[:2], ["002", "000"])
    (store,) = Session(workspace).stores(images, [mine], "keeping")
    assert store.complete and store.keys() == ["000", "002"] and store.vectors().tolist() == [[2, 3], [0, 1]]
    assert [(row.key, row.reason) for row in store.rejected] == [("001", "there is no vector of it")]
    (again,) = Session(workspace).stores(images, [mine], "keeping")
    assert again.written == 0
    other = given_vectors("mine", X[:2] + 1, ["002", "000"])
    assert Session(workspace).stores(images, [other], "keeping")[0].folder != store.folder


def test_a_set_knows_the_encoders_that_made_it(workspace: Workspace, reads: Reads) -> None:
    pixels = load_encoder("reference/pixels")
    made = Session(workspace).embed(reads(3), [pixels], "embedding")
    assert made.as_encoders() == [pixels]
    brought = EmbeddingSet(Images("x", made.rows.rows), made.vectors)
    assert [each.spec.name for each in brought.as_encoders()] == ["reference/pixels"]
