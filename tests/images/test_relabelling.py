"""Labels that the user chooses and renames, and the choices that go with the images."""

from __future__ import annotations

from pathlib import Path

import pytest

from embprobe.errors import UsageError
from embprobe.images import Images, load_images, open_images
from embprobe.images.reading import Reading
from embprobe.images.relabelling import choose_labels, parse_labels
from embprobe.images.rows import Row
from tests.conftest import noise


def images(**labels: str) -> Images:
    return Images("pets", (Row("a", labels, "", lambda: b""), Row("b", {"age": "3"}, "", lambda: b"")))


def test_a_label_that_is_renamed_leaves_the_others_and_one_that_is_named_does_not() -> None:
    pets = images(breed="pug", age="4", split="train", folder="dog/pug", category="dog")
    renamed = choose_labels(pets, parse_labels(["category=breed"]))
    assert renamed.rows[0].labels == {"age": "4", "split": "train", "folder": "dog/pug", "category": "pug"}
    assert renamed.rows[1].labels == {"age": "3"}
    named = choose_labels(pets, parse_labels(["breed"]))
    assert named.rows[0].labels == {"split": "train", "folder": "dog/pug", "breed": "pug"}
    both = choose_labels(pets, parse_labels(["breed", "kind=breed"]))
    assert both.rows[0].labels == {"split": "train", "folder": "dog/pug", "breed": "pug", "kind": "pug"}
    assert choose_labels(pets, ()) is pets


def test_two_labels_may_change_places() -> None:
    swapped = choose_labels(images(a="1", b="2"), parse_labels(["a=b", "b=a"]))
    assert swapped.rows[0].labels == {"a": "2", "b": "1"}


def test_an_image_without_the_column_has_no_label_of_that_name() -> None:
    """Not another that was called so: that would mix two meanings."""
    pets = Images("pets", (Row("a", {"x": "1"}, "", lambda: b""), Row("b", {"category": "old"}, "", lambda: b"")))
    assert [dict(row.labels) for row in choose_labels(pets, parse_labels(["category=x"])).rows] == [
        {"category": "1"},
        {},
    ]


def test_a_label_that_no_image_has_is_wrong_usage_with_those_that_there_are() -> None:
    with pytest.raises(UsageError, match=r"No image .* 'bred'\. Did you mean 'breed'\? Their labels: age, breed\."):
        choose_labels(images(breed="pug"), parse_labels(["category=bred"]))


@pytest.mark.parametrize("choice", ["", "=", "a=", "=b"])
def test_a_choice_without_a_name_is_wrong_usage(choice: str) -> None:
    with pytest.raises(UsageError, match="COLUMN or NAME=COLUMN"):
        parse_labels([choice])


def test_one_label_cannot_be_two_columns() -> None:
    assert parse_labels(["a=b", "a=b"]) == (("a", "b"),)
    with pytest.raises(UsageError, match="'a' cannot be two columns"):
        parse_labels(["a=b", "a=c"])


def test_images_carry_the_choices_that_open_them_again(tmp_path: Path) -> None:
    """As Ray's workers do; the same vectors belong to them whatever their labels are."""
    noise(0).save(tmp_path / "a.png")
    (tmp_path / "metadata.csv").write_text("Bild;Rasse\na.png;pug\n")
    first = load_images(str(tmp_path), key_column="Bild", labels=["category=Rasse"])
    again = open_images(first.opened_as, first.reading)
    assert [(row.key, row.labels, row.content) for row in again.rows] == [
        (row.key, row.labels, row.content) for row in first.rows
    ]
    assert first.reading == Reading(key_column="Bild", labels=(("category", "Rasse"),))
    assert first.reading.options() == " --key-column Bild --label category=Rasse"
    assert load_images(str(tmp_path), key_column="Bild").fingerprint == first.fingerprint


def test_options_are_written_as_a_shell_reads_them() -> None:
    assert Reading(labels=(("a b", "a b"),)).options() == " --label 'a b'"
    assert Reading(image="x").options() == ""
