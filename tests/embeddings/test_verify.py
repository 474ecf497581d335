"""Damage on disk: what verification says of it, what extraction mends by itself, and that nothing good is deleted."""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import embprobe.embeddings.store
from embprobe.embeddings.extract import extract
from embprobe.embeddings.manifest import SCHEMA
from embprobe.embeddings.store import Store, open_store
from embprobe.embeddings.verify import Checked, verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.search.index import open_index
from tests.conftest import CountingEncoder, Reads, Run, channel_means, make_encoder, snapshot

VECTORS, METADATA = "img_emb/img_emb_00001.npy", "metadata/metadata_00001.parquet"
OLD = 1_000_000_000
"""When the files of :func:`whole` were written, in seconds."""


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 4)


@pytest.fixture
def images(reads: Reads) -> Images:
    return reads(10, unreadable=[2], labels={"category": list("abcdefghij")})


@pytest.fixture
def encoder() -> CountingEncoder:
    return make_encoder()


@pytest.fixture
def whole(workspace: Workspace, images: Images, encoder: CountingEncoder) -> Store:
    """A store of ten rows in shards of 4, 4 and 2, written long ago; the third row could not be read."""
    (store,) = extract(images, [encoder], workspace)
    for path in store.folder.rglob("*"):
        os.utime(path, (OLD, OLD))
    del encoder.batches[:]
    return store


def check(workspace: Workspace, *, repair: bool = False) -> Checked:
    (checked,) = verify_stores(workspace, repair=repair)
    return checked


def timeless(folder: Path) -> dict[str, Any]:
    """Every file of a store, without how long it took."""
    files: dict[str, Any] = {name: content for name, content in (snapshot(folder) or {}).items() if content}
    files["manifest.json"] = json.loads(files["manifest.json"])
    for facts in files["manifest.json"]["shards"].values():
        del facts["seconds"]
    return files


