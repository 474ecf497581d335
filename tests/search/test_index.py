"""The search of a store: exact or near enough, and its index is never older than the store."""

from __future__ import annotations

import os
import time
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.embeddings.store import Store
from embprobe.encoders.spec import Floats
from embprobe.measures.blocks import Blocks
from embprobe.search import index as module
from embprobe.search.index import l2_normalize, open_index
from tests.conftest import Reads, cosines, make_encoder, snapshot


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
    assert l2_normalize(np.array([[0, 0], [3, 4]], np.float32)).tolist() == pytest.approx(
        np.array([[0, 0], [0.6, 0.8]]), abs=1e-7
    )
    store = store_of(tmp_path, np.array([[0, 0], [3, 4]], np.float32))
    similarity, position = open_index(store).search(np.array([[3, 4]], np.float32), 2)
    assert position.tolist() == [[1, 0]] and similarity[0] == pytest.approx([1, 0])


def test_few_rows_are_searched_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, np.eye(3, dtype=np.float32))
    before = snapshot(tmp_path)
    monkeypatch.setattr(Blocks, "__array__", lambda *how: pytest.fail("all vectors are copied"))
    assert open_index(store).search(np.eye(3, dtype=np.float32), 1)[1].tolist() == [[0], [1], [2]]
    assert snapshot(tmp_path) == before


def test_the_index_of_many_rows_is_written_beside_the_store_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    monkeypatch.setattr(Blocks, "__array__", lambda *how: pytest.fail("all vectors are copied"))
    store = store_of(tmp_path, clustered(300))
    open_index(store)
    path = tmp_path / "index.faiss"
    assert faiss.read_index(str(path)).ntotal == 300
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
def test_a_damaged_index_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None
) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    store = store_of(tmp_path, clustered(300))
    before, index = store.version, open_index(store)
    whole = (tmp_path / "index.faiss").read_bytes()
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    told = list[str]()
    again = open_index(store, notify=told.append)
    assert told == ["building an approximate index of 300 vectors of test/means"] and store.version == before
    assert np.array_equal(again.search(clustered(300), 5)[1], index.search(clustered(300), 5)[1])
    assert (tmp_path / "index.faiss").read_bytes() == whole


def test_what_a_killed_run_left_of_an_index_goes_after_an_hour(tmp_path: Path) -> None:
    store = store_of(tmp_path, np.eye(3, dtype=np.float32))
    left, new = store.folder / ".index.4194305.tmp.faiss", store.folder / ".index.4194306.tmp.faiss"
    for path, age in ((left, 3700), (new, 60)):  # the second may be another process's, at work now
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    open_index(store)
    assert not left.exists() and new.exists()


def clustered(n: int, d: int = 16) -> Floats:
    """As embeddings lie: around some directions."""
    rng = np.random.default_rng(0)
    return (3 * rng.normal(size=(40, d))[rng.integers(0, 40, n)] + rng.normal(size=(n, d))).astype(np.float32)


def test_a_large_store_is_searched_approximately_and_says_how_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 1999)
    vectors = clustered(2000)
    store, told = store_of(tmp_path, vectors), list[str]()
    index = open_index(store, notify=told.append)
    assert 0 < index.cells < 44 and index.recall >= 0.95 and len(told) == 1
    assert f"recall@10 {index.recall:.3f} against exact search, {index.cells} of 44 cells" in index.approximation()
    # measured here on every row, itself left out
    _, found = index.search(vectors, 11)
    nearest = np.argsort(-cosines(vectors, vectors), axis=1)[:, :11]
    shares = [len((set(a) & set(b)) - {i}) / 10 for i, (a, b) in enumerate(zip(found, nearest, strict=True))]
    assert np.mean(shares) == pytest.approx(index.recall, abs=0.03)
    again = open_index(store, notify=told.append)  # from the file
    assert (again.cells, again.recall, len(told)) == (index.cells, index.recall, 1)
    assert np.array_equal(again.search(vectors[:9], 5)[1], index.search(vectors[:9], 5)[1])
    exact = open_index(store, exact=True)
    assert exact.approximation() == "" and np.array_equal(exact.search(vectors, 11)[1], nearest)


@pytest.mark.parametrize("most", [10_000, 10])
def test_a_search_among_some_rows_finds_these_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", most)
    vectors = clustered(300)
    index = open_index(store_of(tmp_path, vectors))
    among = np.array([5, 17, 200, 33, 280])
    similarity, position = index.search(vectors[:4], 50, among=among)
    assert similarity.shape == position.shape == (4, 5) and set(position.ravel()) - {-1} <= set(among)
    if most > 300:
        expected = cosines(vectors[:4], vectors[among])
        assert np.array_equal(position, among[np.argsort(-expected, axis=1)])


def test_the_index_of_a_store_that_has_grown_large_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(tmp_path, clustered(300))
    assert open_index(store).cells == 0
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)
    assert open_index(store).cells > 0


@settings(max_examples=30)
@given(st.floats(-40, 35), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_length_one_however_short_or_long_a_vector_is(power: float, d: int, seed: int) -> None:
    """A float32 holds 1e-40 and 1e35, but not their squares."""
    wide = np.random.default_rng(seed).normal(size=(3, d)) * 10.0**power
    vectors = wide.astype(np.float32)
    kept = np.abs(vectors).max(1) > 1e-42  # of fewer digits nothing is left
    directions = l2_normalize(vectors)
    assert directions.dtype == np.float32
    assert np.linalg.norm(directions[kept], axis=1) == pytest.approx(np.ones(kept.sum()), abs=1e-5)
    exact = vectors.astype(np.float64) / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    assert np.abs(directions[kept] - exact[kept]).max(initial=0) < 1e-6


def test_zeros_have_no_direction_in_either_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 4)).astype(np.float32)
    vectors[7] = 0
    for exact_up_to in (500, 100):
        monkeypatch.setattr(module, "EXACT_UP_TO", exact_up_to)
        index = open_index(store_of(tmp_path / f"{exact_up_to}", vectors))
        assert [index.has_direction(i) for i in (6, 7, 8)] == [True, False, True] and bool(index.cells) == (
            exact_up_to == 100
        )
