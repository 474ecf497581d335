"""Vectors with the rows they are of."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import embprobe.embeddings.session
import embprobe.embeddings.store
import embprobe.measures.blocks
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.extract import extract
from embprobe.embeddings.job import Progress
from embprobe.embeddings.manifest import manifest_file
from embprobe.embeddings.session import Session
from embprobe.embeddings.store import Store, vectors_file
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Floats
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.measures.blocks import Blocks
from tests.conftest import Reads, make_encoder


def embedded(images: Images) -> EmbeddingSet:
    """Each row's vector is its position."""
    return EmbeddingSet(images, {"e": np.arange(len(images), dtype=np.float32)[:, None]})


def test_rows_and_vectors_are_taken_together(reads: Reads) -> None:
    found = embedded(reads(4, labels={"name": list("abcd")}))
    for taken in (found.at(["003", "gone", "001"]), found.take([3, 1])):
        assert taken.keys() == ["003", "001"]
        assert taken.vectors["e"].tolist() == [[3], [1]]
        assert taken.label("name").tolist() == ["d", "b"]


def test_what_is_shared_keeps_its_order(reads: Reads) -> None:
    found = embedded(reads(5))
    shared = found.restricted_to(found.take([4, 0, 2]), found.take([2, 3, 4]))
    assert shared.keys() == ["002", "004"] and shared.vectors["e"].tolist() == [[2], [4]]


def test_rows_that_one_encoder_could_not_read_at_the_time_do_not_shift_the_others(
    workspace: Workspace, reads: Reads
) -> None:
    """The disk fails while the first encoder runs, and works again for the second; the file is the same."""
    images, works = reads(6), [False]

    def read() -> Image.Image:
        if not works[0]:
            raise UnreadableImage("the disk does not answer")
        return reads(6).rows[2].read()

    rows = tuple(replace(row, source=read) if i == 2 else row for i, row in enumerate(images.rows))
    images, a, b = Images("noise", rows), make_encoder("a", side=8), make_encoder("b", side=8)
    extract(images, [a], workspace)
    works[0] = True
    vectors = Session(workspace).embed(images, [a, b], "both").vectors
    assert len(vectors["test/a"]) == len(vectors["test/b"]) == 5
    assert np.array_equal(vectors["test/a"], vectors["test/b"])  # the same function of the same rows


def test_progress_is_told_what_and_how_much(workspace: Workspace, reads: Reads) -> None:
    told: list[object] = []

    @contextmanager
    def bar(what: str, total: int) -> Iterator[Progress]:
        told.append((what, total))
        yield told.append

    Session(workspace, progress=bar).embed(reads(3), [make_encoder()], "as they are")
    assert told[0] == ("as they are", 3) and sum(n for n in told[1:] if isinstance(n, int)) == 3


# --- what was opened is remembered -----------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folder of every store whose vectors are opened, in order."""
    folders: list[Path] = []

    def vectors(store: Store) -> Floats:
        folders.append(store.folder)
        return real(store)

    real = Store.vectors
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 2)
    monkeypatch.setattr(Store, "vectors", vectors)
    return folders


def test_a_session_opens_a_store_once_and_reports_it_each_time(
    workspace: Workspace, reads: Reads, opened: list[Path]
) -> None:
    images, encoders, told = reads(5, unreadable=[3]), [make_encoder("a"), make_encoder("b")], list[list[int]]()
    session = Session(workspace, extracted=lambda stores: told.append([store.written for store in stores]))
    first, *others = [session.embed(images, encoders, "x") for _ in range(3)]
    assert len(opened) == 2 and told == [[4, 4], [0, 0], [0, 0]] and encoders[0].encoded == 4
    for other in others:
        assert other.keys() == first.keys() == ["000", "001", "002", "004"]
        assert all(other.vectors[name] is vectors for name, vectors in first.vectors.items())
    alike = Images("other name", tuple(replace(row, labels={"x": "1"}) for row in images.rows))
    assert session.embed(alike, encoders[:1], "x").label("x").tolist() == ["1"] * 4 and len(opened) == 2
    Session(workspace).embed(images, encoders, "x")
    assert len(opened) == 4
    session.embed(reads(4), encoders, "x")
    assert len(opened) == 6


def test_rows_without_a_direction_are_looked_for_once(
    workspace: Workspace, reads: Reads, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def lacking(block: NDArray[np.floating]) -> NDArray[np.bool_]:
        seen.append(len(block))
        return np.zeros(len(block), bool)

    monkeypatch.setattr("embprobe.measures.vectors._lacking", lacking)
    session = Session(workspace)
    for _ in range(3):
        session.directed(session.embed(reads(5), [make_encoder()], "x"))
    assert sum(seen) == 5


def test_a_store_that_was_written_or_damaged_meanwhile_is_opened_anew(
    workspace: Workspace, reads: Reads, opened: list[Path]
) -> None:
    images, encoder, session = reads(5), make_encoder(), Session(workspace)
    before = np.array(session.embed(images, [encoder], "x").vectors["test/means"])
    (folder,) = workspace.stores()
    vectors_file(folder, 1).write_bytes(b"short")
    assert np.array_equal(session.embed(images, [encoder], "x").vectors["test/means"], before)
    assert encoder.encoded == 5 + 2 and len(opened) == 2
    manifest = manifest_file(folder)
    manifest.write_text(manifest.read_text() + "\n")
    session.embed(images, [encoder], "x")
    assert len(opened) == 3 and encoder.encoded == 7
    shutil.rmtree(folder)
    assert np.array_equal(session.embed(images, [encoder], "x").vectors["test/means"], before)
    assert len(opened) == 4 and encoder.encoded == 12


def test_a_session_forgets_the_stores_that_it_read_longest_ago(
    workspace: Workspace, reads: Reads, opened: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embprobe.embeddings.session, "REMEMBERED", 2)
    session = Session(workspace)
    for n in (3, 4, 3, 5, 3, 4):
        session.embed(reads(n), [make_encoder()], "x")
    assert len(opened) == 4  # 3, 4, 5, and 4 again


def test_all_rows_are_handed_on_as_they_are_and_many_are_not_copied(
    reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = np.arange(12, dtype=np.float32).reshape(6, 2)
    found = EmbeddingSet(reads(6), {"e": vectors})
    assert found.at(found.keys()) is found and found.take(range(6)) is found and found.restricted_to(found) is found
    monkeypatch.setattr(embprobe.measures.blocks, "COPIED", 0)
    some = found.at(["004", "gone", "001"]).take([1, 0])
    chosen: Any = some.vectors["e"]
    assert isinstance(chosen, Blocks) and some.keys() == ["001", "004"]
    assert chosen[:].tolist() == [[2, 3], [8, 9]]
