"""The index: exact, and never older than its store."""

from __future__ import annotations

import os
import time
from pathlib import Path

import faiss
import numpy as np
import pytest

from embprobe.encoders.base import Floats
from embprobe.index import normalize, open_index
from embprobe.store import Store
from tests.conftest import Reads, cosines, make_encoder


def store_of(folder: Path, vectors: Floats, *, shard_rows: int = 4096) -> Store:
    """A store of vectors made up here."""
    spec = make_encoder(dimension=vectors.shape[1]).spec
    store = Store(folder, spec, Reads()(len(vectors)), "cpu", shard_rows=shard_rows)
    for shard in range(store.shard_count):
        store.write_shard(shard, vectors[shard * shard_rows : (shard + 1) * shard_rows], store.rows_of(shard), [])
    return store


def test_cosines_by_hand(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.array([[0, 3], [2, 0], [5, 5]], np.float32))
    similarity, position = open_index(store).search(np.array([[10, 0]], np.float32), 3)
    assert position.tolist() == [[1, 2, 0]]
    assert similarity[0] == pytest.approx([1, 0.7071068, 0])


def test_the_search_equals_sorting_all_cosines(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors, queries = rng.normal(size=(300, 16)).astype(np.float32), rng.normal(size=(20, 16)).astype(np.float32)
    store = store_of(tmp_path, vectors, shard_rows=64)
    similarity, position = open_index(store).search(7 * queries, 10)
    expected = cosines(queries, vectors)
    assert np.array_equal(position, np.argsort(-expected, axis=1)[:, :10])
    assert np.abs(similarity - -np.sort(-expected, axis=1)[:, :10]).max() < 1e-6


def test_k_is_cut_to_the_number_of_rows(tmp_path: Path) -> None:
    index = open_index(store_of(tmp_path, np.eye(3, dtype=np.float32)))
    similarity, position = index.search(np.ones((2, 3), np.float32), 100)
    assert similarity.shape == position.shape == (2, 3)
    assert sorted(position[0]) == [0, 1, 2]


def test_a_row_of_zeros_is_no_nan(tmp_path: Path) -> None:
    assert normalize(np.array([[0, 0], [3, 4]], np.float32)).tolist() == pytest.approx(
        np.array([[0, 0], [0.6, 0.8]]), abs=1e-7
    )
    store = store_of(tmp_path, np.array([[0, 0], [3, 4]], np.float32))
    similarity, position = open_index(store).search(np.array([[3, 4]], np.float32), 2)
    assert position.tolist() == [[1, 0]] and similarity[0] == pytest.approx([1, 0])


def test_the_index_is_written_beside_the_store_and_used_again(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.eye(3, dtype=np.float32))
    open_index(store)
    path = tmp_path / "index.faiss"
    assert faiss.read_index(str(path)).ntotal == 3
    written = path.stat()
    open_index(store)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_the_index_is_built_again_when_the_store_changes(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.array([[1, 0], [0, 1]], np.float32))
    query = np.array([[1, 0]], np.float32)
    assert open_index(store).search(query, 1)[1].tolist() == [[0]]
    store.write_shard(0, np.array([[0, 1], [1, 0]], np.float32), store.rows_of(0), [])
    assert open_index(store).search(query, 1)[1].tolist() == [[1]]


@pytest.mark.parametrize("name", ["index.faiss", "index.json"])
@pytest.mark.parametrize("content", [None, b"", b"hello", b"[]"])
def test_a_damaged_index_is_built_again(tmp_path: Path, name: str, content: bytes | None) -> None:
    store = store_of(tmp_path, np.eye(3, dtype=np.float32))
    open_index(store)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    _, position = open_index(store).search(np.eye(3, dtype=np.float32), 1)
    assert position.tolist() == [[0], [1], [2]]


def test_what_a_killed_run_left_of_an_index_goes_after_an_hour(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.eye(3, dtype=np.float32))
    left, new = store.folder / ".index.4194305.tmp.faiss", store.folder / ".index.4194306.tmp.faiss"
    for path, age in ((left, 3700), (new, 60)):  # the second may be another process's, at work now
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    open_index(store)
    assert not left.exists() and new.exists()
