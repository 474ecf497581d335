from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from embprobe.images import Images, Row
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions import find_intervention, intervene, plan_of
from embprobe.interventions.text import FONTS
from embprobe.interventions.words import NEUTRAL, word_of
from tests.conftest import row_of
from tests.interventions.conftest import box_of, face_of

WORDS = ("word-agrees", "word-conflicts", "word-neutral")
INKS = ("shuffled", "glyphs", "box")
BLANK = Image.new("RGBA", (96, 96))
ZOO = (
    ("cat", "animal"),
    ("dog", "animal"),
    ("horse", "animal"),
    ("plum", "food"),
    ("bread", "food"),
    ("cheeseburger", "food"),
    ("car", "vehicle"),
    ("truck", "vehicle"),
)
CATEGORY = dict(ZOO)


def zoo(named: Sequence[tuple[str, str]] = ZOO) -> Images:
    return Images("zoo", tuple(row_of(f"{i:03d}", BLANK, name=n, category=c) for i, (n, c) in enumerate(named)))


def word_for(row: Row, name: str, donors: Images, seed: int = 0) -> str:
    """The word that will be drawn into this row."""
    return plan_of(find_intervention(name), 0.5, donors, seed=seed)(row).mark


def words_for(row: Row, name: str, donors: Images) -> set[str]:
    """Every word that this row is given with one seed or another."""
    return {word_for(row, name, donors, seed) for seed in range(60)}


OUTLINES = {(0, 0, 0, 255), (255, 255, 255, 255)}


def pixels(images: Images) -> dict[str, bytes]:
    return {row.key: row.read().tobytes() for row in images.rows}


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        ({"name": "cat", "concept": "1f408", "category": "animal", "class": "x"}, "cat"),
        ({"concept": "chair", "category": "furniture"}, "chair"),
        ({"class": "c", "category": "furniture"}, "furniture"),
        ({"class": "tabby"}, "tabby"),
        ({"name": "", "class": "tabby"}, "tabby"),
        ({"name": "hiking boot"}, "hiking boot"),  # eleven letters and a space can still be read
        ({"name": "smiling face with horns"}, "smiling"),  # of longer names the longest word
        ({"name": "golden_retriever"}, "retriever"),
        ({"name": "heart-with-arrow-struck"}, "struck"),
        ({"name": "dog_house"}, "dog house"),  # an underscore is how a file system writes a space
        ({"name": "x" * 40}, "x" * 24),
        ({"style": "flat", "split": "train"}, None),
        ({"name": "  ", "class": "tabby"}, "tabby"),
        ({"name": "-------------"}, None),
    ],
)
def test_the_word_for_a_row_is_the_first_label_that_names_it(labels: dict[str, str], word: str | None) -> None:
    assert word_of(row_of("a", BLANK, **labels)) == word


def test_the_word_that_agrees_is_the_images_own() -> None:
    for row in zoo().rows:
        assert words_for(row, "word-agrees", zoo()) == {row.labels["name"]}


@pytest.mark.parametrize("name", WORDS[:2])
@pytest.mark.parametrize("ink", ["", *(f"/{ink}" for ink in INKS)])
def test_an_image_without_a_name_is_refused_with_the_labels_that_would_do(name: str, ink: str) -> None:
    nameless = Images("nameless", (row_of("a", BLANK, style="flat"),))
    (changed,) = intervene(nameless, name + ink, 0.5, seed=0, donors=zoo()).rows
    with pytest.raises(UnreadableImage, match=r"no label that names what it shows \(name, concept, category, class\)"):
        changed.read()


def test_a_neutral_word_needs_no_label() -> None:
    nameless = Images("nameless", (row_of("a", BLANK),))
    (changed,) = intervene(nameless, "word-neutral", 0.5, seed=0).rows
    assert changed.read().getbbox() is not None


@pytest.mark.parametrize("name", WORDS[:2])
def test_a_name_that_the_faces_cannot_draw_is_refused_rather_than_drawn_as_empty_boxes(name: str) -> None:
    foreign = zoo([("猫", "animal"), *ZOO])
    with pytest.raises(UnreadableImage):
        intervene(foreign, name, 0.5, seed=0).rows[0].read()
    assert "猫" not in words_for(foreign.rows[4], "word-conflicts", foreign)


def test_a_name_with_accents_is_drawn() -> None:
    (changed, *_) = intervene(zoo([("piñata", "toys"), *ZOO]), "word-agrees", 0.5, seed=0).rows
    assert changed.read().getbbox() is not None


def test_a_conflicting_word_is_another_of_another_category_and_of_similar_length() -> None:
    cat, cheeseburger = zoo().rows[0], zoo().rows[5]
    # of food and vehicles all but the cheeseburger are within two letters of three
    assert words_for(cat, "word-conflicts", zoo()) == {"plum", "bread", "car", "truck"}
    # and nothing is within two letters of twelve
    others = words_for(cheeseburger, "word-conflicts", zoo())
    assert others == {"cat", "dog", "horse", "car", "truck"}


