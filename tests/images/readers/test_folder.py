"""A folder of images, tidy or hostile."""

from __future__ import annotations

import csv
import importlib
import io
import json
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.labels import MAX_SIDECAR_BYTES
from embprobe.images.readers.folder import load_file, load_folder
from embprobe.images.rows import Images
from tests.conftest import encoded, make_encoder, noise, reason, remarks, snapshot, solid

PNG = encoded(solid((255, 0, 0)), "PNG")


def put(folder: Path, *names: str | bytes) -> Path:
    """Makes these image files in a folder."""
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return folder


def keys(folder: Path) -> list[str]:
    return [row.key for row in load_folder(folder).rows]


def test_keys_are_relative_paths_in_their_order(photos: Path) -> None:
    found = load_folder(photos)
    assert found.name == "photos"
    assert [row.key for row in found.rows] == [
        *("bird/a.png", "bird/b.jpg"),
        *("cat/c.jpeg", "cat/d.png", "cat/e.webp"),
        *("dog/f.gif", "dog/g.bmp", "dog/h.tiff", "dog/i.JPG"),
    ]
    assert found.rows[1].load().size == (64, 48)


def test_the_first_subfolder_is_the_category(tmp_path: Path) -> None:
    put(tmp_path, "top.png", "cat/tabby/deep.png", "dog/a.png")
    labels = {row.key: dict(row.labels) for row in load_folder(tmp_path).rows}
    assert labels == {
        "top.png": {},
        "cat/tabby/deep.png": {"category": "cat", "folder": "cat/tabby"},
        "dog/a.png": {"category": "dog"},
    }


def test_other_files_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.png", ".hidden.png", ".git/b.png", "c.txt", "d.svg", "e.npy", "png", "f.png.part")
    assert keys(tmp_path) == ["a.png"]


def test_an_empty_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.txt")
    with pytest.raises(EmbprobeError, match=r"There are no images in '.*'\. Looked for .*\.jpg, .*, at any depth"):
        load_folder(tmp_path)


def test_a_loop_of_links_does_not_trap_the_walk(tmp_path: Path) -> None:
    put(tmp_path, "sub/a.png")
    (tmp_path / "sub" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert keys(tmp_path) == ["sub/a.png"]


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    put(tmp_path, "elsewhere/a.png", "images/b.png")
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "elsewhere" / "a.png")
    assert keys(tmp_path / "images") == ["b.png", "link.png"]


def test_a_pipe_a_loop_and_a_dangling_link_are_rows_that_say_why_they_cannot_be_read(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "folder.png/inside.png")
    os.mkfifo(tmp_path / "pipe.png")  # opening it would wait for ever
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    (tmp_path / "dangling.png").symlink_to(tmp_path / "gone.png")
    assert {row.key: reason(row) for row in load_folder(tmp_path).rows} == {
        "a.png": None,
        "folder.png/inside.png": None,
        "dangling.png": "No such file or directory",
        "pipe.png": "not a file (a pipe, a socket or a device)",
        "self.png": "Too many levels of symbolic links",
    }


def test_the_folder_may_be_given_as_a_dot(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos)
    assert load_folder(Path()).name == "photos"
    assert load_folder(Path()).fingerprint == load_folder(photos).fingerprint


