"""Data sets of the hub, through the library ``datasets``; here, folders on this machine, which it loads alike."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.images.readers import huggingface
from embprobe.images.reading import Reading
from embprobe.images.sources import open_source
from tests.conftest import encoded, reason, solid

PNGS = [encoded(solid((i, 0, 0)), "PNG") for i in range(250)]


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """The library, without a network, and with a cache of its own."""
    found = importlib.import_module("datasets")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    found.disable_progress_bars()
    yield found
    found.enable_progress_bars()


def saved(library: Any, path: Path, features: dict[str, Any], **columns: Sequence[object]) -> Path:
    """A data set as the library writes it, in one parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    library.Dataset.from_dict(columns, features=library.Features(features)).to_parquet(str(path))
    return path


def pictures(n: int, first: int = 0) -> list[dict[str, Any]]:
    return [{"bytes": png, "path": None} for png in PNGS[first : first + n]]


def reds(images: Images) -> list[int]:
    return [row.read().getpixel((0, 0))[0] for row in images.rows]  # type: ignore[index]


def values(images: Images, label: str) -> list[str | None]:
    return [row.labels.get(label) for row in images.rows]


@pytest.fixture
def animals(library: Any, tmp_path: Path) -> Path:
    """Three images to train on and two to test on, two classes, one image without a class."""
    features = {
        "image": library.Image(),
        "label": library.ClassLabel(names=["cat", "dog"]),
        "n": library.Value("int32"),
    }
    folder = tmp_path / "animals" / "data"
    saved(library, folder / "train-00000-of-00001.parquet", features, image=pictures(3), label=[0, 1, 0], n=[7, 8, 9])
    saved(library, folder / "test-00000-of-00001.parquet", features, image=pictures(2, 3), label=[1, -1], n=[5, None])
    return tmp_path / "animals"


def test_all_splits_are_rows_with_the_names_of_their_classes(animals: Path) -> None:
    images = load_images(f"hf:{animals}")
    assert images.name == f"hf:{animals}"
    assert [row.key for row in images.rows] == ["train#0", "train#1", "train#2", "test#0", "test#1"]
    assert values(images, "split") == ["train"] * 3 + ["test"] * 2
    assert values(images, "label") == ["cat", "dog", "cat", "dog", "-1"]
    assert values(images, "n") == ["7", "8", "9", "5", None]
    assert reds(images) == [0, 1, 2, 3, 4]


def test_one_split_is_asked_for_by_name(animals: Path) -> None:
    images = load_images(f"hf:{animals}:test")
    assert (reds(images), values(images, "split")) == ([3, 4], ["test", "test"])
    with pytest.raises(EmbprobeError, match=r"'hf:.*:unseen' could not be loaded: .*unseen.*train.*test"):
        load_images(f"hf:{animals}:unseen")


def test_classes_stay_numbers_where_the_reader_asks_for_it(animals: Path) -> None:
    assert values(open_source(f"hf:{animals}", Reading(numbered="label")), "label") == ["0", "1", "0", "1", "-1"]


def test_loading_again_gives_the_same_rows_and_other_data_gives_others(library: Any, tmp_path: Path) -> None:
    path = saved(library, tmp_path / "a" / "train.parquet", {"image": library.Image()}, image=pictures(2))
    before = load_images(f"hf:{tmp_path}/a").fingerprint
    assert load_images(f"hf:{tmp_path}/a").fingerprint == before
    saved(library, path, {"image": library.Image()}, image=pictures(2, 5))
    after = load_images(f"hf:{tmp_path}/a")
    assert (after.fingerprint != before, reds(after)) == (True, [5, 6])


def test_images_are_read_a_hundred_at_a_time(library: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(library, tmp_path / "a" / "train.parquet", {"image": library.Image()}, image=pictures(250))
    reads: list[tuple[int, int]] = []
    real = huggingface._images

    def read(rows: Any, first: int, end: int, column: str) -> Any:
        reads.append((first, end))
        return real(rows, first, end, column)

    monkeypatch.setattr(huggingface, "_images", read)
    images = load_images(f"hf:{tmp_path}/a")
    assert reads == []
    assert reds(images) == list(range(250))
    assert reads == [(0, 100), (100, 200), (200, 250)]


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()], ids=str)
def test_plain_binary_columns_are_images_too(library: Any, tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "a").mkdir()
    pq.write_table(pa.table({"jpg": pa.array(PNGS[:3], kind), "cls": [0, 1, 0]}), tmp_path / "a" / "train.parquet")
    images = load_images(f"hf:{tmp_path}/a")
    assert (reds(images), values(images, "cls")) == ([0, 1, 2], ["0", "1", "0"])


