"""Class names of data set cards: however a folder spells them, in the layout of every card."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.images import Images, load_images
from embprobe.images.class_names import class_finder
from embprobe.images.dataset_cards import DatasetCard, card_split, dataset_cards
from tests.conftest import encoded, real_images, solid

CARDS = {card.name: card for card in dataset_cards()}
WITH_CLASSES = [card for card in CARDS.values() if card.class_names]
PNG = encoded(solid((1, 2, 3)), "PNG")


def put(folder: Path, files: Iterable[str]) -> Path:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(PNG)
    return folder


def labels(images: Images, *names: str) -> dict[str, tuple[str | None, ...]]:
    """Some labels of every image, by its key."""
    return {row.key: tuple(row.labels.get(name) for name in names) for row in images.rows}


def absent(classes: int, images: Images) -> list[str]:
    """The notes, after a look at that on the classes without an image."""
    notes = [note for note in images.notes if f"{classes:,} of the " not in note]
    assert len(notes) == len(images.notes) - 1
    return notes


# --- a class, however it is spelled --------------------------------------------------------------------------------


@pytest.mark.parametrize("card", WITH_CLASSES, ids=lambda card: card.name)
def test_every_class_is_found_by_its_name_its_key_and_its_number(card: DatasetCard) -> None:
    find = class_finder(card)
    spellings: list[Callable[[str], str]] = [
        *(str, str.upper, str.lower),
        lambda text: text.replace(" ", "_"),
        lambda text: text.replace("_", "-"),
    ]
    for respell in spellings:
        assert [find(respell(name)) for name in card.class_names] == card.class_names
        assert [find(respell(key)) for key in card.class_keys] == (card.class_names if card.class_keys else [])
    numbers = [f"{i:05d}" for i in range(len(card.class_names))]
    assert [find(number) for number in numbers] == [name if card.numbered else None for name in card.class_names]
    assert find("no such class") is find("-1") is find("") is find(str(len(card.class_names))) is None


@given(st.text() | st.from_regex(r"[-_/ 0-9]+", fullmatch=True))
def test_any_text_means_a_class_or_none(text: str) -> None:
    card = CARDS["cifar-10"]
    found = class_finder(card)(text)
    assert found is None or found in card.class_names
    if text.isascii() and text.isdecimal():
        assert found == (card.class_names[int(text)] if int(text) < 10 else None)


def test_two_classes_that_differ_in_capitals_alone_are_told_apart() -> None:
    facts = {"name": "mine", "title": "", "description": "", "licence": "", "needs": "", "labels": ["category"]}
    find = class_finder(DatasetCard.model_validate({"schema": 1, **facts, "class_names": ["Crane", "crane"]}))
    assert (find("Crane"), find("crane"), find("CRANE")) == ("Crane", "crane", None)


@pytest.mark.parametrize("spelling", ["n01484850", "great white shark", "great_white_shark", "Great-White Shark", "2"])
@pytest.mark.parametrize("place", ["{}/1.png", "val/{}/1.png", "ILSVRC/Data/CLS-LOC/train/{}/1.png"])
def test_a_folder_of_imagenet_may_have_any_spelling(spelling: str, place: str, tmp_path: Path) -> None:
    files = [place.format(spelling), place.format("n15075141")]
    images = load_images(f"imagenet-1k@{put(tmp_path, files)}")
    assert sorted(images.label("category")) == ["great white shark", "toilet paper"]
    assert absent(998, images) == []


def test_a_class_is_read_from_the_folders_around_it(tmp_path: Path) -> None:
    """SUN397 parts classes in two, Tiny ImageNet has a folder below each; ``train`` is a split, and a class."""
    sun = load_images(f"sun397@{put(tmp_path / 'sun', ['a/abbey/1.jpg', 'a/apse/indoor/2.jpg', 'b/bar/3.jpg'])}")
    assert sun.label("category") == ["abbey", "apse indoor", "bar"]
    tiny = put(tmp_path / "tiny", ["train/n01443537/images/1.png", "train/n01440764/images/2.png"])
    assert load_images(f"imagenet-1k@{tiny}").label("category") == ["tench", "goldfish"]
    trains = put(tmp_path / "trains", ["train/train/1.png", "train/nothing/2.png", "test/train/3.png"])
    assert load_images(f"cifar-100@{trains}").label("category") == ["train", "nothing", "train"]


def test_a_name_in_a_table_may_have_a_slash(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [PNG] * 2, "category": ["baluster / handrail", "tench"]}), tmp_path / "a.parquet")
    assert load_images(f"imagenet-1k@{tmp_path}/a.parquet").label("category") == ["baluster / handrail", "tench"]


def test_a_synset_beside_another_name_tells_the_class() -> None:
    """The photographs are named after WordNet, ``hotdog`` and ``disk brake``, and have a label ``synset``."""
    images = load_images(f"imagenet-1k@{real_images('imagenet-one-each.parquet').place}")
    assert sorted(images.label("category")) == sorted(CARDS["imagenet-1k"].class_names)
    assert images.notes == ()


# --- what a folder lacks -------------------------------------------------------------------------------------------


def test_classes_without_an_image_are_counted_and_named(tmp_path: Path) -> None:
    names = CARDS["cifar-10"].class_names
    whole = put(tmp_path / "whole", [f"{name}/1.png" for name in names])
    assert load_images(f"cifar-10@{whole}").notes == ()
    most = put(tmp_path / "most", [f"{name}/1.png" for name in names[1:]])
    assert load_images(f"cifar-10@{most}").notes == ("1 of the 10 classes of cifar-10 without an image: airplane",)
    few = put(tmp_path / "few", ["cat/1.png", "lynx/2.png"])
    assert load_images(f"cifar-10@{few}").notes == (
        "1 category label that cifar-10 does not know: lynx",
        "9 of the 10 classes of cifar-10 without an image: airplane, automobile, bird, …",
    )


def test_images_without_classes_lack_none(tmp_path: Path) -> None:
    assert load_images(f"cifar-10@{put(tmp_path, ['1.png', '2.png'])}").notes == ()


def test_numbers_that_start_at_one_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "one", [f"{i}/1.png" for i in range(1, 11)])
    with pytest.raises(
        EmbprobeError, match=r"numbered up to 10 without a 0, but cifar-10 counts from 0, so each would"
    ):
        load_images(f"cifar-10@{tmp_path}/one")
    put(tmp_path / "zero", [f"{i:02d}/1.png" for i in range(11)])
    assert load_images(f"cifar-10@{tmp_path}/zero").notes == ("1 category label that cifar-10 does not know: 10",)


# --- the layout of each set ----------------------------------------------------------------------------------------

CLASS_FOLDERS = {
    "imagenet-v2": (["0/a.jpeg", "999/b.jpeg"], ["tench", "toilet paper"]),
    "imagenet-a": (["n01498041/a.jpg", "n12267677/b.jpg"], ["stingray", "acorn"]),
    "objectnet": (["t-shirt/a.png", "weight_exercise/b.png"], ["T-shirt", "dumbbell"]),
    "cifar-10.1": (["0/a.png", "truck/b.png"], ["airplane", "truck"]),
    "stl-10": (["train/airplane/a.png", "test/monkey/b.png"], ["monkey", "airplane"]),
    "pcam": (["train/0/a.png", "valid/1/b.png"], ["lymph node", "lymph node containing metastatic tumor tissue"]),
    "mnist": (["train/0/a.png", "test/9/b.png"], ["9", "0"]),
    "svhn": (["train/1/a.png", "test/zero/b.png"], ["zero", "one"]),
    "country211": (["train/AD/a.jpg", "valid/ZW/b.jpg"], ["Andorra", "Zimbabwe"]),
}


@pytest.mark.parametrize("name", CLASS_FOLDERS)
def test_class_folders_of_the_download(name: str, tmp_path: Path) -> None:
    files, classes = CLASS_FOLDERS[name]
    images = load_images(f"{name}@{put(tmp_path / 'download', files)}")
    assert images.label("category") == classes
    assert [note for note in images.notes if "without an image" not in note] == []


def test_domains_are_the_folders_above_the_classes(tmp_path: Path) -> None:
    pacs = load_images(
        f"pacs@{put(tmp_path / 'pacs', ['photo/dog/1.jpg', 'art_painting/dog/2.jpg', 'sketch/house/3.jpg'])}"
    )
    assert labels(pacs, "category", "style") == {
        "photo/dog/1.jpg": ("dog", "photo"),
        "art_painting/dog/2.jpg": ("dog", "art_painting"),
        "sketch/house/3.jpg": ("house", "sketch"),
    }
    nets = put(tmp_path / "nets", ["clipart/The_Eiffel_Tower/clipart_318_1.jpg", "real/t-shirt/real_1.jpg"])
    images = load_images(f"domainnet@{nets}")
    assert sorted(labels(images, "category", "style").values()) == [
        ("The Eiffel Tower", "clipart"),
        ("t-shirt", "real"),
    ]
    fruit = load_images(f"fruit-salad@{put(tmp_path / 'fruit', ['watercolor/apple/1.png', 'pixel art/kiwi/2.png'])}")
    assert sorted(labels(fruit, "category", "style").values()) == [("apple", "watercolor"), ("kiwi", "pixel art")]
    assert CARDS["pacs"].domains == CARDS["domainnet"].domains == CARDS["fruit-salad"].domains == "style"


def test_one_domain_alone_and_a_split_above_are_no_domain(tmp_path: Path) -> None:
    alone = load_images(f"pacs@{put(tmp_path / 'alone', ['dog/1.jpg', 'house/2.jpg'])}")
    assert labels(alone, "category", "style") == {"dog/1.jpg": ("dog", None), "house/2.jpg": ("house", None)}
    split = load_images(f"domainnet@{put(tmp_path / 'split', ['train/ant/1.jpg', 'test/bat/2.jpg'])}")
    assert sorted(labels(split, "category", "style", "split").values(), key=str) == [
        ("ant", None, "train"),
        ("bat", None, "test"),
    ]


def test_a_table_of_pacs_has_its_styles() -> None:
    images = load_images(f"pacs@{real_images('pacs-half.parquet').place}")
    assert set(images.label("style")) == {"photo", "art_painting", "cartoon", "sketch"}
    assert set(images.label("category")) == set(CARDS["pacs"].class_names)
    assert images.notes == ()
    assert card_split(CARDS["pacs"], images) is None


def test_the_file_names_of_cue_conflict_hold_shape_and_texture(tmp_path: Path) -> None:
    files = ["airplane/airplane1-bear2.png", "airplane/airplane10-knife3.png", "truck/truck10-truck1.png"]
    images = load_images(f"cue-conflict@{put(tmp_path / 'cue', files)}")
    assert labels(images, "shape", "texture", "category") == {
        files[0]: ("airplane", "bear", None),
        files[1]: ("airplane", "knife", None),
        files[2]: ("truck", "truck", None),
    }
    assert absent(14, images) == []


def test_captions_lie_beside_their_images_one_a_line(tmp_path: Path) -> None:
    for name in ("flickr30k", "coco-captions"):
        folder = put(tmp_path / name, ["test/1.jpg", "test/2.jpg", "train/3.jpg"])
        for number, text in (("test/1", "A dog.\nA brown dog runs.\n"), ("test/2", "Two cats."), ("train/3", "A bus.")):
            (folder / f"{number}.txt").write_text(text)
        images = load_images(f"{name}@{folder}")
        assert images.label(CARDS[name].captions) == ["A dog.\nA brown dog runs.", "Two cats.", "A bus."]
        assert images.label("split") == ["test", "test", "train"]
        assert images.notes == () and images.lacks("category")
        split = card_split(CARDS[name], images)
        assert split is not None and (split[0].tolist(), split[1].tolist()) == ([], [0, 1])


def test_pairs_of_sugarcrepe_are_rows_of_a_table(tmp_path: Path) -> None:
    (put(tmp_path, ["1.jpg"]) / "metadata.csv").write_text(
        "file_name,caption,negative_caption,kind\n1.jpg,A dog on a mat.,A cat on a mat.,replace_obj\n"
    )
    images = load_images(f"sugarcrepe@{tmp_path}")
    assert labels(images, *CARDS["sugarcrepe"].labels) == {
        "1.jpg": ("A dog on a mat.", "A cat on a mat.", "replace_obj")
    }
