"""Vectors with the rows they are of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from PIL import Image

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.extract import extract
from embprobe.embeddings.job import Progress
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
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
