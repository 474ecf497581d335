"""Vectors that are not finite: rejected for one encoder, left out by all later steps, mended in old stores."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import embprobe.embeddings.store
from embprobe.embeddings.extract import NoVectors, extract
from embprobe.embeddings.finite import finite_part, is_not_finite
from embprobe.embeddings.manifest import read_manifest, write_manifest
from embprobe.embeddings.session import Session, joined
from embprobe.embeddings.store import Store, open_store, vectors_file
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import EncoderSpec, Floats
from embprobe.images import Images
from tests.conftest import CountingEncoder, Reads, Run, make_encoder, row_of, solid

BLACK = (0, 0, 0)
REASON = "the encoder's vector is not finite (nan or inf); it computes in float32, so look at its weights and its "


@pytest.fixture(autouse=True)
def _small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embprobe.embeddings.store, "SHARD_ROWS", 4)


def with_black(*at: int, n: int = 10) -> Images:
    """Pictures of one colour; those at these positions are black."""
    rows = (row_of(f"{i:03d}", solid(BLACK if i in at else (20 * i + 9, 90, 250 - 20 * i))) for i in range(n))
    return Images("mostly", tuple(rows))


def inverse(batch: Tensor) -> Tensor:
    """One over the channel means: infinite for black."""
    return 1 / batch.mean((2, 3))


def broken(value: float = np.inf) -> CountingEncoder:
    """An encoder that gives black images this number."""
    return make_encoder("broken", lambda batch: torch.nan_to_num(inverse(batch), posinf=value))


@settings(max_examples=25)
@given(
    st.sets(st.integers(0, 9), max_size=9),
    st.sampled_from([np.nan, np.inf, -np.inf]),
    st.sampled_from(["float16", "float32", "float64"]),
)
def test_rows_are_split_by_whether_their_vector_is_finite(bad: set[int], value: float, kind: str) -> None:
    vectors = np.arange(30, dtype=kind).reshape(10, 3)
    vectors[sorted(bad), 1] = value
    rows = with_black().rows
    kept, kept_rows, rejected = finite_part(vectors, rows, range(100, 110), make_encoder().spec)
    good = [i for i in range(10) if i not in bad]
    assert kept.dtype == np.float32 and np.array_equal(kept, vectors[good])
    assert [row.key for row in kept_rows] == [rows[i].key for i in good]
    assert [(row.key, row.row) for row in rejected] == [(rows[i].key, 100 + i) for i in sorted(bad)]
    assert all(is_not_finite(row) for row in rejected)


def test_what_float32_cannot_hold_is_infinite_and_float16_has_a_hint() -> None:
    spec = replace(make_encoder().spec, precision="float16")
    _, _, rejected = finite_part(np.array([[1e300], [1.0]]), with_black().rows[:2], [0, 1], spec)
    assert [row.row for row in rejected] == [0] and rejected[0].reason.endswith("--precision bfloat16 or float32")


def test_a_row_is_rejected_for_the_encoder_alone_and_left_out_by_every_later_step(workspace: Workspace) -> None:
    images = with_black(2, 7)
    whole, part = extract(images, [make_encoder(), broken()], workspace, batch_size=3)
    assert [len(whole.embedded()), len(part.embedded()), part.written] == [10, 8, 8] and not whole.rejected
    assert [(row.key, row.row) for row in part.rejected] == [("002", 2), ("007", 7)]
    listed = [json.loads(line) for line in (part.folder / "rejected.jsonl").read_text().splitlines()]
    assert [row["key"] for row in listed] == ["002", "007"] and listed[0]["reason"].startswith(REASON)
    assert np.isfinite(part.vectors()).all() and all(facts.finite for facts in part.shards.values())
    embedded = Session(workspace).embed(images, [make_encoder(), broken()], "")
    assert len(embedded) == 8 and not {"002", "007"} & set(embedded.keys())
    (note,) = embedded.notes
    assert note.startswith(
        "2 of 10 images have a vector by test/broken that is not finite (nan or inf) and are left out"
    )
    assert note.endswith("'002', '007'; it computes in float32, so look at its weights and its preprocessing")


def test_unreadable_and_not_finite_are_listed_in_the_order_of_the_rows(workspace: Workspace, reads: Reads) -> None:
    rows = (*with_black(0, 2, n=4).rows, *reads(2, unreadable=[1]).rows)
    images = Images("both", tuple(replace(row, key=f"{i}") for i, row in enumerate((rows[5], *rows[:5]))))
    (store,) = extract(images, [broken()], workspace)
    assert [(row.row, is_not_finite(row)) for row in store.rejected] == [(0, False), (1, True), (3, True)]


def test_an_encoder_without_a_finite_vector_is_an_error_and_other_stores_stay(workspace: Workspace) -> None:
    images = with_black(*range(10))
    with pytest.raises(NoVectors, match=r"All 10 vectors of 'mostly' by 'test/broken' are not finite .* float32") as no:
        extract(images, [make_encoder(), broken()], workspace)
    assert "Stores of other encoders are kept" in str(no.value)
    (folder,) = workspace.stores()
    assert read_manifest(folder).encoder_name == "test/means" and read_manifest(folder).complete
    again = make_encoder()
    extract(images, [again], workspace)
    assert again.encoded == 0


def test_a_run_that_is_taken_up_again_counts_all_of_them(workspace: Workspace) -> None:
    images, calls = with_black(1, 9), [0]

    def stops(batch: Tensor) -> Tensor:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return inverse(batch)

    with pytest.raises(KeyboardInterrupt):
        extract(images, [make_encoder("broken", stops)], workspace, batch_size=4)
    (store,) = extract(images, [broken()], workspace, batch_size=4)
    assert [row.key for row in store.rejected] == ["001", "009"] and store.summary()["images"] == 8
    assert store.written < 8  # the first shard was there


# --- stores of earlier versions ----------------------------------------------------------------------------------


def old_store(workspace: Workspace, images: Images, encoder: CountingEncoder, *bad: int) -> Store:
    """A store as it was written before vectors were looked at: those at these positions are NaN."""
    (store,) = extract(images, [encoder], workspace)
    manifest = read_manifest(store.folder)
    for shard, facts in store.shards.items():
        path = vectors_file(store.folder, shard)
        vectors: Floats = np.load(path)
        for position in bad:
            if position // 4 == shard:
                vectors[position % 4, 1] = np.nan
        np.save(path, vectors)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        old = facts.model_copy(update={"sha256": digest, "bytes": path.stat().st_size, "finite": False})
        manifest = manifest.model_copy(update={"shards": {**manifest.shards, shard: old}})
    write_manifest(store.folder, manifest)
    return open_store(store.folder, encoder.spec, images)


def test_an_old_store_is_mended_without_encoding(workspace: Workspace) -> None:
    images, encoder = with_black(), make_encoder()
    old = old_store(workspace, images, encoder, 5, 6)
    before = {shard: facts.sha256 for shard, facts in old.shards.items()}
    encoder.batches.clear()
    (store,) = extract(images, [encoder], workspace)
    assert encoder.encoded == 0 and store.written == 0
    assert [row.key for row in store.rejected] == ["005", "006"] and np.isfinite(store.vectors()).all()
    after = {shard: facts.sha256 for shard, facts in store.shards.items()}
    assert {shard for shard in before if before[shard] != after[shard]} == {1}
    assert [len(store.embedded()), len(store.vectors())] == [8, 8]
    assert not any(checked.problems for checked in verify_stores(workspace))


def test_an_old_store_that_is_only_read_has_them_left_out(workspace: Workspace) -> None:
    images, encoder = with_black(), make_encoder()
    embedded = joined([old_store(workspace, images, encoder, 5)])
    assert embedded.keys() == [f"{i:03d}" for i in range(10) if i != 5] and len(embedded.vectors["test/means"]) == 9
    assert len(embedded.notes) == 1 and "'005'" in embedded.notes[0]


def test_an_old_store_without_them_is_left_as_it_is(workspace: Workspace) -> None:
    images, encoder = with_black(), make_encoder()
    old = old_store(workspace, images, encoder)
    manifest = (old.folder / "manifest.json").read_bytes()
    extract(images, [encoder], workspace)
    assert (old.folder / "manifest.json").read_bytes() == manifest
    assert not any(checked.problems for checked in verify_stores(workspace))


def test_verify_says_so_and_repair_lets_those_shards_be_made_again(workspace: Workspace, run: Run, space: Path) -> None:
    images, encoder = with_black(), make_encoder()
    store = old_store(workspace, images, encoder, 5)
    ran = run("verify", "--workspace", workspace.root)
    assert ran.code == 1 and "img_emb/img_emb_00001.npy holds vectors that are not finite" in ran.err
    (checked,) = verify_stores(workspace)
    assert checked.damaged == (1,)
    assert run("verify", "--repair", "--workspace", workspace.root).code == 0
    encoder.batches.clear()
    extract(images, [encoder], workspace)
    assert encoder.encoded == 4 and open_store(store.folder, encoder.spec, images).complete


def test_the_store_takes_none(tmp_path: Path) -> None:
    images, spec = with_black(n=1), make_encoder().spec
    with pytest.raises(ValueError, match="not finite"):
        Store(tmp_path, spec, images, "cpu").write_shard(0, np.full((1, 3), np.nan, np.float32), images.rows, [])


def test_every_engine_has_them_rejected(workspace: Workspace) -> None:
    """An engine gives back vectors as they are: they are looked at where shards are written."""
    from embprobe.embeddings.engines.local import run as local

    jobs: list[Any] = []

    def engine(job: Any) -> Any:
        jobs.append(job)
        return local(job)

    (store,) = extract(with_black(3), [broken(np.nan)], workspace, engine=engine)
    assert len(jobs) == 1 and [row.row for row in store.rejected] == [3]


def test_a_spec_of_given_vectors_has_a_hint() -> None:
    spec = EncoderSpec(family="vectors", model="x.npy", dimension=2)
    assert finite_part(np.full((1, 2), np.nan), with_black(n=1).rows, [0], spec)[2][0].reason.startswith(REASON)