def test_other_images_and_nested_columns_are_no_labels(library: Any, tmp_path: Path) -> None:
    features = {"image": library.Image(), "mask": library.Image(), "tags": library.List(library.Value("string"))}
    columns: dict[str, Sequence[object]] = {
        "image": pictures(3),
        "mask": pictures(3, 100),
        "tags": [["a"]] * 3,
        "name": list("abc"),
    }
    saved(library, tmp_path / "a" / "train.parquet", features | {"name": library.Value("string")}, **columns)
    images = load_images(f"hf:{tmp_path}/a")
    assert [dict(row.labels) for row in images.rows] == [{"split": "train", "name": name} for name in "abc"]
    assert reds(images) == [0, 1, 2]


def test_only_images_and_no_labels(library: Any, tmp_path: Path) -> None:
    saved(library, tmp_path / "a" / "train.parquet", {"image": library.Image()}, image=pictures(3))
    images = load_images(f"hf:{tmp_path}/a")
    assert [dict(row.labels) for row in images.rows] == [{"split": "train"}] * 3
    assert reds(images) == [0, 1, 2]


def test_a_column_called_split_or_key_is_what_it_says(library: Any, tmp_path: Path) -> None:
    text = library.Value("string")
    features = {"image": library.Image(), "key": text, "split": text}
    columns: dict[str, Sequence[object]] = {"image": pictures(3), "key": ["x", "y", "x"], "split": ["old", None, "new"]}
    saved(library, tmp_path / "a" / "train.parquet", features, **columns)
    images = load_images(f"hf:{tmp_path}/a")
    assert [row.key for row in images.rows] == ["x", "y", "x#2"]
    assert values(images, "split") == ["old", "train", "new"]


def test_a_path_instead_of_an_image_is_rejected_and_not_opened(library: Any, tmp_path: Path) -> None:
    (tmp_path / "there.png").write_bytes(PNGS[0])
    rows = [{"bytes": None, "path": str(tmp_path / "there.png")}, {"bytes": PNGS[1], "path": "x"}, None]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    (tmp_path / "a").mkdir()
    pq.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / "a" / "train.parquet")
    images = load_images(f"hf:{tmp_path}/a")
    assert [reason(row) for row in images.rows] == [
        "the table holds the path of an image, not the image",
        None,
        "empty",
    ]


def test_without_images_the_columns_are_named(library: Any, tmp_path: Path) -> None:
    saved(library, tmp_path / "a" / "train.parquet", {"text": library.Value("string")}, text=["a"])
    with pytest.raises(EmbprobeError, match=r"'hf:.*/a' has no column of images .*text \(string\)"):
        load_images(f"hf:{tmp_path}/a")


@pytest.mark.parametrize("name", ["owner/nosuch", "owner/nosuch/configuration", "owner/nosuch:train"])
def test_what_the_library_cannot_load_is_an_error_with_its_reason(library: Any, name: str) -> None:
    with pytest.raises(EmbprobeError, match=rf"'hf:{name}' could not be loaded: \S") as error:
        load_images(f"hf:{name}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", ":", ":train", "animals", "a/b/c/d", "/", "//datasets/owner/name"])
def test_a_name_that_is_none_of_the_hub_is_told_what_one_is(name: str) -> None:
    with pytest.raises(EmbprobeError):
        load_images(f"hf:{name}")


def test_a_configuration_is_the_third_part_of_the_name(library: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def load_dataset(path: str, configuration: str | None, *, split: str | None) -> None:
        asked.append((path, configuration, split))
        raise OSError("enough")

    monkeypatch.setattr(library, "load_dataset", load_dataset)
    for name in ("o/n", "o/n:test", "o/n/c", "o/n/c:test"):
        with pytest.raises(EmbprobeError, match="enough"):
            load_images(f"hf:{name}")
    assert asked == [
        ("o/n", None, None),
        ("o/n", None, "test"),
        ("o/n", "c", None),
        ("o/n", "c", "test"),
    ]


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UsageError, match=r"need the extra 'hf': pip install 'embprobe\[hf\]'"):
        load_images("hf:owner/name")


def test_a_folder_of_the_librarys_name_that_hides_it_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", ModuleType("datasets"))
    with pytest.raises(UsageError, match="A folder named 'datasets' hides the library"):
        load_images("hf:owner/name")