def test_content_changes_when_the_file_is_written_anew(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    before = load_folder(tmp_path)
    (tmp_path / "a.png").write_bytes(PNG + b"\0")
    after = load_folder(tmp_path)
    assert before.rows[0].content != after.rows[0].content
    assert before.rows[1].content == after.rows[1].content
    assert before.fingerprint != after.fingerprint


def test_a_file_that_goes_away_is_unreadable_when_it_is_read(tmp_path: Path) -> None:
    rows = load_folder(put(tmp_path, "a.png")).rows
    (tmp_path / "a.png").unlink()
    with pytest.raises(UnreadableImage):
        rows[0].load()


def test_one_file_is_a_set_of_one_row(photos: Path) -> None:
    found = load_file(photos / "cat" / "d.png")
    assert (found.name, len(found), found.rows[0].key, dict(found.rows[0].labels)) == ("d.png", 1, "d.png", {})


def test_names_with_newlines_and_bytes_that_are_no_text_survive_extraction(
    tmp_path: Path, workspace: Workspace
) -> None:
    names = [b"kind\xff/two\nlines.png", b"caf\xe9.png", " space \u202e.png".encode(), b"$x$ <b>.png"]
    folder = put(tmp_path / "images", *names)
    for seed, name in enumerate(names):  # not all the same picture
        noise(seed).save(folder / os.fsdecode(name))
    encoder = make_encoder()
    rows = load_folder(folder)
    (store,) = extract(rows, [encoder], workspace)

    assert sorted(map(os.fsencode, store.keys())) == sorted(names)
    by_key = dict(zip(store.keys(), store.vectors(), strict=True))
    for seed, name in enumerate(names):
        mean = np.asarray(noise(seed)).mean((0, 1)) / 255
        assert by_key[os.fsdecode(name)] == pytest.approx(mean, abs=2 / 255)
    table = pq.read_table(store.folder / "metadata" / "metadata_00000.parquet").to_pydict()
    assert "caf\\xe9.png" in table["key"] and "kind\\xff" in table["category"]


def test_a_folder_whose_own_name_is_no_text_survives_extraction(tmp_path: Path, workspace: Workspace) -> None:
    folder = put(tmp_path / os.fsdecode(b"urlaub \xfc"), "a.png")
    (store,) = extract(load_folder(folder), [make_encoder()], workspace)
    assert store.keys() == ["a.png"]
    json.loads((store.folder / "manifest.json").read_text(encoding="utf-8"))


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_file_name_the_system_allows_is_a_key(start: bytes) -> None:
    name = b"_" + start.translate(None, b"/\0") + b".png"
    with tempfile.TemporaryDirectory() as folder:
        put(Path(folder), name)
        found = load_folder(Path(folder))
    assert [os.fsencode(row.key) for row in found.rows] == [name]
    assert len(found.fingerprint) == 16


# --- labels: folders, sidecars, metadata -------------------------------------------------------------------------


def labels(folder: Path) -> dict[str, dict[str, str]]:
    return {row.key: dict(row.labels) for row in load_folder(folder).rows}


def test_folders_named_for_splits_are_splits(tmp_path: Path) -> None:
    put(tmp_path, "train/cat/a.png", "Val/dog/b.png", "test/c.png", "train/cat/tabby/d.png")
    assert labels(tmp_path) == {
        "Val/dog/b.png": {"split": "validation", "category": "dog"},
        "test/c.png": {"split": "test"},
        "train/cat/a.png": {"split": "train", "category": "cat"},
        "train/cat/tabby/d.png": {"split": "train", "category": "cat", "folder": "train/cat/tabby"},
    }
    put(tmp_path, "more/e.png")
    assert labels(tmp_path)["train/cat/a.png"] == {"category": "train", "folder": "train/cat"}


def test_what_img2dataset_downloads_has_no_categories_and_traffic_signs_have(tmp_path: Path) -> None:
    """Both lie in folders of five digits; img2dataset writes a table and its statistics beside each."""
    for shard in ("00000", "00001"):
        put(tmp_path / "laion", f"{shard}/{shard}0000.jpg", f"{shard}/{shard}0001.jpg")
        (tmp_path / "laion" / f"{shard}_stats.json").write_text("{}")
        put(tmp_path / "signs", f"{shard}/00000_00000.jpg", f"{shard}/00000_00001.jpg")
    assert not any(labels(tmp_path / "laion").values())
    (note,) = load_folder(tmp_path / "laion").notes
    assert "no category, the folders are shards" in note
    assert {each["category"] for each in labels(tmp_path / "signs").values()} == {"00000", "00001"}


def test_what_a_detector_is_trained_on_has_splits_and_no_categories(tmp_path: Path) -> None:
    put(tmp_path, "images/train/a.jpg", "images/val/b.jpg")
    for box in ("labels/train/a.txt", "labels/val/b.txt"):
        (tmp_path / box).parent.mkdir(parents=True)
        (tmp_path / box).write_text("0 0.5 0.5 0.2 0.3\n")
    assert labels(tmp_path) == {"images/train/a.jpg": {"split": "train"}, "images/val/b.jpg": {"split": "validation"}}


def test_files_beside_an_image_are_its_labels(tmp_path: Path) -> None:
    put(tmp_path, "cat/a.png", "cat/b.jpg", "cat/c.d.png", "cat/e.png")
    for name, content in {
        "cat/a.txt": b"a cat\n",
        "cat/a.json": b'{"age": 3, "category": "tiger"}',
        "cat/b.txt": b"",
        "cat/c.d.txt": b"with a dot",
        "cat/c.txt": b"of nobody",
        "cat/e.cls": b"7",
        "a.txt": b"elsewhere",
    }.items():
        (tmp_path / name).write_bytes(content)
    assert labels(tmp_path) == {
        "cat/a.png": {"category": "tiger", "caption": "a cat", "age": "3"},
        "cat/b.jpg": {"category": "cat"},
        "cat/c.d.png": {"category": "cat", "caption": "with a dot"},
        "cat/e.png": {"category": "cat", "class": "7"},
    }
    elsewhere, dotted, without = remarks(load_folder(tmp_path))
    assert elsewhere == "1 sidecar not read: an image of that name lies in another folder: a.txt"
    assert dotted.startswith("1 sidecar not read: no image has the same name up to the last dot")
    assert dotted.endswith(": cat/c.txt")
    assert without == "1 image without a .txt, though most have one: cat/e.png"


def test_files_beside_an_image_are_its_labels_where_the_folder_is_given_as_a_dot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "a.txt").write_text("a red square")
    monkeypatch.chdir(tmp_path)
    assert load_folder(Path()).rows[0].labels == {"caption": "a red square"}


