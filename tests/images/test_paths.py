"""Labels that folders and files name: never at the cost of a class."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from embprobe.errors import UsageError
from embprobe.images.paths import GUESSED_LABELS, file_splits, parse_levels, path_labels, split_named


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[("train", "train"), ("Training", "train"), ("train2017", "train"), ("training_set", "train")],
        *[("val", "validation"), ("VALID", "validation"), ("dev", "validation"), ("validation", "validation")],
        *[("test", "test"), ("eval", "test"), ("testing-set", "test"), ("test_images", "test")],
        *[("train_freight", None), ("train_passenger", None), ("test-tubes", None), ("val.d'isere", None)],
        *[("dev board", None), ("train_1", None), ("test2", None), ("train0001", None), ("eval-2", None)],
        *[("trains", None), ("testament", None), ("latest", None), ("", None), ("-train", None), ("0", None)],
    ],
)
def test_a_folder_is_a_split_if_its_whole_name_is_one(name: str, split: str | None) -> None:
    assert split_named(name) == split


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["train"], ["train"]),
        (["train-00000-of-00002", "train-00001-of-00002"], ["train", "train"]),
        (["train-00000-of-00001-a09b74b3ef9c3b56", "test-00000-of-00001"], ["train", "test"]),
        (["train_1", "validation.2", "test-0007"], ["train", "validation", "test"]),
        (["data/train-000001", "data/test-000001"], ["train", "test"]),
        (["train/0000", "test/0000"], ["train", "test"]),
        (["mnist/validation/0000"], ["validation"]),
        (["train_freight"], [None]),
        (["train_freight", "train_passenger", "test-tubes"], [None, None, None]),
        (["train", "bus", "car"], [None, None, None]),
        (["train", "test", "more"], ["train", "test", None]),
        (["train/0000", "0001"], [None, None]),
        (["00000", "00001"], [None, None]),
        ([], []),
    ],
)
def test_a_file_is_of_a_split_if_nothing_but_a_number_follows(names: list[str], splits: list[str | None]) -> None:
    assert file_splits(names) == splits


def labels(folders: list[str], shards: set[str] | None = None) -> list[dict[str, str]]:
    """The labels of images in these folders, each written as a path."""
    return path_labels([name.split("/") if name else [] for name in folders], shards=shards or set()).labels


def values(folders: list[str], label: str = "category", shards: set[str] | None = None) -> list[str | None]:
    return [each.get(label) for each in labels(folders, shards)]


def test_folders_are_category_and_path() -> None:
    assert labels(["", "cat", "cat/tabby"]) == [{}, {"category": "cat"}, {"category": "cat", "folder": "cat/tabby"}]


def test_folders_are_splits_only_where_every_image_is_in_one() -> None:
    assert labels(["train/cat", "val", "test/dog/pug"]) == [
        {"split": "train", "category": "cat"},
        {"split": "validation"},
        {"split": "test", "category": "dog", "folder": "test/dog/pug"},
    ]
    assert labels(["train/red", "bus"]) == [  # trains and buses
        {"category": "train", "folder": "train/red"},
        {"category": "bus"},
    ]
    assert labels(["train", ""]) == [{"category": "train"}, {}]
    assert labels([]) == []
    assert labels(["train", "train"]) == [{"split": "train"}] * 2


def test_an_image_above_two_splits_leaves_them_splits() -> None:
    assert labels(["", "train/cat", "test/dog"]) == [
        {},
        {"split": "train", "category": "cat"},
        {"split": "test", "category": "dog"},
    ]


NAMED_LIKE_SPLITS = ["train_freight", "train_passenger", "test-tubes", "val.d'isere", "dev_boards", "eval 3"]


def test_classes_whose_names_begin_like_splits_stay_classes() -> None:
    assert labels(NAMED_LIKE_SPLITS) == [{"category": name} for name in NAMED_LIKE_SPLITS]


@given(st.lists(st.text(st.characters(blacklist_characters="/\0"), min_size=1), min_size=2, unique=True))
@example(["train", "bus"])
@example(["train", "trains"])
@example(["00000", "00001"])
@example(["images", "masks"])
@example(["2021", "2022"])
def test_several_folders_are_several_categories_unless_all_are_splits(names: list[str]) -> None:
    if all(map(split_named, names)):
        return
    assert labels(names) == [{"category": name} for name in names]


@given(st.lists(st.text(st.characters(blacklist_characters="/\0"), min_size=1), min_size=2, unique=True))
def test_classes_below_splits_are_all_there(names: list[str]) -> None:
    folders = [f"{split}/{name}" for split in ("train", "test") for name in names]
    assert values(folders) == names * 2
    assert values(folders, "split") == ["train"] * len(names) + ["test"] * len(names)


@pytest.mark.parametrize(
    ("folders", "categories", "splits"),
    [
        # unpacked archives: what holds everything divides nothing
        (["dataset/cat", "dataset/dog"], ["cat", "dog"], [None, None]),
        (["dogs-vs-cats/cat", "dogs-vs-cats/dog"], ["cat", "dog"], [None, None]),
        (["ILSVRC/Data/CLS-LOC/train/n01", "ILSVRC/Data/CLS-LOC/val/n02"], ["n01", "n02"], ["train", "validation"]),
        (["a/train/cat", "a/train/dog"], ["cat", "dog"], ["train", "train"]),
        (["cat", "cat"], ["cat", "cat"], [None, None]),  # nothing below it: its own name is all there is
        (["cat/mon", "dog/mon"], ["cat", "dog"], [None, None]),
        # YOLO and Roboflow, boxes in labels/
        (["images/train", "images/val"], [None, None], ["train", "validation"]),
        (["images", "images"], [None, None], [None, None]),
        (["train/images", "valid/images", "test/images"], [None] * 3, ["train", "validation", "test"]),
        # COCO, Kaggle, Tiny ImageNet, MVTec
        (["train2017", "val2017"], [None, None], ["train", "validation"]),
        (["train/train/cat", "train/train/dog", "test/test"], ["cat", "dog", None], ["train", "train", "test"]),
        (["training_set/cats", "test_set/dogs"], ["cats", "dogs"], ["train", "test"]),
        (
            ["train/n01/images", "train/n02/images", "val/images"],
            ["n01", "n02", None],
            ["train", "train", "validation"],
        ),
        (
            ["bottle/train/good", "bottle/test/broken", "cable/train/good"],
            ["bottle"] * 2 + ["cable"],
            ["train", "test", "train"],
        ),
    ],
)
def test_known_layouts(folders: list[str], categories: list[str | None], splits: list[str | None]) -> None:
    assert values(folders) == categories
    assert values(folders, "split") == splits


def test_shards_of_a_download_are_no_categories_and_numbered_classes_are() -> None:
    shards = ["00000", "00001", "00002"]
    assert values(shards, shards=set(shards)) == [None] * 3
    assert values(shards, shards={"00000", "00001"}) == [None] * 3  # the last was interrupted
    assert values(shards) == shards  # the German traffic signs have such classes
    assert values([f"laion/{shard}" for shard in shards], shards={f"laion/{shard}" for shard in shards}) == [None] * 3
    for classes in (["0", "1", "9"], ["000", "999"], ["0001", "0002"], ["00000", "1"], ["00000", "cat"]):
        assert values(classes, shards=set(classes)) == classes


# --- what a user says ------------------------------------------------------------------------------------------------


def test_named_levels_take_the_place_of_guesses() -> None:
    folders = [["train", "cat", "mon"], ["bus", "dog"], []]
    assert path_labels(folders, levels=["kind", "animal"]).labels == [
        {"kind": "train", "animal": "cat", "folder": "train/cat/mon"},
        {"kind": "bus", "animal": "dog"},
        {},
    ]
    assert path_labels(folders, levels=["-", "category"]).labels[0] == {"category": "cat", "folder": "train/cat/mon"}
    assert path_labels([["val", "cat"]], levels=["split", "-"]).labels == [{"split": "validation"}]
    assert path_labels(folders, levels=[]).labels == [{}, {}, {}]
    assert path_labels(folders, levels=["category"]).note == ""
    assert path_labels([["train"], ["test"]], levels=["category"]).labels == [
        {"category": "train"},
        {"category": "test"},
    ]


@pytest.mark.parametrize("levels", [["a", "a"], [""], ["a", ""]])
def test_levels_need_names_of_their_own(levels: list[str]) -> None:
    with pytest.raises(UsageError, match="need different names, '-' for a level that is no label"):
        path_labels([["x", "y", "z"]], levels=levels)


def test_levels_that_are_not_there_are_an_error_that_says_how_many_are() -> None:
    with pytest.raises(UsageError, match=r"as many folders as 'split,category' names: 2\. The most is 1\."):
        path_labels([["cat"], []], levels=["split", "category"])


def test_levels_as_they_are_typed() -> None:
    assert parse_levels("split, category") == ("split", "category")
    assert parse_levels("-,category") == ("-", "category")
    assert parse_levels("None") == ()
    assert parse_levels("") == ("",)  # refused by path_labels, like any empty name


# --- one line tells it -----------------------------------------------------------------------------------------------


def note(folders: list[str], shards: set[str] | None = None) -> str:
    return path_labels([name.split("/") if name else [] for name in folders], shards=shards or set()).note


def test_one_line_tells_what_was_guessed() -> None:
    assert note(["", ""]) == ""
    for folders, told in {
        ("train/cat", "train/dog", "val/cat"): "split (train 2, validation 1), category (2: cat, dog)",
        ("a", "b", "c", "d"): "category (4: a, b, c, …)",
        ("train2017", "val2017"): "split (train 1, validation 1), no category",
        ("images", "images"): "no category",
    }.items():
        assert note(list(folders)).startswith(GUESSED_LABELS) and told in note(list(folders))
        assert note(list(folders)).endswith("--folders names them otherwise")
    assert "below 'dataset'" in note(["dataset/cat", "dataset/dog"])
    assert "no category, the folders are shards of a download" in note(["00000", "00001"], {"00000", "00001"})
    assert "\x1b" not in note(["a\x1b[31m", "b\nc"]) and "\n" not in note(["a\x1b[31m", "b\nc"])
