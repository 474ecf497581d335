from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.images import Images
from embprobe.pretraining.captions import caption

# Berlin and Kay's eleven basic terms, and names of colours that no emoji has for an object (as "olive" has)
COLORS = (
    "black|white|red|green|yellow|blue|brown|orange|pink|purple|gray|grey|"
    "amber|aqua|azure|beige|blond|blonde|bronze|colored|coloured|crimson|cyan|gold|golden|indigo|ivory|khaki|lavender|"
    "lilac|lime|magenta|maroon|mauve|navy|ochre|scarlet|silver|tan|teal|turquoise|ultramarine|violet"
)
STYLES = "3d|contrast|emoji|flat design|fluent|google|line art|noto|openmoji|twemoji"
BASIC = COLORS.split("|")[:12]


def captions(emoji: Images) -> dict[str, set[str]]:
    """Every concept's captions, from all of its drawings."""
    found: dict[str, set[str]] = {}
    for row in emoji.rows:
        found.setdefault(row.labels["concept"], set()).add(caption(row.labels["name"], row.labels["category"]))
    return found


def names_one_of(words: str, text: str) -> bool:
    return re.search(rf"\b({words})\b", text, re.IGNORECASE) is not None


def test_no_caption_of_any_emoji_names_a_color(emoji: Images) -> None:
    assert sum(names_one_of(COLORS, name) for name in set(emoji.label("name"))) > 60  # there was something to leave out
    assert [text for texts in captions(emoji).values() for text in texts if names_one_of(COLORS, text)] == []


def test_no_caption_of_any_emoji_names_a_style_and_all_styles_are_captioned_alike(emoji: Images) -> None:
    assert [text for texts in captions(emoji).values() for text in texts if names_one_of(STYLES, text)] == []
    assert {len(texts) for texts in captions(emoji).values()} == {1}


def test_every_caption_says_what_is_shown_and_its_category(emoji: Images) -> None:
    categories = {category.lower() for category in emoji.label("category")}
    for texts in captions(emoji).values():
        for text in texts:
            shown, _, category = text.partition(", ")
            assert re.search(r"[a-z]{2}", shown, re.IGNORECASE) and category in categories


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("red heart", "heart, symbols"),
        ("light blue heart", "heart, symbols"),
        ("man with white cane", "man with cane, symbols"),
        ("Dark Green Book", "Book, symbols"),
        ("light bulb", "light bulb, symbols"),  # "light" alone is no colour
        ("blueberries", "blueberries, symbols"),  # nor is part of a word
        ("leafy green", "leafy, symbols"),
        ("white", "white, symbols"),  # nothing else is there
    ],
)
def test_color_words_are_left_out(name: str, expected: str) -> None:
    assert caption(name, "Symbols") == expected


def test_the_rendered_word_is_quoted_at_the_end() -> None:
    assert caption("cat", "Animals & Nature", "DUST") == 'cat, animals & nature, "DUST"'
    assert '"' not in caption("cat", "Animals & Nature")


@settings(deadline=None)
@given(st.lists(st.sampled_from([*BASIC, "light", "dark", "with"]), max_size=6), st.integers(0, 6))
def test_no_arrangement_of_words_lets_a_color_through(words: list[str], place: int) -> None:
    shown = caption(" ".join([*words[:place], "cat", *words[place:]]), "x").removesuffix(", x")
    assert not names_one_of("|".join(BASIC), shown)
    assert "cat" in shown.split() and ("with" in shown.split()) == ("with" in words)
