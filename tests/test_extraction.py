"""Extraction: every image read once, every vector where its key is, whatever cannot be read left out and listed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.extraction import encode, extract
from embprobe.images import Images, load_images
from embprobe.images.decoding import UnreadableImage
from embprobe.store import Rejected, Store
from embprobe.workspace import Workspace
from tests.conftest import CountingEncoder, Reads, make_encoder, noise, row_of, snapshot, solid


def test_a_vector_by_hand(workspace: Workspace) -> None:
    half = solid((255, 0, 0), (8, 8))
    half.paste((0, 0, 255), (0, 0, 8, 4))
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))  # shows the white background
    images = Images("two", (row_of("half", half), row_of("clear", clear)))
    (store,) = extract(images, [make_encoder(side=8)], workspace)
    assert store.vectors().tolist() == [[0.5, 0, 0.5], [1, 1, 1]]


def test_vectors_equal_encoding_one_by_one(photos: Path, workspace: Workspace) -> None:
    images = load_images(str(photos))
    encoders = [load_encoder(f"reference/{name}") for name in ("pixels", "color-histogram", "random-vit")]
    for store, encoder in zip(extract(images, encoders, workspace, batch_size=4), encoders, strict=True):
        assert store.spec == encoder.spec
        assert store.keys() == [row.key for row in images.rows]
        alone = np.concatenate([encode(encoder, [row.load()]) for row in images.rows])
        assert np.abs(store.vectors() - alone).max() < 1e-5


def test_each_image_is_read_once_for_two_encoders(workspace: Workspace, reads: Reads) -> None:
    a, b = make_encoder("a"), make_encoder("b", side=2)
    stores = extract(reads(10), [a, b], workspace, batch_size=3)
    assert sorted(reads.keys) == [f"{i:03d}" for i in range(10)]
    assert a.batches == b.batches == [3, 3, 3, 1]
    assert [store.written for store in stores] == [10, 10]


def test_a_second_run_reads_and_encodes_nothing(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(5), make_encoder()
    (first,) = extract(images, [encoder], workspace)
    before = snapshot(workspace.root)
    del encoder.batches[:], reads.keys[:]
    (second,) = extract(images, [encoder], workspace)
    assert (encoder.encoded, reads.keys, second.written) == (0, [], 0)
    assert np.array_equal(first.vectors(), second.vectors())
    assert snapshot(workspace.root) == before


def test_only_the_encoder_that_lacks_the_images_is_given_them(workspace: Workspace, reads: Reads) -> None:
    images, old, new = reads(5), make_encoder("old"), make_encoder("new")
    extract(images, [old], workspace)
    extract(images, [old, new], workspace)
    assert (old.encoded, new.encoded, len(reads.keys)) == (5, 5, 10)


def test_unreadable_images_are_left_out_and_listed_with_the_reason(photos: Path, workspace: Workspace) -> None:
    (photos / "cat" / "d.png").write_bytes(b"")
    (photos / "dog" / "i.JPG").write_bytes((photos / "dog" / "i.JPG").read_bytes()[:400])
    images = load_images(str(photos))
    (store,) = extract(images, [make_encoder()], workspace, batch_size=2)
    assert [row.key for row in store.rejected] == ["cat/d.png", "dog/i.JPG"]
    assert store.rejected[0].reason == "empty"
    assert "damaged" in store.rejected[1].reason
    assert len(store.keys()) == len(store.vectors()) == 7
    assert (store.folder / "rejected.jsonl").read_text().count("\n") == 2


def test_all_unreadable_is_an_error_that_gives_a_reason_and_leaves_no_store(workspace: Workspace, reads: Reads) -> None:
    with pytest.raises(EmbprobeError, match=r"None of the 3 images in 'noise' can be read; '000': torn in two"):
        extract(reads(3, unreadable=[0, 1, 2]), [make_encoder("a"), make_encoder("b")], workspace)
    assert not [path for path in (workspace.root / "stores").rglob("*") if path.is_file()]


@given(
    count=st.integers(1, 20), unreadable=st.sets(st.integers(0, 19)), batch=st.integers(1, 8), shard=st.integers(1, 8)
)
@settings(max_examples=30, deadline=None)
def test_every_vector_stands_where_its_key_does(count: int, unreadable: set[int], batch: int, shard: int) -> None:
    readable = [i for i in range(count) if i not in unreadable]
    images, encoder = Reads()(count, unreadable=sorted(unreadable)), make_encoder(side=8)
    with tempfile.TemporaryDirectory() as folder:
        space = Workspace.open(Path(folder))
        # a store that was begun with small shards; the first holds what extract would have written
        begun = Store(space.store(images, encoder.spec), encoder.spec, images, "cpu", shard_rows=shard)
        good = [row for i, row in enumerate(begun.rows_of(0)) if i not in unreadable]
        bad = [Rejected(row.key, "torn in two", i) for i, row in enumerate(begun.rows_of(0)) if i in unreadable]
        means = [np.asarray(noise(int(row.key))).mean((0, 1)) / 255 for row in good]
        begun.write_shard(0, np.array(means, np.float32).reshape(-1, 3), good, bad)
        if not readable:
            with pytest.raises(EmbprobeError, match="None of"):
                extract(images, [encoder], space, batch_size=batch)
            return
        (store,) = extract(images, [encoder], space, batch_size=batch)
        assert store.keys() == [f"{i:03d}" for i in readable]
        assert [row.key for row in store.rejected] == [f"{i:03d}" for i in sorted(unreadable) if i < count]
        expected = [np.asarray(noise(i)).mean((0, 1)) / 255 for i in readable]
        assert np.abs(store.vectors() - np.array(expected)).max() < 1e-6


def test_stores_begun_with_shards_of_different_sizes_are_both_completed(workspace: Workspace, reads: Reads) -> None:
    images, old, new = reads(10), make_encoder("old"), make_encoder("new")
    begun = Store(workspace.store(images, old.spec), old.spec, images, "cpu", shard_rows=4)
    begun.write_shard(0, np.zeros((4, 3), np.float32), begun.rows_of(0), [])
    for encoders in ([new, old], [old, new]):
        for store in extract(images, encoders, workspace):
            assert store.complete
            assert len(store.vectors()) == 10


def test_the_batch_size_does_not_change_the_store(tmp_path: Path, reads: Reads) -> None:
    images = reads(7, unreadable=[3])
    stores = [
        extract(images, [make_encoder()], Workspace.open(tmp_path / str(size)), batch_size=size)[0]
        for size in (1, 3, 64)
    ]
    assert len({store.version for store in stores}) == 1
    assert stores[0].keys() == stores[1].keys() == stores[2].keys()


def test_the_number_of_workers_does_not_change_the_store(tmp_path: Path, reads: Reads) -> None:
    images, versions = reads(50, unreadable=[0, 7, 49]), set()
    for threads in (1, 2, 5):
        torch.set_num_threads(threads)
        (store,) = extract(images, [make_encoder()], Workspace.open(tmp_path / str(threads)), batch_size=3)
        assert torch.get_num_threads() == threads
        versions.add((store.version, tuple(store.keys()), tuple(store.rejected)))
    assert len(versions) == 1


def test_reading_runs_only_a_few_batches_ahead(workspace: Workspace, reads: Reads) -> None:
    ahead: list[int] = []

    def progress(rows: int) -> None:
        ahead.append(len(reads.keys) - len(ahead))

    extract(reads(100), [make_encoder()], workspace, batch_size=1, progress=progress)
    assert len(ahead) == 100
    assert max(ahead) <= 3  # for one worker, two wait and one is handed over


def test_an_unreadable_image_is_left_out_of_every_store(workspace: Workspace, reads: Reads) -> None:
    images = reads(20, unreadable=[3, 4, 19])
    encoders = [make_encoder("a"), make_encoder("b", side=2), make_encoder("c", side=6)]
    stores = extract(images, encoders, workspace, batch_size=4)
    readable = [f"{i:03d}" for i in range(20) if i not in (3, 4, 19)]
    for store in stores:
        assert store.keys() == readable and len(store.vectors()) == 17
        assert [(row.row, row.reason) for row in store.rejected] == [(i, "torn in two") for i in (3, 4, 19)]
    assert len(reads.keys) == 20


def test_a_changed_file_makes_another_store(photos: Path, workspace: Workspace) -> None:
    encoder = make_encoder()
    (before,) = extract(load_images(str(photos)), [encoder], workspace)
    old = before.vectors().copy()
    noise(99, (25, 26)).save(photos / "cat" / "d.png")
    (after,) = extract(load_images(str(photos)), [encoder], workspace)
    assert after.folder != before.folder
    changed = np.abs(after.vectors() - old).max(1) > 0
    assert [key for key, moved in zip(after.keys(), changed, strict=True) if moved] == ["cat/d.png"]
    assert np.array_equal(before.vectors(), old)


def test_changed_weights_or_preprocessing_make_another_store(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(4), make_encoder(weights_sha256="0" * 64)
    others = [
        CountingEncoder(replace(encoder.spec, **change), encoder.function)
        for change in ({"weights_sha256": "1" * 64}, {"resize_to": 5}, {"interpolation": "bicubic"})
    ]
    folders = {extract(images, [each], workspace)[0].folder for each in (encoder, *others)}
    assert len(folders) == 4
    assert [each.encoded for each in others] == [4, 4, 4]


def test_changed_labels_alone_do_not_make_another_store(workspace: Workspace, reads: Reads) -> None:
    encoder = make_encoder()
    extract(reads(4), [encoder], workspace)
    extract(reads(4, labels={"category": list("abcd")}), [encoder], workspace)
    assert encoder.encoded == 4


def test_an_image_one_pixel_high_is_encoded(workspace: Workspace) -> None:
    images = Images("thin", (row_of("a", solid((255, 0, 0), (3000, 1))), row_of("b", solid((0, 0, 255), (1, 3000)))))
    (store,) = extract(images, [make_encoder()], workspace)
    assert store.vectors() == pytest.approx(np.array([[1, 0, 0], [0, 0, 1]]))


def test_progress_counts_every_row_once(workspace: Workspace, reads: Reads) -> None:
    done: list[int] = []
    extract(reads(10, unreadable=[2]), [make_encoder()], workspace, batch_size=4, progress=done.append)
    assert done == [4, 4, 2]


def test_an_error_of_the_encoder_is_not_taken_for_an_unreadable_image(workspace: Workspace, reads: Reads) -> None:
    def broken(batch: object) -> None:
        raise RuntimeError("out of memory")

    encoder = make_encoder()
    encoder.function = broken  # type: ignore[assignment]
    with pytest.raises(RuntimeError, match="out of memory"):
        extract(reads(3), [encoder], workspace)
    with pytest.raises(UnreadableImage):
        reads(1, unreadable=[0]).rows[0].load()