def test_sidecars_that_are_broken_are_noted_and_the_rest_is_read(tmp_path: Path) -> None:
    put(tmp_path, *(f"{name}.png" for name in "abcdef"))
    (tmp_path / "a.json").write_bytes(b"{")
    (tmp_path / "a.txt").write_bytes(b"still read")
    (tmp_path / "b.json").write_bytes(b'{"x": "' + b"y" * MAX_SIDECAR_BYTES + b'"}')
    (tmp_path / "c.json").symlink_to(tmp_path / "c.json")
    os.mkfifo(tmp_path / "d.json")  # opening it would wait for ever
    (tmp_path / "e.json").mkdir()
    (tmp_path / "f.json").write_bytes(b'{"good": 1}')
    images = load_folder(tmp_path)
    assert [dict(row.labels) for row in images.rows] == [{"caption": "still read"}, {}, {}, {}, {}, {"good": "1"}]
    (note,) = remarks(images)
    assert note.startswith("2 sidecars") and note.endswith(": a.json, b.json")


def test_images_of_kinds_that_are_not_read_are_noted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.PSD", "sub/c.jp2", "d.svg", "e.nef", "f.txt", "g.pdf", ".h.svg")
    orphan, note = remarks(load_folder(tmp_path))
    assert orphan == "1 sidecar without an image of that name: f.txt"
    assert note.startswith("4 files passed over, of formats that are not read: .") and "; the first is b.PSD" in note


