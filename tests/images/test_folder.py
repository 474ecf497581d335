"""A folder of images, tidy or hostile."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.extraction import extract
from embprobe.images.decoding import UnreadableImage
from embprobe.images.folder import load_file, load_folder
from embprobe.images.rows import Row
from embprobe.workspace import Workspace
from tests.conftest import encoded, make_encoder, noise, solid

PNG = encoded(solid((255, 0, 0)), "PNG")


def put(folder: Path, *names: str | bytes) -> Path:
    """Makes these image files in a folder."""
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    return folder


def reason(row: Row) -> str | None:
    """Why a row cannot be read; None if it can."""
    try:
        row.load()
    except UnreadableImage as error:
        return str(error)
    return None


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
