"""Writing files whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from embprobe.files import replacing, write_json


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
