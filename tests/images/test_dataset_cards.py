"""Data set cards: each is consistent, and reads a miniature of its data set in every form that has."""

from __future__ import annotations

import importlib
import io
import json
import re
import tarfile
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images, load_images
from embprobe.images.dataset_cards import DatasetCard, dataset_cards, find_dataset
from embprobe.system.models import parse_card
from tests.conftest import encoded, solid

CARDS = {card.name: card for card in dataset_cards() if not card.name.startswith("bundled/")}
EVERY_CARD = pytest.mark.parametrize("card", CARDS.values(), ids=CARDS)
WITH_FOLDERS = [card for card in CARDS.values() if card.folder in ("class", "split/class")]
WITH_TABLES = [card for card in CARDS.values() if card.columns or card.class_names]
WITH_CLASSES = [card for card in CARDS.values() if card.class_names]
PNG = encoded(solid((1, 2, 3)), "PNG")
WORDS = ["first", "second", "third", "last"]
"""Classes for cards that name none: the data has them as text."""


ABSENT = re.compile(r"[\d,]+ of the [\d,]+ classes of \S+ without an image: .+")
"""The note on the classes that a miniature leaves out."""


def remarks(images: Images) -> list[str]:
    """The notes, but for the one on classes without an image."""
    return [note for note in images.notes if not ABSENT.fullmatch(note)]


