"""Parquet files with a column of images."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.images.reading import Reading
from embprobe.images.sources import open_source
from tests.conftest import encoded, make_encoder, noise, reason, solid

PNGS = [encoded(solid((i, 0, 0)), "PNG") for i in range(12)]
STRUCT = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def table(n: int = 3, *, image: str = "image", **columns: Any) -> pa.Table:
    """``n`` images, image *i* with red *i*, and these columns."""
    return pa.table({image: pa.array(PNGS[:n], pa.binary()), **columns})


def parquet(path: Path, content: pa.Table, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, **options)
    return path


def load(path: Path | str) -> Images:
    return load_images(str(path))


def reds(images: Images) -> list[int]:
    return [row.read().getpixel((0, 0))[0] for row in images.rows]  # type: ignore[index]


def values(images: Images, label: str) -> list[str | None]:
    return [row.labels.get(label) for row in images.rows]


def with_features(content: pa.Table, features: object) -> pa.Table:
    """The table with this in the metadata that Hugging Face's library writes."""
    return content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def class_label(*names: object) -> dict[str, object]:
    return {"_type": "ClassLabel", "names": list(names)}


# --- which column ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), STRUCT], ids=str)
def test_images_are_a_binary_column_or_a_struct(tmp_path: Path, kind: pa.DataType) -> None:
    column = [{"bytes": png, "path": None} for png in PNGS[:3]] if kind == STRUCT else PNGS[:3]
    path = parquet(tmp_path / "t.parquet", pa.table({"anything": pa.array(column, kind)}))
    images = load(path)
    assert (images.name, [row.key for row in images.rows]) == ("t", ["t#0", "t#1", "t#2"])
    assert reds(images) == [0, 1, 2]


def test_of_several_columns_the_one_that_is_called_like_an_image_is_taken(tmp_path: Path) -> None:
    others = pa.array([b"x"] * 3, pa.binary())
    assert reds(load(parquet(tmp_path / "a.parquet", table(hash=others)))) == [0, 1, 2]
    assert reds(load(parquet(tmp_path / "b.parquet", table(image="jpg", z=others)))) == [0, 1, 2]
    struct = pa.array([{"bytes": png, "path": "x"} for png in PNGS[:3]], STRUCT)
    assert reds(load(parquet(tmp_path / "c.parquet", pa.table({"a": others, "b": struct})))) == [0, 1, 2]


def test_two_columns_that_could_be_it_and_none_are_errors_with_the_columns_there_are(tmp_path: Path) -> None:
    two = parquet(tmp_path / "two.parquet", pa.table({"a": PNGS[:2], "b": PNGS[:2]}))
    with pytest.raises(EmbprobeError, match=r"more than one column .*Its columns: a \(binary\), b \(binary\)\."):
        load(two)
    assert reds(open_source(str(two), Reading(image="b"))) == [0, 1]
    with pytest.raises(EmbprobeError, match=r"no column of images .*a \(binary\)"):
        open_source(str(two), Reading(image="c"))
    none = parquet(tmp_path / "none.parquet", pa.table({"url": ["http://a"], "size": [3]}))
    with pytest.raises(EmbprobeError, match=r"no column of images .*Its columns: url \(string\), size \(int64\)\."):
        load(none)


def test_no_rows_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(EmbprobeError, match="There are no rows in 't'"):
        load(parquet(tmp_path / "t.parquet", table(0)))


# --- labels ------------------------------------------------------------------------------------------------------


def test_every_column_of_text_numbers_or_truth_values_is_a_label(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["a", "", None]),
        "large": pa.array(["a", "b", "é"], pa.large_string()),
        "view": pa.array(["a", "b", "c"], pa.string_view()),
        "coded": pa.array(["x", None, "x"]).dictionary_encode(),
        "whole": pa.array([-1, None, 2**62]),
        "small": pa.array([0, 1, 255], pa.uint8()),
        "real": pa.array([0.5, None, -2.0]),
        "truth": pa.array([True, False, None]),
    }
    images = load(parquet(tmp_path / "t.parquet", table(**columns)))
    assert {name: values(images, name) for name in columns} == {
        "text": ["a", None, None],
        "large": ["a", "b", "é"],
        "view": ["a", "b", "c"],
        "coded": ["x", None, "x"],
        "whole": ["-1", None, "4611686018427387904"],
        "small": ["0", "1", "255"],
        "real": ["0.5", None, "-2.0"],
        "truth": ["true", "false", None],
    }


