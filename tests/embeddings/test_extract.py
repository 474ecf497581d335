"""Extraction: every image read once, every vector where its key is, whatever cannot be read left out and listed."""

from __future__ import annotations

import errno
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import embprobe.embeddings.store
from embprobe.embeddings.extract import encode, extract
from embprobe.embeddings.manifest import Rejected
from embprobe.embeddings.store import Store
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row, load_images
from embprobe.images.decoding import UnreadableImage
from tests.conftest import CountingEncoder, Reads, Run, changed, make_encoder, noise, row_of, snapshot, solid


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
        CountingEncoder(changed(encoder.spec, **change), encoder.function)
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


NO_TEXT = "na\udcefve \ud800"
"""As the name of a file in another encoding is read, and half of a pair, as JSON may hold."""


@pytest.mark.parametrize("what", ["images", "weights", "options", "key", "label", "reason"])
def test_names_that_no_encoding_holds_are_written_and_read_again(workspace: Workspace, reads: Reads, what: str) -> None:
    images, encoder = reads(4, name=NO_TEXT if what == "images" else "noise"), make_encoder()
    if what == "weights":
        encoder.spec = replace(encoder.spec, weights=NO_TEXT)
    if what == "options":
        encoder.spec = replace(encoder.spec, options=NO_TEXT)

    def torn() -> Image.Image:
        raise UnreadableImage(f"'{NO_TEXT}' is torn" if what == "reason" else "torn")

    key, labels = (NO_TEXT if what == "key" else "k"), ({NO_TEXT: NO_TEXT} if what == "label" else {})
    images = replace(images, rows=(Row(key, labels, "1", torn), *images.rows))
    (store,) = extract(images, [encoder], workspace)
    (again,) = extract(images, [encoder], workspace)
    assert encoder.encoded == 4 and again.written == 0 and again.rejected == store.rejected
    assert len((store.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    assert [checked.problems for checked in verify_stores(workspace)] == [()]


# --- how long it took --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_the_seconds_are_those_of_each_stage_over_all_workers(
    workspace: Workspace, reads: Reads, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 8)
    images, encoder = reads(20), make_encoder()
    slow = Images("slow", tuple(replace(row, source=after(0.002, row.source)) for row in images.rows))
    encoder.function = after(0.01, encoder.function)
    torch.set_num_threads(workers)
    total: dict[str, float] = {"encode": 100.0}
    began = time.perf_counter()
    (store,) = extract(slow, [encoder], workspace, batch_size=2, seconds=total)
    wall = time.perf_counter() - began
    assert list(store.seconds) == ["read", "decode", "encode", "write"]
    assert store.seconds["read"] >= 20 * 0.002 and store.seconds["encode"] >= 10 * 0.01  # 20 images, 10 batches
    assert all(taken >= 0 for taken in store.seconds.values())
    # the workers, and the one thread that writes; each of twelve numbers is rounded
    assert sum(store.seconds.values()) <= wall * (workers + 1) + 12 * 0.0005
    manifest = json.loads((store.folder / "manifest.json").read_text())
    parts = [facts["seconds"] for _, facts in sorted(manifest["shards"].items())]
    assert store.seconds == {stage: sum(part[stage] for part in parts) for stage in store.seconds}
    assert total.keys() == {"read", "decode", "encode", "write"} and 0 < total["write"] < wall
    for stage in ("read", "decode"):
        assert total[stage] == pytest.approx(store.seconds[stage], abs=3 * 0.0005)
    assert total["encode"] == pytest.approx(100 + store.seconds["encode"], abs=3 * 0.0005)  # it is added to
    del total["write"]
    assert extract(slow, [encoder], workspace, seconds=total)[0].seconds == store.seconds
    assert "write" not in total  # a run that has nothing to do takes no time


def after(seconds: float, function: Callable[..., Any]) -> Callable[..., Any]:
    def slower(*arguments: Any) -> Any:
        time.sleep(seconds)
        return function(*arguments)

    return slower


# --- a disk that refuses -----------------------------------------------------------------------------------------


@dataclass
class Disk:
    """Counts what is done to files below a folder and refuses the n-th, or it and every one after it."""

    root: Path
    code: int = 0
    """With which of the system's errors; 0 never refuses."""
    first: int = 0
    for_good: bool = False
    done: list[str] = field(default_factory=list)

    def step(self, what: str, path: Any) -> None:
        if str(path).startswith(str(self.root)):
            self.done.append(f"{what} {Path(str(path)).name}")
            count = len(self.done) - 1
            if self.code and (count == self.first or count > self.first and self.for_good):
                raise OSError(self.code, os.strerror(self.code), str(path))

    @contextmanager
    def mounted(self) -> Iterator[None]:
        write_bytes, write_text = Path.write_bytes, Path.write_text
        system = {name: getattr(os, name) for name in ("mkdir", "replace", "fsync", "unlink", "open")}

        def half_bytes(path: Path, content: bytes) -> int:
            write_bytes(path, content[: len(content) // 2])
            self.step("write", path)
            return write_bytes(path, content)

        def half_text(path: Path, content: str, **options: Any) -> int:
            write_text(path, content[: len(content) // 2], **options)
            self.step("write", path)
            return write_text(path, content, **options)

        def mkdir(path: Any, *rest: Any) -> None:
            self.step("mkdir", path)
            system["mkdir"](path, *rest)

        def replace(old: Any, new: Any) -> None:
            self.step("replace", new)
            system["replace"](old, new)

        def fsync(file: int) -> None:
            self.step("fsync", self.root)

        def unlink(path: Any, **options: Any) -> None:
            if self.code == errno.EROFS:  # of a full disk one may remove files
                self.step("unlink", path)
            system["unlink"](path, **options)

        def open(path: Any, flags: int, *rest: Any, **options: Any) -> int:
            if flags & os.O_CREAT:  # a lock
                self.step("open", path)
            descriptor: int = system["open"](path, flags, *rest, **options)
            return descriptor

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "write_bytes", half_bytes)
            patch.setattr(Path, "write_text", half_text)
            for refusing in (mkdir, replace, fsync, unlink, open):
                patch.setattr(os, refusing.__name__, refusing)
            yield


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 4)
    monkeypatch.setattr(embprobe.embeddings.store, "version", cache(embprobe.embeddings.store.version))  # type: ignore[attr-defined]


def contents(root: Path) -> dict[str, Any]:
    """Every file of a workspace but for a lock and its note, without how long it took."""
    files: dict[str, Any] = {}
    for path in (path for path in root.rglob("*") if path.is_file()):
        name = str(path.relative_to(root))
        if not name.startswith(".") or ".tmp" in name:
            files[name] = json.loads(path.read_bytes()) if path.name == "manifest.json" else path.read_bytes()
    for manifest in (content for name, content in files.items() if name.endswith("manifest.json")):
        for facts in manifest["shards"].values():
            del facts["seconds"]
    return files


REFUSALS = {
    "full from now on": (errno.ENOSPC, True),
    "read-only from now on": (errno.EROFS, True),
    "closed for a moment": (errno.EACCES, False),
}


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_disk_that_refuses_at_any_step_is_a_sentence_and_loses_nothing(
    tmp_path: Path, reads: Reads, refusal: str
) -> None:
    code, for_good = REFUSALS[refusal]
    images = reads(5, unreadable=[1])  # two shards, the second of one row
    whole = Workspace.open(tmp_path / "whole")
    disk = Disk(whole.root)
    with disk.mounted():
        extract(images, [make_encoder("a"), make_encoder("b")], whole)
    assert len(disk.done) > 2 * (2 * 3 + 1) * 3  # for each file of two stores: made, written, flushed, moved
    wrong: dict[str, str] = {}
    for step, what in enumerate(disk.done):
        space = Workspace.open(tmp_path / str(step))
        with Disk(space.root, code, step, for_good).mounted():
            try:
                extract(images, [make_encoder("a"), make_encoder("b")], space)
            except EmbprobeError as error:
                if os.strerror(code) not in str(error) or "safe" not in str(error):
                    wrong[f"{step} {what}"] = str(error)
            except Exception as error:
                wrong[f"{step} {what}"] = repr(error)
        finished = [set(open_names(space, images, name)) for name in "ab"]
        again = [make_encoder("a"), make_encoder("b")]
        stores = extract(images, again, space)
        lacked = [sum(rows for shard, rows in ((0, 3), (1, 1)) if shard not in names) for names in finished]
        assert [encoder.encoded for encoder in again] == lacked == [store.written for store in stores]
        if contents(space.root) != contents(whole.root):
            names = {*contents(space.root)} ^ {*contents(whole.root)}
            wrong[f"{step} {what}"] = f"{wrong.get(f'{step} {what}', '')} then {sorted(names) or 'other bytes'}"
    assert wrong == {}


def open_names(space: Workspace, images: Images, name: str) -> list[int]:
    """The shards that are finished."""
    spec = make_encoder(name).spec
    return list(embprobe.embeddings.store.open_store(space.store(images, spec), spec, images).shards)


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses to make a file larger; Python ignores the signal that comes with it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.usefixtures("small_shards")
@pytest.mark.parametrize(
    ("size", "what"),
    [
        (10, "the workspace's mark"),
        (60, "the lock's note"),
        (2_000, "the metadata"),
        (7_000, "the vectors"),  # 4 x 432 numbers of four bytes, and 128 more
    ],
)
def test_the_command_line_says_in_a_sentence_that_the_disk_is_full(
    run: Run, photos: Path, tmp_path: Path, size: int, what: str
) -> None:
    arguments = ("extract", photos, "-e", "reference/pixels", "--workspace")
    with files_up_to(size):
        code, out, err = run(*arguments, tmp_path / "full")
    assert code == 1 and out == "" and "Traceback" not in err, what
    assert err.rstrip("\n").splitlines()[-1].startswith("embprobe: ") and "File too large" in err
    for space in ("full", "whole"):
        code, _, err = run(*arguments, tmp_path / space)
        assert code == 0 and "9 x 432" in err
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_a_failure_that_passes_does_not_leave_an_image_out_for_good(workspace: Workspace, reads: Reads) -> None:
    """Too many open files say nothing about the one that was to be opened."""
    images, encoder = reads(3), make_encoder()

    def refused() -> Image.Image:
        raise OSError(errno.EMFILE, "Too many open files")

    rows = (images.rows[0], replace(images.rows[1], source=refused), images.rows[2])
    with pytest.raises(OSError, match="Too many open files"):
        extract(replace(images, rows=rows), [encoder], workspace)
    (store,) = extract(images, [encoder], workspace)
    assert len(store.vectors()) == 3 and store.rejected == []


def test_rows_gone_through_in_shards_of_two_sizes_are_counted_once(workspace: Workspace, reads: Reads) -> None:
    images, old, new = reads(10), make_encoder("old"), make_encoder("new")
    begun = Store(workspace.store(images, old.spec), old.spec, images, "cpu", shard_rows=4)
    begun.write_shard(0, np.zeros((4, 3), np.float32), begun.rows_of(0), [])
    done: list[int] = []
    extract(images, [old, new], workspace, batch_size=3, progress=done.append)
    assert sum(done) == 10 and min(done) >= 0