def written(folder: Path) -> set[str]:
    """The files that were written since."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)) for path in paths if path.stat().st_mtime != OLD}


# --- what is whole -----------------------------------------------------------------------------------------------


def test_a_whole_store_is_found_whole_and_left_alone(workspace: Workspace, whole: Store) -> None:
    sizes = sum(path.stat().st_size for path in whole.folder.glob("*/*"))
    expected = Checked(whole.folder, "test/means", "noise", 3, True, sizes, (), ())
    assert check(workspace) == expected == check(workspace, repair=True)
    assert written(workspace.root / "stores") == set()


def test_an_empty_workspace_has_nothing_to_check(workspace: Workspace) -> None:
    assert list(verify_stores(workspace)) == list(verify_stores(workspace, repair=True)) == []
    (workspace.root / "stores").mkdir()
    (workspace.root / "stores" / "note.txt").write_text("mine")
    assert list(verify_stores(workspace)) == []


def test_an_unfinished_store_is_whole_as_far_as_it_goes(workspace: Workspace, images: Images) -> None:
    spec = make_encoder().spec
    begun = Store(workspace.store(images, spec), spec, images, "cpu")
    begun.write_shard(1, np.zeros((4, 3), np.float32), begun.rows_of(1), [])
    found = check(workspace, repair=True)
    assert (found.shards, found.complete, found.damaged, found.problems) == (1, False, (), ())
    assert check(workspace) == found


# --- what is damaged ---------------------------------------------------------------------------------------------


def gone(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


Damage = Callable[[Path], None]


@pytest.mark.parametrize("name", [VECTORS, METADATA])
@pytest.mark.parametrize("damage", [gone, empty, truncated, longer])
def test_extraction_mends_what_is_not_of_its_size_and_only_that(
    workspace: Workspace,
    images: Images,
    encoder: CountingEncoder,
    whole: Store,
    damage: Damage,
    name: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    before = timeless(whole.folder)
    damage(whole.folder / name)
    found = check(workspace)
    assert found.damaged == (1,)
    assert found.problems == (f"{name} {'is gone' if damage is gone else 'has changed'}",)
    with caplog.at_level(logging.WARNING):
        (store,) = extract(images, [encoder], workspace)
    assert (store.lost, store.written, encoder.encoded, store.complete) == ([1], 4, 4, True)
    assert "Shard 1 of the store" in caplog.text
    assert timeless(store.folder) == before
    assert written(store.folder) <= {VECTORS, METADATA, "manifest.json", "rejected.jsonl"}
    assert check(workspace).problems == ()


@pytest.mark.parametrize("name", [VECTORS, METADATA])
def test_a_flipped_bit_is_found_by_verification_and_repaired_by_the_next_extraction(
    workspace: Workspace, images: Images, encoder: CountingEncoder, whole: Store, name: str
) -> None:
    before = timeless(whole.folder)
    flipped(whole.folder / name)
    damaged = snapshot(whole.folder)
    (store,) = extract(images, [encoder], workspace)
    assert (store.lost, encoder.encoded) == ([], 0)  # that would take reading every byte, every time
    assert check(workspace).problems == (f"{name} has changed",)
    assert snapshot(whole.folder) == damaged  # who only looks changes nothing

    assert check(workspace, repair=True).damaged == (1,)
    after = snapshot(whole.folder)
    assert after and damaged and {**after, "manifest.json": b""} == {**damaged, "manifest.json": b""}
    assert check(workspace).complete is False and check(workspace).problems == ()
    (store,) = extract(images, [encoder], workspace)
    assert (store.written, encoder.encoded) == (4, 4)
    assert timeless(store.folder) == before and check(workspace).problems == ()
    assert written(store.folder) <= {VECTORS, METADATA, "manifest.json", "rejected.jsonl"}


def test_repair_forgets_every_damaged_shard_and_no_other(
    workspace: Workspace, images: Images, encoder: CountingEncoder, whole: Store
) -> None:
    before = timeless(whole.folder)
    flipped(whole.folder / "img_emb" / "img_emb_00000.npy")
    gone(whole.folder / "metadata" / "metadata_00000.parquet")
    flipped(whole.folder / "metadata" / "metadata_00002.parquet")
    found = check(workspace, repair=True)
    assert found.damaged == (0, 2)
    assert found.problems == (
        "img_emb/img_emb_00000.npy has changed",
        "metadata/metadata_00000.parquet is gone",
        "metadata/metadata_00002.parquet has changed",
    )
    assert sorted(open_store(whole.folder, whole.spec, images).shards) == [1]
    (store,) = extract(images, [encoder], workspace)
    assert encoder.encoded == 3 + 2  # one of the first four cannot be read
    assert timeless(store.folder) == before
    assert store.rejected == whole.rejected and not {VECTORS, METADATA} & written(store.folder)


def test_a_shard_made_again_with_other_bytes_is_not_taken_for_the_old_one(
    workspace: Workspace, images: Images, encoder: CountingEncoder, whole: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another device rounds differently: if the run ends between the files and the manifest, the old hash is wrong."""
    gone(whole.folder / METADATA)
    encoder.function = lambda batch: channel_means(batch) + 0.25
    write = Store._write_manifest

    def ends(store: Store) -> None:
        if 1 in store.shards:  # where the manifest would name the shard that was made again
            raise KeyboardInterrupt
        write(store)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Store, "_write_manifest", ends)
        extract(images, [encoder], workspace)
    assert check(workspace).problems == ()
    (store,) = extract(images, [encoder], workspace)
    assert store.complete and check(workspace).problems == ()


@pytest.mark.parametrize("name", ["img_emb", "metadata", VECTORS, METADATA, "manifest.json", "."])
def test_a_folder_and_a_file_in_each_others_place_are_a_sentence(
    workspace: Workspace, images: Images, encoder: CountingEncoder, whole: Store, name: str
) -> None:
    path = whole.folder / name
    if path.is_dir():
        shutil.rmtree(path)
        mine = path
    else:
        path.unlink()
        path.mkdir()
        mine = path / "mine"
    mine.write_text("mine")
    rest = {str(each) for each in whole.folder.rglob("*")}
    assert [bool(checked.problems) for checked in verify_stores(workspace)] == ([] if name == "." else [True])
    with pytest.raises(EmbprobeError, match=re.escape(str(whole.folder))):
        extract(images, [encoder], workspace)
    list(verify_stores(workspace, repair=True))
    assert mine.read_text() == "mine" and rest <= {str(each) for each in whole.folder.rglob("*")}


@pytest.mark.parametrize("name", ["img_emb", "metadata"])
def test_a_folder_that_is_away_for_a_while_is_not_forgotten(
    workspace: Workspace, images: Images, encoder: CountingEncoder, whole: Store, name: str
) -> None:
    """As a link to a disk that is not mounted now."""
    vectors, disk = whole.vectors().tolist(), (whole.folder / name).rename(workspace.root / "disk")
    (whole.folder / name).symlink_to(workspace.root / "not mounted")
    with pytest.raises(EmbprobeError, match="cannot be written"):
        extract(images, [encoder], workspace)
    disk.rename(workspace.root / "not mounted")
    assert check(workspace).problems == ()
    (store,) = extract(images, [encoder], workspace)
    assert store.written == 0 and store.vectors().tolist() == vectors