def test_nested_binary_and_other_columns_are_left_out(tmp_path: Path) -> None:
    columns = {
        "list": pa.array([["a"], [], None]),
        "struct": pa.array([{"x": 1}] * 3),
        "binary": pa.array([b"a"] * 3),
        "null": pa.nulls(3),
        "name": pa.array(["a", "b", "c"]),
    }
    images = load(parquet(tmp_path / "t.parquet", table(**columns)))
    assert [dict(row.labels) for row in images.rows] == [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    (note,) = images.notes
    assert note.startswith("3 columns left out") and note.endswith(
        "(list<element: string>), struct (struct<x: int64>), binary (binary)"
    )


def test_what_pandas_adds_is_no_label(tmp_path: Path) -> None:
    """Its index; NaN; and the decimal point that a missing value puts behind whole numbers."""
    frame = pd.DataFrame(
        {
            "image": PNGS[:3],
            "class": [3, None, 10],
            "score": [0.5, float("nan"), 2.0],
            "name": ["a", None, float("nan")],
        },
        index=[7, 8, 9],
    )
    frame.to_parquet(tmp_path / "t.parquet")
    assert "__index_level_0__" in pq.read_schema(tmp_path / "t.parquet").names
    assert [dict(row.labels) for row in load(tmp_path / "t.parquet").rows] == [
        {"class": "3", "score": "0.5", "name": "a"},
        {},
        {"class": "10", "score": "2.0"},
    ]


def test_whole_numbers_are_the_same_label_in_every_row_group_and_file(tmp_path: Path) -> None:
    """A value is missing in one row group only, and one file has integers."""
    parquet(tmp_path / "a.parquet", table(4, label=pa.array([1.0, 2.0, None, 3.0])), row_group_size=2)
    parquet(tmp_path / "b.parquet", table(1, label=pa.array([2])))
    assert values(load(tmp_path), "label") == ["1", "2", None, "3", "2"]
    parquet(tmp_path / "c" / "t.parquet", table(2, label=pa.array([1.0, 2.0])))
    assert values(load(tmp_path / "c"), "label") == ["1.0", "2.0"]  # none is missing: numbers with a point
    nan = with_features(table(3, label=pa.array([1.0, float("nan"), 0.0])), {"label": class_label("cat", "dog")})
    assert values(load(parquet(tmp_path / "d" / "t.parquet", nan)), "label") == ["dog", None, "cat"]


def test_dates_times_and_decimals_are_labels_as_text(tmp_path: Path) -> None:
    moment = dt.datetime(2026, 1, 31, 12, 0, 0, 500_000)
    columns = {
        "day": pa.array([moment.date(), None]),
        "at": pa.array([moment, None], pa.timestamp("us")),
        "second": pa.array([moment.replace(microsecond=0), None], pa.timestamp("ns")),
        "zone": pa.array([moment, None], pa.timestamp("ms", tz="No/Where")),
        "time": pa.array([moment.time(), None]),
        "price": pa.array([Decimal("1.50"), None]),
        "coded": pa.array([moment.date(), None]).dictionary_encode(),
    }
    first, second = load(parquet(tmp_path / "t.parquet", table(2, **columns))).rows
    assert second.labels == {}
    assert first.labels == {
        "day": "2026-01-31",
        "at": "2026-01-31 12:00:00.5",
        "second": "2026-01-31 12:00:00",
        "zone": "2026-01-31 12:00:00.5Z",
        "time": "12:00:00.500000",
        "price": "1.50",
        "coded": "2026-01-31",
    }


def test_blobs_and_vectors_are_no_labels_and_are_counted(tmp_path: Path) -> None:
    columns = {
        "thumb": ["QUJD" * 500, None],
        "article": ["word " * 3000, "short"],
        "text": ["word " * 300, ""],
        "vector": pa.array([[0.5, 1.0], None]),
    }
    images = load(parquet(tmp_path / "t.parquet", table(2, **columns)))
    assert [dict(row.labels) for row in images.rows] == [{"text": "word " * 300}, {"article": "short"}]
    assert images.notes == (
        "1 column left out: no text, numbers or dates: vector (list<element: double>)",
        "2 columns with values too long to be labels: thumb, article",
    )


def test_the_user_names_the_column_of_keys_and_the_labels(tmp_path: Path) -> None:
    path = str(parquet(tmp_path / "t.parquet", table(3, id=[5, 5, None], breed=["a", "b", "c"], age=[1, 2, 3])))
    images = load_images(path, key_column="id", labels=["category=breed"])
    assert [(row.key, dict(row.labels)) for row in images.rows] == [
        ("5", {"age": "1", "category": "a"}),
        ("5#2", {"age": "2", "category": "b"}),
        ("t#2", {"age": "3", "category": "c"}),
    ]
    assert dict(load_images(path, labels=["breed"]).rows[0].labels) == {"breed": "a"}
    with pytest.raises(
        UsageError, match=r"has no column 'ids'\. Did you mean 'id'\? Its columns: image \(binary\), id"
    ):
        load_images(path, key_column="ids")
    with pytest.raises(UsageError, match=r"no text or numbers in the column 'image'"):
        load_images(path, key_column="image")


def test_a_column_called_key_is_the_key_and_each_row_has_its_own(tmp_path: Path) -> None:
    images = load(parquet(tmp_path / "t.parquet", table(5, key=["x", "y", "x", None, "t#3"])))
    assert [row.key for row in images.rows] == ["x", "y", "x#2", "t#3", "t#3#2"]
    assert all("key" not in row.labels for row in images.rows)
    assert reds(images) == [0, 1, 2, 3, 4]


def test_names_of_columns_with_dots_are_names(tmp_path: Path) -> None:
    struct = pa.array([{"bytes": png, "path": None} for png in PNGS[:2]], STRUCT)
    content = pa.table({"image": struct, "image.path": ["a", "b"], "x.y": ["c", "d"], "x": pa.array([{"y": 1}] * 2)})
    images = load(parquet(tmp_path / "t.parquet", content))
    assert [dict(row.labels) for row in images.rows] == [
        {"image.path": "a", "x.y": "c"},
        {"image.path": "b", "x.y": "d"},
    ]
    assert reds(images) == [0, 1]


@pytest.mark.parametrize("names", [["image", "label", "label"], ["image", "image", "label"]])
def test_two_columns_of_one_name_are_an_error_that_names_it(tmp_path: Path, names: list[str]) -> None:
    columns = [pa.array(PNGS[:2]), pa.array(PNGS[:2] if names[1] == "image" else ["a", "b"]), pa.array(["c", "d"])]
    path = parquet(tmp_path / "t.parquet", pa.Table.from_arrays(columns, names=names))
    with pytest.raises(EmbprobeError, match=f"'{names[1]}'"):
        load(path)


def test_a_text_that_is_no_text_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    """Nobody checks, when a parquet file is written, that strings are UTF-8."""
    text = pa.Array.from_buffers(pa.string(), 2, pa.array([b"good", b"\xff\xfe"]).buffers())
    path = parquet(tmp_path / "t.parquet", table(2, label=text))
    with pytest.raises(EmbprobeError, match=r"t\.parquet"):
        load(path)


# --- classes -----------------------------------------------------------------------------------------------------


def test_numbers_of_classes_become_their_names(tmp_path: Path) -> None:
    content = with_features(
        table(5, label=pa.array([1, 0, -1, 2, None]), other=[0, 1, 0, 1, 0]), {"label": class_label("cat", "dog")}
    )
    images = load(parquet(tmp_path / "t.parquet", content))
    assert values(images, "label") == ["dog", "cat", "-1", "2", None]  # what is none of the classes stays a number
    assert values(images, "other") == ["0", "1", "0", "1", "0"]
    numbered = open_source(str(tmp_path / "t.parquet"), Reading(numbered="label"))
    assert values(numbered, "label") == ["1", "0", "-1", "2", None]


@pytest.mark.parametrize(
    "metadata",
    [
        "",
        "no JSON",
        "[" * 100_000,
        '{"info": ' * 50_000,
        "\x00",
        "null",
        "[]",
        '{"info": null}',
        '{"info": {"features": []}}',
        '{"info": {"features": {"label": null}}}',
        '{"info": {"features": {"label": {"names": null}}}}',
        '{"info": {"features": {"label": {"names": "ab"}}}}',
        '{"info": {"features": {"label": {"names": {"0": "a"}}}}}',
        '{"info": {"features": {"label": {"names": []}}}}',
        '{"info": {"features": {"label": {"names": [1, 2]}}}}',
        '{"info": {"features": {"label": {"names": ["a", null]}}}}',
        '{"info": {"features": {"label": {"names": ["a", ""]}}}}',
        '{"info": {"features": {"label": {"names": ["a", ["b"]]}}}}',
        '{"info": {"features": {"nosuch": {"names": ["a", "b"]}}}}',
        '{"info": {"features": {"label": {"names": ' + "9" * 5000 + "}}}}",
    ],
    ids=lambda metadata: metadata[:60] or "empty",
)
def test_metadata_that_is_not_right_names_no_classes(tmp_path: Path, metadata: str) -> None:
    content = table(2, label=[0, 1]).replace_schema_metadata({"huggingface": metadata})
    images = load(parquet(tmp_path / "t.parquet", content))
    assert values(images, "label") == ["0", "1"]
    assert reds(images) == [0, 1]


def test_class_names_that_no_encoding_can_write_survive_extraction(tmp_path: Path, workspace: Workspace) -> None:
    content = with_features(table(2, label=[0, 1]), {"label": class_label("half \ud83d", "whole")})
    (store,) = extract(load(parquet(tmp_path / "t.parquet", content)), [make_encoder()], workspace)
    assert store.complete and store.keys() == ["t#0", "t#1"]


def test_each_file_has_classes_of_its_own(tmp_path: Path) -> None:
    """Parts of one set, written at different times: the same number means what its own file says."""
    numbers = table(2, label=[0, 1])
    parquet(tmp_path / "a.parquet", with_features(numbers, {"label": class_label("cat", "dog")}))
    parquet(tmp_path / "b.parquet", with_features(numbers, {"label": class_label("dog", "cat")}))
    assert values(load(f"{tmp_path}/*.parquet"), "label") == ["cat", "dog", "dog", "cat"]


# --- images ------------------------------------------------------------------------------------------------------


def test_a_path_instead_of_an_image_is_rejected_and_not_opened(tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(PNGS[0])
    rows = [
        {"bytes": None, "path": str(tmp_path / "there.png")},
        {"bytes": PNGS[1], "path": str(tmp_path / "there.png")},
        {"bytes": None, "path": None},
        None,
        {"bytes": b"", "path": "x"},
    ]
    images = load(parquet(tmp_path / "t.parquet", pa.table({"image": pa.array(rows, STRUCT)})))
    assert [reason(row) for row in images.rows] == [
        "the table holds the path of an image, not the image",
        None,
        "empty",
        "empty",
        "empty",
    ]
    assert images.rows[1].source() == PNGS[1]


def test_no_image_and_what_is_none_are_unreadable(tmp_path: Path) -> None:
    column = pa.array([PNGS[0], None, b"", b"text"], pa.binary())
    images = load(parquet(tmp_path / "t.parquet", pa.table({"image": column})))
    assert [reason(row) for row in images.rows] == [None, "empty", "empty", "not an image in a known format"]


def test_an_image_that_is_too_large_is_unreadable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embprobe.images.decoding.MAX_BYTES", len(PNGS[0]))
    images = load(parquet(tmp_path / "t.parquet", pa.table({"image": [PNGS[0], PNGS[1] + bytes(10)]})))
    assert [str(reason(row)).split(" ")[0] for row in images.rows] == ["None", "larger"]


# --- row groups --------------------------------------------------------------------------------------------------


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, list[str]]]:
    """Every row group that is read from now on, and which columns."""
    found: list[tuple[int, list[str]]] = []
    real = pq.ParquetFile.read_row_group

    def read(self: Any, i: int, columns: list[str]) -> Any:
        found.append((i, list(columns)))
        return real(self, i, columns=columns)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", read)
    return found


