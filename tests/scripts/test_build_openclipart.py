"""Clip art as training images: what drawings are called, which are alike, and that hostile files touch nothing."""

from __future__ import annotations

import doctest
import importlib.util
import io
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from embprobe.images import load_images
from embprobe.pretraining.data import TrainingImages, Words

SCRIPT = Path(__file__).parents[2] / "scripts" / "build_openclipart.py"


def by_path(script: Path) -> Any:
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module  # where dataclasses look their annotations up
    spec.loader.exec_module(module)
    return module


build = by_path(SCRIPT)

OPEN = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 100 100">'
HOUSE = '<path d="M10 50 L50 10 L90 50 V90 H10 Z" fill="{}"/><rect x="40" y="60" width="20" height="30" fill="{}"/>'
FISH = '<ellipse cx="40" cy="50" rx="35" ry="20" fill="teal"/><path d="M70 50 L98 30 V70 Z" fill="navy"/>'


def svg(body: str, title: str = "", author: str = "", *subjects: str) -> str:
    """A drawing with the metadata that the library gives each."""
    bag = "".join(f"<rdf:li>{subject}</rdf:li>" for subject in subjects)
    return (
        f'{OPEN}<metadata xmlns:cc="http://web.resource.org/cc/" xmlns:dc="http://purl.org/dc/elements/1.1/" '
        'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:RDF><cc:Work>'
        f"<dc:title>{title}</dc:title><dc:subject><rdf:Bag>{bag}</rdf:Bag></dc:subject>"
        f"<dc:creator><cc:Agent><dc:title>{author}</dc:title></cc:Agent></dc:creator>"
        f"</cc:Work></rdf:RDF></metadata>{body}</svg>"
    )


def drawing(title: str = "", author: str = "", *subjects: str, edges: bytes = bytes(256)) -> Any:
    return build.Drawing(title, author, subjects, b"", edges)


def test_the_examples_in_the_script_are_true() -> None:
    found = doctest.testmod(build)
    assert found.attempted == 3 and found.failed == 0


# --- what a drawing is called ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("title", "said"),
    [
        ("Leone 02", "leone"),
        ("AfricanDrum3", "african drum"),
        ("arrow-down_green", "arrow down green"),  # colour words are the trainer's business
        ("2 dead frogs", "2 dead frogs"),
        ("Ice Cream Cone (3 Scoop)", "ice cream cone 3 scoop"),
        ("Crawfish (B and W)", "crawfish"),
        ("glace_03_bw", "glace"),
        ("Rubik's Cube", "rubik's cube"),
        ("Cassa d&#39;epoca", "cassa d'epoca"),
        ("M1 Abrams", "m1 abrams"),
        ("microchip v.2", "microchip"),
        ("L&amp;Atilde;&amp;copy;zard", "lézard"),
        ("a\tb\x00\u202e cat", "a b cat"),
        ("", ""),
        ("04", ""),
    ],
)
def test_titles_are_tidied(title: str, said: str) -> None:
    assert build.tidy(title) == said


@pytest.mark.parametrize(
    ("key", "title", "author", "collection", "caption"),
    [
        (
            "birds/aquila_frontale_architet_01",
            "Aquila frontale",
            "Architetto Francesco Rollandin",
            False,
            "aquila frontale",
        ),
        ("food/wine", "Etiquette Icons", "Andy Fitzsimon", True, "wine"),
        ("food/gallo_francesco_rol_01", "Various Cliparts", "Francesco Rollandin", True, "gallo"),
        ("people/sm_005", "stick man", "Nicu Buculei", True, "stick man"),  # "sm" says nothing
        ("shapes/head_02", "Clipart by Nicu Buculei - head1", "Nicu Buculei", False, "head"),
        ("animals/cow", "Jakob Maier", "Jakob Maier", False, "cow"),
        ("animals/cow", "see www.cows.com", "", False, "cow"),
        ("animals/ralf_ark.in-berlin.de_01", "ralf@ark.in-berlin.de", "", False, ""),  # the name is made of the address
        ("computer/x1", "", "", False, ""),
        ("signs/DangerGeneral", "", "", False, "danger general"),
    ],
)
def test_captions(key: str, title: str, author: str, collection: bool, caption: str) -> None:
    assert build.caption_of(key, drawing(title, author), collection=collection) == caption