def metadata(path: Path, lines: list[dict[str, Any]]) -> None:
    """A metadata file of the kind that its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(lines), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")
    else:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
        path.write_text(text.getvalue(), encoding="utf-8")


EVERY_KIND = pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])


@EVERY_KIND
def test_a_metadata_file_labels_the_images_around_it(tmp_path: Path, kind: str) -> None:
    put(tmp_path, "a.png", "cat/b.png", "cat/c.png", "dog/d.png")
    metadata(tmp_path / f"metadata.{kind}", [{"file_name": "a.png", "n": 1}, {"file_name": "cat/b.png", "n": 2}])
    metadata(tmp_path / "dog" / f"metadata.{kind}", [{"file_name": "d.png", "n": 3}, {"file_name": "gone.png", "n": 4}])
    images = load_folder(tmp_path)
    assert [dict(row.labels) for row in images.rows] == [
        {"n": "1"},
        {"category": "cat", "n": "2"},
        {"category": "cat"},
        {"category": "dog", "n": "3"},
    ]
    without, gone = remarks(images)
    assert without.startswith("1 image") and without.endswith(": cat/c.png")
    assert gone.startswith("1 line") and gone.endswith(": gone.png")


def test_text_survives_whatever_the_kind_of_metadata(tmp_path: Path) -> None:
    caption = 'a "cat", \u00e9t\u00e9,\nbird \U0001f426; '
    for kind in ("csv", "jsonl", "parquet"):
        put(tmp_path / kind, "a.png")
        metadata(tmp_path / kind / f"metadata.{kind}", [{"file_name": "a.png", "caption": caption, "none": None}])
        assert labels(tmp_path / kind) == {"a.png": {"caption": caption}}


@pytest.fixture
def imagefolder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[Path], dict[str, dict[str, str]]]]:
    """What Hugging Face's own reader says of a folder: by path, the labels as text, and the split."""
    library = importlib.import_module("datasets")
    monkeypatch.setattr(library.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(library.config, "HF_HUB_OFFLINE", True)
    library.disable_progress_bars()

    def read(folder: Path) -> dict[str, dict[str, str]]:
        found: dict[str, dict[str, str]] = {}
        for split, rows in library.load_dataset("imagefolder", data_dir=str(folder)).items():
            for row in rows.cast_column("image", library.Image(decode=False)):
                key = Path(row.pop("image")["path"]).relative_to(folder).as_posix()
                if "label" in rows.features and hasattr(rows.features["label"], "int2str"):
                    row["label"] = rows.features["label"].int2str(row["label"])
                found[key] = {"split": split} | {name: str(value) for name, value in row.items() if value is not None}
        return found

    yield read
    library.enable_progress_bars()


NAMES = ["cat/a.png", "cat/b.png", "dog/c.png", "dog/d d.png", "b\u00e4r/e.png"]
IMAGEFOLDER = Callable[[Path], dict[str, dict[str, str]]]


def test_folders_are_the_labels_that_imagefolder_gives(tmp_path: Path, imagefolder: IMAGEFOLDER) -> None:
    put(tmp_path / "plain", *NAMES, ".hidden.png", ".git/x.png")
    theirs = imagefolder(tmp_path / "plain")
    assert {key: each["label"] for key, each in theirs.items()} == {
        key: each["category"] for key, each in labels(tmp_path / "plain").items()
    }
    assert len(theirs) == len(NAMES)
    put(tmp_path / "split", *(f"{split}/{name}" for split in ("train", "test", "val") for name in NAMES))
    theirs = imagefolder(tmp_path / "split")
    assert {key: (each["split"], each["label"]) for key, each in theirs.items()} == {
        key: (each["split"], each["category"]) for key, each in labels(tmp_path / "split").items()
    }
    assert len(theirs) == 15


@EVERY_KIND
def test_metadata_are_the_labels_that_imagefolder_gives(tmp_path: Path, imagefolder: IMAGEFOLDER, kind: str) -> None:
    """One file above all images, or one in each folder; other images than those it names are not in theirs."""
    folder = put(tmp_path / "above", *NAMES)
    lines = [{"file_name": name, "text": f"no. {i}, \u00e9", "n": i, "x": i + 0.5} for i, name in enumerate(NAMES)]
    metadata(folder / f"metadata.{kind}", lines)
    theirs = {key: {**each, "split": ""} for key, each in imagefolder(folder).items()}
    ours = {key: {**each, "split": ""} for key, each in labels(folder).items()}
    assert {key: {**each, "category": key.split("/")[0]} for key, each in theirs.items()} == ours
    assert len(ours) == len(NAMES)

    folder = put(tmp_path / "within", *(f"{split}/{name}" for split in ("train", "test") for name in NAMES))
    for split in ("train", "test"):
        metadata(folder / split / f"metadata.{kind}", [line | {"text": split} for line in lines])
    theirs = imagefolder(folder)
    assert {key: {**each, "category": key.split("/")[1]} for key, each in theirs.items()} == labels(folder)
    assert len(theirs) == 10


# --- metadata that would do harm, or cannot be understood ---------------------------------------------------------

_opened: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None:
        _opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], str | bytes | os.PathLike) else "")


sys.addaudithook(_watch)  # it cannot be removed; it costs nothing while nobody watches


def files_opened(work: Callable[[], Images]) -> tuple[Images, list[str]]:
    global _opened
    _opened = []
    try:
        return work(), _opened
    finally:
        _opened = None


@EVERY_KIND
def test_names_in_metadata_that_lead_elsewhere_match_nothing_and_open_nothing(tmp_path: Path, kind: str) -> None:
    folder = put(tmp_path / "images", "a.png", "sub/b.png")
    put(tmp_path, "secret.png", "images.png")
    names = [
        *("../secret.png", "../../../../../../../../etc/passwd", "/etc/passwd", "sub/../../secret.png", "..", "/", "."),
        *(str(tmp_path / "secret.png"), str(folder / "a.png"), "/a.png", "//a.png", "file:///a.png", "http://x/a.png"),
        *("sub", "sub/", "a.png/..", "~/a.png", "*", "a.pn?", "C:\\a.png", "..\\secret.png", "a.png\n"),
    ]
    metadata(folder / f"metadata.{kind}", [{"file_name": name, "x": "1"} for name in [*names, "sub/./b.png"]])
    before = snapshot(tmp_path)
    images, opened = files_opened(lambda: load_folder(folder))
    by_key = {row.key: dict(row.labels) for row in images.rows}
    assert by_key.pop("sub/b.png") == {"category": "sub", "x": "1"}
    assert by_key == {"a.png": {}}
    assert any(note.startswith(f"{len(names)} lines") for note in images.notes)
    assert not [path for path in opened if "secret" in path or "passwd" in path or path.startswith("http")]
    assert snapshot(tmp_path) == before


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    put(tmp_path / "a", "a.png")
    (tmp_path / "a" / "metadata.csv").write_bytes(b"\xef\xbb\xbffile_name,x\r\na.png,1\r\n")
    put(tmp_path / "b", "a.png")
    (tmp_path / "b" / "metadata.jsonl").write_bytes(b'\xef\xbb\xbf{"file_name": "a.png", "x": 1}\n\n')
    assert labels(tmp_path / "a") == labels(tmp_path / "b") == {"a.png": {"x": "1"}}