def test_row_groups_are_read_one_at_a_time_labels_first(tmp_path: Path, groups: list[tuple[int, list[str]]]) -> None:
    names = [f"label {i}" for i in range(10)]
    images = load(parquet(tmp_path / "t.parquet", table(10, label=names), row_group_size=4))
    assert groups == [(0, ["label"]), (1, ["label"]), (2, ["label"])]
    groups.clear()
    assert reds(images) == list(range(10))
    assert values(images, "label") == names
    assert groups == [(0, ["image"]), (1, ["image"]), (2, ["image"])]
    groups.clear()
    assert [images.rows[i].read().getpixel((0, 0)) for i in (9, 8, 0, 3)] == [
        (9, 0, 0),
        (8, 0, 0),
        (0, 0, 0),
        (3, 0, 0),
    ]
    assert [group for group, _ in groups] == [0]  # the last was at hand


class Counting(MemoryFileSystem):  # type: ignore[misc]
    """Files in memory that count the bytes read from them."""

    protocol = "embprobe-counting"
    bytes_read = 0

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path.removeprefix(f"{cls.protocol}:/")))

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        class File(io.BytesIO):
            def read(self, *size: Any) -> bytes:
                found = super().read(*size)
                Counting.bytes_read += len(found)
                return found

        return File(super()._open(path, mode, **options).getvalue())


