"""Writing files whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from embprobe.system.files import replacing, sweep, write_json


def test_the_new_file_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"  # until the block ends
        assert temporary.parent == path.parent and temporary.suffix == path.suffix
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupt_leaves_nothing_where_nothing_was(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "new" / "a.txt") as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []


def test_a_block_that_writes_nothing_is_an_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), replacing(path):
        pass
    assert path.read_text() == "old"


def test_json_is_indented_in_the_order_given_and_ends_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.json"
    write_json(path, {"b": 1, "a": "ä"})
    assert path.read_bytes() == '{\n  "b": 1,\n  "a": "ä"\n}\n'.encode()


@pytest.mark.parametrize("content", [float("nan"), [float("inf")], {"a": object()}])
def test_what_json_cannot_hold_is_refused_and_keeps_the_old_file(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.json"
    write_json(path, "old")
    with pytest.raises((ValueError, TypeError)):
        write_json(path, content)
    assert path.read_text() == '"old"\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("text", ["na\udcefve", "\ud800", "\udfff\ud800", 'ä "\udce9\\'])
def test_what_no_encoding_holds_is_an_escape_and_is_read_again(tmp_path: Path, text: str) -> None:
    write_json(tmp_path / "a.json", {"a": text, text: "b"})
    found = (tmp_path / "a.json").read_bytes().decode("utf-8")
    assert json.loads(found) == {"a": text, text: "b"}


def test_sweeping_removes_what_killed_processes_left_and_nothing_else(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.npy") as temporary:
        left = temporary.with_name(temporary.name.replace(str(os.getpid()), "4194305"))
        left.write_text("half")
        raise KeyboardInterrupt
    kept = ["a.npy", "a.tmp.npy", ".hidden", ".a.npy", "tmp", ".tmp", "b.4194305.tmp.npy"]
    for name in kept:
        (tmp_path / name).write_text("mine")
    sweep(tmp_path, "b")
    assert left.exists()
    sweep(tmp_path, "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    sweep(tmp_path / "nowhere")


def test_a_file_that_the_disk_refuses_leaves_the_old_one_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.json"
    write_json(path, "old")
    for owner, name in ((os, "fsync"), (os, "replace"), (Path, "write_text")):
        with monkeypatch.context() as patch, pytest.raises(OSError, match="No space left"):
            patch.setattr(owner, name, lambda *arguments, **options: full())
            write_json(path, "new")
        assert path.read_text() == '"old"\n' and list(tmp_path.iterdir()) == [path]
