"""The facts about images that decide which questions can be put to them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from embprobe.images import Images, load_images
from embprobe.images.material import Material, material_of
from tests.conftest import real_images


def photographs(name: str) -> Material:
    return material_of(real_images(f"{name}.parquet"))


def pets(categories: list[str], styles: list[str]) -> Material:
    keys = [str(i) for i in range(len(categories))]
    return material_of(Images.without_pictures("pets", keys, {"category": categories, "style": styles}))


def test_the_emoji_are_a_crossed_design_with_splits_and_transparent_backgrounds(emoji: Images) -> None:
    material = material_of(emoji)
    assert material.kind == "emoji"
    assert (material.images, material.has_pictures, material.transparent) == (9420, True, True)
    assert material.labels == {
        "category": 9,
        "concept": 1570,
        "family": 4,
        "keywords": 1286,
        "motif": 1032,
        "name": 1570,
        "split": 4,
        "style": 6,
    }
    assert material.splits == {"related": 850, "train": 5655, "unseen-concept": 1050, "unseen-drawing": 1865}
    assert (material.crossing, material.repeated_concepts) == ("crossed", True)
    assert material.grouping.label == "motif"


def test_one_split_of_the_emoji_has_no_official_test(emoji: Images) -> None:
    assert material_of(emoji.where(split="train")).splits == {}
    assert material_of(emoji.where(split="train")).kind == "emoji"


def test_pacs_crosses_seven_categories_with_four_styles() -> None:
    material = photographs("pacs-half")
    assert material.kind == "categories and styles"
    assert (material.labels, material.crossing) == ({"category": 7, "style": 4}, "crossed")
    assert (material.splits, material.transparent, material.repeated_concepts) == ({}, False, False)
    assert material.grouping.label == "image"
    assert material.facts() == [
        "1,525 images",
        "labels of all images, with the number of their values: category (7), style (4)",
        "each category is in two styles or more",
        "folded and resampled by image",
    ]


def test_cifar_10_has_categories_and_official_splits() -> None:
    material = photographs("cifar-10")
    assert material.kind == "categories"
    assert material.splits.keys() == {"test", "train"}
    assert sum(material.splits.values()) == material.images == 20_000
    assert (material.crossing, material.transparent) == ("none", False)


def test_one_image_a_class_has_as_many_categories_as_images() -> None:
    material = photographs("imagenet-one-each")
    assert material.kind == "categories"
    assert material.labels == {"category": 998, "synset": 1000}  # two cranes, two maillots
    assert material.splits == {}


def test_a_folder_without_subfolders_is_unlabelled(tmp_path: Path) -> None:
    for i in range(3):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.jpg")
    material = material_of(load_images(str(tmp_path)))
    assert material.kind == "unlabelled"
    assert material.facts() == [
        "3 images",
        "labels of all images, with the number of their values: none",
        "folded and resampled by image",
    ]


def test_one_category_is_as_good_as_none() -> None:
    material = pets(["cat", "cat"], ["photo", "sketch"])
    assert (material.kind, material.crossing) == ("unlabelled", "one category")


@pytest.mark.parametrize(
    ("categories", "styles", "crossing", "kind"),
    [
        ("cat cat dog dog", "photo sketch photo sketch", "crossed", "categories and styles"),
        ("cat cat dog dog", "photo sketch photo photo", "partial", "categories and styles"),
        ("cat cat dog dog", "photo photo sketch sketch", "confounded", "categories"),
        ("cat cat dog dog", "photo photo photo photo", "one style", "categories"),
    ],
)
def test_styles_cross_categories_or_go_with_them(categories: str, styles: str, crossing: str, kind: str) -> None:
    material = pets(categories.split(), styles.split())
    assert (material.crossing, material.kind) == (crossing, kind)


def test_labels_that_some_images_lack_are_counted_apart() -> None:
    labels: dict[str, list[str | None]] = {"category": ["cat", "dog", "dog"], "style": ["photo", None, "photo"]}
    material = material_of(Images.without_pictures("pets", ["a", "b", "c"], labels))
    assert (material.labels, material.partial_labels) == ({"category": 2}, {"style": 2})
    assert material.crossing == "none"
    assert "labels of some images, with the number of these: style (2)" in material.facts()


def test_unreadable_images_say_nothing_about_backgrounds(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (0, 0, 0, 0)).save(tmp_path / "cut.png")
    for name in ("a", "b", "c"):
        (tmp_path / f"{name}.png").write_bytes(b"no image")
    assert material_of(load_images(str(tmp_path))).transparent


def test_images_without_pictures_have_no_backgrounds() -> None:
    material = pets(["cat", "dog"], ["photo", "sketch"])
    assert (material.has_pictures, material.transparent) == (False, False)
    assert material.facts()[0] == "2 images, keys and labels without pictures"
