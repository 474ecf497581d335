"""What is fitted on is never tested, and each way of splitting says what it is."""

from __future__ import annotations

import numpy as np
import pytest

from embprobe.benchmarking.dataset import Dataset, dataset_of
from embprobe.benchmarking.split import Split, splits_of
from embprobe.embeddings.embedding_set import of_given
from embprobe.errors import EmbprobeError
from embprobe.images import Images
from embprobe.images.groups import choose_grouping
from embprobe.measures.folds import group_folds
from tests.benchmarking.planted import encoder, flowers


def split(dataset: Dataset, training: Split | None = None) -> list[Split]:
    embedded = of_given(dataset.images, [encoder("a", dataset, noise=0.1)])
    return list(splits_of(dataset, embedded, choose_grouping(dataset.images), seed=0, training=training))


def test_an_official_split_is_used_as_it_is() -> None:
    (only,) = split(flowers({"rose": 6, "iris": 4}))
    assert (only.name, only.kind, only.unit, only.notes) == ("train → test", "official", "image", ())
    assert only.fit.keys() == ["flowers/0", "flowers/2", "flowers/4", "flowers/6", "flowers/8"]
    assert only.test.keys() == ["flowers/1", "flowers/3", "flowers/5", "flowers/7", "flowers/9"]
    assert only.truth.tolist() == ["rose"] * 3 + ["iris"] * 2


def test_without_one_every_image_is_tested_once_by_the_other_folds() -> None:
    (only,) = split(flowers({"rose": 12, "iris": 9}, test=0))
    assert (only.name, only.kind, len(only.parts)) == ("5 folds over images", "folds", 5)
    assert sorted(np.concatenate([test for _, test in only.parts]).tolist()) == list(range(21))
    for fit, test in only.parts:
        assert not set(fit) & set(test) and len(fit) + len(test) == 21


def test_groups_stay_whole_in_folds() -> None:
    concepts = [f"{i // 2}" for i in range(24)]
    (only,) = split(flowers({"rose": 12, "iris": 12}, test=0, concept=concepts))
    assert only.unit == "concept"
    for fit, test in only.parts:
        assert not set(only.groups[fit]) & set(only.groups[test])


def test_a_class_with_one_image_is_left_out_of_folds_and_said() -> None:
    (only,) = split(flowers({"rose": 6, "iris": 6, "lily": 1}, test=0))
    assert set(only.truth) == {"rose", "iris"}
    assert only.notes == ("1 of 13 images have a category that no other image has, and are left out, first 'lily'",)


def test_classes_that_nothing_was_fitted_on_are_tested_and_said() -> None:
    dataset = flowers({"rose": 6, "iris": 6})
    keys = dataset.images.keys
    columns = {"category": dataset.images.values("category"), "split": dataset.images.values("split")}
    columns["category"][1] = "lily"  # the only one, and a test
    (only,) = split(dataset_of(Images.without_pictures("flowers", keys, columns)))
    assert only.notes == (
        "1 of 6 test images have a category that no image to fit on has, first 'lily': a classifier is wrong on them",
    )


def test_each_domain_is_tested_by_what_the_others_fitted() -> None:
    styles = ["photo", "sketch", "oil"] * 8
    images = flowers({"rose": 12, "iris": 12}, test=0, style=styles).images
    main, *domains = split(dataset_of(images, domains="style"))
    assert main.kind == "folds"
    assert [each.name for each in domains] == [f"{name}, fitted on the other styles" for name in sorted(set(styles))]
    for each, style in zip(domains, sorted(set(styles)), strict=True):
        assert set(each.test.label("style")) == {style} and style not in set(each.fit.label("style"))
        assert len(each.truth) == 8 and len(each.fit_labels) == 16


def test_another_set_is_tested_by_the_training_images_of_its_classes() -> None:
    (training,) = split(flowers({"rose": 6, "iris": 6, "lily": 6}, name="garden"))
    sketches = flowers({"rose": 3, "iris": 3}, test=0, name="sketches")
    (only,) = split(sketches, training)
    assert only.kind == "elsewhere" and set(only.fit_labels) == {"rose", "iris"} and len(only.fit_labels) == 6
    assert only.fit.rows.name == "garden" and only.test.rows.name == "sketches"
    strangers = flowers({"oak": 3, "elm": 3}, test=0, name="trees")
    with pytest.raises(EmbprobeError, match="'garden' and 'trees' share no two classes"):
        split(strangers, training)


def test_without_images_to_fit_on_all_are_tested_and_that_is_said() -> None:
    (only,) = split(flowers({"rose": 4, "iris": 1}, test=0))
    assert (only.name, len(only.fit_labels), len(only.truth)) == ("all images", 0, 5)
    assert only.notes == (
        "it has no official split, and too few images have a category that another image has: there is nothing to fit "
        "on",
    )


def test_folds_share_out_the_groups_of_each_label() -> None:
    labels = np.array(["a"] * 10 + ["b"] * 15)
    fold = group_folds([str(i) for i in range(25)], labels, seed=3)
    for value, count in (("a", 2), ("b", 3)):
        assert np.bincount(fold[labels == value], minlength=5).tolist() == [count] * 5
    with pytest.raises(EmbprobeError, match="5 folds need at least 5 groups of images; there are 2"):
        group_folds(["a", "b", "a"])
