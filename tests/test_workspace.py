"""The workspace: never mistakes something else for itself, and every name is safe as a path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.workspace import SCHEMA, Workspace, slug
from tests.conftest import Reads, make_encoder, snapshot


def test_a_new_folder_becomes_a_workspace_and_an_old_one_is_opened_again(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "er"
    assert Workspace.open(root) == Workspace(root)
    assert json.loads((root / "embprobe.json").read_text()) == {"schema": SCHEMA}
    (root / "stores").mkdir()
    before = snapshot(root)
    assert Workspace.open(root) == Workspace(root)
    assert snapshot(root) == before


def test_an_empty_folder_becomes_a_workspace(tmp_path: Path) -> None:
    Workspace.open(tmp_path)
    assert (tmp_path / "embprobe.json").exists()


@pytest.mark.parametrize("schema", [0, SCHEMA + 1, "1", None])
def test_a_workspace_of_another_schema_is_refused_and_left_alone(tmp_path: Path, schema: object) -> None:
    (tmp_path / "embprobe.json").write_text(json.dumps({"schema": schema}))
    before = snapshot(tmp_path)
    with pytest.raises(EmbprobeError, match=rf"schema {schema}.*reads schema {SCHEMA}"):
        Workspace.open(tmp_path)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"1", b"{}", b"\xff\xfe"])
def test_a_damaged_mark_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "embprobe.json").write_bytes(content)
    before = snapshot(tmp_path)
    with pytest.raises(EmbprobeError, match=r"embprobe\.json' is damaged"):
        Workspace.open(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_folder_that_holds_other_things_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    before = snapshot(tmp_path)
    with pytest.raises(EmbprobeError, match=r"holds other things.*--workspace"):
        Workspace.open(tmp_path)
    assert snapshot(tmp_path) == before


def test_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("mine")
    with pytest.raises(EmbprobeError, match=r"is a file.*--workspace"):
        Workspace.open(path)
    assert path.read_text() == "mine"


def test_a_workspace_to_read_from_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="There is no workspace"):
        Workspace.open(tmp_path / "new", create=False)
    assert not (tmp_path / "new").exists()


def test_a_store_has_a_folder_of_its_own_for_every_encoder_and_every_set_of_rows(
    workspace: Workspace, reads: Reads
) -> None:
    images, spec = reads(3, name="a/b"), make_encoder().spec
    folder = workspace.store(images, spec)
    assert folder.parts[-3:] == ("stores", f"a_b-{images.fingerprint[:8]}", f"test_means-{spec.fingerprint[:8]}")
    others = {workspace.store(reads(4, name="a/b"), spec), workspace.store(images, replace(spec, resize_to=9))}
    assert len(others | {folder}) == 3


def test_a_slug_by_hand() -> None:
    assert slug("open_clip/ViT-B-16:my weights.pt") == "open_clip_ViT-B-16_my_weights.pt"
    assert slug("../../etc/passwd") == "etc_passwd"
    assert slug("...") == slug("") == slug("日本") == "unnamed"


@given(st.text())
@example("../..")
@example("a\0b\nc\\d:e")
@example("a" * 79 + ".b")  # cut after the dot
@example("a" * 500)
def test_a_slug_is_one_part_of_a_path_on_any_system(name: str) -> None:
    found = slug(name)
    assert found not in ("", ".", "..")
    assert not set(found) & set('/\\:*?"<>|\0\n ')
    assert not found.startswith(".") and not found.endswith(".")  # hidden here, refused on Windows
    assert len(found.encode()) <= 80
    assert PurePosixPath(found).parts == PureWindowsPath(found).parts == (found,)
