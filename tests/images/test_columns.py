"""Rows as columns are the rows they were made of, whatever is taken, joined, labelled or changed."""

from __future__ import annotations

import gc
import hashlib
import io
import pathlib
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embprobe.images import load_images
from embprobe.images.columns import Columns, Label, SourceAt, labels_of
from embprobe.images.rows import Images, Row
from embprobe.interventions import intervene
from tests.conftest import solid

TEXTS = st.text(st.characters(codec=None, exclude_categories=()), max_size=4)
"""With surrogates, as names of files have them that are no UTF-8."""


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    labels = st.dictionaries(st.sampled_from(["kind", "style", ""]), TEXTS)
    facts = draw(st.lists(st.tuples(TEXTS, labels, TEXTS), max_size=12))
    return [Row(key, own, content, source=lambda: solid((1, 2, 3))) for key, own, content in facts]


@given(rows())
def test_columns_are_the_rows_they_were_made_of(listed: list[Row]) -> None:
    columns = Columns.of(listed)
    assert list(columns) == listed and [columns[i] for i in range(len(listed))] == listed
    assert [row.source for row in columns] == [row.source for row in listed]
    assert columns == listed and columns != [*listed, Row("another", {}, "", source=lambda: b"")]
    with pytest.raises(IndexError):
        columns[len(listed)]


@given(rows(), st.slices(12))
def test_slices_are_those_of_a_list(listed: list[Row], part: slice) -> None:
    assert list(Columns.of(listed)[part]) == listed[part]


@given(rows(), st.data())
def test_rows_are_taken_and_joined_as_of_lists(listed: list[Row], data: st.DataObject) -> None:
    columns, places = (
        Columns.of(listed),
        st.lists(st.sampled_from(range(len(listed) or 1)), max_size=8 if listed else 0),
    )
    first, second = np.array(data.draw(places), np.int64), np.array(data.draw(places), np.int64)
    joined = Columns.joined([columns.take(first), columns.take(second)])
    assert list(joined) == [listed[i] for i in (*first, *second)]
    assert [row.source for row in joined] == [listed[i].source for i in (*first, *second)]


@given(rows(), st.lists(TEXTS, min_size=1, max_size=3))
def test_what_is_asked_of_columns_is_what_the_rows_say(listed: list[Row], wanted: list[str]) -> None:
    images = Images("some", listed)
    digest = hashlib.sha256()
    for row in listed:
        digest.update(f"{row.key}\0{row.content}\n".encode("utf-8", "surrogatepass"))
    assert images.fingerprint == digest.hexdigest()[:16]
    assert images.keys == [row.key for row in listed]
    assert images.label_names == sorted({name for row in listed for name in row.labels})
    for name in ("kind", "style", "", "none has it"):
        assert images.values(name) == [row.labels.get(name) for row in listed]
        assert images.has(name) == all(name in row.labels for row in listed)
        assert images.lacks(name) == (not any(name in row.labels for row in listed))
        assert images.lacking(name) == [i for i, row in enumerate(listed) if name not in row.labels]
    assert list(images.where(kind=wanted).rows) == [row for row in listed if row.labels.get("kind") in wanted]


def test_a_label_of_many_values_is_read_as_one_of_few() -> None:
    values = [None if i % 7 == 0 else f"caption {i % 70_000}" for i in range(140_000)]
    label = Label.of(values)
    assert label.all() == values and label.between(69_998, 70_003) == values[69_998:70_003]
    assert [label.at(i) for i in (0, 1, 139_999)] == [None, values[1], values[139_999]]
    assert np.flatnonzero(label.among(["caption 3"])).tolist() == [3, 70_003]
    assert label.or_else(Label.of(["x"] * 140_000)).between(0, 2) == ["x", "caption 1"]


def test_a_row_without_labels_among_others_has_none() -> None:
    columns = labels_of([{}, {"a": "1"}, {}, {"b": "2", "a": "1"}, {}])
    assert {name: label.all() for name, label in columns.items()} == {
        "a": [None, "1", None, "1", None],
        "b": [None, None, None, "2", None],
    }


