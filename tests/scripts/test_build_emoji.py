"""Motifs and splits of the bundled emoji follow from names, categories and pixels by the rules of the script."""

from __future__ import annotations

import doctest
import importlib.util
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from embprobe.images import Images

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_emoji.py"


def by_path(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


build = by_path(SCRIPT)


def concepts_named(*names: str, category: str = "Objects") -> list[Any]:
    return [build.Concept(str(i), name, category) for i, name in enumerate(names)]


def motifs_of(*names: str, category: str = "Objects") -> list[str]:
    return list(build.find_motifs(concepts_named(*names, category=category), []).values())


def test_the_examples_in_the_script_run() -> None:
    assert doctest.testmod(build).failed == 0


@pytest.mark.parametrize(
    ("names", "motif"),
    [
        (["cook", "man cook", "woman cook"], "cook"),
        (["hand", "hand light skin tone", "hand medium dark skin tone"], "hand"),
        (["man", "person with blond hair", "bald woman", "woman with beard"], "person"),
        (["merperson", "mermaid", "merman"], "merperson"),
        (["one oclock", "ten thirty"], "clock"),
        (["red heart", "light blue heart", "two hearts", "heart with arrow", "beating heart"], "heart"),
        (["left arrow", "up right arrow", "back arrow"], "arrow"),
        (["dog face", "guide dog"], "dog"),
    ],
)
def test_names_that_differ_by_a_detail_are_one_motif(names: list[str], motif: str) -> None:
    assert motifs_of(*names) == [motif] * len(names)


@pytest.mark.parametrize(
    "names",
    [
        ["hot dog", "dogs breakfast"],
        ["face with tongue", "face with monocle"],
        ["woman with bunny ears", "ear"],
        ["lemon", "melon"],
        ["bus", "bust"],
    ],
)
def test_names_that_share_letters_alone_are_two_motifs(names: list[str]) -> None:
    assert motifs_of(*names) == names


def test_a_head_joins_within_a_category_only() -> None:
    food, animal = build.Concept("a", "hot dog", "Food & Drink"), build.Concept("b", "dog", "Animals & Nature")
    assert build.find_motifs([food, animal], []) == {"a": "hot dog", "b": "dog"}


def test_flags_are_one_motif() -> None:
    assert len(set(motifs_of("white flag", "chequered ensign", category="Flags"))) == 1


def test_the_same_pixels_in_any_style_join_and_a_chain_is_one_motif() -> None:
    concepts = concepts_named("disk", "record", "wheel", "moon")
    drawings = [
        [b"1", b"1", b"2", b"3"],
        [b"4", b"5", b"5", b"6"],
    ]  # disk = record in one style, record = wheel in another
    assert list(build.find_motifs(concepts, drawings).values()) == ["disk", "disk", "disk", "moon"]


def test_only_what_has_no_relative_in_training_is_unseen() -> None:
    concepts = concepts_named("cook", "man cook", "cup", "dvd", "disk")
    motifs = build.find_motifs(concepts, [])
    held_out = {"0": "noto", "1": "all", "2": "all", "3": "noto", "4": "twemoji"}
    # noto draws dvd as disk, and trains on its disk but not on its dvd
    noto = build.split_of(concepts, [b"0", b"1", b"2", b"3", b"3"], "noto", held_out, motifs)
    assert noto == ["unseen-drawing", "related", "unseen-concept", "related", "train"]
    twemoji = build.split_of(concepts, [b"0", b"1", b"2", b"3", b"4"], "twemoji", held_out, motifs)
    assert twemoji == ["train", "related", "unseen-concept", "train", "unseen-drawing"]


def test_the_bundled_motifs_and_splits_are_those_of_the_rules(emoji: Images) -> None:
    by_style: dict[str, list[Any]] = defaultdict(list)
    for row in emoji.rows:
        by_style[row.labels["style"]].append(row)
    concepts = [
        build.Concept(*(row.labels[label] for label in ("concept", "name", "category"))) for row in by_style["noto"]
    ]
    images = {style: [row.fetch() for row in rows] for style, rows in by_style.items()}
    motifs = build.find_motifs(concepts, list(images.values()))
    held_out = build.assign_splits(concepts)
    for style, rows in by_style.items():
        assert [row.labels["motif"] for row in rows] == [motifs[row.labels["concept"]] for row in rows]
        splits = build.split_of(concepts, images[style], rows[0].labels["family"], held_out, motifs)
        assert [row.labels["split"] for row in rows] == splits
