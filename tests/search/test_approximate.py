"""Approximate indices: true cosines, recall as measured, and the store unharmed by whatever befalls them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from embprobe.embeddings.store import open_store
from embprobe.errors import UsageError
from embprobe.search import approximate, gpu
from embprobe.search import index as module
from embprobe.search.choice import choose_index
from embprobe.search.index import open_index
from tests.conftest import cosines, snapshot
from tests.search.test_index import clustered, store_of

VECTORS = clustered(2_000)
CODES = 120_000
"""Bytes that hold codes of these vectors, but not the vectors themselves."""


@pytest.fixture(autouse=True)
def _few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXACT_UP_TO", 100)


def of_the_store(folder: Path) -> dict[str, bytes]:
    """All files but the index's."""
    return {name: content for name, content in (snapshot(folder) or {}).items() if not name.startswith("index.")}


def test_codes_find_nearly_all_and_their_cosines_are_true(tmp_path: Path) -> None:
    store = store_of(tmp_path, VECTORS, shard_rows=512)
    index = open_index(store, memory=CODES)
    assert index.key == "IVF44,PQ8x8" and index.recall >= approximate.RECALL and index.candidates > 1
    assert "candidates for each neighbour from codes of 8 bytes" in index.approximation()
    found, position = index.search(7 * VECTORS, 11)
    every = cosines(VECTORS, VECTORS)
    assert np.abs(found - np.take_along_axis(every, position, 1)).max() < 2e-7
    assert (np.diff(found, axis=1) <= 0).all() and all(len(set(row)) == 11 for row in position.tolist())
    nearest = np.argsort(-every, axis=1)[:, :11]
    shares = [len((set(a) & set(b)) - {i}) / 10 for i, (a, b) in enumerate(zip(position, nearest, strict=True))]
    assert np.mean(shares) == pytest.approx(index.recall, abs=0.03)
    again = open_index(store, memory=CODES)  # from the file
    assert again.as_json() == index.as_json() and np.array_equal(again.search(VECTORS, 11)[1], position)


@pytest.mark.parametrize("dimension", [1, 2, 3, 13])
def test_any_dimension_has_codes(tmp_path: Path, dimension: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(2_000, dimension)).astype(np.float32)
    store = store_of(tmp_path, vectors)
    least = choose_index(2_000, dimension, 10**9).memory  # of the vectors themselves
    index = open_index(store, memory=least - 1 if dimension > 2 else 10**9)
    found, position = index.search(vectors[:50], 5)
    every = cosines(vectors[:50], vectors)
    assert np.abs(found - np.take_along_axis(every, position, 1)).max() < 2e-7
    assert (found[:, 0] > 1 - 1e-6).mean() > 0.9  # itself, or another of its direction


def test_the_recall_that_is_told_may_be_less_than_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "_CANDIDATES", (1,))
    vectors = np.random.default_rng(0).normal(size=(3_000, 32)).astype(np.float32)
    index = open_index(store_of(tmp_path, vectors), memory=170_000)
    assert index.key.endswith("PQ4x8") and index.recall < 0.7
    assert f"recall@10 {index.recall:.3f} against exact search" in index.approximation()


def test_too_little_memory_is_a_sentence_and_harms_nothing(tmp_path: Path) -> None:
    store = store_of(tmp_path, VECTORS)
    open_index(store)
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match=r"2,000 vectors of 16 numbers fits 1KB. The least that works is --index-me"):
        open_index(store, memory="1KB")
    assert snapshot(tmp_path) == before
    assert open_index(store, memory="1KB", exact=True).search(VECTORS[:1], 1)[1].tolist() == [[0]]


def test_another_limit_makes_another_index_and_none_takes_the_one_that_fits(tmp_path: Path) -> None:
    store, told = store_of(tmp_path, VECTORS), list[str]()
    assert open_index(store, memory=CODES, notify=told.append).key == "IVF44,PQ8x8"
    assert open_index(store, notify=told.append).key == "IVF44,PQ8x8" and len(told) == 1
    assert open_index(store, memory="1GB", notify=told.append).key == "IVF44,Flat" and len(told) == 2
    assert open_index(store, notify=told.append).key == "IVF44,Flat" and len(told) == 2
    assert open_index(store, memory=CODES, notify=told.append).key == "IVF44,PQ8x8" and len(told) == 3


