"""The workspace: never mistakes something else for itself, and every name is safe as a path."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

import embprobe.encoders
from embprobe.embeddings.workspace import SCHEMA, Workspace, distinct_slug, slug
from embprobe.encoders import ImageInput, load_encoder
from embprobe.encoders.spec import TokenGrid
from embprobe.errors import EmbprobeError
from embprobe.images import load_images
from tests.conftest import Reads, changed, make_encoder, noise, snapshot


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


def test_a_workspace_that_is_being_made_or_was_killed_while_it_was_is_no_other_thing(tmp_path: Path) -> None:
    (tmp_path / ".embprobe.4194305.tmp.json").write_text('{"sch')  # as embprobe.system.files.replacing() calls it
    assert Workspace.open(tmp_path) == Workspace(tmp_path)
    assert json.loads((tmp_path / "embprobe.json").read_text()) == {"schema": SCHEMA}


def test_a_folder_with_nothing_but_what_systems_leave_there_is_empty(tmp_path: Path) -> None:
    """A new volume of Linux, Windows and macOS, and one on a Synology."""
    for name in ("lost+found", "System Volume Information", "$RECYCLE.BIN", "@eaDir", ".Trashes", ".git"):
        (tmp_path / name).mkdir()
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._embprobe"):
        (tmp_path / name).write_bytes(b"\0")
    assert Workspace.open(tmp_path) == Workspace(tmp_path)
    assert (tmp_path / ".DS_Store").exists()


@pytest.mark.parametrize("name", ["lost and found", "Thumbs", "DS_Store", "stores"])
def test_a_folder_with_anything_else_is_not_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / ".DS_Store").touch()
    (tmp_path / name).touch()
    with pytest.raises(EmbprobeError, match="holds other things"):
        Workspace.open(tmp_path)


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
    others = {workspace.store(reads(4, name="a/b"), spec), workspace.store(images, changed(spec, resize_to=9))}
    assert len(others | {folder}) == 3


# --- what makes another store ------------------------------------------------------------------------------------

SPEC = make_encoder(weights_sha256="0" * 64).spec
CHANGES: dict[str, Any] = {
    "family": "other",
    "model": "other",
    "weights_sha256": "1" * 64,
    "pooling": "cls",
    "input_size": 5,
    "resize": "squash",
    "resize_to": 5,
    "interpolation": "bicubic",
    "mean": (0.0, 0.0, 0.1),
    "std": (1.0, 1.0, 1.1),
    "dimension": 4,
    "has_text": True,
    "precision": "bfloat16",
    "decoding": "fast",
    "max_pixels": 5,
    "layer": 2,
    "norm": "last",
    "tokens": TokenGrid(prefix=1, rows=2, columns=2),
    "stored": "float16",
}
NAMES: dict[str, Any] = {"weights": "other.safetensors", "options": "pooling=none"}


def test_every_field_of_a_spec_is_a_choice_or_a_name() -> None:
    own = {each.name for each in fields(SPEC)} - {"image_input"}
    assert own | {each.name for each in fields(ImageInput)} == {*CHANGES, *NAMES}


@pytest.mark.parametrize("name", CHANGES)
def test_another_choice_is_another_store(workspace: Workspace, reads: Reads, name: str) -> None:
    images = reads(3)
    workspace.store(images, SPEC).mkdir(parents=True)
    other = workspace.store(images, changed(SPEC, **{name: CHANGES[name]}))
    assert other.parent == workspace.store(images, SPEC).parent and not other.exists()


@pytest.mark.parametrize("name", NAMES)
def test_another_name_is_the_same_store(workspace: Workspace, reads: Reads, name: str) -> None:
    images, folder = reads(3), workspace.store(reads(3), SPEC)
    folder.mkdir(parents=True)
    assert workspace.store(images, changed(SPEC, **{name: NAMES[name]})) == folder
    unhashed = changed(SPEC, weights_sha256="")  # where no weights are hashed, the name is all there is
    assert workspace.store(images, changed(unhashed, **{name: NAMES[name]})) != workspace.store(images, unhashed)


def test_images_are_known_again_in_a_folder_of_another_name(workspace: Workspace, photos: Path) -> None:
    folder = workspace.store(load_images(str(photos)), SPEC)
    folder.mkdir(parents=True)
    renamed = photos.rename(photos.with_name("renamed"))
    assert workspace.store(load_images(str(renamed)), SPEC) == folder
    assert folder.parent.name.startswith("photos-")  # as they were called when they were first met
    (renamed / "cat" / "c.txt").write_text("a cat")  # a label
    assert workspace.store(load_images(str(renamed)), SPEC) == folder


def rewritten(photos: Path) -> None:
    noise(99, (25, 26)).save(photos / "cat" / "d.png")


def touched(photos: Path) -> None:
    os.utime(photos / "cat" / "d.png", (1, 1))


def moved(photos: Path) -> None:
    (photos / "cat" / "d.png").rename(photos / "dog" / "d.png")


def removed(photos: Path) -> None:
    (photos / "cat" / "d.png").unlink()


def added(photos: Path) -> None:
    noise(99).save(photos / "cat" / "z.png")


@pytest.mark.parametrize("change", [rewritten, touched, moved, removed, added])
def test_other_images_are_another_store(workspace: Workspace, photos: Path, change: Callable[[Path], None]) -> None:
    folder = workspace.store(load_images(str(photos)), SPEC)
    folder.mkdir(parents=True)
    change(photos)
    assert workspace.store(load_images(str(photos)), SPEC).parent != folder.parent


def test_the_same_weights_in_a_file_of_another_name_are_the_same_encoder(
    workspace: Workspace, reads: Reads, tmp_path: Path
) -> None:
    bundled = Path(embprobe.encoders.__file__).parent / "bundled_weights" / "dino" / "model.safetensors"
    weights = load_file(bundled)
    save_file(weights, tmp_path / "copy.safetensors", {"vocabulary": "[]"})
    first = next(name for name, value in weights.items() if value.is_floating_point())
    save_file(weights | {first: weights[first] + 1e-3}, tmp_path / "other.safetensors", {"vocabulary": "[]"})
    images, specs = reads(3), {}
    for name in ("", f":{tmp_path / 'copy.safetensors'}", f":{tmp_path / 'other.safetensors'}"):
        for options in ("", ",precision=float32", ",precision=bfloat16"):
            specs[name[-16:] + options] = load_encoder(f"bundled/dino{name}{options}").spec
    workspace.store(images, specs[""]).mkdir(parents=True)
    folders = {name: workspace.store(images, spec).name[-8:] for name, spec in specs.items()}
    assert len(set(folders.values())) == 4  # two weights in two precisions
    same = ("", ",precision=float32", "copy.safetensors", "copy.safetensors,precision=float32")
    assert {folders[name] for name in same} == {folders[""]}


def test_a_slug_by_hand() -> None:
    assert slug("open_clip/ViT-B-16:my weights.pt") == "open_clip_ViT-B-16_my_weights.pt"
    assert slug("../../etc/passwd") == "etc_passwd"
    assert slug("...") == slug("") == slug("日本") == "unnamed"


def test_a_name_that_lost_nothing_stays_as_it_is() -> None:
    assert [distinct_slug(name) for name in ("map-71fd2fa7", "clip-1000-images-seed-0", "Kind")] == [
        "map-71fd2fa7", "clip-1000-images-seed-0", "Kind",
    ]  # fmt: skip
    assert distinct_slug("日本").startswith("unnamed-") and distinct_slug("日本") != distinct_slug("中国")
    for name in ("NUL", "con.png", "com1", "a.", "a ", "_a", "x" * 81, "mine-" + "x" * 80 + "-1234abcd"):
        assert re.fullmatch(r".+-[0-9a-f]{8}", distinct_slug(name))


@given(st.lists(st.text(), min_size=2, max_size=2, unique=True))
@example(["", "unnamed"])
@example(["a/b", "a_b"])
@example(["x" * 100 + "1", "x" * 100 + "2"])
@example(["\udce9", "\udcea"])
def test_two_names_have_two_slugs(names: list[str]) -> None:
    one, other = map(distinct_slug, names)
    assert one != other
    for found in (one, other):
        assert len(found) <= 80 and PureWindowsPath(found).parts == (found,) and not found.endswith(".")


def test_figures_and_results_have_paths_of_their_own(workspace: Workspace) -> None:
    names = ["neighbors-日本", "neighbors-中国", "neighbors-Ω", "neighbors-", "neighbors-a", "neighbors- a"]
    for path_of in (workspace.figure, workspace.results, workspace.pretrained):
        assert len({path_of(name) for name in names}) == len(names)
    assert workspace.figure("preview-text-1f431/noto").name == "preview-text-1f431_noto.png"


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