def test_a_title_of_files_that_are_called_otherwise_is_of_a_collection() -> None:
    titles = [("a/wine", "Icons"), ("a/beer", "Icons"), ("b/dolphin", "Icons")]
    crabs = [(f"a/crab_{i:02}", "Crab") for i in range(9)]
    assert build.titles_of_collections([*titles, *crabs]) == {"Icons"}
    assert build.titles_of_collections([*titles[:2], *crabs]) == set()


def test_keywords_are_what_metadata_and_folders_add() -> None:
    file = build.File("animals/birds/owl_ganson", ("animals/birds", "night_life"))
    subjects = ("Bird", "owl", "gerald g", "hash(0x862bbb8)", "11", "rome,italy", "me@home.org", "", "wise animal")
    found = build.keywords_of(file, drawing("Owl", "Gerald G", *subjects), "owl")
    # not "owl", which is the caption; not the author; no numbers, addresses, or "birds" beside "bird"
    assert found == ["animals", "bird", "italy", "night life", "rome", "wise animal"]


# --- which files -----------------------------------------------------------------------------------------------------


def test_links_add_folders_and_lead_nowhere_else(tmp_path: Path) -> None:
    source = tmp_path / "svg"
    for folder in ("animals/birds", "office", "icons"):
        (source / folder).mkdir(parents=True)
    (source / "animals/birds/owl.svg").write_text("<svg/>")
    (source / "office/pen.svg").write_text("<svg/>")
    (source / "office/notes.txt").write_text("no drawing")
    (tmp_path / "outside.svg").write_text("<svg/>")
    (source / "office/owl_too.svg").symlink_to("../animals/birds/owl.svg")
    (source / "office/outside.svg").symlink_to(tmp_path / "outside.svg")
    (source / "office/nothing.svg").symlink_to("nowhere.svg")
    (source / "office/loop.svg").symlink_to("loop.svg")
    (source / "office/notes.svg").symlink_to("notes.txt")
    (source / "icons/round").symlink_to("..")
    os.mkfifo(source / "office/pipe.svg")
    why: Counter[str] = Counter()
    assert build.find_files(source, why) == [
        build.File("animals/birds/owl", ("animals/birds", "office")),
        build.File("office/pen", ("office",)),
    ]
    assert why == {"links out of the folder": 1, "no regular files": 4}


@pytest.mark.parametrize(
    ("key", "folders", "reason"),
    [
        ("computer/icons/lemon/new", (), "icons of programs"),
        ("computer/iconic_mouse", (), None),
        ("shapes/stars/a", (), "stars"),
        ("animals/cow", ("animals", "special/patterns"), "gradients and patterns"),
        ("specials/a", (), None),
        ("cow", (), None),
    ],
)
def test_folders_that_hold_no_drawings_of_things(key: str, folders: tuple[str, ...], reason: str | None) -> None:
    assert build.unwanted(build.File(key, folders)) == reason


# --- rendering -------------------------------------------------------------------------------------------------------


def test_a_drawing_is_trimmed_and_fills_the_square() -> None:
    """A red rectangle, twice as wide as high, in the corner of a page that is 210 mm wide."""
    page = '<svg xmlns="http://www.w3.org/2000/svg" width="210mm" height="297mm">{}</svg>'
    image = build.draw(page.format('<rect x="600" y="900" width="40" height="20" fill="red" stroke="blue"/>'))
    assert image is not None and image.size == (128, 128)
    left, top, right, bottom = image.getchannel("A").getbbox()
    # 41 x 21 with its line: 124 pixels wide, so 64 high, in the middle
    assert abs(right - left - 124) <= 2 and abs(bottom - top - 64) <= 2
    assert abs(left + right - 128) <= 1 and abs(top + bottom - 128) <= 1
    assert image.getpixel((64, 64)) == (255, 0, 0, 255) and image.getpixel((64, 10))[3] == 0


