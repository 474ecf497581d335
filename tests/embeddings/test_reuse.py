"""Vectors taken from other stores: images that were encoded before, in whatever set, are not encoded again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import embprobe.embeddings.store
from embprobe.embeddings.extract import extract
from embprobe.embeddings.manifest import manifest_file
from embprobe.embeddings.reuse import find_reusable
from embprobe.embeddings.store import Store, open_store, row_marks, rows_file, vectors_file
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Floats
from embprobe.images import Images, load_images
from tests.conftest import CountingEncoder, Reads, Run, make_encoder, noise


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten images, k0.png to k9.png."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(10):
        noise(i).save(folder / f"k{i}.png")
    return folder


def means(images: Images) -> Floats:
    return np.array([np.asarray(row.load()).mean((0, 1)) / 255 for row in images.rows], np.float32)


def check(store: Store) -> None:
    """Every vector is the one of the image under its key, and the store is whole by its own hashes."""
    assert np.abs(store.vectors() - means(store.embedded())).max(initial=0) < 1e-6
    reopened = open_store(store.folder, store.spec, store.images)
    assert reopened.complete and not reopened.damaged()
    for number in reopened.shards:
        marks = np.load(rows_file(store.folder, number))
        keys = {row.key for row in store.embedded().rows}
        rows = [row for row in store.rows_of(number) if row.key in keys]
        assert marks.tolist() == row_marks(rows).tolist()


# --- one image more ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.png", "k33.png", "z.png"])
def test_one_image_more_costs_one_image_wherever_it_stands(folder: Path, workspace: Workspace, name: str) -> None:
    encoder = make_encoder(side=8)
    extract(load_images(str(folder)), [encoder], workspace)
    noise(99).save(folder / name)
    (store,) = extract(load_images(str(folder)), [encoder], workspace)
    assert (encoder.encoded, store.written, store.taken) == (10 + 1, 11, 10)
    check(store)


def test_a_changed_image_is_encoded_and_a_removed_one_costs_nothing(folder: Path, workspace: Workspace) -> None:
    encoder = make_encoder(side=8)
    extract(load_images(str(folder)), [encoder], workspace)
    noise(50).save(folder / "k4.png")
    (folder / "k0.png").unlink()
    (store,) = extract(load_images(str(folder)), [encoder], workspace)
    assert (encoder.encoded, store.taken) == (10 + 1, 8)
    check(store)


def test_an_image_that_became_readable_is_encoded(folder: Path, workspace: Workspace) -> None:
    (folder / "k3.png").write_bytes(b"torn")
    encoder = make_encoder(side=8)
    extract(load_images(str(folder)), [encoder], workspace)
    noise(3).save(folder / "k3.png")
    (store,) = extract(load_images(str(folder)), [encoder], workspace)
    assert (encoder.encoded, store.rejected) == (9 + 1, [])
    check(store)


def test_an_unreadable_image_is_listed_in_the_new_store_too(folder: Path, workspace: Workspace) -> None:
    (folder / "k3.png").write_bytes(b"torn")
    encoder = make_encoder(side=8)
    extract(load_images(str(folder)), [encoder], workspace)
    noise(99).save(folder / "a.png")
    (store,) = extract(load_images(str(folder)), [encoder], workspace)
    assert [(row.key, row.row) for row in store.rejected] == [("k3.png", 4)]
    check(store)


def test_two_stores_that_lack_other_rows_are_both_filled_and_progress_adds_up(
    folder: Path, workspace: Workspace
) -> None:
    old, new = make_encoder("old", side=8), make_encoder("new", side=8)
    extract(load_images(str(folder)), [old], workspace)
    noise(99).save(folder / "a.png")
    done: list[int] = []
    images = load_images(str(folder))
    stores = extract(images, [old, new], workspace, progress=done.append)
    assert (old.encoded, new.encoded, sum(done)) == (10 + 1, 11, 11)
    for store in stores:
        check(store)


def test_a_part_of_the_images_takes_its_vectors_from_the_whole(folder: Path, workspace: Workspace) -> None:
    images, encoder = load_images(str(folder)), make_encoder(side=8)
    extract(images, [encoder], workspace)
    (store,) = extract(images.take([9, 2, 5, 7, 1]), [encoder], workspace)
    assert encoder.encoded == 10
    check(store)


@given(
    first=st.lists(st.integers(0, 9), unique=True, min_size=1),
    second=st.lists(st.integers(0, 9), unique=True, min_size=1),
    third=st.lists(st.integers(0, 9), unique=True, min_size=1),
    unreadable=st.sets(st.integers(0, 9), max_size=2),
)
@settings(max_examples=40, deadline=None)
def test_any_sets_in_any_order_encode_each_readable_image_once(
    first: list[int], second: list[int], third: list[int], unreadable: set[int]
) -> None:
    images = replace(Reads()(10, unreadable=sorted(unreadable)), place="memory")
    encoder, seen = make_encoder(side=8), set[int]()
    with tempfile.TemporaryDirectory() as root:
        space = Workspace.open(Path(root))
        for rows in (first, second, third):
            if set(rows) <= unreadable:
                continue
            (store,) = extract(images.take(rows), [encoder], space)
            seen |= set(rows) - unreadable
            assert encoder.encoded == len(seen)
            check(store)


# --- what is not the same image ------------------------------------------------------------------------------------


def test_the_same_name_size_and_time_elsewhere_is_another_image(tmp_path: Path, workspace: Workspace) -> None:
    encoder = make_encoder(side=8)
    for i, name in enumerate("ab"):
        (tmp_path / name).mkdir()
        noise(i).save(tmp_path / name / "x.bmp")  # both have 246 bytes
        os.utime(tmp_path / name / "x.bmp", (0, 0))
        if name == "b":
            noise(7).save(tmp_path / name / "y.bmp")  # or the two sets would be the same by all that is compared
    (a,) = extract(load_images(str(tmp_path / "a")), [encoder], workspace)
    (b,) = extract(load_images(str(tmp_path / "b")), [encoder], workspace)
    assert a.images.rows[0] == b.images.rows[0] and b.taken == 0
    check(b)


def test_another_encoder_or_another_change_takes_nothing(folder: Path, workspace: Workspace) -> None:
    images = load_images(str(folder))
    one, other = make_encoder("one", side=8), make_encoder("other", side=8)
    extract(images, [one], workspace)
    part = images.take(range(5))
    assert find_reusable(open_store(workspace.store(part, other.spec), other.spec, part), workspace).shards == []
    grey = part.map("grey", lambda row: ("grey", lambda image: image.convert("L").convert("RGB")))
    (store,) = extract(grey, [one], workspace)
    assert store.taken == 0
    check(store)


def test_rows_whose_place_is_not_known_are_encoded_again(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(6), make_encoder(side=8)
    extract(images, [encoder], workspace)
    (store,) = extract(images.take(range(5)), [encoder], workspace)
    assert (encoder.encoded, store.taken) == (6 + 5, 0)
    assert not (store.folder / "rows").exists()


# --- damage --------------------------------------------------------------------------------------------------------


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("file", [vectors_file, rows_file])
@pytest.mark.parametrize("damage", [_flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_nothing_is_taken_from_a_damaged_file(
    folder: Path, workspace: Workspace, file: Callable[[Path, int], Path], damage: Callable[[Path], None]
) -> None:
    encoder = make_encoder(side=8)
    (before,) = extract(load_images(str(folder)), [encoder], workspace)
    damage(file(before.folder, 1))
    noise(99).save(folder / "z.png")
    (store,) = extract(load_images(str(folder)), [encoder], workspace)
    assert store.taken == 6  # the rows of shards 0 and 2
    check(store)


@pytest.mark.parametrize("content", [b"", b"{}", b"not JSON", b'{"schema": 99}'])
def test_a_store_whose_manifest_is_damaged_is_passed_over(folder: Path, workspace: Workspace, content: bytes) -> None:
    encoder = make_encoder(side=8)
    (before,) = extract(load_images(str(folder)), [encoder], workspace)
    manifest_file(before.folder).write_bytes(content)
    noise(99).save(folder / "z.png")
    (store,) = extract(load_images(str(folder)), [encoder], workspace)
    assert store.taken == 0
    check(store)


def test_a_run_that_was_killed_goes_on_with_what_it_can_take(folder: Path, workspace: Workspace) -> None:
    encoder = make_encoder(side=8)
    extract(load_images(str(folder)), [encoder], workspace)
    for i in range(20, 24):
        noise(i).save(folder / f"a{i}.png")
    images = load_images(str(folder))

    def killed(batch: Tensor) -> Tensor:
        raise KeyboardInterrupt

    stopped = CountingEncoder(encoder.spec, killed)
    with pytest.raises(KeyboardInterrupt):
        extract(images, [stopped], workspace)
    del encoder.batches[:]
    (store,) = extract(images, [encoder], workspace)
    assert encoder.encoded == 4
    check(store)


# --- on the disk ---------------------------------------------------------------------------------------------------


def test_a_shard_with_the_same_rows_lies_on_the_disk_once(folder: Path, workspace: Workspace) -> None:
    encoder = make_encoder(side=8)
    (before,) = extract(load_images(str(folder)), [encoder], workspace)
    noise(99).save(folder / "z.png")
    (after,) = extract(load_images(str(folder)), [encoder], workspace)
    inodes = [[vectors_file(store.folder, i).stat().st_ino for i in range(3)] for store in (before, after)]
    assert inodes[0][:2] == inodes[1][:2] and inodes[0][2] != inodes[1][2]
    assert all(not checked.problems for checked in verify_stores(workspace))


def test_the_command_says_how_many_were_taken(folder: Path, run: Run) -> None:
    assert run("extract", folder, "-e", "reference/pixels").code == 0
    noise(99).save(folder / "z.png")
    assert "1 encoded now, 10 taken from other stores" in " ".join(
        run("extract", folder, "-e", "reference/pixels").err.split()
    )
