"""The bundled emoji are what ATTRIBUTION.md and DESIGN say: a full concept x style design with honest splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from embprobe.errors import UsageError
from embprobe.images import Images, Row, load_images

LICENCES = {
    "noto": "Apache-2.0",
    "twemoji": "CC-BY-4.0",
    "openmoji": "CC-BY-SA-4.0",
    "fluent-flat": "MIT",
    "fluent-high-contrast": "MIT",
    "fluent-3d": "MIT",
}
FLUENT = {"fluent-flat", "fluent-high-contrast", "fluent-3d"}


def splits_by_concept(emoji: Images) -> dict[str, dict[str, str]]:
    """concept -> style -> split"""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for row in emoji.rows:
        found[row.labels["concept"]][row.labels["style"]] = row.labels["split"]
    return found


def test_there_are_1570_concepts_in_six_styles(emoji: Images) -> None:
    assert len(emoji) == 1570 * 6 == 9420
    by_concept = splits_by_concept(emoji)
    assert len(by_concept) == 1570
    assert all(set(styles) == set(LICENCES) for styles in by_concept.values())


def test_the_key_is_concept_and_style_and_rows_are_in_its_order(emoji: Images) -> None:
    keys = [row.key for row in emoji.rows]
    assert keys == [f"{row.labels['concept']}/{row.labels['style']}" for row in emoji.rows]
    assert keys == sorted(set(keys))


def test_a_concept_has_one_name_and_one_category(emoji: Images) -> None:
    named = {(row.labels["concept"], row.labels["name"], row.labels["category"]) for row in emoji.rows}
    assert len(named) == len({name for _, name, _ in named}) == 1570
    assert len({category for _, _, category in named}) == 9


def test_a_concept_has_the_same_keywords_in_every_style(emoji: Images) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for row in emoji.rows:
        found[row.labels["concept"]].add(row.labels["keywords"])
    assert all(len(keywords) == 1 for keywords in found.values())
    assert found["1f431"] == {"animal, cat, face, pet"}
    assert sum(keywords != {""} for keywords in found.values()) == 1490  # the others have none in CLDR


def held_out_concepts(emoji: Images) -> set[str]:
    """Concepts without a drawing in training."""
    return {concept for concept, styles in splits_by_concept(emoji).items() if "train" not in styles.values()}


def test_a_fifth_of_the_concepts_is_held_out_in_every_style(emoji: Images) -> None:
    by_concept = splits_by_concept(emoji)
    held_out = held_out_concepts(emoji)
    assert len(held_out) == 315  # of 1,570
    splits = [set(by_concept[concept].values()) for concept in held_out]
    assert Counter(split for (split,) in splits) == {"unseen-concept": 175, "related": 140}


def test_of_every_category_a_fifth_of_the_concepts_is_held_out(emoji: Images) -> None:
    noto = emoji.where(style="noto")
    concepts = Counter(noto.label("category"))
    held_out = Counter(noto.where(concept=sorted(held_out_concepts(emoji))).label("category"))
    assert all(abs(held_out[category] - total / 5) < 1 for category, total in concepts.items())


def test_of_every_other_concept_the_drawings_of_one_family_are_held_out(emoji: Images) -> None:
    held_out = Counter[str]()
    by_concept = splits_by_concept(emoji)
    for concept in by_concept.keys() - held_out_concepts(emoji):
        away = {style for style, split in by_concept[concept].items() if split != "train"}
        assert away == FLUENT or (len(away) == 1 and not away & FLUENT)
        assert {by_concept[concept][style] for style in away} <= {"unseen-drawing", "related"}
        held_out["fluent" if away == FLUENT else away.pop()] += 1
    assert sum(held_out.values()) == 1570 - 315
    assert len(held_out) == 4
    assert all(count / 1255 == pytest.approx(0.25, abs=0.01) for count in held_out.values())


def test_no_motif_is_both_trained_on_and_unseen(emoji: Images) -> None:
    train, unseen = (set(emoji.where(split=split).label("motif")) for split in ("train", "unseen-concept"))
    assert not train & unseen
    assert len(unseen) == 173  # of 175 concepts


def test_a_motif_is_concepts_drawn_nearly_alike(emoji: Images) -> None:
    noto = emoji.where(style="noto")
    motif = dict(zip(noto.label("name"), noto.label("motif"), strict=True))
    sizes = Counter(motif.values())
    assert len(sizes) == 1032
    assert sizes.most_common(5) == [("button", 54), ("hand", 27), ("clock", 27), ("heart", 22), ("person", 21)]
    assert motif["cook"] == motif["man cook"] == motif["woman cook"] == "cook"
    assert {motif[row.labels["name"]] for row in noto.where(category="Flags").rows} == {"flag"}
    assert motif["hot dog"] == "hot dog" != motif["guide dog"] == "dog"


def test_drawings_of_the_same_pixels_are_one_motif_and_no_held_out_one_is_trained_on(emoji: Images) -> None:
    alike: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in emoji.rows:
        alike[row.labels["style"], row.content].append(row)
    twins = [rows for rows in alike.values() if len(rows) > 1]
    assert len(twins) == 36
    assert all(len({row.labels["motif"] for row in rows}) == 1 for rows in twins)
    splits = [{row.labels["split"] for row in rows} for rows in twins]
    assert not any("train" in of_group and of_group & {"unseen-concept", "unseen-drawing"} for of_group in splits)


def test_the_family_is_who_drew_it(emoji: Images) -> None:
    for row in emoji.rows:
        style, family = row.labels["style"], row.labels["family"]
        assert family == ("fluent" if style in FLUENT else style)


def test_the_splits_share_all_images_out(emoji: Images) -> None:
    assert Counter(emoji.label("split")) == {
        "train": 5655,
        "unseen-drawing": 1865,
        "unseen-concept": 1050,  # 175 concepts in six styles
        "related": 850,  # 140 concepts in six styles and 10 drawings; 5655 + 1865 + 1050 + 850 = 9420
    }


def test_a_split_is_loaded_by_its_name(emoji: Images) -> None:
    train = load_images("bundled/emoji:train")
    assert train.name == "bundled/emoji:train"
    assert train.fingerprint == emoji.where(split="train").fingerprint == "26345ddea80dbe8e"  # in the bundled recipes


@pytest.mark.parametrize("name", ["bundled/emoji:test", "bundled/cats", "bundled/emoji/train"])
def test_an_unknown_name_or_split_lists_what_there_is(name: str) -> None:
    with pytest.raises(UsageError, match=rf"'{name}'.*bundled/emoji:unseen-drawing"):
        load_images(name)


def test_every_image_decodes_at_128_pixels(emoji: Images) -> None:
    assert {row.load().size for row in emoji.rows} == {(128, 128)}


def test_black_glyphs_are_black_and_the_ground_is_the_background(emoji: Images) -> None:
    (cat,) = (row for row in emoji.rows if row.key == "1f431/fluent-high-contrast")
    assert cat.load().getpixel((0, 0)) == (255, 255, 255)
    assert cat.load((0, 255, 0)).getpixel((0, 0)) == (0, 255, 0)
    pixels = np.asarray(cat.read()).reshape(-1, 4)
    opaque = pixels[pixels[:, 3] == 255]
    assert len(opaque) > 1000 and opaque[:, :3].max() == 0


def test_the_images_weigh_less_than_20_megabytes() -> None:
    folder = Path(str(files("embprobe.datasets") / "emoji"))
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 20_000_000


def test_every_style_has_its_source_and_licence_on_record() -> None:
    folder = Path(str(files("embprobe.datasets") / "emoji"))
    assert {path.stem for path in folder.glob("*.parquet")} == set(LICENCES)
    lines = (folder / "ATTRIBUTION.md").read_text(encoding="utf-8").splitlines()
    for style, licence in LICENCES.items():
        (line,) = (line for line in lines if line.startswith(f"| `{style}.parquet` |"))
        assert "https://github.com/" in line, style
        assert licence in line.split("|")[4], style
    for text, phrase in {"Apache-2.0": "Apache License", "MIT": "Permission is hereby granted"}.items():
        assert phrase in (folder / "licenses" / f"{text}.txt").read_text(encoding="utf-8")
