"""JSON into models: what embprobe cannot have written is damage, with the file and the key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import Field

from embprobe.system.models import Count, DamagedFile, Number, Record, read_json, read_json_file


class Note(Record):
    count: Count
    share: Number = 0.0
    names: tuple[str, ...] = ()
    by_number: dict[int, str] = Field(default={}, alias="numbers")


@dataclass(frozen=True)
class Facts:
    note: Note


def put(folder: Path, content: str | bytes) -> Path:
    path = folder / "note.json"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_file_becomes_a_model_or_a_dataclass(tmp_path: Path) -> None:
    path = put(tmp_path, '{"count": 3, "share": 1, "names": ["a"], "numbers": {"7": "b"}, "later": 0}')
    assert read_json_file(Note, path) == Note(count=3, share=1.0, names=("a",), numbers={7: "b"})
    assert read_json_file(Facts, put(tmp_path, '{"note": {"count": 0}}')) == Facts(Note(count=0))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "Expecting value"),
        ("{", "Expecting property name"),
        (b"\xff\xfe", "'utf-8' codec"),
        ("[]", "valid dictionary"),
        ("null", "valid dictionary"),
        ('{"count": NaN}', "NaN is no number of JSON"),
        ('{"count": -Infinity}', "-Infinity is no number of JSON"),
        ('{"count": 1e999}', "1e999 is no number of JSON"),
        ('{"count": %s}' % ("9" * 5_000), "limit"),
        ("[" * 100_000, "recursion"),
        ('{"a": ' + "[" * 300 + "]" * 300 + "}", "Recursion"),
    ],
)
def test_what_is_no_object_in_json_is_damaged(tmp_path: Path, content: str | bytes, reason: str) -> None:
    path = put(tmp_path, content)
    with pytest.raises(DamagedFile, match=f"^'{path}' is damaged: .*{reason}"):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("{}", "count': this key is missing"),
        ('{"count": "1"}', "count': Input should be a valid integer"),
        ('{"count": true}', "count': Input should be a valid integer"),
        ('{"count": 1.0}', "count': Input should be a valid integer"),
        ('{"count": -1}', "count': Input should be greater than or equal to 0"),
        ('{"count": 1, "share": "0"}', "share': Input should be a valid number"),
        ('{"count": 1, "share": 1%s}' % ("0" * 400), "share': Input should be a valid number"),
        ('{"count": 1, "names": "ab"}', "names': Input should be a valid tuple"),
        ('{"count": 1, "names": ["a", 1]}', "names.1': Input should be a valid string"),
        ('{"count": 1, "numbers": {"x": "a"}}', r"numbers.x.\[key\]': Input should be a valid integer"),
    ],
)
def test_a_wrong_value_is_named_with_its_key(tmp_path: Path, content: str, key: str) -> None:
    path = put(tmp_path, content)
    with pytest.raises(DamagedFile, match=f"^'{path}' is damaged at '{key}"):
        read_json_file(Note, path)


def test_half_a_surrogate_pair_is_text(tmp_path: Path) -> None:
    path = put(tmp_path, '{"count": 1, "names": ["\\ud800"]}')
    assert read_json_file(Note, path).names == ("\ud800",)


def test_a_file_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "gone.json")
    with pytest.raises(IsADirectoryError):
        read_json(tmp_path)
