"""Labels beside an image: sidecars, values, keys."""

from __future__ import annotations

import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.images.labels import (
    MAX_SIDECAR_BYTES,
    as_label,
    labels_of,
    note_of,
    read_sidecar,
    unique,
    whole_numbers,
)
from embprobe.images.readers.folder import load_folder
from tests.conftest import make_encoder, noise


def test_a_text_is_the_caption_and_a_class_file_the_class() -> None:
    assert read_sidecar("txt", b"  a cat\non a mat \n") == {"caption": "a cat\non a mat"}
    assert read_sidecar("cls", b"7\n") == {"class": "7"}
    assert read_sidecar("txt", "\ufeffÉté".encode()) == {"caption": "Été"}
    assert read_sidecar("txt", b" \n") == {} == read_sidecar("cls", b"")


def test_a_text_in_another_encoding_is_read_as_far_as_it_goes() -> None:
    assert read_sidecar("txt", b"caf\xe9 noir") == {"caption": "caf\ufffd noir"}


def test_a_json_file_holds_labels_by_name_and_what_can_be_none_is_left_out() -> None:
    values = {
        "name": "tom",
        "age": 3,
        "weight": 4.5,
        "tame": True,
        "home": None,
        "kittens": ["a"],
        "owner": {},
        "": "x",
    }
    assert read_sidecar("json", json.dumps(values).encode("utf-8-sig")) == {
        "name": "tom",
        "age": "3",
        "weight": "4.5",
        "tame": "true",
    }


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"7", b'"x"', b"null", b'{"a": 1} {', b"[" * 100_000, b'{"a": ' + b"9" * 5000 + b"}", b"\xff"],
    ids=lambda content: content[:8].decode("latin-1"),
)
def test_a_json_file_that_is_no_object_is_a_value_error(content: bytes) -> None:
    with pytest.raises(ValueError):
        read_sidecar("json", content)


@pytest.mark.parametrize("extension", ["txt", "cls", "json"])
def test_a_sidecar_has_a_greatest_size(extension: str) -> None:
    largest = b'{"a": "long"' + b" " * (MAX_SIDECAR_BYTES - 13) + b"}"
    assert len(largest) == MAX_SIDECAR_BYTES
    assert read_sidecar(extension, largest)
    with pytest.raises(ValueError, match="too large"):
        read_sidecar(extension, largest + b" ")


@given(st.sampled_from(["txt", "cls", "json"]), st.binary(max_size=60))
def test_any_bytes_are_labels_or_a_value_error(extension: str, content: bytes) -> None:
    try:
        found = read_sidecar(extension, content)
    except ValueError:
        return
    assert all(isinstance(name, str) and isinstance(value, str) and value for name, value in found.items())


def test_labels_that_no_encoding_can_write_survive_extraction(tmp_path: Path, workspace: Workspace) -> None:
    """JSON may hold half a surrogate pair, as a value or a name; UTF-8, and so the store, cannot."""
    noise(0).save(tmp_path / "a.png")
    (tmp_path / "a.json").write_bytes(rb'{"value": "half \ud83d", "name \udc00": "x"}')
    noise(1).save(tmp_path / "b.png")
    (store,) = extract(load_folder(tmp_path), [make_encoder()], workspace)
    assert store.keys() == ["a.png", "b.png"]
    assert store.complete


def test_a_value_is_text_or_no_label() -> None:
    assert [as_label(value) for value in ("a", 0, -1, 2.5, True, False)] == ["a", "0", "-1", "2.5", "true", "false"]
    none: list[object] = ["", None, b"x", [], {}, (1,)]
    assert [as_label(value) for value in none] == [None] * 6
    assert labels_of({"a": 1, "b": None, "": 2}) == {"a": "1"}


def test_missing_numbers_and_times_are_no_labels_and_dates_are_text() -> None:
    missing: list[object] = [
        float("nan"),
        np.float32("nan"),
        Decimal("NaN"),
        pd.NaT,
        pd.NA,
        "nan",
        "NaN",
        "NaT",
        "<NA>",
    ]
    assert [as_label(value) for value in missing] == [None] * len(missing)
    moment = datetime(2026, 1, 31, 12)
    values: list[object] = [
        np.int64(3),
        np.float32(0.5),
        np.bool_(True),
        moment,
        moment.date(),
        Decimal("1.50"),
        "None",
    ]
    texts = ["3", "0.5", "true", "2026-01-31 12:00:00", "2026-01-31", "1.50", "None"]
    assert [as_label(value) for value in values] == texts


def test_a_json_file_has_neither_nan_nor_blobs() -> None:
    content = json.dumps({"nan": float("nan"), "imageData": "QUJD" * 300, "text": "word " * 300, "long": "a b " * 3000})
    assert read_sidecar("json", content.encode()) == {"text": "word " * 300}


@given(st.lists(st.one_of(st.none(), st.integers(-(10**9), 10**9)), min_size=1))
def test_whole_numbers_come_back_from_pandas(numbers: list[int | None]) -> None:
    floats = pd.Series(numbers, dtype="float64").tolist()
    texts = ["" if number != number else str(number) for number in floats]
    if None in numbers:
        assert [as_label(value) for value in whole_numbers(floats)] == [as_label(value) for value in numbers]
        assert [as_label(value) for value in whole_numbers(texts)] == [as_label(value) for value in numbers]
    else:
        assert whole_numbers(floats) == floats and whole_numbers(texts) == texts


def test_keys_that_came_before_are_numbered() -> None:
    assert unique(["a", "b", "a", "a"]) == ["a", "b", "a#2", "a#3"]
    assert unique(["a#2", "a", "a", "a#2"]) == ["a#2", "a", "a#3", "a#2#2"]


@given(st.lists(st.sampled_from(["a", "b", "a#2", "a#3", "a#2#2", ""]), max_size=12))
def test_no_two_keys_are_the_same_and_each_begins_as_it_was(keys: list[str]) -> None:
    found = unique(keys)
    assert len(set(found)) == len(found) == len(keys)
    assert all(new == old or new.startswith(f"{old}#") for new, old in zip(found, keys, strict=True))
    assert found[:1] == keys[:1]


def test_a_note_counts_and_names_the_first_few() -> None:
    assert note_of("odd file{s}", []) == ()
    assert note_of("odd file{s}", ["a"]) == ("1 odd file: a",)
    assert note_of("odd file{s}", ["a", "b", "c"]) == ("3 odd files: a, b, c",)
    assert note_of("odd file{s}", ["a\n", "b\x1b", "c", "d"] * 300) == ("1,200 odd files: a\\n, b\\x1b, c, …",)


def test_a_note_takes_any_name() -> None:
    (note,) = note_of("odd file{s}", ["caf\udce9", "half \ud83d"])
    assert note.encode("utf-8").startswith(b"2 odd files: caf\\xe9, half ")