def test_a_damaged_index_is_built_again_and_none_of_the_stores_business(
    workspace: Workspace, whole: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embprobe.search.index.EXACT_UP_TO", 5)
    open_index(whole)
    (whole.folder / "index.faiss").write_bytes(b"garbage")
    assert check(workspace).problems == ()
    assert open_index(whole).faiss_index.ntotal == 9


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[]", b"null", b"[" * 100_000, b'{"schema": 1e999}'])
def test_a_damaged_manifest_is_said_and_nothing_is_deleted(
    workspace: Workspace, images: Images, encoder: CountingEncoder, whole: Store, content: bytes
) -> None:
    (whole.folder / "manifest.json").write_bytes(content)
    before = snapshot(whole.folder)
    for repair in (False, True):
        found = check(workspace, repair=repair)
        assert (found.shards, found.complete, found.damaged, len(found.problems)) == (0, False, (), 1)
        assert str(whole.folder) in found.problems[0]
    with pytest.raises(EmbprobeError, match=r"is damaged\. Remove the folder|was written with schema"):
        extract(images, [encoder], workspace)
    assert snapshot(whole.folder) == before and encoder.encoded == 0
    shutil.rmtree(whole.folder)  # as it says
    assert extract(images, [encoder], workspace)[0].complete


def test_a_store_of_another_schema_is_said_and_left_alone(workspace: Workspace, whole: Store) -> None:
    path = whole.folder / "manifest.json"
    path.write_text(path.read_text().replace(f'"schema": {SCHEMA}', f'"schema": {SCHEMA - 1}'))
    before = snapshot(whole.folder)
    for repair in (False, True):
        (problem,) = check(workspace, repair=repair).problems
        assert f"was written with schema {SCHEMA - 1}; this embprobe reads {SCHEMA}" in problem
    assert snapshot(whole.folder) == before


def test_one_damaged_store_does_not_hide_the_others(workspace: Workspace, images: Images, whole: Store) -> None:
    others = extract(images, [make_encoder("a"), make_encoder("z")], workspace)
    (whole.folder / "manifest.json").write_text("{")
    found = list(verify_stores(workspace))
    assert [bool(checked.problems) for checked in found] == [False, True, False]
    assert [checked.folder for checked in found] == [others[0].folder, whole.folder, others[1].folder]


# --- a manifest that somebody else wrote -------------------------------------------------------------------------

HOSTILE: dict[str, tuple[tuple[str, ...], Any]] = {
    "a number of rows beyond all memory": (("count",), 10**13),
    "an endless number of rows": (("count",), float("inf")),
    "endless shards": (("shard_rows",), float("inf")),
    "shards of no rows": (("shard_rows",), 0),
    "bytes without end": (("shards", "0", "bytes"), float("inf")),
    "seconds without end": (("shards", "0", "seconds"), {"read": float("inf")}),
    "seconds that are none": (("shards", "0", "seconds"), {"read": float("nan")}),
    "seconds beyond floats": (("shards", "0", "seconds"), {"read": 10**400}),
    "a path for a shard": (("shards",), {"../../../etc/passwd": {}}),
    "a shard before the first": (("shards",), {"-1": {}}),
    "a rejected row that is a list": (("shards", "0", "rejected"), [{"key": "a", "reason": "b", "row": [1]}]),
    "a rejected key that is a number": (("shards", "0", "rejected"), [{"key": 1, "reason": "b", "row": 1}]),
    "half a character": (("images",), "\ud800"),
    "an encoder that is a list": (("encoder",), [1, 2]),
    "a hash that is a path": (("shards", "0", "sha256"), "/etc/passwd"),
}


@contextmanager
def little_memory() -> Iterator[None]:
    """At most half a gigabyte more than now, so that who takes too much is told at once."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (int(status["VmSize"].split()[0]) * 1024 + (512 << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def read_all(workspace: Workspace, images: Images, manifest: dict[str, Any], folder: Path) -> None:
    """Everything that reads a manifest gives what can be printed, or an error in words."""
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for repair in (False, True):
        for checked in verify_stores(workspace, repair=repair):
            json.dumps(checked.as_json(), allow_nan=False, ensure_ascii=False).encode()
    (folder / "manifest.json").write_text(json.dumps(manifest))
    try:
        store = open_store(folder, make_encoder().spec, images)
    except EmbprobeError:
        return
    json.dumps(store.summary(), allow_nan=False, ensure_ascii=False).encode()
    assert all(isinstance(row.key, str) and isinstance(row.reason, str) for row in store.rejected)
    assert store.version and len(store.keys()) <= len(images)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_manifest_is_damaged_or_read(workspace: Workspace, images: Images, whole: Store, what: str) -> None:
    manifest = json.loads((whole.folder / "manifest.json").read_text())
    (*outer, last), value = HOSTILE[what]
    place = manifest
    for name in outer:
        place = place[name]
    place[last] = value
    with little_memory():
        read_all(workspace, images, manifest, whole.folder)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of everything inside."""
    inside = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    return [path, *(place for key, each in inside for place in places(each, (*path, key)))]


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-10, 10_000)
    | st.sampled_from([0.5, -1.0, float("nan"), float("inf"), "\ud800", "../..", "1", "01", "\x1b[2J"])
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("0"), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Images, Path, dict[str, Any]]:
    """A workspace with one store, and its manifest."""
    space, images = Workspace.open(tmp_path_factory.mktemp("ready") / "space"), Reads()(10, unreadable=[2])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 4)
        (store,) = extract(images, [make_encoder()], space)
    return space, images, store.folder, json.loads((store.folder / "manifest.json").read_text())


