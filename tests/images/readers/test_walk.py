"""The walk that every reader of a folder makes: not into own output, along links, never in circles."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.embeddings.workspace import Workspace
from embprobe.errors import UsageError
from embprobe.images.readers.folder import NoImages, load_folder
from embprobe.images.readers.walk import Walk
from tests.conftest import encoded, solid

PNG = encoded(solid((255, 0, 0)), "PNG")


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PNG)
    return folder


def link(path: Path, target: Path | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target, target_is_directory=True)


def walked(folder: Path) -> tuple[list[str], tuple[str, ...]]:
    walk = Walk(folder)
    return sorted(Path(parent, name).relative_to(folder).as_posix() for parent, name in walk.files()), walk.notes()


# --- own output ------------------------------------------------------------------------------------------------------


def test_a_workspace_below_is_passed_over_and_noted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "embprobe-workspace/figures/map.png", "sub/mine/figures/map.png")
    for name in ("embprobe-workspace", "sub/mine"):
        (tmp_path / name / "embprobe.json").write_text('{"schema": 1}')
    files, (note,) = walked(tmp_path)
    assert files == ["a.png"]
    assert note == "2 folders passed over, with output of embprobe: embprobe-workspace, sub/mine"


def test_a_workspace_of_any_version_or_a_damaged_one_is_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "w/figures/map.png")
    for content in ("", "{", '{"schema": 99}'):
        (tmp_path / "w" / "embprobe.json").write_text(content)
        assert walked(tmp_path)[0] == ["a.png"]


def test_a_workspace_is_no_folder_of_images_nor_are_its_parts(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w").root
    put(workspace, "figures/map.png", "photos/a.png")
    with pytest.raises(UsageError, match=r"w' is a workspace of embprobe.*Give the folder of the images"):
        walked(workspace)
    for part in ("figures", "stores", "results", "pretrained"):
        (workspace / part).mkdir(exist_ok=True)
        with pytest.raises(UsageError, match=rf"w/{part}' is in a workspace of embprobe"):
            walked(workspace / part)
    assert walked(workspace / "photos")[0] == ["a.png"]  # a user's own folder beside them


def test_links_into_a_workspace_are_passed_over(tmp_path: Path) -> None:
    workspace = Workspace.open(tmp_path / "w").root
    put(workspace, "figures/map.png")
    put(tmp_path / "photos", "a.png")
    link(tmp_path / "photos" / "figures", workspace / "figures")
    link(tmp_path / "photos" / "all", workspace)
    files, (note,) = walked(tmp_path / "photos")
    assert files == ["a.png"]
    assert note.endswith(": all, figures")


def test_a_training_run_and_an_export_below_are_passed_over(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "run/losses.png", "export/data/0000/0.png")
    for name in ("recipe.json", "losses.csv"):
        (tmp_path / "run" / name).write_text("")
    (tmp_path / "export" / ".embprobe.json").write_text("{}")
    files, (note,) = walked(tmp_path)
    assert files == ["a.png"] and note.endswith(": export, run")
    assert walked(tmp_path / "export")[0] == ["data/0000/0.png"]  # named itself


def test_folders_of_systems_and_hidden_ones_are_passed_over(tmp_path: Path) -> None:
    hidden = ["@eaDir/a.png/thumb.png", "$RECYCLE.BIN/b.png", "lost+found/c.png", "__MACOSX/cat/._a.png", ".git/d.png"]
    put(tmp_path, "a.png", "._a.png", *hidden, "System Volume Information/e.png", "Thumbs.db", "desktop.ini")
    assert walked(tmp_path) == (["a.png"], ())


# --- links -----------------------------------------------------------------------------------------------------------


def test_classes_that_are_links_are_there(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "felis/a.png", "felis/deep/b.png", ".cache/canis/c.png")
    put(tmp_path / "photos", "bird/d.png")
    link(tmp_path / "photos" / "cat", tmp_path / "elsewhere" / "felis")
    link(tmp_path / "photos" / "dog", "../elsewhere/.cache/canis")
    images = load_folder(tmp_path / "photos")
    assert [(row.key, row.labels["category"]) for row in images.rows] == [
        *[("bird/d.png", "bird"), ("cat/a.png", "cat"), ("cat/deep/b.png", "cat"), ("dog/c.png", "dog")],
    ]
    assert len(images.notes) == 1  # the guess of the categories


def test_a_folder_is_read_once_under_its_own_name_else_under_its_first_link(tmp_path: Path) -> None:
    put(tmp_path / "elsewhere", "x/a.png")
    put(tmp_path / "photos", "z/b.png")
    link(tmp_path / "photos" / "a", "z")
    for name in ("y", "x"):
        link(tmp_path / "photos" / name, tmp_path / "elsewhere" / "x")
    files, (note,) = walked(tmp_path / "photos")
    assert files == ["x/a.png", "z/b.png"]
    assert re.fullmatch(r"2 folders or links passed over, because a folder is read once: a, y", note)


def test_links_back_up_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "secret.png", "photos/cat/a.png")
    link(tmp_path / "photos" / "up", "..")
    link(tmp_path / "photos" / "root", "/")
    link(tmp_path / "photos" / "self", ".")
    link(tmp_path / "photos" / "cat" / "photos", "..")
    files, (note,) = walked(tmp_path / "photos")
    assert files == ["cat/a.png"]
    assert note == "4 links back to a folder above, passed over: cat/photos, root, self, …"


def test_links_in_circles_cost_no_time(tmp_path: Path) -> None:
    """Twenty folders, each with links to all twenty: 20 ** 40 paths for a walk that follows each."""
    for i in range(20):
        put(tmp_path / "away", f"{i}/{i}.png")
        for j in range(20):
            link(tmp_path / "away" / str(i) / f"to-{j}", tmp_path / "away" / str(j))
    link(tmp_path / "photos" / "in", tmp_path / "away" / "0")
    started = time.monotonic()
    files, _ = walked(tmp_path / "photos")
    assert sorted(Path(file).name for file in files) == sorted(f"{i}.png" for i in range(20))
    assert time.monotonic() - started < 5


def test_a_link_that_leads_nowhere_may_have_been_a_class(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    link(tmp_path / "cat", tmp_path / "gone")
    link(tmp_path / "v1.0 dogs", tmp_path / "gone")
    link(tmp_path / "circle", tmp_path / "circle")
    assert walked(tmp_path)[1] == ("3 links to nowhere: cat, circle, v1.0 dogs",)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=12))
def test_however_links_lie_every_image_is_read_once(
    tmp_path_factory: pytest.TempPathFactory, links: list[tuple[int, int]]
) -> None:
    """Folders 0 to 2 lie in the root, 3 to 5 outside; what can be reached is read, once."""
    top = tmp_path_factory.mktemp("links")
    places = [top / "root" / str(i) for i in range(3)] + [top / "out" / str(i) for i in range(3, 6)]
    for i, place in enumerate(places):
        put(place, f"{i}.png")
    leads: dict[int, set[int]] = {i: set() for i in range(6)}
    for n, (source, target) in enumerate(links):
        link(places[source] / f"link{n}", top / "root" if target == 6 else places[target])
        leads[source] |= set() if target == 6 else {target}
    reached, queue = {0, 1, 2}, [0, 1, 2]
    while queue:
        new = leads[queue.pop()] - reached
        reached |= new
        queue += new
    files, _ = walked(top / "root")
    assert sorted(Path(file).name for file in files) == [f"{i}.png" for i in sorted(reached)]


# --- what is passed over ---------------------------------------------------------------------------------------------


def notes(folder: Path) -> list[str]:
    return [note for note in load_folder(folder).notes if "guessed" not in note]


def test_formats_that_are_not_read_are_counted_by_ending(tmp_path: Path) -> None:
    put(tmp_path, "a.png", *(f"{i}.CR2" for i in range(3)), "v.mp4", "sub/d.svg", "e.md", "f.pdf", ".h.svg")
    (note,) = notes(tmp_path)
    assert note == (
        "5 files passed over, of formats that are not read: .cr2 (3), .mp4 (1), .svg (1); the first is 0.CR2"
    )


def test_tars_tables_and_archives_among_images_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b.tar", "sub/c.parquet", "d.zip", "00000.parquet", "00000/e.png")
    archives, tables = notes(tmp_path)
    assert archives == "1 archive passed over, to be unpacked first: d.zip"
    assert tables.startswith("2 tars or parquet files passed over, because images lie around")
    assert tables.endswith(": b.tar, sub/c.parquet")


def test_images_without_a_known_ending_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "b", "c.jpg_large", "d.png.download", "e.png ", "f.md")
    (tmp_path / "g").write_bytes(b"BMP? no, a text")
    (tmp_path / "h").mkdir()
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for ever
    (note,) = notes(tmp_path)
    assert note.startswith("4 files passed over that would be images by their first bytes, but have no known ending")
    assert note.endswith(": b, c.jpg_large, d.png.download, …")


def test_a_million_files_without_an_ending_are_not_all_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.images.readers.passed._LOOKED_AT", 3)
    put(tmp_path, "a.png", *(f"{i}" for i in range(5)))
    (note,) = notes(tmp_path)
    assert note.startswith("3 files passed over") and "among the first 3 files of unknown endings: " in note


def test_a_folder_of_images_that_are_all_passed_over_says_so(tmp_path: Path) -> None:
    put(tmp_path, "a", "b.nef", "c.zip")
    with pytest.raises(NoImages, match=r"There are no images in .*1 file passed over.*b\.nef.*unpacked.*first bytes"):
        load_folder(tmp_path)
