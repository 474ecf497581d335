"""Images that are not independent are in one group: drawings of a motif, photographs of a folder, copies of a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images import Images, load_images
from embprobe.images.groups import choose_grouping, join_groups, same_pictures

WALKS = ["cat/mon", "cat/tue", "cat/wed", "dog/mon", "dog/sun"]


def photographs(folder: Path, folders: list[str], images: int = 3) -> Images:
    """So many photographs of one colour, another for each, in each of the folders."""
    for place in folders:
        (folder / place).mkdir(parents=True, exist_ok=True)
        for i in range(images):
            Image.new("RGB", (4, 4), (len(place), len(list(folder.rglob("*.png"))), i)).save(
                folder / place / f"{i}.png"
            )
    return load_images(str(folder))


def test_the_emoji_are_grouped_by_motif(emoji: Images) -> None:
    grouping = choose_grouping(emoji)
    assert (grouping.label, grouping.note) == ("motif", "")
    assert len(set(grouping.of(emoji))) == 1032


def test_concepts_without_motifs_are_groups() -> None:
    drawings = Images.without_pictures("drawings", ["a", "b"], {"concept": ["cup", "cup"]})
    assert choose_grouping(drawings).label == "concept"
    assert choose_grouping(drawings).of(drawings) == ["cup", "cup"]


def test_a_label_that_a_card_names_is_kept(emoji: Images) -> None:
    assert choose_grouping(emoji, "style").label == "style"
    assert choose_grouping(emoji, "style").note == ""


def test_photographs_in_deeper_folders_are_grouped_by_the_deepest(tmp_path: Path) -> None:
    images = photographs(tmp_path, WALKS)
    grouping = choose_grouping(images)
    assert grouping.label == "folder"
    assert grouping.note == "images of one folder count as one group: 15 images in 5 folders"
    assert grouping.of(images)[:4] == ["cat/mon", "cat/mon", "cat/mon", "cat/tue"]


def test_an_image_beside_the_deeper_folders_is_a_group_of_its_own(tmp_path: Path) -> None:
    images = photographs(tmp_path, [*WALKS, "dog"])
    assert choose_grouping(images).of(images)[-3:] == ["dog/sun"] * 3
    assert [group for group in choose_grouping(images).of(images) if group.endswith(".png")] == [
        f"dog/{i}.png" for i in range(3)
    ]


def test_photographs_in_one_folder_a_category_are_each_by_themselves(tmp_path: Path) -> None:
    images = photographs(tmp_path, ["cat", "dog"])
    grouping = choose_grouping(images)
    assert (grouping.label, grouping.note) == ("image", "")
    assert grouping.of(images) == [row.key for row in images.rows]


@pytest.mark.parametrize(
    ("folders", "number"),
    [
        (["cat/mon", "cat/tue", "dog/mon", "dog/tue"], 4),
        ([f"{animal}/images" for animal in ("ant", "bee", "cat", "dog", "elk")], 5),  # a folder is a category
    ],
)
def test_too_few_folders_are_no_groups_and_the_note_says_so(tmp_path: Path, folders: list[str], number: int) -> None:
    grouping = choose_grouping(photographs(tmp_path, folders))
    assert grouping.label == "image"
    assert f"{number} folders are too few folders to test on others" in grouping.note


def test_a_category_in_a_single_folder_is_named(tmp_path: Path) -> None:
    grouping = choose_grouping(photographs(tmp_path, [*WALKS, "elk/mon"]))
    assert grouping.label == "folder"
    assert grouping.note.endswith("; category 'elk' fills a single folder and cannot be learned from others")


def test_a_treated_image_is_in_the_group_of_the_image_it_is_made_from() -> None:
    treated = Images.without_pictures("treated", ["a#0", "a#1", "b#0"], {"image": ["a", "a", "b"]})
    assert choose_grouping(treated, "concept").of(treated) == ["a", "a", "b"]


def test_a_label_that_some_images_lack_is_an_error() -> None:
    drawings = Images.without_pictures("drawings", ["a", "b"], {"concept": ["cup", None]})
    with pytest.raises(EmbprobeError, match="1 of the 2 images"):
        choose_grouping(drawings).of(drawings)


def test_copies_of_a_file_have_one_mark_and_unreadable_ones_their_own(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    for name in ("c.png", "d.png"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    a, b, c, d = same_pictures(load_images(str(tmp_path)))
    assert a == b
    assert len({a, c, d}) == 3


def test_rows_without_pictures_are_no_copies() -> None:
    assert same_pictures(Images.without_pictures("keys", ["a", "b"])) == ["key a", "key b"]


def test_groups_that_share_a_mark_are_joined_through_a_chain() -> None:
    # a and c share 1, c and d share 2, b shares nothing
    assert join_groups(["a", "b", "c", "c", "d"], ["1", "3", "1", "2", "2"]) == ["a", "b", "a", "a", "a"]


def test_the_36_twins_of_the_emoji_join_no_two_motifs(emoji: Images) -> None:
    """They join concepts into 33 fewer groups."""
    marks = same_pictures(emoji)
    assert len(set(marks)) == 9420 - 37  # 35 pairs and 1 triple
    assert len(set(join_groups(emoji.label("concept"), marks))) == 1570 - 33
    assert join_groups(emoji.label("motif"), marks) == emoji.label("motif")