@pytest.mark.parametrize(
    "body",
    [
        "",
        '<rect width="0.4" height="0.4"/>',  # a speck: 1 of 256 pixels
        '<rect width="100" height="100" fill="blue"/>',  # nothing in it
        '<rect width="100" height="100" opacity="0"/>',
        "<text>drawn with no font</text>",
    ],
)
def test_nothing_to_see(body: str) -> None:
    assert build.draw(f"{OPEN}{body}</svg>") is None


def picture(body: str, size: str = "") -> Any:
    image = build.draw(f"{OPEN.replace('>', size + '>')}{body}</svg>")
    assert image is not None
    return build.fingerprint(image)


def test_the_same_drawing_in_another_size_and_colour_is_alike_and_another_is_not() -> None:
    red, blue = picture(HOUSE.format("tomato", "white")), picture(HOUSE.format("deepskyblue", "white"))
    small = picture(f'<g transform="scale(0.2) rotate(0)">{HOUSE.format("tomato", "white")}</g>', ' width="20"')
    fish = picture(FISH)
    assert build.duplicates([red, blue, small, fish], ["red", "blue", "small", "fish"]) == {1, 2}


def test_how_much_alike_two_drawings_must_be_depends_on_their_captions() -> None:
    """Edges 0 to 9 of the first; the second has one of them less, the third four, so distances are 1/10 and 4/10."""
    edges = np.zeros((4, 2048), bool)
    edges[0, :10] = edges[1, :9] = edges[2, :6] = True
    edges[3, 5:15] = True  # five of fifteen in common with the first: a distance of 2/3
    packed = [np.packbits(each).tobytes() for each in edges]
    assert build.duplicates(packed, ["a", "b", "c", "d"]) == {1}
    assert build.duplicates(packed, ["a", "a", "a", "a"]) == {1, 2}
    assert build.duplicates(packed[2:], ["c", "c"]) == set()  # one of fifteen
    assert build.duplicates([], []) == set()


# --- hostile files ---------------------------------------------------------------------------------------------------

LAUGHS = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij", strict=True))


def hostile(folder: Path) -> dict[str, tuple[str, str]]:
    """By name: a file, and why it is left out."""
    red = folder / "red.png"
    Image.new("RGB", (8, 8), "red").save(red)
    secret = folder / "secret.txt"
    secret.write_text("secret")
    return {
        "absolute": (f'{OPEN}{FISH}<image width="90" height="90" xlink:href="{red}"/></svg>', "with a picture in them"),
        "beside": (f'{OPEN}{FISH}<image width="90" height="90" href="red.png"/></svg>', "with a picture in them"),
        "filter": (
            f'{OPEN}<filter id="f"><feImage xlink:href="{red}"/></filter><g filter="url(#f)">{FISH}</g></svg>',
            "with a picture in them",
        ),
        "prefix": (
            f'<x:svg xmlns:x="http://www.w3.org/2000/svg"><x:image width="9" height="9" href="{red}"/></x:svg>',
            "with a picture in them",
        ),
        "nested": (
            f'{OPEN}<!-- --><image width="9" height="9" href="data:image/svg+xml;utf8,&lt;svg/&gt;"/></svg>',
            "with a picture in them",
        ),
        "laughs": (f'<!DOCTYPE svg [<!ENTITY a "ha">{LAUGHS}]>{OPEN}<text>&j;</text></svg>', "not to be rendered"),
        "secret": (
            f'<!DOCTYPE svg [<!ENTITY s SYSTEM "file://{secret}">]>{OPEN}{FISH}<title>&s;</title></svg>',
            "not to be rendered",
        ),
        "deep": (f"{OPEN}{'<g>' * 20_000}{FISH}{'</g>' * 20_000}</svg>", "not to be rendered"),
        "many": (
            OPEN
            + '<defs><g id="u0"><path d="M0 0h9"/></g>'
            + "".join(f'<g id="u{i + 1}">{f"<use href=%#u{i}%/>" * 10}</g>'.replace("%", '"') for i in range(9))
            + '</defs><use href="#u9"/></svg>',
            "not to be rendered",
        ),
        "page": (OPEN.replace("viewBox", 'width="0" height="-1" viewBox') + FISH + "</svg>", "not to be rendered"),
        "encoding": (f'<?xml version="1.0" encoding="klingon"?>{OPEN}{FISH}</svg>', "not to be rendered"),
        "other": ("<html><body>no drawing</body></html>", "not to be rendered"),
        "cut": (f"{OPEN}{FISH}", "not to be rendered"),
        "empty": ("", "not to be rendered"),
    }


