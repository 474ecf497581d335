"""Labels that folders and files name."""

from __future__ import annotations

import pytest

from embprobe.images.paths import path_labels, split_named


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *[("train", "train"), ("Training", "train"), ("train-00000-of-00002", "train"), ("train_1", "train")],
        *[("val", "validation"), ("VALID", "validation"), ("dev", "validation"), ("validation.2", "validation")],
        *[("test", "test"), ("test2", "test"), ("eval", "test"), ("testing-set", "test")],
        *[("trains", None), ("testament", None), ("latest", None), ("", None), ("-train", None), ("0", None)],
    ],
)
def test_a_name_says_which_split(name: str, split: str | None) -> None:
    assert split_named(name) == split


def test_folders_are_category_and_path() -> None:
    assert path_labels([[], ["cat"], ["cat", "tabby"]]) == [
        {},
        {"category": "cat"},
        {"category": "cat", "folder": "cat/tabby"},
    ]


def test_folders_are_splits_only_where_every_image_is_in_one() -> None:
    assert path_labels([["train", "cat"], ["val"], ["test", "dog", "pug"]]) == [
        {"split": "train", "category": "cat"},
        {"split": "validation"},
        {"split": "test", "category": "dog", "folder": "test/dog/pug"},
    ]
    assert path_labels([["train", "red"], ["bus"]]) == [  # trains and buses
        {"category": "train", "folder": "train/red"},
        {"category": "bus"},
    ]
    assert path_labels([["train"], []]) == [{"category": "train"}, {}]
    assert path_labels([]) == []
