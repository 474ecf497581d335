from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.images import Images
from embprobe.pretraining.captions import MOST_DETAILS, caption, details, draw_details, subject_of, without_colors

# Berlin and Kay's eleven basic terms, and names of colours that no emoji has for an object (as "olive" has)
COLORS = (
    "black|white|red|green|yellow|blue|brown|orange|pink|purple|gray|grey|"
    "amber|aqua|azure|beige|blond|blonde|bronze|colored|coloured|crimson|cyan|indigo|ivory|khaki|lavender|"
    "lilac|lime|magenta|maroon|mauve|navy|ochre|scarlet|tan|teal|turquoise|ultramarine|violet"
)
STYLES = "3d|contrast|emoji|flat design|fluent|google|line art|noto|openmoji|twemoji"
BASIC = COLORS.split("|")[:12]


@pytest.fixture(scope="module")
def captions(emoji: Images) -> dict[str, set[str]]:
    """Every concept's longest captions, from all of its drawings."""
    found: dict[str, set[str]] = {}
    for row in emoji.rows:
        found.setdefault(row.labels["concept"], set()).add(caption(subject_of(row.labels), details(row.labels)))
    return found


def names_one_of(words: str, text: str) -> bool:
    return re.search(rf"\b({words})\b", text, re.IGNORECASE) is not None


def test_no_caption_of_any_emoji_names_a_color(emoji: Images, captions: dict[str, set[str]]) -> None:
    for label in ("name", "keywords"):  # there was something to leave out
        assert sum(names_one_of(COLORS, text) for text in set(emoji.label(label))) > 60
    assert [text for texts in captions.values() for text in texts if names_one_of(COLORS, text)] == []


def test_no_caption_of_any_emoji_names_a_style_and_all_styles_are_captioned_alike(
    captions: dict[str, set[str]],
) -> None:
    assert [text for texts in captions.values() for text in texts if names_one_of(STYLES, text)] == []
    assert {len(texts) for texts in captions.values()} == {1}


def test_every_caption_says_what_is_shown_and_its_category(emoji: Images, captions: dict[str, set[str]]) -> None:
    categories = {category.lower() for category in emoji.label("category")}
    for texts in captions.values():
        for text in texts:
            what, category, *_ = text.split(", ")
            assert re.search(r"[a-z]{2}", what, re.IGNORECASE) and category in categories


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red heart", "heart"),
        ("light blue heart", "heart"),
        ("man with white cane", "man with cane"),
        ("Dark Green Book", "Book"),
        ("light bulb", "light bulb"),  # "light" alone is no colour
        ("blueberries", "blueberries"),  # nor is part of a word
        ("leafy green", "leafy"),
        ("white", "white"),  # nothing else is there
        ("  two   cats\n", "two cats"),
        (" ", ""),
    ],
)
def test_color_words_are_left_out(name: str, expected: str) -> None:
    assert subject_of({"name": name}) == expected
    assert subject_of({"caption": name, "name": "not asked"}) == (expected or "not asked")


def test_what_has_neither_caption_nor_name_shows_nothing() -> None:
    assert subject_of({}) == subject_of({"caption": ""}) == subject_of({"category": "Things"}) == ""


def test_details_are_the_category_and_the_keywords_without_those_that_are_colors() -> None:
    labels = {"category": "Animals & Nature", "keywords": "Flower, red,, love , white rose"}
    assert details(labels) == ["animals & nature", "flower", "love", "rose"]
    assert details({"keywords": "red, blue"}) == details({}) == details({"category": "", "keywords": ""}) == []


def test_a_caption_by_hand() -> None:
    assert caption("cat") == "cat"
    assert caption("cat", ["animals", "pet"], "DUST") == 'cat, animals, pet, "dust"'
    assert caption("", ["animals"], "DUST") == '"dust"'  # a word alone: there is nothing else to say
    assert '"' not in caption("cat", ["animals"])


def test_any_number_of_details_in_any_order_is_as_likely() -> None:
    # none to three of four: 1, 4, 12 and 24 arrangements share 1/4 each; of 9,600 draws 2,400, 600, 200 and 100 each,
    # the last with standard deviation sqrt(9600 * 0.0104 * 0.9896) = 9.95
    assert MOST_DETAILS == 3
    rng = np.random.default_rng(0)
    drawn = Counter(tuple(draw_details(["a", "b", "c", "d"], rng)) for _ in range(9600))
    assert len(drawn) == 1 + 4 + 12 + 24
    for arrangement, count in drawn.items():
        share = 1 / 4 / {0: 1, 1: 4, 2: 12, 3: 24}[len(arrangement)]
        assert count == pytest.approx(9600 * share, abs=5 * np.sqrt(9600 * share * (1 - share)))
    assert all(draw_details([], rng) == [] for _ in range(9))
    assert {tuple(draw_details(["a"], rng)) for _ in range(30)} == {(), ("a",)}


@given(st.lists(st.sampled_from([*BASIC, "light", "dark", "with"]), max_size=6), st.integers(0, 6))
def test_no_arrangement_of_words_lets_a_color_through(words: list[str], place: int) -> None:
    found = without_colors(" ".join([*words[:place], "cat", *words[place:]]))
    assert not names_one_of("|".join(BASIC), found)
    assert "cat" in found.split() and ("with" in found.split()) == ("with" in words)