def test_hostile_drawings_are_left_out(tmp_path: Path) -> None:
    for name, (text, reason) in hostile(tmp_path).items():
        file = tmp_path / f"{name}.svg"
        file.write_text(text)
        assert build.examine(file) == build.LeftOut(reason), name


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "huge.svg"
    with file.open("wb") as opened:
        opened.truncate(build.MAX_BYTES + 1)
    assert build.examine(file) == build.LeftOut("too large")


def test_style_sheets_and_scripts_are_not_fetched_or_run(tmp_path: Path) -> None:
    """The same picture comes out as without them."""
    sheet = tmp_path / "sheet.css"
    sheet.write_text("* {fill: red; stroke: red}")
    plain, styled = tmp_path / "plain.svg", tmp_path / "styled.svg"
    plain.write_text(f"{OPEN}{FISH}</svg>")
    styled.write_text(
        f'<?xml-stylesheet type="text/css" href="{sheet}"?>{OPEN}<style>@import url("{sheet}");</style>'
        f"<script>while (true) {{}}</script>{FISH}</svg>"
    )
    assert build.examine(styled) == build.examine(plain)


def test_a_drawing_without_the_name_space_is_drawn(tmp_path: Path) -> None:
    """A fifth of the library is so."""
    with_it, without = tmp_path / "with.svg", tmp_path / "without.svg"
    with_it.write_text(f"{OPEN}{FISH}</svg>")
    without.write_text(f'<svg viewBox="0 0 100 100">{FISH}</svg>')
    assert build.examine(without) == build.examine(with_it)


def test_what_kills_or_holds_up_a_renderer_costs_only_itself(tmp_path: Path) -> None:
    octaves = '<filter id="f"><feTurbulence numOctaves="2000000000" baseFrequency="0.1"/></filter>'
    (tmp_path / "good.svg").write_text(svg(FISH, "Fish", "Anna", "sea"))
    (tmp_path / "slow.svg").write_text(f'{OPEN}{octaves}<rect width="90" height="90" filter="url(#f)"/></svg>')
    (tmp_path / "folder.svg").mkdir()  # cannot be read at all: the process ends with an error
    order = ["good", "slow", "good", "folder", "good"]
    found = build.render_all([tmp_path / f"{name}.svg" for name in order], workers=1, seconds=2)
    assert found[1] == build.LeftOut("taking too long") and found[3] == build.LeftOut("stopping the renderer")
    assert found[0] == found[2] == found[4] == build.examine(tmp_path / "good.svg")
    assert (found[0].title, found[0].author, found[0].subjects) == ("Fish", "Anna", ("sea",))
    assert Image.open(io.BytesIO(found[0].picture)).size == (128, 128)