@given(st.data())
def test_no_manifest_is_anything_but_read_or_refused(
    ready: tuple[Workspace, Images, Path, dict[str, Any]], data: st.DataObject
) -> None:
    space, images, folder, manifest = ready
    manifest = copy.deepcopy(manifest)
    for _ in range(data.draw(st.integers(1, 2))):
        path = data.draw(st.sampled_from(places(manifest)[1:]))
        place = manifest
        for name in path[:-1]:
            place = place[name]
        place[path[-1]] = data.draw(ANYTHING)
    read_all(space, images, manifest, folder)


# --- the command line --------------------------------------------------------------------------------------------


def test_verify_says_that_there_is_nothing_yet(run: Run, space: Path) -> None:
    code, out, err = run("verify")
    assert code == 1 and "There is no workspace at" in err and not space.exists()
    Workspace.open(space)
    assert run("verify") == (0, "", "There are no stores yet.\n")
    assert run("verify", "--json") == (0, "[]\n", "")


def test_verify_exits_with_one_until_what_is_damaged_was_forgotten(run: Run, photos: Path) -> None:
    extraction = ("extract", photos, "-e", "reference/pixels")
    code, out, _ = run(*extraction, "--json")
    (store,) = json.loads(out)
    assert code == 0 and run("verify")[0] == 0
    flipped(Path(store["folder"]) / VECTORS)

    code, out, err = run("verify", "--json")
    (found,) = json.loads(out)
    assert code == 1 and err == ""
    assert {name: found[name] for name in ("folder", "encoder", "images", "shards", "complete", "damaged")} == {
        "folder": store["folder"],
        "encoder": "reference/pixels",
        "images": "photos",
        "shards": 3,  # 9 images in shards of 4
        "complete": True,
        "damaged": [1],
    }
    assert found["problems"] == [f"{VECTORS} has changed"]
    code, out, err = run("verify")
    assert code == 1 and out == "" and err.startswith("1 damaged: reference/pixels x photos, 3 shards, ")

    code, out, err = run("verify", "--repair")
    assert code == 0 and "has changed" in err
    code, out, err = run("verify")
    assert code == 0 and err.startswith("whole, unfinished: reference/pixels x photos, 2 shards, ")
    code, out, err = run(*extraction)
    assert code == 0 and "reference/pixels: 9 x 432, 4 encoded now" in err
    code, out, err = run("verify")
    assert code == 0 and err.startswith("whole: reference/pixels x photos, 3 shards, ")


def test_verify_exits_with_one_if_a_store_cannot_be_repaired(run: Run, photos: Path) -> None:
    _, out, _ = run("extract", photos, "-e", "reference/pixels", "--json")
    (Path(json.loads(out)[0]["folder"]) / "manifest.json").write_text("{")
    for options in ((), ("--json",), ("--repair",), ("--repair", "--json")):
        code, out, err = run("verify", *options)
        assert code == 1 and "is damaged. Remove the folder" in out + err


def test_a_folder_in_the_place_of_the_index_is_a_sentence(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extraction = ("extract", photos, "-e", "reference/pixels")
    _, out, _ = run(*extraction, "--json")
    index = Path(json.loads(out)[0]["folder"]) / "index.faiss"
    index.mkdir()
    assert run(*extraction).code == 0  # nobody searches
    search = ("neighbors", photos / "cat" / "d.png", "-i", photos, *extraction[2:])
    assert run(*search).code == 0  # few rows need no index
    monkeypatch.setattr("embprobe.search.index.EXACT_UP_TO", 5)
    code, out, err = run(*search)
    assert code == 1 and out == "" and "Is a directory" in err and index.is_dir()
