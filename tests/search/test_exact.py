"""Exact search block by block: the order of float64's cosines, whatever shards, blocks, lengths and ties."""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.measures.blocks import Blocks, as_array
from embprobe.search import exact
from embprobe.search.directions import l2_normalize
from embprobe.search.exact import search_exactly
from embprobe.search.mapped import MappedVectors
from tests.conftest import cosines
from tests.search.test_index import store_of


def in_shards(vectors: NDArray[np.float32], *cuts: int) -> MappedVectors:
    """Vectors cut into shards behind these positions."""
    return MappedVectors(as_array(Blocks(np.split(vectors, cuts))))


def test_by_hand_over_two_shards() -> None:
    vectors = in_shards(np.array([[0, 3], [2, 0], [5, 5], [-1, 0]], np.float32), 1, 2)
    found, position = search_exactly(vectors, np.array([[1, 0], [0, 1]], np.float32), 2)
    assert position.tolist() == [[1, 2], [0, 2]]
    assert found.ravel() == pytest.approx([1, 0.7071068, 1, 0.7071068])


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 9), st.integers(1, 80), st.booleans())
def test_the_best_of_all_cosines_however_they_are_cut(seed: int, n: int, block: int, k: int, some: bool) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 5)).astype(np.float32) * 10 ** rng.uniform(-25, 25, (n, 1)).astype(np.float32)
    queries = l2_normalize(rng.normal(size=(4, 5)).astype(np.float32))
    cuts = np.sort(rng.integers(0, n + 1, 3)).tolist()
    among = rng.permutation(n)[: max(1, n // 2)] if some else np.arange(n)
    k = min(k, len(among))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "BLOCK", 5 * block)  # of so many rows
        patch.setattr(exact, "_WAVE", 2)
        found, position = search_exactly(in_shards(vectors, *cuts), queries, k, among=among if some else None)
    every = cosines(queries, vectors[among])
    assert np.array_equal(position, among[np.argsort(-every, axis=1)[:, :k]])
    assert np.abs(found - -np.sort(-every, axis=1)[:, :k]).max() < 2e-7


@pytest.mark.parametrize("k", [1, 3, 40, 150])
def test_equal_cosines_come_in_the_order_of_faiss(k: int) -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 8)).astype(np.float32)
    vectors[[50, 77, 180]] = vectors[3]
    index = faiss.IndexFlatIP(8)
    index.add(l2_normalize(vectors))
    queries = l2_normalize(vectors[[3, 50, 9]])
    found, position = search_exactly(in_shards(vectors, 60, 120), queries, k)
    expected = [index.search(query[None], k) for query in queries]
    assert position.tolist() == [positions[0].tolist() for _, positions in expected]
    assert found == pytest.approx(np.concatenate([similarity for similarity, _ in expected]), abs=3e-7)


def test_of_thousands_that_are_equal_the_first_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "BLOCK", 2 * 700)
    vectors = np.tile(np.array([[3, 4]], np.float32), (9_000, 1))
    vectors[8_999] = [4, 4]
    _, position = search_exactly(in_shards(vectors, 5_000), np.array([[0.7071068, 0.7071068]], np.float32), 4)
    assert position.tolist() == [[8_999, 2, 1, 0]]


def test_more_queries_than_a_pass_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_QUERIES", 3)
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    _, position = search_exactly(in_shards(vectors, 20), l2_normalize(vectors[:10]), 1)
    assert position.ravel().tolist() == list(range(10))
    assert search_exactly(in_shards(vectors), vectors[:0], 3)[1].shape == (0, 3)


def test_rows_are_read_from_the_disk_without_a_copy(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    mapped = MappedVectors.of(store_of(tmp_path, vectors, shard_rows=8))
    assert len(mapped) == 30 and np.array_equal(np.concatenate([*mapped]), vectors)
    for block in mapped.blocks(rows=4):  # two of each shard
        assert not mapped.read(block).flags.owndata
    order = np.random.default_rng(1).permutation(30)
    assert np.array_equal(mapped.at(order), vectors[order])
