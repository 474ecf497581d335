"""The manifest: what version 0.1.0 wrote is read as it was, and what is wrong is named by its key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embprobe.embeddings.extract import extract
from embprobe.embeddings.manifest import Manifest, Rejected, read_manifest, write_manifest
from embprobe.embeddings.store import metadata_file, vectors_file
from embprobe.embeddings.verify import verify_stores
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from tests.conftest import Reads, make_encoder

WRITTEN = """\
{
  "schema": 2,
  "encoder": {
    "family": "test",
    "model": "means",
    "weights": "",
    "weights_sha256": "",
    "pooling": "none",
    "input_size": 4,
    "resize": "shortest",
    "resize_to": 4,
    "interpolation": "bilinear",
    "mean": [
      0.0,
      0.0,
      0.0
    ],
    "std": [
      1.0,
      1.0,
      1.0
    ],
    "dimension": 3,
    "has_text": false,
    "precision": "float32",
    "decoding": "exact",
    "options": ""
  },
  "encoder_fingerprint": "49d1588afbd3c68b",
  "images": "noise",
  "images_fingerprint": "1b50a4e60b45f52a",
  "count": 6,
  "shard_rows": 4,
  "complete": true,
  "shards": {
    "0": {
      "rows": 3,
      "sha256": "fa60cadaf07b091c67049aab59d96ada9414deea1cd09eb75373075395ed6c06",
      "bytes": 164,
      "metadata_sha256": "b32415ca51e2caa9ddeb4f0e817903f581d3befdc0b6812b75069a8921c41dd1",
      "metadata_bytes": 675,
      "rejected": [
        {
          "key": "002",
          "reason": "torn in two",
          "row": 2
        }
      ],
      "device": "cpu",
      "seconds": {
        "read": 0.001,
        "decode": 0.002,
        "encode": 0.0,
        "write": 0.412
      }
    },
    "1": {
      "rows": 2,
      "sha256": "2947dc638f034824eeb491fbee51205b3d030bbe073a00211e36c670addd724e",
      "bytes": 152,
      "metadata_sha256": "e462de82a892d464ee36afaf6c2316ee9842330bb3f600711d4e7d6fd4bd46ff",
      "metadata_bytes": 660,
      "rejected": [],
      "device": "cpu",
      "seconds": {
        "read": 0.004,
        "decode": 0.0,
        "encode": 0.0,
        "write": 0.008
      }
    }
  },
  "device": "cpu",
  "versions": {
    "python": "3.11.7",
    "embprobe": "0.1.0",
    "torch": "2.15.0",
    "open_clip_torch": "3.3.0",
    "timm": "1.0.31",
    "numpy": "2.4.6",
    "pillow": "13.0.0"
  }
}
"""
"""The manifest of six images in shards of four, the third unreadable, as it was written when it was still a dict."""


def put(folder: Path, text: str = WRITTEN) -> Path:
    """The file, in a folder that is made for it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.json").write_text(text, encoding="utf-8")
    return folder


def test_a_store_of_before_is_complete_and_nothing_is_encoded_again(workspace: Workspace, reads: Reads) -> None:
    images, encoder = reads(6, unreadable=[2]), make_encoder()
    folder = put(workspace.store(images, encoder.spec))
    vectors = np.arange(15, dtype=np.float32).reshape(5, 3)
    for shard, (rows, size) in enumerate([(slice(0, 3), 675), (slice(3, 5), 660)]):
        vectors_file(folder, shard).parent.mkdir(exist_ok=True)
        metadata_file(folder, shard).parent.mkdir(exist_ok=True)
        np.save(vectors_file(folder, shard), vectors[rows])  # 128 bytes of header, 12 a row: 164 and 152
        metadata_file(folder, shard).write_bytes(bytes(size))
    (store,) = extract(images, [encoder], workspace)
    assert (encoder.encoded, store.written, store.lost, store.complete) == (0, 0, [], True)
    assert store.vectors().tolist() == vectors.tolist() and store.keys() == ["000", "001", "003", "004", "005"]
    assert store.rejected == [Rejected("002", "torn in two", 2)]
    (checked,) = verify_stores(workspace)
    assert (checked.encoder, checked.images, checked.shards, checked.complete) == ("test/means", "noise", 2, True)


def test_a_manifest_is_written_as_it_was_read(tmp_path: Path) -> None:
    before = put(tmp_path / "before")
    write_manifest(tmp_path / "after", read_manifest(before))
    assert (tmp_path / "after" / "manifest.json").read_text(encoding="utf-8") == WRITTEN


def test_an_encoder_of_another_layout_is_kept_as_it_is(tmp_path: Path) -> None:
    content = json.loads(WRITTEN)
    mean = content["encoder"].pop("mean")
    content["encoder"] |= {"image_input": {"mean": mean}, "weights": "w"}
    folder = put(tmp_path, json.dumps(content))
    manifest = read_manifest(folder)
    assert manifest.encoder == content["encoder"] and manifest.encoder_name == "test/means:w"
    write_manifest(folder, manifest)
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8")) == content


def test_a_manifest_without_a_shard_is_no_longer_complete(tmp_path: Path) -> None:
    manifest = read_manifest(put(tmp_path))
    less = manifest.without([1, 7])
    assert (list(less.shards), less.complete) == ([0], False)
    assert (list(manifest.shards), manifest.complete) == ([0, 1], True)


@pytest.mark.parametrize(
    ("path", "value", "key"),
    [
        (("count",), -1, "count"),
        (("count",), True, "count"),
        (("count",), "6", "count"),
        (("shard_rows",), 0, "shard_rows"),
        (("count",), 4, "the top"),  # shard 1 would begin at the fifth of four rows
        (("shards", "0", "rows"), 3.5, "shards.0.rows"),
        (("shards", "0", "seconds", "read"), "0", "shards.0.seconds.read"),
        (("shards", "0", "rejected", 0, "row"), [2], "shards.0.rejected.0.row"),
        (("shards", "0", "sha256"), None, "shards.0.sha256"),
        (("complete",), "yes", "complete"),
        (("encoder",), [1], "encoder"),
    ],
)
def test_a_damaged_manifest_says_where(tmp_path: Path, path: tuple[Any, ...], value: object, key: str) -> None:
    content = json.loads(WRITTEN)
    place = content
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(EmbprobeError, match=r"manifest\.json' is damaged\. Remove the folder") as damage:
        read_manifest(put(tmp_path, json.dumps(content)))
    assert f"is damaged at '{key}':" in str(damage.value.__cause__)


def test_a_manifest_of_another_schema_need_have_no_other_key(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="was written with schema 3; this embprobe reads 2"):
        read_manifest(put(tmp_path, '{"schema": 3}'))


def test_names_that_are_no_text_are_read_as_they_were_and_those_of_rows_can_be_printed(tmp_path: Path) -> None:
    content = json.loads(WRITTEN)
    content["images"] = content["encoder"]["weights"] = "\udce9"
    content["shards"]["0"]["rejected"][0]["key"] = "\udce9.png"
    manifest = read_manifest(put(tmp_path, json.dumps(content)))
    assert manifest.images == manifest.encoder["weights"] == "\udce9"
    assert manifest.shards[0].rejected[0].key == "\\xe9.png"
    write_manifest(tmp_path, manifest)
    assert isinstance(read_manifest(tmp_path), Manifest)