@pytest.fixture
def counting() -> Iterator[type[Counting]]:
    fsspec.register_implementation(str(Counting.protocol), Counting, clobber=True)
    Counting.bytes_read = 0
    yield Counting
    Counting.store.clear()


def test_labels_are_read_without_the_images(counting: type[Counting]) -> None:
    pictures = [encoded(noise(seed, (200, 200)), "PNG") for seed in range(12)]
    size = sum(map(len, pictures))
    buffer = io.BytesIO()
    content = pa.table({"image": pictures, "label": [str(i) for i in range(12)]})
    pq.write_table(content, buffer, row_group_size=3, compression="none", use_dictionary=False)
    Counting().pipe_file("/t.parquet", buffer.getvalue())
    images = load("embprobe-counting://t.parquet")
    assert values(images, "label") == [str(i) for i in range(12)]
    assert counting.bytes_read < size / 4
    counting.bytes_read = 0
    assert [row.source() for row in images.rows[:3]] == pictures[:3]
    assert size / 4 * 0.9 < counting.bytes_read < size / 2  # one of four row groups


# --- several files -----------------------------------------------------------------------------------------------


def test_files_of_a_pattern_are_one_set_and_keys_tell_them_apart(tmp_path: Path) -> None:
    parquet(tmp_path / "b" / "0.parquet", table(2, label=["c", "d"]))
    parquet(tmp_path / "a" / "0.parquet", table(3, label=["a", "b", "x"]), row_group_size=2)
    images = load(f"{tmp_path}/*/*.parquet")
    assert [row.key for row in images.rows] == ["a/0#0", "a/0#1", "a/0#2", "b/0#0", "b/0#1"]
    assert values(images, "label") == ["a", "b", "x", "c", "d"]
    assert reds(images) == [0, 1, 2, 0, 1]
    assert [row.key for row in load(tmp_path).rows] == [row.key for row in images.rows]