@pytest.mark.parametrize(
    "change",
    [
        {"schema_number": 1},
        {"schema_number": 99},
        {"schema_number": "2"},
        {"store": "0" * 16},
        {"rows": 1},
        {"nlist": 7},
        {"sha256": "0" * 64},
        {"cells": -1},
    ],
)
def test_an_index_with_other_facts_is_made_again(tmp_path: Path, change: dict[str, Any]) -> None:
    store, told = store_of(tmp_path, VECTORS), list[str]()
    index = open_index(store, memory=CODES)
    note = tmp_path / "index.json"
    facts = json.loads(note.read_text())
    note.write_text(json.dumps(facts | change))
    before = of_the_store(tmp_path)
    again = open_index(store, memory=CODES, notify=told.append)
    assert len(told) == 1 and again.as_json() == index.as_json()
    assert of_the_store(tmp_path) == before and json.loads(note.read_text()) == facts


def test_an_index_of_the_version_before_is_made_again(tmp_path: Path) -> None:
    store, told = store_of(tmp_path, VECTORS), list[str]()
    facts = {"store": store.version, "index": "IndexIVFFlat", "normalized": True, "rows": 2000, "cells": 3, "recall": 1}
    (tmp_path / "index.json").write_text(json.dumps(facts))
    old = faiss.IndexFlatIP(16)
    old.add(VECTORS[::-1].copy())
    faiss.write_index(old, str(tmp_path / "index.faiss"))
    assert open_index(store, notify=told.append).search(VECTORS[:3], 1)[1].tolist() == [[0], [1], [2]] and told


def test_one_bit_of_damage_is_seen(tmp_path: Path) -> None:
    store, told = store_of(tmp_path, VECTORS), list[str]()
    open_index(store)
    content = bytearray((tmp_path / "index.faiss").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "index.faiss").write_bytes(content)
    open_index(store, notify=told.append)
    assert len(told) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
