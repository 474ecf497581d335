"""Rows: what every reader makes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images, MissingLabel, Row
from embprobe.system.text import printable, visible
from tests.conftest import reason, row_of, solid

RED, GREEN = (255, 0, 0), (0, 255, 0)


def animals() -> Images:
    picture = solid(RED)
    return Images(
        "animals",
        (
            row_of("a", picture, kind="cat", split="train"),
            row_of("b", picture, kind="dog", split="train"),
            row_of("c", picture, kind="cat", split="test"),
            row_of("d", picture, kind="cow"),
        ),
    )


def keys(images: Images) -> str:
    return "".join(row.key for row in images.rows)


def test_fingerprint_changes_with_key_order_number_and_content() -> None:
    images = animals()
    a, *rest = images.rows
    others = {
        "key": [replace(a, key="z"), *rest],
        "content": [replace(a, content="other"), *rest],
        "order": [*rest, a],
        "number": rest,
    }
    fingerprints = {Images("animals", tuple(rows)).fingerprint for rows in others.values()}
    assert len(fingerprints | {images.fingerprint}) == 5


def test_fingerprint_does_not_change_with_labels_name_or_reader() -> None:
    images = animals()
    relabelled = tuple(replace(row, labels={"kind": "fish"}, source=lambda: solid(GREEN)) for row in images.rows)
    assert Images("fish", relabelled).fingerprint == images.fingerprint
    assert len(images.fingerprint) == 16 and int(images.fingerprint, 16) >= 0


def test_fingerprint_takes_a_key_whose_bytes_are_not_utf8() -> None:
    row = row_of("caf\udce9.png", solid(RED))  # b"caf\xe9.png" as os.fsdecode gives it
    assert Images("a", (row,)).fingerprint != Images("a", (replace(row, key="café.png"),)).fingerprint


def test_where_keeps_rows_with_one_of_the_values_of_every_label() -> None:
    images = animals()
    assert keys(images.where(kind="cat")) == "ac"
    assert keys(images.where(kind=["dog", "cat"])) == "abc"
    assert keys(images.where(kind=["dog", "cat"], split="train")) == "ab"
    assert keys(images.where(split="no such")) == ""
    assert keys(images.where()) == "abcd"


def test_take_gives_the_positions_in_the_order_asked() -> None:
    assert keys(animals().take([3, 0, 0])) == "daa"
    assert animals().take([1]).name == "animals"


def test_label_gives_one_value_per_row() -> None:
    assert animals().label("kind") == ["cat", "dog", "cat", "cow"]
    assert animals().has("kind") and not animals().has("split")


def test_a_label_that_some_rows_lack_is_named_with_the_labels_there_are() -> None:
    with pytest.raises(MissingLabel, match=r"'split', which 1 of the 4 images in 'animals' lack.*kind, split"):
        animals().label("split")
    with pytest.raises(MissingLabel, match=r"'split', which no image in 'bare' has. Their labels: none"):
        Images("bare", (row_of("a", solid(RED)),)).label("split")


def test_the_first_row_that_lacks_a_label_is_named_on_one_line() -> None:
    rows = animals().rows
    torn = Images("torn", (*rows[:3], replace(rows[3], key="two\nlines"), replace(rows[3], key="e")))
    with pytest.raises(MissingLabel, match=r"2 of the 5 images in 'torn' lack, first 'two\\nlines'"):
        torn.label("split")


def test_a_label_is_lacking_only_if_no_row_has_it() -> None:
    assert animals().lacks("color") and not animals().has("color")
    assert not animals().lacks("split") and not animals().has("split")  # some rows have it
    assert not animals().lacks("kind")


def test_map_changes_images_when_they_are_read_and_nothing_before() -> None:
    seen: list[str] = []

    def grey(row: Row) -> tuple[str, Callable[[Image.Image], Image.Image]]:
        def change(image: Image.Image) -> Image.Image:
            seen.append(row.key)
            return image.convert("L").convert("RGB")

        return mark, change

    images, mark = animals(), "grey"
    changed = images.map("grey", grey)
    assert seen == []
    assert changed.rows[1].load().getpixel((0, 0)) == (76, 76, 76)  # 0.299 * 255
    assert seen == ["b"]
    assert images.rows[1].load().getpixel((0, 0)) == RED
    assert keys(changed) == keys(images) and changed.label("kind") == images.label("kind")
    mark = "other"
    assert len({images.fingerprint, changed.fingerprint, images.map("grey", grey).fingerprint}) == 3


def test_map_sees_the_alpha_channel_and_load_composites_after_it() -> None:
    half = Image.new("RGBA", (1, 1), (*RED, 128))
    images = Images("half", (row_of("a", half),)).map("copies", lambda row: ("", Image.Image.copy))
    assert images.rows[0].read().mode == "RGBA"
    # 128 of 255 red, the rest white: (255, 127, 127); on green: (128, 127, 0)
    assert images.rows[0].load().getpixel((0, 0)) == (255, 127, 127)
    assert images.rows[0].load(GREEN).getpixel((0, 0)) == (128, 127, 0)


def test_rgb_images_load_as_they_are() -> None:
    picture = solid((1, 2, 3))
    assert np.array_equal(np.asarray(row_of("a", picture).load()), np.asarray(picture))


def test_rows_without_pictures_have_keys_and_labels_and_no_image() -> None:
    images = Images.without_pictures("mine", ["a", "b"], {"kind": ["cat", "dog"], "split": ["train", "test"]})
    assert keys(images) == "ab" and images.label("kind") == ["cat", "dog"]
    assert [reason(row) for row in images.rows] == ["there is no picture, only its key"] * 2
    assert Images.without_pictures("mine", ["a"]).rows[0].labels == {}
    assert len(Images.without_pictures("mine", [])) == 0


def test_a_set_says_whether_it_has_pictures_whatever_was_taken_from_it() -> None:
    bare = Images.without_pictures("mine", ["a", "b"], {"kind": ["cat", "dog"]})
    for images, has_pictures in ((animals(), True), (bare, False)):
        parts = (
            images.take([1]),
            images.where(kind="cat"),
            images.labelled(lambda row: {"key": row.key}),
            images.map("copies", lambda row: ("", Image.Image.copy)),
        )
        assert {images.has_pictures, *(part.has_pictures for part in parts)} == {has_pictures}


def test_rows_without_pictures_are_told_apart_by_their_keys() -> None:
    a, b = (Images.without_pictures("mine", [*key], {"kind": ["cat"]}).fingerprint for key in "ab")
    assert a != b == Images.without_pictures("yours", ["b"]).fingerprint


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"kind": ["cat"]}, "'kind' of 'mine' has 1 values for 3 rows: it needs one for each"),
        ({"kind": ["cat"] * 3, "split": ["x"] * 4}, "'split' of 'mine' has 4 values for 3 rows"),
        ({}, r"The key 'a\\nb' in 'mine' is repeated"),
    ],
)
def test_rows_without_pictures_need_different_keys_and_one_label_each(
    columns: dict[str, list[str]], message: str
) -> None:
    with pytest.raises(EmbprobeError, match=message):
        Images.without_pictures("mine", ["a\nb", "c", "d" if columns else "a\nb"], columns)


def test_printable_escapes_only_bytes_that_are_not_utf8() -> None:
    assert printable("caf\udce9 é\n") == "caf\\xe9 é\n"


def test_visible_escapes_what_would_break_a_line_or_steer_a_terminal_too() -> None:
    assert visible("caf\udce9 é ü🐈") == "caf\\xe9 é ü🐈"
    assert visible("two\nlines\t\x1b[2J\x9b\x00") == "two\\nlines\\t\\x1b[2J\\x9b\\x00"
