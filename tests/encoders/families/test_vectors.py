"""Vectors are read from files of four forms; damaged and unsuitable files are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embprobe.encoders import load_encoder
from embprobe.encoders.given import GivenVectors
from embprobe.errors import EmbprobeError, UsageError
from tests.conftest import Malicious

X = np.arange(6, dtype=np.float32).reshape(3, 2)
KEYS = ["a/1.jpg", "a/2.jpg", "007"]


def load(name: str) -> GivenVectors:
    """Load vectors by their name as an encoder."""
    encoder = load_encoder(name)
    assert isinstance(encoder, GivenVectors)
    return encoder


def write_parquet(path: Path, **columns: Any) -> None:
    """Write a table of these columns."""
    pq.write_table(pa.table(columns), path)


# --- forms of files ----------------------------------------------------------------------------------------------


def test_an_array_with_a_table_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.csv").write_text("key,style,year\na/1.jpg,photo,1999\na/2.jpg,,2001\n007,sketch,2003\n")
    loaded = load(f"vectors:{tmp_path / 'x.npy'}")
    assert loaded.spec.name == f"vectors:{tmp_path / 'x.npy'}" and loaded.keys == KEYS
    assert np.array_equal(loaded.vectors, X)
    assert loaded.labels == {"style": ["photo", None, "sketch"], "year": ["1999", "2001", "2003"]}


def test_a_table_of_another_name_and_another_column(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    write_parquet(tmp_path / "about.parquet", name=KEYS, n=[1, 2, 3])
    loaded = load(f"vectors:{tmp_path / 'x.npy'},keys={tmp_path / 'about.parquet'},key=name")
    assert loaded.keys == KEYS and loaded.labels == {"n": ["1", "2", "3"]}


def test_by_position_no_keys_are_needed(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    assert load(f"vectors:{tmp_path / 'x.npy'},match=position").by_position


def test_several_arrays_in_one_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", vectors=X, other=X[:, :1], keys=np.array(KEYS), style=np.array(["x", "y", "x"]))
    loaded = load(f"vectors:{tmp_path / 'x.npz'}")
    assert loaded.keys == KEYS and loaded.labels == {"style": ["x", "y", "x"]} and np.array_equal(loaded.vectors, X)
    assert load(f"vectors:{tmp_path / 'x.npz'},column=other").spec.dimension == 1


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float16())])
def test_a_column_of_lists_as_embedding_atlas_has_it(tmp_path: Path, kind: pa.DataType) -> None:
    rows = [np.float16(row) for row in X] if kind == pa.large_list(pa.float16()) else X.tolist()
    image = pa.array([{"bytes": b"", "path": None}] * 3)
    write_parquet(tmp_path / "x.parquet", id=KEYS, image=image, embedding=pa.array(rows, kind), mood=["x", None, "y"])
    loaded = load(f"vectors:{tmp_path / 'x.parquet'}")
    assert np.array_equal(loaded.vectors, X) and loaded.keys == KEYS and loaded.labels == {"mood": ["x", None, "y"]}


def test_a_folder_as_clip_retrieval_writes_it(tmp_path: Path) -> None:
    (tmp_path / "img_emb").mkdir()
    (tmp_path / "metadata").mkdir()
    for i, part in enumerate((slice(0, 2), slice(2, 3))):
        np.save(tmp_path / "img_emb" / f"img_emb_{i}.npy", X[part].astype(np.float16))
        write_parquet(
            tmp_path / "metadata" / f"metadata_{i}.parquet", image_path=KEYS[part], caption=["c"] * len(KEYS[part])
        )
    loaded = load(f"vectors:{tmp_path}")
    assert loaded.keys == KEYS and np.array_equal(loaded.vectors, X) and loaded.labels == {"caption": ["c"] * 3}


# --- refusals ----------------------------------------------------------------------------------------------------


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    mark = tmp_path / "opened"
    np.save(tmp_path / "x.npy", np.array([[Malicious(mark)]], object))
    np.savez(tmp_path / "x.npz", vectors=np.array([[Malicious(mark)]], object))
    for name in ("x.npy,match=position", "x.npz"):
        with pytest.raises(EmbprobeError, match="cannot be read as"):
            load_encoder(f"vectors:{tmp_path / name}")
    assert not mark.exists()


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.parquet"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01", b"PK\x03\x04", b"PAR1" * 3, bytes(1000)])
def test_a_damaged_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    (tmp_path / "x.csv").write_text("key\na\n")
    with pytest.raises(EmbprobeError, match=f"{name}' cannot be read"):
        load_encoder(f"vectors:{tmp_path / name}")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("nowhere.npy", "There is no file or folder of vectors"),
        ("x.npy", "has no keys: put a table beside it .x.csv with a column 'key'"),
        ("x.npy,match=name", "match of 'vectors:.*' may be 'position', not 'name'"),
        ("x.npy,keys=nowhere.csv", "There is no table of keys 'nowhere.csv'"),
        ("x.npy,colour=red", "'vectors' has no option 'colour'; it has keys, key, column, match"),
        ("notes.txt", "holds no vectors that can be read: give .npy, .npz, .parquet or a folder"),
        ("two.parquet", "must have one column of vectors; it has several: a, b. Name one: ,column=NAME"),
        ("two.parquet,column=c", "has no column of vectors 'c'. It has a, b"),
        ("two.parquet,column=a", "has no column of keys"),
        ("none.parquet", "must have one column of vectors; it has none"),
        ("folder", "is no folder of vectors: it has 0 files"),
    ],
)
def test_a_wrong_name_or_option_is_answered_with_the_known_ones(tmp_path: Path, typed: str, message: str) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "notes.txt").write_text("no vectors")
    (tmp_path / "folder").mkdir()
    write_parquet(tmp_path / "two.parquet", a=X.tolist(), b=X.tolist())
    write_parquet(tmp_path / "none.parquet", key=KEYS)
    with pytest.raises(UsageError, match=message):
        load_encoder(f"vectors:{tmp_path / typed}")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a", None, "c"], "v": X.tolist()}, "1 of 3 keys in the column 'key' of .* are missing"),
        ({"key": KEYS, "v": [[1.0], [1.0, 2.0], [1.0]]}, "have different lengths"),
        ({"key": KEYS, "v": pa.array([None, None, None], pa.list_(pa.float32()))}, "different lengths, or are missing"),
    ],
)
def test_holes_are_counted(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    write_parquet(tmp_path / "x.parquet", **columns)
    with pytest.raises(EmbprobeError, match=message):
        load_encoder(f"vectors:{tmp_path / 'x.parquet'}")


def test_vectors_with_missing_numbers_are_left_out(tmp_path: Path) -> None:
    values = pa.array([[1.0, 2.0], [3.0, None], None], pa.list_(pa.float32()))
    pq.write_table(pa.table({"key": KEYS, "v": values}), tmp_path / "x.parquet")
    given = load(f"vectors:{tmp_path / 'x.parquet'}")
    assert given.keys == KEYS[:1] and given.vectors.tolist() == [[1, 2]]
    (note,) = given.notes
    assert note.startswith("2 of 3 vectors of") and f"first that of '{KEYS[1]}'" in note


def test_another_number_of_keys_is_counted(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "x.csv").write_text("key\na\nb\n")
    with pytest.raises(EmbprobeError, match="has 3 vectors and 2 keys: give each vector one key"):
        load_encoder(f"vectors:{tmp_path / 'x.npy'}")