def test_without_categories_a_conflicting_word_is_any_other() -> None:
    plain = Images("plain", tuple(row_of(n, BLANK, name=n) for n in ("cat", "dog", "plum")))
    assert words_for(plain.rows[0], "word-conflicts", plain) == {"dog", "plum"}


def test_where_all_images_are_of_one_category_there_is_no_conflicting_word() -> None:
    animals = zoo(ZOO[:3])
    with pytest.raises(UnreadableImage, match="no other image has another category to take a word from"):
        intervene(animals, "word-conflicts", 0.5, seed=0).rows[0].read()


def test_a_word_that_is_filed_under_two_categories_does_not_conflict_with_itself() -> None:
    twice = zoo([("orange", "food"), ("orange", "color"), ("purple", "color")])
    assert words_for(twice.rows[0], "word-conflicts", twice) == {"purple"}


def test_a_conflicting_word_is_not_part_of_the_images_own_name() -> None:
    named = zoo([("grinning cat", "smiley"), ("cat", "animal"), ("truck", "vehicle"), ("cat food", "food")])
    assert words_for(named.rows[0], "word-conflicts", named) == {"truck"}


def test_conflicting_words_of_the_bundled_emoji(emoji: Images) -> None:
    categories = defaultdict(set)
    for row in emoji.rows:
        categories[word_of(row)].add(row.labels["category"])
    plan = plan_of(find_intervention("word-conflicts"), 0.5, emoji, seed=0)
    chosen = []
    for row in emoji.rows[::23]:
        own, word = word_of(row), plan(row).mark
        assert own is not None and word != own
        assert categories[word] - {row.labels["category"]}
        assert abs(len(word) - len(own)) <= 2 or len(own) > 12
        chosen.append(word)
    assert len(set(chosen)) > 0.6 * len(chosen)  # no word is given to everybody


def test_neutral_words_are_in_no_label() -> None:
    plain = words_for(zoo().rows[1], "word-neutral", zoo())
    assert plain == {word for word in NEUTRAL if len(word) <= 5}  # dog, and up to two letters more
    taken = zoo([*ZOO, ("Thus", "x"), ("again and again", "x"), ("quite_so", "x"), ("half-often", "maybe")])
    assert words_for(taken.rows[1], "word-neutral", taken) == {"hence"}


def test_neutral_words_are_of_similar_length(emoji: Images) -> None:
    plan = plan_of(find_intervention("word-neutral"), 0.5, emoji, seed=0)
    for row in emoji.rows[::101]:
        word, own = plan(row).mark, word_of(row)
        assert word in NEUTRAL and own is not None
        assert abs(len(word) - len(own)) <= 2 or not 2 <= len(own) <= 14


@pytest.mark.parametrize("name", WORDS)
def test_another_label_is_another_content_and_the_same_is_the_same(name: str) -> None:
    def fingerprint(named: Sequence[tuple[str, str]], seed: int = 0) -> str:
        return intervene(zoo(named), name, 0.5, seed=seed).fingerprint

    assert fingerprint(ZOO) == fingerprint(list(ZOO))
    renamed = [("monument", "building") if n == "cat" else (n, c) for n, c in ZOO]
    assert fingerprint(renamed) != fingerprint(ZOO)
    assert fingerprint(ZOO, seed=1) != fingerprint(ZOO)


def test_the_content_of_a_row_changes_only_with_its_own_word() -> None:
    renamed = zoo([("monument", "building"), *ZOO[1:]])
    before, after = (intervene(images, "word-agrees", 0.5, seed=0).rows for images in (zoo(), renamed))
    assert [a.content == b.content for a, b in zip(before, after, strict=True)] == [False] + [True] * 7


@given(st.permutations(range(len(ZOO))), st.sampled_from(WORDS))
def test_words_and_pixels_do_not_depend_on_the_order_of_the_rows(order: list[int], name: str) -> None:
    shuffled = zoo().take(order)
    before, after = (intervene(images, name, 0.5, seed=3) for images in (zoo(), shuffled))
    contents = {row.key: row.content for row in before.rows}
    assert {row.key: row.content for row in after.rows} == contents
    assert after.rows[0].read().tobytes() == {row.key: row for row in before.rows}[after.rows[0].key].read().tobytes()


@pytest.mark.parametrize("name", WORDS)
def test_the_same_seed_gives_the_same_and_another_seed_something_else(name: str) -> None:
    first = pixels(intervene(zoo(), name, 0.5, seed=0))
    assert pixels(intervene(zoo(), name, 0.5, seed=0)) == first
    other = pixels(intervene(zoo(), name, 0.5, seed=1))
    assert all(other[key] != first[key] for key in first)


