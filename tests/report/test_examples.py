"""Which examples a card has: what it does to images, in its own words, and no more than fits."""

from __future__ import annotations

from typing import Any

from embprobe.images import Images, UnreadableImage
from embprobe.images.rows import Row
from embprobe.probing.card import bundled_card
from embprobe.report.examples import examples_of
from tests.conftest import row_of, solid


def card(*measures: dict[str, Any], attribute: str = "color") -> dict[str, Any]:
    return {"attribute": attribute, "measures": list(measures)}


HUE = {"kind": "displacement", "intervention": "hue", "strengths": [60, 120.0], "control": "noise 0.05"}


def test_a_line_is_the_image_then_every_strength_then_the_control(emoji: Images) -> None:
    found = examples_of(card(HUE), emoji, seed=0)
    assert len(found.lines) == 3 and found.changed and found.left_out == 0
    for line in found.lines:
        assert [shown.caption for shown in line[1:]] == ["hue 60", "hue 120", "noise 0.05"]
        assert len({shown.picture for shown in line}) >= 2 and all(shown.picture for shown in line)


def test_of_many_words_three_are_shown_and_the_rest_is_counted(emoji: Images) -> None:
    words = {word: [f"word={word} 1"] for word in ("ARROW", "CLOCK", "HEART", "MOUTH", "WATER")}
    found = examples_of(card({"kind": "decoding", "label": "word", "treatments": words}), emoji, seed=0)
    assert [shown.caption for shown in found.lines[0][1:]] == ["word=ARROW 1", "word=CLOCK 1", "word=HEART 1"]
    assert found.left_out == 2


def test_a_card_that_changes_nothing_shows_images_with_what_is_to_be_told() -> None:
    rows = tuple(row_of(f"k{i}", solid((i, 9, 9)), category="Food") for i in range(4))
    found = examples_of(card({"label": "category"}, attribute="category"), Images("four", rows), seed=0)
    assert not found.changed and {shown.caption for shown in found.lines[0]} == {f"k{i}, Food" for i in range(4)}


def test_a_study_has_no_examples_of_its_own(emoji: Images) -> None:
    assert examples_of({"attribute": "study", "claims": []}, emoji, seed=0).lines == []


def test_images_are_of_those_that_the_card_asks_for(emoji: Images) -> None:
    of = {"where": {"style": ["noto"], "nothing": ["x"]}}  # a label that the images lack chooses nothing
    found = examples_of(card(HUE | {"images": of}), emoji, seed=0)
    assert all(line[0].caption.endswith(", noto") for line in found.lines)


def test_what_cannot_be_read_or_done_says_why() -> None:
    def read() -> bytes:
        raise UnreadableImage("torn in two")

    torn = examples_of(card(HUE), Images("torn", (Row("torn", {}, "", read),)), seed=0)
    assert [shown.caption for shown in torn.lines[0]] == ["torn: cannot be read (torn in two)"]
    alone = Images("alone", (row_of("a", solid((9, 9, 9))),))
    odd = examples_of(card({"intervention": "no-such", "strengths": [1]}), alone, seed=0)
    assert odd.lines[0][1].picture == "" and "There is no intervention 'no-such'" in odd.lines[0][1].caption


def test_every_bundled_card_has_examples(emoji: Images) -> None:
    for name in ("category", "color", "text", "style", "background", "typographic", "geometry"):
        found = examples_of(bundled_card(name).model_dump(by_alias=True), emoji, seed=0)
        assert found.lines and all(shown.picture or ":" in shown.caption for line in found.lines for shown in line)