def test_lines_that_are_too_short_or_too_long_give_what_has_a_name(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.png")
    (tmp_path / "metadata.csv").write_text("file_name,x,,y\na.png\nb.png,1,2,3,4,5\n")
    assert labels(tmp_path) == {"a.png": {}, "b.png": {}}  # which of five values is x, nobody knows
    short, long = remarks(load_folder(tmp_path))
    assert short == "1 line of metadata.csv with fewer values than columns: a.png"
    assert long.startswith("1 line of metadata.csv with more values than columns") and long.endswith(": b.png")


def test_a_null_byte_and_half_a_surrogate_pair_are_text_like_any_other(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    lines = rb"""
    {"file_name": "a.png", "x": "\u0000"}
    {"file_name": "b\u0000.png"}
    {"file_name": "half \ud83d.png"}
    """
    (tmp_path / "metadata.jsonl").write_bytes(lines)
    images = load_folder(tmp_path)
    assert [dict(row.labels) for row in images.rows] == [{"x": "\0"}]
    (note,) = remarks(images)
    assert note.startswith("2 lines") and note.encode("utf-8")


BROKEN = {
    "no name.csv": b"name,x\na.png,1\n",
    "a name missing.csv": b"file_name,x\na.png,1\n,2\n",
    "a column twice.csv": b"file_name,x,x\na.png,1,2\n",
    "the name twice.csv": b"file_name,file_name\na.png,b.png\n",
    "a huge field.csv": b"file_name,x\na.png," + b"x" * 200_000,
    "latin-1.csv": b"file_name,x\na.png,caf\xe9\n",
    "no JSON.jsonl": b'{"file_name": "a.png"}\n{"file_name": \n',
    "a list.jsonl": b'["a.png"]\n',
    "a number for a name.jsonl": b'{"file_name": 3}\n',
    "null for a name.jsonl": b'{"file_name": null}\n',
    "no name.jsonl": b'{"x": 1}\n',
    "deep.jsonl": b'{"file_name": "a.png", "x": ' + b"[" * 100_000 + b"\n",
    "a long number.jsonl": b'{"file_name": "a.png", "x": ' + b"9" * 5000 + b"}\n",
    "bytes.jsonl": b"\xff\xfe\0",
    "no parquet.parquet": b"PAR1 and no more",
    "empty.parquet": b"",
}


@pytest.mark.parametrize("name", BROKEN)
def test_metadata_that_is_not_right_is_an_error_that_names_the_file(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a.png", "b.png")
    file = tmp_path / f"metadata.{name.rpartition('.')[2]}"
    file.write_bytes(BROKEN[name])
    with pytest.raises(EmbprobeError, match=rf"'{file}' (is not right|cannot be read as metadata): \S"):
        load_folder(tmp_path)


def test_parquet_metadata_that_is_not_right_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    file, names = tmp_path / "metadata.parquet", pa.array(["a.png"])
    no_text = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())
    for table in (
        pa.table({"name": names}),
        pa.table({"file_name": [1]}),
        pa.table({"file_name": pa.array([None], pa.string())}),
        pa.table({"file_name": names, "x": no_text}),
        pa.Table.from_arrays([names, pa.array(["1"]), pa.array(["2"])], names=["file_name", "x", "x"]),
    ):
        pq.write_table(table, file)
        with pytest.raises(EmbprobeError, match=rf"'{file}' (is not right|cannot be read as metadata): \S"):
            load_folder(tmp_path)


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "metadata.parquet"])
def test_metadata_that_is_a_pipe_or_a_link_to_nowhere_is_an_error_and_not_waited_for(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a.png")
    (tmp_path / name).symlink_to(tmp_path / "gone")
    with pytest.raises(EmbprobeError, match=rf"{name}' cannot be read as metadata"):
        load_folder(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    raised: list[str] = []

    def load() -> None:
        try:
            load_folder(tmp_path)
        except EmbprobeError as error:
            raised.append(str(error))

    thread = threading.Thread(target=load, daemon=True)
    thread.start()
    thread.join(10)
    if thread.is_alive():
        os.close(os.open(tmp_path / name, os.O_WRONLY | os.O_NONBLOCK))  # let it go on, it has been waiting
        pytest.fail(f"{name} was opened")
    assert raised and name in raised[0]