@pytest.mark.parametrize("name", [*WORDS, "word", "word=thus"])
def test_a_word_and_its_controls_share_word_color_and_place(name: str, emoji: Images) -> None:
    few = emoji.where(style="noto").take(range(0, 1500, 300))
    for row in few.rows:
        marks = {word_for(row, f"{name}{ink}", emoji) for ink in ("", *(f"/{ink}" for ink in INKS))}
        assert len(marks) == 1
    blank = Images("blank", tuple(row_of(row.key, BLANK, **row.labels) for row in few.rows))
    made = {ink: intervene(blank, name + ink, 0.5, seed=5, donors=emoji).rows for ink in ("", "/shuffled", "/box")}
    for word, shuffled, box in zip(*made.values(), strict=True):
        first, second, third = (np.asarray(row.read()) for row in (word, shuffled, box))
        # the same pixels, in other places; and the bar has the colours that the word has most of, and its outline
        one, two = (np.sort(each.reshape(-1, 4).view(np.uint32), axis=0) for each in (first, second))
        assert np.array_equal(one, two)
        colors, counts = np.unique(first[first[..., 3] == 255], axis=0, return_counts=True)
        most = {tuple(color) for color in colors[np.argsort(counts)[-2:]].tolist()}
        assert {tuple(color) for color in np.unique(third[third[..., 3] == 255], axis=0).tolist()} <= most | OUTLINES
        middles = [np.argwhere(each[..., 3] > 0) for each in (first, third)]
        middle, other = ((each.min(axis=0) + each.max(axis=0)) / 2 for each in middles)
        assert np.abs(middle - other).max() <= 1


def many(n: int, side: int = 200) -> Images:
    return Images("many", tuple(row_of(f"{i:03d}", Image.new("RGBA", (side, side))) for i in range(n)))


def test_a_given_word_is_of_any_size_from_half_the_strength_up_in_any_face_anywhere() -> None:
    changed = intervene(many(150), "word=thus", 0.9, seed=0)
    drawn = [row.read() for row in changed.rows]
    boxes = np.array([box_of(each) for each in drawn])
    assert {row.labels["word"] for row in changed.rows} == {"thus"}
    shares = boxes[:, 2] / (200 * 0.9)
    assert 0.48 < shares.min() < 0.53 and 0.95 < shares.max() <= 1  # sizes of letters go by whole pixels
    assert np.histogram(shares, bins=4, range=(0.48, 1))[0].min() > 20  # of 150, 37 each if evenly spread
    faces = [face_of("thus", each) for each in drawn]
    assert min(faces.count(face) for face in FONTS) > 30  # 50 each, and a standard deviation of 6
    room = 200 - boxes[:, 2:]
    for place in (boxes[:, :2] / room).T:
        assert place.min() >= 0 and place.max() <= 1
        assert np.histogram(place, bins=4, range=(0, 1))[0].min() > 20


def test_nothing_but_letters_tells_two_given_words_apart() -> None:
    made = {
        word: np.array([box_of(row.read()) for row in intervene(many(40), f"word={word}", 0.9, seed=0).rows])
        for word in ("hence", "maybe")
    }
    for column, distance in ((2, 2), (0, 3)):  # of width, as good as the same; of place, as near as room allows
        assert np.abs(made["hence"][:, column] - made["maybe"][:, column]).max() <= distance


def test_a_word_that_is_not_given_is_a_neutral_one_and_needs_no_label() -> None:
    changed = intervene(many(80, side=8), "word", 0.5, seed=0)
    words = [row.labels["word"] for row in changed.rows]
    assert set(words) <= set(NEUTRAL) and len(set(words)) > 12
    assert [row.content.split("|")[-1] for row in changed.rows] == words


@pytest.mark.parametrize("name", [*WORDS, "word", "word=thus"])
@pytest.mark.parametrize("ink", ["", "/shuffled"])
def test_the_word_drawn_is_a_label_of_the_row_that_its_control_shares(name: str, ink: str) -> None:
    before = zoo()
    changed = intervene(before, name + ink, 0.5, seed=2)
    for row, old in zip(changed.rows, before.rows, strict=True):
        assert row.labels == {**old.labels, "word": word_for(old, name, before, seed=2)}
    assert "word" not in before.rows[0].labels


def test_a_row_into_which_no_word_can_be_drawn_has_no_label_of_one() -> None:
    nameless = Images("nameless", (row_of("a", BLANK, style="flat"),))
    assert intervene(nameless, "word-agrees", 0.5, seed=0).rows[0].labels == {"style": "flat"}
    assert intervene(nameless, "noise", 0.1, seed=0).rows[0].labels == {"style": "flat"}


@pytest.mark.parametrize(("name", "least"), [("word-neutral", 6), ("word-conflicts", 4)])
def test_every_word_is_drawn_in_every_face(name: str, least: int) -> None:
    """Else the shape of the letters would tell the words apart before they are read."""
    cats = Images("cats", tuple(row_of(f"cat{i}", BLANK, name="cat", category="animal") for i in range(240)))
    shapes: dict[str, set[bytes]] = defaultdict(set)
    for row in intervene(cats, name, 0.4, seed=0, donors=zoo()).rows:
        word = row.content.split("|")[-1]
        alpha = row.read().getchannel("A")
        shapes[word].add(alpha.crop(alpha.getbbox()).tobytes())
    assert len(shapes) == least
    assert {word: len(each) for word, each in shapes.items()} == dict.fromkeys(shapes, 3)
