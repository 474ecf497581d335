"""Sidecars of a folder's images: every one is read, or counted with the likely reason."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.images.readers.folder import load_folder
from embprobe.images.readers.pairing import pair
from tests.conftest import encoded, remarks, solid

PNG = encoded(solid((0, 0, 0), (1, 1)), "PNG")


def put(at: Path, images: list[str], sidecars: dict[str, str]) -> Path:
    for name in images:
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_bytes(PNG)
    for name, content in sidecars.items():
        (at / name).parent.mkdir(parents=True, exist_ok=True)
        (at / name).write_text(content, encoding="utf-8")
    return at


def captions(at: Path) -> dict[str, str]:
    return {row.key: row.labels["caption"] for row in load_folder(at).rows if "caption" in row.labels}


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("cat.jpg", "cat.txt"),
        ("cat.jpg", "cat.jpg.txt"),
        ("cat.JPG", "cat.TXT"),
        ("img 2.0 (clean).jpg", "img 2.0 (clean).txt"),
        ("img 2.0 (clean).jpg", "img 2.0 (clean).jpg.txt"),
        (unicodedata.normalize("NFD", "café.jpg"), unicodedata.normalize("NFC", "café.txt")),
        (unicodedata.normalize("NFC", "café.jpg"), unicodedata.normalize("NFD", "café.txt")),
        ("猫/a.b.c.png", "猫/a.b.c.txt"),
    ],
)
def test_a_sidecar_is_found_by_its_name(tmp_path: Path, image: str, sidecar: str) -> None:
    put(tmp_path, [image, "other.png"], {sidecar: "a cat"})
    assert list(captions(tmp_path).values()) == ["a cat"]
    assert captions(tmp_path) == {image: "a cat"}
    assert remarks(load_folder(tmp_path)) == ()


@pytest.mark.parametrize(
    ("image", "sidecar"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-me.json"),
        ("IMG_1.jpg", "IMG_1.jpg.s.json"),
        ("IMG_1(2).jpg", "IMG_1.jpg.supplemental-metadata(2).json"),
        ("IMG_1(2).jpg", "IMG_1.jpg(2).json"),
    ],
)
def test_sidecars_of_google_takeout_are_found(tmp_path: Path, image: str, sidecar: str) -> None:
    put(tmp_path, [image, "other.jpg"], {sidecar: json.dumps({"title": "t", "people": [{"name": "x"}]})})
    assert {row.key: dict(row.labels) for row in load_folder(tmp_path).rows} == {image: {"title": "t"}, "other.jpg": {}}
    assert remarks(load_folder(tmp_path)) == ()


def test_capitals_are_read_over_where_one_image_alone_can_be_meant(tmp_path: Path) -> None:
    put(tmp_path, ["IMG.JPG", "Dog.png", "dog.png"], {"img.txt": "a cat", "DOG.txt": "which dog"})
    assert captions(tmp_path) == {"IMG.JPG": "a cat"}
    assert remarks(load_folder(tmp_path)) == (
        "1 sidecar read though the image's name has other capitals: img.txt",
        "1 sidecar without an image of that name: DOG.txt",
    )


def test_two_images_of_one_name_share_a_sidecar_and_names_with_dots_do_not(tmp_path: Path) -> None:
    put(tmp_path, ["a.jpg", "a.png", "v1.0.png", "v1.1.png"], {"a.txt": "both", "v1.0.txt": "one"})
    assert captions(tmp_path) == {"a.jpg": "both", "a.png": "both", "v1.0.png": "one"}


def test_sidecars_without_an_image_are_counted_with_the_likely_reason(tmp_path: Path) -> None:
    put(
        tmp_path,
        ["images/a.png", "images/b.png", "images/c.0.png"],
        {
            "labels/a.txt": "elsewhere",
            "images/c.txt": "cut at the first dot",
            "images/gone.txt": "of nobody",
            "README.txt": "about all",
            "licence.txt": "",
        },
    )
    assert captions(tmp_path) == {}
    elsewhere, dotted, alone = remarks(load_folder(tmp_path))
    assert elsewhere == "1 sidecar not read: an image of that name lies in another folder: labels/a.txt"
    assert dotted.endswith("though one has it up to the first: images/c.txt")
    assert alone == "1 sidecar without an image of that name: images/gone.txt"


def test_images_that_lack_what_most_have_are_counted(tmp_path: Path) -> None:
    names = [f"{i}.png" for i in range(5)]
    put(tmp_path, names, {f"{i}.txt": "caption" for i in range(4)})
    assert remarks(load_folder(tmp_path)) == ("1 image without a .txt, though most have one: 4.png",)
    (tmp_path / "2.txt").unlink()
    (tmp_path / "3.txt").unlink()
    assert remarks(load_folder(tmp_path)) == ()  # two of five: captions are the exception


@pytest.mark.parametrize(
    "boxes",
    [
        "0 0.5 0.5 0.1 0.1\n",
        "0 0.5 0.5 0.1 0.1\n\n17 0.25 1 0.5 0.0",
        "3 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9",  # an outline
        "0 0.5 0.5 0.1 0.1 0.87",  # a detection with its confidence
        "Car 0.00 0 -1.57 599.41 156.40 629.75 189.25 2.85 2.63 12.34 0.47 1.49 69.44 -1.56",  # KITTI
        "2753 2408 2861 2385 2888 2468 2805 2502 plane 0",  # DOTA
    ],
)
def test_boxes_are_no_captions(tmp_path: Path, boxes: str) -> None:
    put(tmp_path, ["a.png"], {"a.txt": boxes})
    assert captions(tmp_path) == {}
    assert remarks(load_folder(tmp_path)) == ("1 text with boxes of objects, no caption: a.txt",)


@pytest.mark.parametrize(
    "text", ["3", "0 cats", "01 23 45 67 89", "1 2 3 4 5", "a 0.5 0.5 0.1 0.1", "2 dogs, 3 cats, 1 mat"]
)
def test_a_text_with_numbers_is_a_caption(tmp_path: Path, text: str) -> None:
    put(tmp_path, ["a.png"], {"a.txt": text})
    assert captions(tmp_path) == {"a.png": text}
    assert remarks(load_folder(tmp_path)) == ()


def test_a_json_file_that_is_no_object_is_counted_if_it_belongs_to_an_image(tmp_path: Path) -> None:
    put(tmp_path, ["a.png"], {"a.json": "[1, 2]", "annotations.json": "[1]"})
    assert remarks(load_folder(tmp_path)) == (
        "1 sidecar that could not be understood: a.json",
        "1 sidecar without an image of that name: annotations.json",
    )


def test_what_hidden_folders_and_embprobes_own_output_hold_are_no_sidecars(tmp_path: Path) -> None:
    put(tmp_path, ["a.png"], {".git/b.txt": "", "space/embprobe.json": "{}", "space/results/results.json": "{}"})
    assert remarks(load_folder(tmp_path)) == ("1 folder passed over, with output of embprobe: space",)


WORDS = st.text(st.sampled_from("aAé.0 ("), min_size=1, max_size=5).filter(lambda text: text.strip(".") == text)


@given(st.lists(WORDS, min_size=1, max_size=6, unique_by=str.casefold))
@settings(max_examples=150)
def test_each_sidecar_of_an_image_s_own_name_belongs_to_it_alone(words: list[str]) -> None:
    """Whatever dots the names have; with a second ending, too."""
    images = [f"{word}.jpg" for word in words]
    assert pair(images, [f"{word}.txt" for word in words], by_key=False).images == [[i] for i in range(len(words))]
    assert pair(images, [f"{word}.jpg.txt" for word in words], by_key=False).images == [[i] for i in range(len(words))]


@given(st.lists(WORDS, max_size=6), st.lists(WORDS, max_size=6), st.booleans())
@settings(max_examples=150)
def test_every_sidecar_is_paired_or_counted(images: list[str], sidecars: list[str], by_key: bool) -> None:
    pairs = pair([f"{word}.jpg" for word in images], [f"{word}.txt" for word in sidecars], by_key=by_key)
    unpaired = [f"{word}.txt" for word, found in zip(sidecars, pairs.images, strict=True) if not found]
    assert sorted(unpaired) == sorted([*pairs.elsewhere, *pairs.dotted, *pairs.alone])