import faiss
from embprobe.embeddings.manifest import read_manifest
from embprobe.embeddings.store import Store
from embprobe.encoders.spec import EncoderSpec
from embprobe.images.rows import Images, Row
from embprobe.search import index as module
write = faiss.write_index
def torn(index, name):
    write(index, name)
    os.truncate(name, os.path.getsize(name) // 2)
    os.kill(os.getpid(), signal.SIGKILL)
def unnoted(path, content):
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "torn":
    faiss.write_index = torn
else:
    module.write_json = unnoted
module.EXACT_UP_TO = 100
folder, images = Path(sys.argv[1]), Images("noise", (Row("row", {}, "row", None),) * 2000)
spec, manifest = EncoderSpec(family="test", model="means", dimension=16), read_manifest(folder)
module.open_index(Store(folder, spec, images, "cpu", manifest.shards, manifest.shard_rows), memory="1GB")
"""


@pytest.mark.parametrize("moment", ["torn", "unnoted"])
@pytest.mark.parametrize("earlier", [None, CODES])
def test_a_kill_in_the_middle_harms_neither_store_nor_search(tmp_path: Path, moment: str, earlier: int | None) -> None:
    """Also where an earlier index was, whose file the new one has replaced while its facts are still there."""
    store, told = store_of(tmp_path, VECTORS), list[str]()
    if earlier is not None:
        open_index(store, memory=earlier)
    before = of_the_store(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), moment]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -signal.SIGKILL
    assert {name: content for name, content in of_the_store(tmp_path).items() if ".tmp" not in name} == before
    again = open_store(tmp_path, store.spec, store.images)
    index = open_index(again, memory=earlier or "1GB", notify=told.append)
    assert len(told) == (moment == "unnoted" or earlier is None)  # an earlier one that is whole is used
    assert index.search(VECTORS[:3], 1)[1].tolist() == [[0], [1], [2]]


def out_of_memory(*_: Any, **__: Any) -> Any:
    """Fail as FAISS does on a GPU without room."""
    raise RuntimeError(
        "Error in virtual void* faiss::gpu::StandardGpuResourcesImpl::allocMemory(const AllocRequest&) at "
        "StandardGpuResources.cpp:530: Error: 'err == cudaSuccess' failed: alloc fail type TemporaryMemoryOverflow "
        "(cudaMalloc error out of memory [2])"
    )


@pytest.mark.parametrize("moment", ["to_gpu", "to_cpu"])
def test_a_gpu_without_room_leaves_the_building_to_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Before k-means, and when everything is done."""
    monkeypatch.setattr(approximate, "gpu_of", lambda device: 0)
    monkeypatch.setattr(approximate, "to_gpu", lambda index, gpu: index)
    monkeypatch.setattr(approximate, "to_cpu", lambda index: index)
    monkeypatch.setattr(approximate, moment, out_of_memory)
    store, told = store_of(tmp_path / "gpu", VECTORS), list[str]()
    index = open_index(store, device="cuda", notify=told.append)
    assert told[1:] == ["the GPU is out of memory in the middle of building an index, and the CPU builds it"]
    expected = open_index(store_of(tmp_path / "cpu", VECTORS))
    assert np.array_equal(index.search(VECTORS, 5)[1], expected.search(VECTORS, 5)[1])
    assert (tmp_path / "gpu" / "index.faiss").read_bytes() == (tmp_path / "cpu" / "index.faiss").read_bytes()


def test_a_gpu_that_fails_in_a_search_leaves_it_to_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpu_of", lambda device: 0)
    monkeypatch.setattr(gpu, "LARGE", 0)
    monkeypatch.setattr(faiss, "StandardGpuResources", lambda: None, raising=False)
    monkeypatch.setattr(faiss, "knn_gpu", out_of_memory, raising=False)
    store, told = store_of(tmp_path, VECTORS, shard_rows=512), list[str]()
    _, position = open_index(store, exact=True, device="cuda", notify=told.append).search(VECTORS, 5)
    assert told == ["the GPU is out of memory in the middle of a search, and the CPU goes on"]
    assert np.array_equal(position, open_index(store, exact=True).search(VECTORS, 5)[1])


def test_an_approximate_search_on_a_gpu_that_fails_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, told = store_of(tmp_path, VECTORS), list[str]()
    expected = open_index(store).search(VECTORS, 5)
    monkeypatch.setattr(module, "gpu_of", lambda device: 0)
    monkeypatch.setattr(module, "to_gpu", out_of_memory)
    index = open_index(store, device="cuda", notify=told.append)
    for _ in range(2):
        found = index.search(VECTORS, 5)
        assert np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
    assert told == ["the GPU is out of memory, and the CPU searches"]


def test_what_another_failure_of_a_gpu_says() -> None:
    error = RuntimeError("Error in void f() at X.cu:7: Error: 'dims % 4 == 0' failed: unsupported")
    assert gpu.failure(error) == "failed ('dims % 4 == 0' failed: unsupported)"
    assert gpu.failure(RuntimeError("")) == "failed (for no reason given)"


on_a_gpu = pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="needs a GPU")


@pytest.mark.gpu
@on_a_gpu
@pytest.mark.parametrize("memory", ["1GB", CODES])
def test_a_gpu_builds_an_index_that_the_cpu_reads(tmp_path: Path, memory: int | str) -> None:
    store, told = store_of(tmp_path, VECTORS), list[str]()
    index = open_index(store, memory=memory, device="cuda", notify=told.append)
    assert len(told) == 1 and index.recall >= approximate.RECALL  # and no word of the CPU
    found, position = index.search(VECTORS, 11)  # on the GPU: they are many
    assert len(told) == 1
    assert np.abs(found - np.take_along_axis(cosines(VECTORS, VECTORS), position, 1)).max() < 2e-7
    on_cpu = open_index(store, memory=memory)
    assert isinstance(on_cpu.faiss_index, faiss.IndexIVF) and on_cpu.as_json() == index.as_json()
    assert (on_cpu.search(VECTORS, 11)[1] == position).mean() > 0.99


@pytest.mark.gpu
@on_a_gpu
def test_a_gpu_searches_exactly_what_the_cpu_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LARGE", 0)
    store, told = store_of(tmp_path, VECTORS, shard_rows=512), list[str]()
    found = open_index(store, exact=True, device="cuda", notify=told.append).search(VECTORS, 11)
    expected = open_index(store, exact=True).search(VECTORS, 11)
    assert told == [] and np.array_equal(found[0], expected[0]) and np.array_equal(found[1], expected[1])
