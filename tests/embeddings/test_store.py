"""The store: whole shards or none, in a layout others read, and nothing silent about damage."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from embprobe.embeddings.extract import extract
from embprobe.embeddings.manifest import SCHEMA, Rejected
from embprobe.embeddings.store import Store, open_store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec, Floats
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.measures.blocks import Blocks
from tests.conftest import CountingEncoder, Reads, make_encoder, noise, row_of


def fill(store: Store, *shards: int) -> None:
    """Writes these shards; the vector of row i is (i, i, i)."""
    for shard in shards:
        rows = store.rows_of(shard)
        numbers = [[float(row.key)] * 3 for row in rows]
        store.write_shard(shard, np.array(numbers, np.float32), rows, [])


def new_store(folder: Path, images: Images, *, shard_rows: int = 4) -> Store:
    return Store(folder, make_encoder().spec, images, "cpu", shard_rows=shard_rows)


def reopen(store: Store) -> Store:
    return open_store(store.folder, store.spec, store.images)


# --- layout ------------------------------------------------------------------------------------------------------


def test_the_layout_is_the_one_clip_retrieval_and_autofaiss_read(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(10))
    fill(store, 0, 1, 2)
    assert sorted(str(path.relative_to(store.folder)) for path in store.folder.rglob("*") if path.is_file()) == [
        *(f"img_emb/img_emb_{shard:05d}.npy" for shard in (0, 1, 2)),
        "manifest.json",
        *(f"metadata/metadata_{shard:05d}.parquet" for shard in (0, 1, 2)),
        "rejected.jsonl",
    ]
    part = np.load(store.folder / "img_emb" / "img_emb_00002.npy", mmap_mode="r", allow_pickle=False)
    assert part.dtype == np.float32 and part.tolist() == [[8, 8, 8], [9, 9, 9]]  # 10 rows in shards of 4: 4, 4, 2


def test_the_metadata_holds_key_and_labels_of_the_same_rows(tmp_path: Path, reads: Reads) -> None:
    images = reads(6, labels={"category": list("abcdef"), "style": list("uvwxyz")})
    rows = [*images.rows[:5], replace(images.rows[5], labels={"style": "z"})]
    store = new_store(tmp_path / "store", Images("noise", rows))
    fill(store, 0, 1)
    assert pq.read_table(store.folder / "metadata" / "metadata_00001.parquet").to_pylist() == [
        {"key": "004", "category": "e", "style": "y"},
        {"key": "005", "category": None, "style": "z"},
    ]


def test_the_manifest_says_what_the_store_is(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(5))
    fill(store, 0)
    manifest = json.loads((store.folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["schema"] == SCHEMA
    assert manifest["encoder"] == json.loads(json.dumps(asdict(store.spec)))
    assert EncoderSpec.from_saved(manifest["encoder"]) == store.spec
    assert manifest["encoder_fingerprint"] == store.spec.fingerprint
    assert (manifest["images"], manifest["images_fingerprint"]) == ("noise", store.images.fingerprint)
    assert (manifest["count"], manifest["shard_rows"], manifest["device"]) == (5, 4, "cpu")
    assert {"python", "embprobe", "torch", "timm", "open_clip_torch", "numpy", "pillow"} == set(manifest["versions"])
    assert manifest["complete"] is False and set(manifest["shards"]) == {"0"}
    assert manifest["shards"]["0"]["rows"] == 4 and len(manifest["shards"]["0"]["sha256"]) == 64
    fill(store, 1)
    assert json.loads((store.folder / "manifest.json").read_text(encoding="utf-8"))["complete"] is True


def test_rejected_rows_are_listed_with_the_reason_and_have_no_vector(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(6))
    rows = store.rows_of(0)
    store.write_shard(
        0, np.ones((2, 3), np.float32), [rows[0], rows[3]], [Rejected("001", "torn", 1), Rejected("002", "é", 2)]
    )
    fill(store, 1)
    assert (store.folder / "rejected.jsonl").read_text(encoding="utf-8").splitlines() == [
        '{"key": "001", "reason": "torn", "row": 1}',
        '{"key": "002", "reason": "é", "row": 2}',
    ]
    again = reopen(store)
    assert again.rejected == [Rejected("001", "torn", 1), Rejected("002", "é", 2)]
    assert again.keys() == ["000", "003", "004", "005"]
    assert again.vectors()[:, 0].tolist() == [1, 1, 4, 5]


def test_two_names_that_print_alike_are_not_confused(workspace: Workspace) -> None:
    # b"\xe9.png" is no UTF-8 and prints as the four characters \xe9; the other file is really called that
    pictures = {"\udce9.png": noise(0), "\\xe9.png": noise(1), "z.png": noise(2)}
    rows = [row_of(key, picture) for key, picture in pictures.items()]

    def refuse() -> Any:
        raise UnreadableImage("torn")

    rows[0] = replace(rows[0], source=refuse)
    (store,) = extract(Images("alike", tuple(rows)), [make_encoder()], workspace)
    assert store.keys() == ["\\xe9.png", "z.png"]
    assert len(store.vectors()) == 2


def test_the_version_changes_with_the_vectors(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(6))
    fill(store, 0)
    first = store.version
    fill(store, 1)
    second = store.version
    store.write_shard(1, np.zeros((2, 3), np.float32), store.rows_of(1), [])
    assert len({first, second, store.version}) == 3
    assert reopen(store).version == store.version


@pytest.mark.parametrize(
    ("count", "rows", "shards"),
    [
        (1, 1024, 1),
        (1024, 1024, 1),
        (1025, 1024, 2),
        (262_144, 1024, 256),
        (262_145, 2048, 129),
        (1_281_167, 8192, 157),
    ],
)
def test_a_store_has_few_shards_of_a_size_that_grows_with_it(
    tmp_path: Path, reads: Reads, count: int, rows: int, shards: int
) -> None:
    images = replace(reads(1).take([0] * count), name="many")  # the last is ImageNet's: 1,281,167 / 8192 = 156.4
    store = Store(tmp_path, make_encoder().spec, images, "cpu")
    assert (store.shard_rows, store.shard_count) == (rows, shards)
    assert sum(len(store.rows_of(shard)) for shard in range(shards)) == count


# --- interrupted -------------------------------------------------------------------------------------------------


def test_only_the_shards_that_are_missing_are_encoded(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(10), make_encoder()
    begun = new_store(workspace.store(images, encoder.spec), images)
    fill(begun, 1)  # rows 4 to 7
    (store,) = extract(images, [encoder], workspace)
    assert encoder.encoded == 6 == store.written
    assert sorted(reads.keys) == ["000", "001", "002", "003", "008", "009"]
    assert store.complete and store.shard_rows == 4
    assert store.vectors()[4:8, 0].tolist() == [4, 5, 6, 7]  # kept as they were
    assert store.vectors()[0] == pytest.approx(np.asarray(noise(0)).mean((0, 1)) / 255, abs=2 / 255)


class Dies(Exception):
    """Stands for whatever ends a run."""


def dies_after(encoder: CountingEncoder, batches: int) -> CountingEncoder:
    """The same encoder, which ends the run after so many batches."""
    function = encoder.function

    def limited(batch: Any) -> Any:
        if len(encoder.batches) > batches:
            raise Dies
        return function(batch)

    encoder.function = limited
    return encoder


def test_a_crash_between_two_shards_leaves_no_part_of_the_second(workspace: Workspace, reads: Reads) -> None:
    images = reads(10)
    folder = workspace.store(images, make_encoder().spec)
    fill(new_store(folder, images), 0)
    with pytest.raises(Dies):
        extract(images, [dies_after(make_encoder(), 1)], workspace)  # encodes shard 1 and dies in shard 2
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert files == [
        "img_emb/img_emb_00000.npy",
        "img_emb/img_emb_00001.npy",
        "manifest.json",
        "metadata/metadata_00000.parquet",
        "metadata/metadata_00001.parquet",
    ]
    encoder = make_encoder()
    (store,) = extract(images, [encoder], workspace)
    assert encoder.encoded == 2 and store.complete


def test_an_incomplete_store_gives_no_vectors(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(10))
    fill(store, 0, 2)
    with pytest.raises(EmbprobeError):
        reopen(store).vectors()


def test_vectors_that_do_not_fit_the_rows_are_refused_before_anything_is_written(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(4))
    wrong: list[Floats] = [np.ones((3, 3), np.float32), np.ones((4, 2), np.float32)]
    for vectors in wrong:
        with pytest.raises(ValueError, match=r"expected vectors \(4, 3\)"):
            store.write_shard(0, vectors, store.rows_of(0), [])
    assert not store.folder.exists() and not store.complete


# --- damaged -----------------------------------------------------------------------------------------------------


def npy(array: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, np.ones((4, 3), np.float32))
    return buffer.getvalue()


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "gone": lambda whole: None,
    "empty": lambda whole: b"",
    "truncated": lambda whole: whole[:-7],
    "garbage": lambda whole: b"hello " * 30,
    "of another shape": lambda whole: npy(np.ones((3, 3), np.float32)),
    "without dimensions": lambda whole: npy(np.float32(1)),
    "pickled objects": lambda whole: npy(np.array([[{}] * 3] * 4)),
    "an archive": lambda whole: npz(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_an_error_that_names_it(tmp_path: Path, reads: Reads, damage: str) -> None:
    store = new_store(tmp_path / "store", reads(8))
    fill(store, 0, 1)
    path = store.folder / "img_emb" / "img_emb_00001.npy"
    content = DAMAGES[damage](path.read_bytes())
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(EmbprobeError, match=r"Shard 1 of the store '.*' is damaged"):
        reopen(store).vectors()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe\0", b"[]", b"null", b"{}", b'"text"'])
def test_a_damaged_manifest_is_an_error_that_says_what_to_do(tmp_path: Path, reads: Reads, content: bytes) -> None:
    store = new_store(tmp_path / "store", reads(4))
    fill(store, 0)
    (store.folder / "manifest.json").write_bytes(content)
    with pytest.raises(EmbprobeError, match=r"manifest\.json' is damaged\. Remove the folder '.*' to extract it again"):
        reopen(store)


@pytest.mark.parametrize("key", ["schema", "encoder_fingerprint", "images_fingerprint", "shard_rows", "shards"])
@pytest.mark.parametrize("value", ["gone", None, "x", -1])
def test_a_manifest_with_a_wrong_entry_is_an_error(tmp_path: Path, reads: Reads, key: str, value: object) -> None:
    store = new_store(tmp_path / "store", reads(4))
    fill(store, 0)
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if value == "gone":
        del manifest[key]
    else:
        manifest[key] = value
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(EmbprobeError, match="Remove|schema"):
        reopen(store)


@pytest.mark.parametrize("facts", [3, {}, {"rows": 4}, {"rows": 4, "sha256": "0", "rejected": [{"no": "key"}]}])
def test_a_manifest_with_a_damaged_shard_entry_is_an_error(tmp_path: Path, reads: Reads, facts: object) -> None:
    store = new_store(tmp_path / "store", reads(4))
    fill(store, 0)
    path = store.folder / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    manifest["shards"]["0"] = facts
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(EmbprobeError, match=r"manifest\.json' is damaged"):
        reopen(store).keys()


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_a_store_of_another_schema_is_refused_and_left_alone(tmp_path: Path, reads: Reads, schema: int) -> None:
    store = new_store(tmp_path / "store", reads(4))
    fill(store, 0)
    path = store.folder / "manifest.json"
    path.write_text(path.read_text(encoding="utf-8").replace(f'"schema": {SCHEMA}', f'"schema": {schema}'))
    before = path.read_bytes()
    with pytest.raises(EmbprobeError, match=rf"written with schema {schema}; this embprobe reads {SCHEMA}"):
        reopen(store)
    assert path.read_bytes() == before


def test_a_store_of_another_encoder_or_other_images_is_refused(tmp_path: Path, reads: Reads) -> None:
    store = new_store(tmp_path / "store", reads(4))
    fill(store, 0)
    with pytest.raises(EmbprobeError, match="another encoder or other images"):
        open_store(store.folder, make_encoder("other").spec, store.images)
    with pytest.raises(EmbprobeError, match="another encoder or other images"):
        open_store(store.folder, store.spec, reads(3))


# --- without a copy ------------------------------------------------------------------------------------------------


def test_vectors_of_one_shard_are_its_memory_map_and_no_change_of_them_reaches_the_file(
    tmp_path: Path, reads: Reads
) -> None:
    store = new_store(tmp_path / "store", reads(3))
    fill(store, 0)
    vectors = store.vectors()
    assert isinstance(vectors, np.memmap) and vectors.tolist() == [[0] * 3, [1] * 3, [2] * 3]
    vectors /= 2  # as users do
    assert vectors[2, 0] == 1 and store.vectors()[2, 0] == 2


def test_vectors_of_many_shards_are_not_copied(tmp_path: Path, reads: Reads) -> None:
    store = Store(tmp_path / "store", replace(make_encoder().spec, dimension=10_000), reads(12), "cpu", shard_rows=4)
    for shard in range(3):
        rows = store.rows_of(shard)
        store.write_shard(shard, np.full((4, 10_000), shard, np.float32), rows, [])
    tracemalloc.start()
    vectors: Any = store.vectors()
    first = vectors[5:8]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(vectors, Blocks) and vectors.shape == (12, 10_000) and first.tolist()[2][0] == 1
    assert peak < vectors.nbytes / 4
    assert np.array_equal(vectors, np.concatenate(list(store.blocks())))
    assert not first.flags.writeable  # a view of the file


def test_a_store_without_rows_has_no_vectors(tmp_path: Path) -> None:
    assert new_store(tmp_path / "store", Images("none", ())).vectors().shape == (0, 3)