def test_the_name_of_a_file_says_which_split_unless_a_column_does(tmp_path: Path) -> None:
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001", "validation", "more"):
        parquet(tmp_path / f"{name}.parquet", table(1, label=["a"]))
    images = load(tmp_path)
    assert values(images, "split") == [None, "test", "train", "train", "validation"]
    own = load(parquet(tmp_path / "own" / "train.parquet", table(2, split=["unseen", None])))
    assert values(own, "split") == ["unseen", "train"]


def test_files_that_lack_a_column_are_named(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", table(1, label=["a"]))
    parquet(tmp_path / "b.parquet", table(1, other=["a"]))
    with pytest.raises(EmbprobeError, match=r"b\.parquet' lacks the column 'label' that '.*a\.parquet' has"):
        load(f"{tmp_path}/*.parquet")
    parquet(tmp_path / "b.parquet", pa.table({"picture": PNGS[:1], "label": ["a"]}))
    with pytest.raises(EmbprobeError, match=r"b\.parquet' lacks the column 'image'"):
        load(f"{tmp_path}/*.parquet")


def test_files_may_differ_in_the_order_and_the_types_of_their_columns(tmp_path: Path) -> None:
    parquet(tmp_path / "a.parquet", table(1, label=[1]))
    parquet(tmp_path / "b.parquet", pa.table({"more": ["x"], "label": ["one"], "image": PNGS[1:2]}))
    images = load(f"{tmp_path}/*.parquet")
    assert values(images, "label") == ["1", "one"]
    assert reds(images) == [0, 1]


def test_rows_are_stale_when_the_file_is_written_anew(tmp_path: Path) -> None:
    before = load(parquet(tmp_path / "t.parquet", table(3)))
    assert load(tmp_path / "t.parquet").fingerprint == before.fingerprint
    after = load(parquet(tmp_path / "t.parquet", table(3, label=["a", "b", "c"])))
    assert [row.key for row in after.rows] == [row.key for row in before.rows]
    assert after.fingerprint != before.fingerprint


# --- damage ------------------------------------------------------------------------------------------------------


def damaged_table() -> pa.Table:
    struct = pa.array([{"bytes": png, "path": None} for png in PNGS[:6]], STRUCT)
    coded = pa.array(["p", "q", "r"] * 2).dictionary_encode()
    content = pa.table({"image": struct, "label": [0, 1] * 3, "text": ["x", "y", "zä"] * 2, "coded": coded})
    return with_features(content, {"label": class_label("a", "b")})


def test_a_file_that_is_none_says_so(tmp_path: Path) -> None:
    whole = parquet(tmp_path / "whole.parquet", damaged_table()).read_bytes()
    broken = {
        "empty": b"",
        "text": b"no parquet file",
        "start": whole[:1000],
        "end": whole[-1000:],
        "tail": whole + b"x",
    }
    for name, content in broken.items():
        (tmp_path / f"{name}.parquet").write_bytes(content)
        with pytest.raises(EmbprobeError, match=rf"{name}\.parquet' cannot be read as parquet: "):
            load(tmp_path / f"{name}.parquet")


def test_a_file_that_breaks_after_it_was_loaded_makes_its_rows_unreadable(tmp_path: Path) -> None:
    path = parquet(tmp_path / "t.parquet", damaged_table(), row_group_size=2)
    changes: Mapping[str, bytes | None] = {
        "gone": None,
        "empty": b"",
        "cut": path.read_bytes()[:200],
        "zeros": bytes(9000),
    }
    for name, content in changes.items():
        parquet(path, damaged_table(), row_group_size=2)
        images = load(path)
        path.unlink() if content is None else path.write_bytes(content)
        said = reason(images.rows[-1])
        assert said is not None and said.count("t.parquet") <= 1, name


@pytest.mark.parametrize("options", [{}, {"compression": "none", "use_dictionary": False}], ids=["packed", "plain"])
def test_whatever_bytes_change_nothing_else_is_raised(tmp_path: Path, options: Mapping[str, Any]) -> None:
    """Anywhere, in the second half where the schema and the places of the columns are, or cut off."""
    path = parquet(tmp_path / "t.parquet", damaged_table(), row_group_size=2, **options)
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    readable = rejected = refused = 0
    for turn in range(800):
        content = bytearray(whole)
        if turn % 6 == 0:
            del content[rng.integers(len(whole)) :]
        else:
            for at in rng.integers(len(whole) // 2 * (turn % 2), len(whole), 1 + turn % 4):
                content[at] = rng.integers(256)
        path.write_bytes(content)
        try:
            images = load(path)
        except EmbprobeError:
            refused += 1
            continue
        reasons = [reason(row) for row in images.rows]
        readable += reasons.count(None)
        rejected += len(reasons) - reasons.count(None)
    assert min(readable, rejected, refused) > 30  # all three happened


def test_a_row_group_with_fewer_images_than_it_says_makes_the_others_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = load(parquet(tmp_path / "t.parquet", table(3)))
    real = pq.ParquetFile.read_row_group
    monkeypatch.setattr(pq.ParquetFile, "read_row_group", lambda self, i, columns: real(self, i, columns).slice(0, 1))
    assert None not in [reason(row) for row in images.rows[1:]]