# --- the file --------------------------------------------------------------------------------------------------------


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small library: two houses that differ in colour, a fish that is filed twice, and what is left out."""
    files = {
        "buildings/red_house_anna_01": svg(HOUSE.format("tomato", "white"), "House", "Anna", "home"),
        "buildings/blue_house_anna_01": svg(HOUSE.format("deepskyblue", "white"), "House", "Anna"),
        "animals/fish/big_fish": svg(FISH, "Big_Fish", "Bob", "sea", "bob"),
        "animals/x1": svg(f'<g transform="rotate(45 50 50)">{FISH}</g>'),
        "shapes/stars/star_1": svg(FISH, "Star"),
        "food/blank": svg("", "Blank"),
    }
    root = tmp_path / "svg"
    for key, text in files.items():
        file = root / f"{key}.svg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "food/big_fish.svg").symlink_to("../animals/fish/big_fish.svg")
    return root


def ran(*arguments: str | Path, seed: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_the_file_is_training_images_and_always_the_same_bytes(source: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.parquet", tmp_path / "second.parquet"
    told = ran("--source", source, "--out", first, "--workers", "1")
    assert told.returncode == 0, told.stderr
    assert ran("--source", source, "--out", second, "--workers", "2", seed=1).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    assert told.stdout.splitlines()[:2] == [
        "2 drawings: animals 1, buildings 1",
        "left out: blank 1, like another 1, stars 1, without a title 1",
    ]
    images = load_images(str(first))
    assert [(row.key, dict(row.labels)) for row in images.rows] == [
        (
            "openclipart/animals/fish/big_fish",
            {"caption": "big fish", "concept": "big fish", "category": "animals", "keywords": "food, sea"},
        ),
        (
            "openclipart/buildings/blue_house_anna_01",
            {"caption": "house", "concept": "house", "category": "buildings"},
        ),
    ]
    assert all(row.read().size == (128, 128) and row.read().mode == "RGBA" for row in images.rows)
    trained = TrainingImages(images, Words(rate=0, alone=0, parrot=0))
    assert trained.captions() == ["big fish, animals, food, sea", "house, buildings"] and trained.concepts == 2


def test_a_folder_that_is_not_there_is_a_sentence_that_says_how_to_get_it(tmp_path: Path) -> None:
    told = ran("--source", tmp_path / "nowhere", "--out", tmp_path / "out.parquet")
    assert told.returncode == 1 and "Install Debian's package openclipart-svg" in told.stderr
    assert "Traceback" not in told.stderr and not (tmp_path / "out.parquet").exists()


def test_beside_the_emoji_a_drawing_called_like_one_is_of_its_concept(tmp_path: Path) -> None:
    emoji = {"key": "1f41f/noto", "image": b"emoji", "caption": "fish", "concept": "1f41f", "name": "fish"}
    file, cat = build.File("animals/fish_01", ("animals",)), build.File("animals/cat", ("animals",))
    rows = [emoji, build.row(file, drawing(), "fish", {"fish": "1f41f"}), build.row(cat, drawing(), "cat", {})]
    build.write(tmp_path / "both.parquet", rows)
    labels = [dict(row.labels) for row in load_images(str(tmp_path / "both.parquet")).rows]
    assert [each["concept"] for each in labels] == ["1f41f", "1f41f", "cat"]
    assert [each.get("name") for each in labels] == ["fish", None, None]
    assert [each["caption"] for each in labels] == ["fish", "fish", "cat"]


def test_clip_art_of_a_concept_that_is_held_out_is_left_out() -> None:
    """By its caption or a keyword, as whole words: a cat's "catfish" is another thing."""
    names = ["black cat", "catfish", "gatto", "dog"]
    files = [build.File(f"animals/{name.replace(' ', '_')}", ("animals",)) for name in names]
    edges = [bytes([i + 1]) * 256 for i in range(4)]
    drawn = [drawing(name, edges=edges[i]) for i, name in enumerate(names[:2])]
    drawn += [drawing("gatto", "", "cat", edges=edges[2]), build.LeftOut("blank")]
    why: Counter[str] = Counter()
    kept = build.choose(files, drawn, why, unseen=["cat"])
    assert [caption for _, _, caption in kept] == ["catfish"]
    assert +why == {"of a held-out concept": 2, "blank": 1}
    assert len(build.choose(files, drawn, Counter())) == 3


def test_the_emoji_are_the_training_drawings_with_their_labels() -> None:
    emoji = build.read_emoji()
    train = load_images("bundled/emoji:train")
    names = {row.labels["name"]: row.labels["concept"] for row in load_images("bundled/emoji").rows}
    held_out = {name: concept for name, concept in names.items() if concept not in train.label("concept")}
    assert emoji.unseen == held_out.keys()
    assert len(held_out) == 315  # a fifth of 1,570 concepts, whether they are unseen or related
    assert len(emoji.rows) == len(train)
    assert not {row["concept"] for row in emoji.rows} & set(held_out.values())
    assert {"key", "image", "caption", "concept", "name", "category", "keywords", "style", "split"} == set(
        emoji.rows[0]
    )
    assert {row["split"] for row in emoji.rows} == {"train"}
    assert all(row["caption"] == row["name"] and emoji.concepts[row["name"]] == row["concept"] for row in emoji.rows)