def some(card: DatasetCard) -> list[int]:
    """The first class, the second, one in the middle and the last, not in their order."""
    last = (len(card.class_names) or 4) - 1
    return [last, 0, (last + 1) // 2, 1]


def coded(card: DatasetCard) -> list[Any]:
    """What the data says for some classes: their numbers, or their names where the card trusts no numbers."""
    return some(card) if card.class_names and card.numbered else names(card)


def names(card: DatasetCard) -> list[str]:
    """What some classes are called."""
    return [card.class_names[i] for i in some(card)] if card.class_names else WORDS


def folders(card: DatasetCard) -> list[str]:
    """What the folders of some classes are called."""
    return [(card.class_keys or card.class_names)[i] for i in some(card)]


def columns(card: DatasetCard) -> dict[str, list[Any]]:
    """Some rows as the data set has them: images, classes by number, other labels as text."""
    label = card.columns.get(card.class_label, "label")
    found: dict[str, list[Any]] = {card.columns.get("image", "image"): [{"bytes": PNG, "path": None}] * 4}
    found |= {column: [f"{column} {i}" for i in range(4)] for name, column in card.columns.items() if name != "image"}
    return found | {label: coded(card)}


def in_parquet(folder: Path, card: DatasetCard) -> Path:
    """A file for each split, whose schema calls the classes something else: only their numbers count."""
    table = pa.table(columns(card))
    other = [f"not {i}" for i in range(len(card.class_names))]
    named = {card.columns.get(card.class_label, "label"): {"_type": "ClassLabel", "names": other}}
    features = named if card.numbered else {}
    folder.mkdir(parents=True)
    for split in card.splits or ["train"]:
        metadata = {"huggingface": json.dumps({"info": {"features": features}})}
        pq.write_table(table.replace_schema_metadata(metadata), folder / f"{split}-00000-of-00001.parquet")
    return folder


def in_tar(path: Path, card: DatasetCard, classes: Sequence[object]) -> Path:
    with tarfile.open(path, "w") as archive:
        for i, name in enumerate(classes):
            for extension, content in (("png", PNG), ("cls", str(name).encode())):
                member = tarfile.TarInfo(f"{i:03d}.{extension}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def in_folders(folder: Path, names: Sequence[str], splits: Sequence[str] = (".",)) -> Path:
    for split in splits:
        for i, name in enumerate(names):
            (folder / split / name).mkdir(parents=True, exist_ok=True)
            (folder / split / name / f"{i}.png").write_bytes(PNG)
    return folder


def by_order(images: Images, label: str) -> list[str]:
    """The label of each row, in the order in which the rows were made."""
    rows = sorted(images.rows, key=lambda row: re.findall(r"\d+", row.key)[-1])
    return [row.labels[label] for row in rows]


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Hugging Face's library, without a network, and with a cache of its own."""
    found = importlib.import_module("datasets")
    monkeypatch.setattr(found.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(found.config, "HF_HUB_OFFLINE", True)
    found.disable_progress_bars()
    yield found
    found.enable_progress_bars()


# --- the cards themselves ------------------------------------------------------------------------------------------


def test_names_are_unique_and_those_of_the_files(tmp_path: Path) -> None:
    every = [card.name for card in dataset_cards()]
    assert len(set(every)) == len(every) >= 20
    root = Path(__file__).parents[2] / "datasets"
    assert sorted(path.stem for path in root.glob("*.toml")) == sorted(name.removeprefix("bundled/") for name in every)


def test_each_has_as_many_classes_as_its_data_set() -> None:
    known = {
        **{"caltech-101": 101, "cifar-10": 10, "cifar-100": 100, "cub-200": 200, "dtd": 47, "eurosat": 10},
        **{"flowers-102": 102, "food-101": 101, "imagenet-1k": 1000, "imagenet-r": 200, "imagenet-sketch": 1000},
        **{
            "cifar-10.1": 10,
            "country211": 211,
            "cue-conflict": 16,
            "domainnet": 345,
            "fruit-salad": 10,
            "imagenet-a": 200,
        },
        **{"imagenet-v2": 1000, "mnist": 10, "objectnet": 104, "pacs": 7, "pcam": 2, "stl-10": 10, "svhn": 10},
        **{"oxford-pets": 37, "resisc45": 45, "stanford-cars": 196, "sun397": 397, "ucf-101": 101, "wikiart": 27},
    }
    assert {card.name: len(card.class_names) for card in WITH_CLASSES} == known


@EVERY_CARD
def test_a_card_is_consistent(card: DatasetCard) -> None:
    assert len(set(card.class_names)) == len(card.class_names)
    assert len(set(card.class_keys)) == len(card.class_keys)
    assert all(name.strip() == name and "_" not in name for name in card.class_names)
    assert all(template.count("{}") == 1 for template in card.templates)
    assert len(set(card.templates)) == len(card.templates)
    assert card.class_label in card.labels or card.captions
    assert set(card.columns) <= {*card.labels, "image"}
    assert len(set(card.columns.values())) == len(card.columns)
    assert set(card.splits) <= {"train", "validation", "test"}
    assert card.location is None or re.fullmatch(r"hf:[\w-]+/[\w.-]+(/[\w-]+)?", card.location)
    assert card.location or card.folder  # else there is no way to have it
    assert len(set(card.sources)) == len(card.sources) >= 2
    assert card.licence and card.needs and card.homepage.startswith("https://")


def test_classes_of_imagenet_have_the_numbers_that_timm_gives_them() -> None:
    order, rendered, adversarial = (
        (files("timm.data") / "_info" / f"{name}_synsets.txt").read_text(encoding="utf-8").split()
        for name in ("imagenet", "imagenet_r", "imagenet_a")
    )
    for name in ("imagenet-1k", "imagenet-sketch", "imagenet-v2"):
        assert CARDS[name].class_keys == order
        assert CARDS[name].class_names == CARDS["imagenet-1k"].class_names
    same = dict(zip(order, CARDS["imagenet-1k"].class_names, strict=True))
    for name, keys in (("imagenet-r", rendered), ("imagenet-a", adversarial)):
        assert CARDS[name].class_keys == keys
        assert CARDS[name].class_names == [same[key] for key in keys]
    assert same["n01440764"] == "tench" and same["n15075141"] == "toilet paper"  # the first and the last


# --- in every form -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", WITH_TABLES, ids=lambda card: card.name)
def test_a_table_has_the_classes_the_card_names(card: DatasetCard, tmp_path: Path) -> None:
    folder = in_parquet(tmp_path / "data", card)
    images = load_images(f"{card.name}@{folder}")
    assert (images.name, remarks(images)) == (card.name, [])
    assert images.label(card.class_label) == names(card) * max(len(card.splits), 1)
    for name, column in card.columns.items():
        if name not in (card.class_label, "image"):
            assert images.label(name)[:4] == [f"{column} {i}" for i in range(4)]
    for split in card.splits:
        part = load_images(f"{card.name}:{split}@{folder}")
        assert (part.name, set(part.label("split"))) == (f"{card.name}:{split}", {split})
        assert part.label(card.class_label) == names(card)
    assert images.rows[0].read().size == (8, 8)


@pytest.mark.parametrize("card", WITH_TABLES, ids=lambda card: card.name)
def test_a_data_set_of_the_hub_has_the_classes_the_card_names(card: DatasetCard, tmp_path: Path, library: Any) -> None:
    content = columns(card)
    image, label = list(content)[0], card.columns.get(card.class_label, "label")
    features = {column: library.Value("string") for column in content} | {image: library.Image()}
    if card.class_names and card.numbered:
        features[label] = library.ClassLabel(names=[f"not {i}" for i in range(len(card.class_names))])
    (tmp_path / "hub").mkdir()
    for split in card.splits or ["train"]:
        rows = library.Dataset.from_dict(content, features=library.Features(features))
        rows.to_parquet(str(tmp_path / "hub" / f"{split}-00000-of-00001.parquet"))
    images = load_images(f"{card.name}@hf:{tmp_path}/hub")
    assert remarks(images) == []
    assert images.label(card.class_label) == names(card) * max(len(card.splits), 1)
    for split in list(card.splits)[-1:]:
        part = load_images(f"{card.name}:{split}@hf:{tmp_path}/hub")
        assert (part.label("split"), part.label(card.class_label)) == ([split] * 4, names(card))


@pytest.mark.parametrize("card", WITH_FOLDERS, ids=lambda card: card.name)
def test_the_folders_of_the_download_are_the_classes_the_card_names(card: DatasetCard, tmp_path: Path) -> None:
    images = load_images(f"{card.name}@{in_folders(tmp_path / 'flat', folders(card))}")
    assert remarks(images) == []
    assert by_order(images, card.class_label) == names(card)
    splits = in_folders(tmp_path / "split", folders(card), ["train", "val"])
    for split in ("train", "validation", "val"):
        part = load_images(f"{card.name}:{split}@{splits}")
        assert by_order(part, card.class_label) == names(card)
        assert set(part.label("split")) == {"train" if split == "train" else "validation"}
    assert len(load_images(f"{card.name}@{splits}")) == 8
    deeper = in_folders(tmp_path / "deeper", folders(card), ["Data/CLS-LOC"])
    assert by_order(load_images(f"{card.name}@{deeper}"), card.class_label) == names(card)


@pytest.mark.parametrize("card", WITH_CLASSES, ids=lambda card: card.name)
def test_a_tar_has_the_classes_the_card_names(card: DatasetCard, tmp_path: Path) -> None:
    by_number = load_images(f"{card.name}@{in_tar(tmp_path / 'a.tar', card, coded(card))}")
    by_name = load_images(f"{card.name}@{in_tar(tmp_path / 'b.tar', card, names(card))}")
    by_key = load_images(f"{card.name}@{in_tar(tmp_path / 'c.tar', card, folders(card))}")
    for images in (by_number, by_name, by_key):
        assert remarks(images) == []
        assert images.label(card.class_label) == names(card)


def test_the_hub_has_keys_of_imagenet_r_and_the_card_names_them(tmp_path: Path) -> None:
    card = CARDS["imagenet-r"]
    pq.write_table(pa.table({"image": [PNG] * 4, "wnid": folders(card)}), tmp_path / "test.parquet")
    assert load_images(f"imagenet-r@{tmp_path}/test.parquet").label("category") == names(card)


def test_other_classes_of_a_data_set_keep_the_names_in_the_data(tmp_path: Path) -> None:
    """The card of CIFAR-100 names the fine classes; the coarse ones are named by what the hub's schema says."""
    table = pa.table({"img": [PNG] * 2, "fine_label": [1, 99], "coarse_label": [0, 1]})
    features = {
        "fine_label": {"_type": "ClassLabel", "names": ["x"] * 100},
        "coarse_label": {"_type": "ClassLabel", "names": ["aquatic_mammals", "fish"]},
    }
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, tmp_path / "train.parquet")
    images = load_images(f"cifar-100@{tmp_path}/train.parquet")
    assert images.label("category") == ["aquarium fish", "worm"]
    assert images.label("coarse_category") == ["aquatic_mammals", "fish"]


def test_names_of_files_say_what_is_in_them_where_the_card_says_so(tmp_path: Path) -> None:
    attacks, pets = tmp_path / "attacks", tmp_path / "pets" / "images"
    for path in (
        *(attacks / "label=dog_text=cat.png", attacks / "label=ice cream_text=hot dog.png", attacks / "other.png"),
        *(pets / "Abyssinian_100.jpg", pets / "yorkshire_terrier_7.jpg", pets / "american_bulldog_12.jpg"),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PNG)
    found = {row.key: dict(row.labels) for row in load_images(f"rta-100@{attacks}").rows}
    assert found == {
        "label=dog_text=cat.png": {"category": "dog", "text": "cat"},
        "label=ice cream_text=hot dog.png": {"category": "ice cream", "text": "hot dog"},
        "other.png": {},
    }
    images = load_images(f"oxford-pets@{pets.parent}")
    assert remarks(images) == []
    assert images.label("category") == ["Abyssinian", "american bulldog", "yorkshire terrier"]


# --- what does not fit ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("card", WITH_CLASSES, ids=lambda card: card.name)
def test_a_class_nobody_knows_is_noted_and_not_lost(card: DatasetCard, tmp_path: Path) -> None:
    label, n = card.columns.get(card.class_label, "label"), len(card.class_names)
    if card.columns:
        pq.write_table(pa.table({"image": [PNG] * 4, label: [0, -1, n, 0]}), tmp_path / "train.parquet")
        images = load_images(f"{card.name}@{tmp_path}/train.parquet")
        assert images.label(card.class_label) == [card.class_names[0], "-1", str(n), card.class_names[0]]
        assert len(remarks(images)) == 1 and remarks(images)[0].endswith(f": -1, {n}")
    images = load_images(f"{card.name}@{in_folders(tmp_path / 'photos', ['no such class', card.class_names[0]])}")
    assert set(images.label(card.class_label)) == {card.class_names[0], "no such class"}
    assert len(remarks(images)) == 1 and remarks(images)[0].endswith(": no such class")


def test_the_column_the_card_names_is_the_class_whatever_else_is_called_so(tmp_path: Path) -> None:
    """CIFAR-10's card calls ``label`` the category; a copy with a column ``category`` of its own has both."""
    for name, order in (("a", ["category", "label"]), ("b", ["label", "category"])):
        columns = {"label": [3, 8], "category": ["animal", "vehicle"]}
        pq.write_table(pa.table({"img": [PNG] * 2} | {column: columns[column] for column in order}), tmp_path / name)
        (tmp_path / name).rename(tmp_path / f"{name}.parquet")
        assert load_images(f"cifar-10@{tmp_path}/{name}.parquet").label("category") == ["cat", "ship"], order


def test_without_a_place_a_card_says_what_is_needed() -> None:
    homeless = [card for card in CARDS.values() if card.location is None]
    assert {"imagenet-sketch", "rta-100"} <= {card.name for card in homeless}
    for card in homeless:
        with pytest.raises(UsageError, match=rf"Say where '{card.name}' lies: {card.name}@FOLDER\.") as error:
            load_images(card.name)
        assert card.needs.rstrip(".") in str(error.value)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    folder = in_parquet(tmp_path / "data", CARDS["cifar-10"])
    with pytest.raises(EmbprobeError, match=r"has no images labelled as the split 'validation' of cifar-10"):
        load_images(f"cifar-10:validation@{folder}")


def test_a_place_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match=r"There is no folder or file '/no/such/place'"):
        load_images("cifar-10@/no/such/place")


def test_what_a_name_may_say() -> None:
    def said(name: str) -> tuple[str, str, str] | None:
        found = find_dataset(name)
        return (found[0].name, *found[1:]) if found else None

    assert said("cifar-10") == ("cifar-10", "", "")
    assert said("cifar-10:test") == ("cifar-10", "test", "")
    assert said("cifar-10:test@s3://a@b:c/*.tar") == ("cifar-10", "test", "s3://a@b:c/*.tar")
    assert said("cifar-10@hf:a/b") == ("cifar-10", "", "hf:a/b")
    assert said("cifar") is said("bundled/emoji:train") is said("") is said("nosuch.toml") is None


def test_a_folder_of_a_cards_name_is_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_folders(tmp_path / "cifar-10", ["mine"])
    monkeypatch.chdir(tmp_path)
    assert load_images("cifar-10").label("category") == ["mine"]


# --- a card of one's own -------------------------------------------------------------------------------------------

OWN = """
schema = 1
name = "mine"
title = "Mine"
description = "A few."
licence = "CC0"
needs = "nothing"
labels = ["kind", "split"]
class_label = "kind"
class_names = ["apple", "pear"]
"""


def test_a_card_of_ones_own_is_read_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"a": [PNG] * 2, "b": [PNG] * 2, "fruit": [1, 0]}), tmp_path / "train.parquet")
    Path("mine.toml").write_text(f'{OWN}location = "train.parquet"\n[columns]\nimage = "b"\nkind = "fruit"\n')
    images = load_images("mine.toml")
    assert (images.name, images.label("kind")) == ("mine", ["pear", "apple"])
    assert len(load_images("mine.toml:train")) == len(load_images(f"{tmp_path}/mine.toml:train@train.parquet")) == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ('class_keys = ["a"]', "class_keys must be as many as class_names"),
        ('templates = ["a photo"]', "every template needs exactly one {}"),
        ('templates = ["{} and {}"]', "every template needs exactly one {}"),
        ('colour = "red"', "at 'colour': there is no such key here"),
        ('folder = "deep"', "at 'folder'"),
        ("columns = 3", "at 'columns'"),
        ("name", "not valid TOML"),
        ('file_name = "plain"', "file_name needs one to 3"),
    ],
)
def test_a_card_that_is_not_right_names_the_file_and_the_key(tmp_path: Path, change: str, why: str) -> None:
    (tmp_path / "mine.toml").write_text(f"{OWN}{change}\n")
    with pytest.raises(EmbprobeError, match=rf"The card '.*mine\.toml' is.*{re.escape(why)}"):
        load_images(f"{tmp_path}/mine.toml")


def test_a_card_without_a_schema_is_not_read() -> None:
    with pytest.raises(EmbprobeError, match="at 'schema': this key is missing"):
        parse_card(DatasetCard, OWN.replace("schema = 1", ""), "mine.toml")
    with pytest.raises(EmbprobeError, match="at 'schema'"):
        parse_card(DatasetCard, OWN.replace("schema = 1", "schema = 2"), "mine.toml")