def test_changes_are_made_in_their_order_and_planned_when_a_row_is_read() -> None:
    planned: list[str] = []

    def lighter(by: int) -> Callable[[Row], tuple[str, Callable[[Image.Image], Image.Image]]]:
        def change(row: Row) -> tuple[str, Callable[[Image.Image], Image.Image]]:
            planned.append(f"{row.key}+{by}")
            return f"+{by}", lambda image: image.point(lambda value: value + by)

        return change

    images = Images("two", [Row(key, {}, key, source=lambda: solid((10, 20, 30))) for key in "ab"])
    both = images.map("a", lighter(1)).map("b", lighter(100)).take([1])
    assert planned == ["a+1", "b+1", "a+100", "b+100"]
    planned.clear()
    (row,) = both.rows
    assert (row.key, row.content, planned) == ("b", "b|+1|+100", [])
    assert row.load().getpixel((0, 0)) == (111, 121, 131) and sorted(planned) == ["b+1", "b+100"]


def test_rows_of_two_folders_are_read_from_their_own(tmp_path: Path) -> None:
    for name, color in (("a", (255, 0, 0)), ("b", (0, 255, 0))):
        (tmp_path / name).mkdir()
        solid(color).save(tmp_path / name / "x.png")
    a, b = (load_images(str(tmp_path / name)) for name in "ab")
    mixed = Images("mixed", [*b.rows, *a.rows, *b.rows])
    assert all(isinstance(row.source, SourceAt) for row in mixed.rows)
    assert [row.load().getpixel((0, 0)) for row in mixed.rows] == [(0, 255, 0), (255, 0, 0), (0, 255, 0)]
    joined = Images.joined("joined", [a, b, a.take([])])
    assert [row.load().getpixel((0, 0)) for row in joined.rows] == [(255, 0, 0), (0, 255, 0)]


def test_rows_of_one_set_have_one_limit() -> None:
    row = Row("a", {}, "a", source=lambda: solid((0, 0, 0)))
    with pytest.raises(ValueError, match="one limit"):
        Images("two", [row, replace(row, key="b", max_pixels=5)])


COUNT = 5_000


def folder_of(path: Path, picture: bytes) -> Path:
    for i in range(20):
        (path / f"category{i:02}").mkdir(parents=True)
    first = path / "category00" / "first.png"
    first.write_bytes(picture)
    for i in range(COUNT - 1):
        (path / f"category{i % 20:02}" / f"{i:09}.png").hardlink_to(first)
    return path


def tar_of(path: Path, picture: bytes) -> Path:
    with tarfile.open(path.with_suffix(".tar"), "w") as archive:
        for i in range(COUNT):
            member = tarfile.TarInfo(f"category{i % 20:02}/{i:09}.png")
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
    return path.with_suffix(".tar")


def table_of(path: Path, picture: bytes) -> Path:
    columns = {
        "image": [picture] * COUNT,
        "key": [f"{i:09}" for i in range(COUNT)],
        "category": [f"category{i % 20:02}" for i in range(COUNT)],
        "style": [f"style{i % 3}" for i in range(COUNT)],
    }
    pq.write_table(pa.table(columns), path.with_suffix(".parquet"), row_group_size=1000)
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("make", [folder_of, tar_of, table_of])
def test_a_row_takes_150_bytes_and_a_change_no_object(make: Callable[[Path, bytes], Path], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    solid((9, 9, 9)).save(buffer, "PNG")
    place = str(make(tmp_path / "many", buffer.getvalue()))
    load_images(place)  # what is imported and cached once

    def taken() -> float:
        gc.collect()
        # the process's table of names, which pathlib fills, grows by megabytes now and then
        ours = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
        return float(sum(trace.size for trace in ours.traces) + pa.total_allocated_bytes())

    tracemalloc.start()
    try:
        before = taken()
        images = load_images(place)
        rows_take = (taken() - before) / COUNT
        before = taken()
        words = intervene(images, "word-neutral", 0.5, seed=0)
        change_takes = (taken() - before) / COUNT
    finally:
        tracemalloc.stop()
    assert len(words) == COUNT and words.has("word")
    assert 30 < rows_take < 150
    assert change_takes < 30
