from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.interventions import INTERVENTIONS, find_intervention, intervene
from embprobe.interventions.base import pixels
from embprobe.interventions.color import srgb_to_oklab, vivid
from tests.conftest import reason, row_of


def sprinkle(image: Image.Image, strength: float, rng: np.random.Generator) -> Image.Image:
    """Noise, so that what a row's generator gives can be seen."""
    pixels = np.asarray(image)
    return Image.fromarray(rng.integers(0, 1 + int(strength), pixels.shape, dtype=np.uint8))


@pytest.fixture
def _sprinkle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        INTERVENTIONS, "sprinkle", replace(INTERVENTIONS["hue"], name="sprinkle", planner=pixels(sprinkle))
    )


def blank(*keys: str) -> Images:
    def row(key: str) -> Row:
        return Row(key=key, labels={}, content="blank", source=lambda: Image.new("RGB", (8, 8)))

    return Images("blank", tuple(row(key) for key in keys))


def read(images: Images) -> dict[str, bytes]:
    return {row.key: row.read().tobytes() for row in images.rows}


def test_every_intervention_says_its_own_name() -> None:
    assert all(name == intervention.name for name, intervention in INTERVENTIONS.items())


EVERY = [n for i in INTERVENTIONS.values() for n in (i.name, *(f"{i.name}/{control}" for control in i.controls))]


@pytest.mark.parametrize("name", EVERY)
def test_strength_zero_changes_nothing_and_size_and_mode_are_kept(name: str, emoji: Images) -> None:
    few = emoji.where(style="fluent-high-contrast" if "recolor" in name else "noto").take(range(0, 1500, 250))
    assert read(intervene(few, name, 0, seed=0, donors=emoji)) == read(few)
    strength = find_intervention(name).preview[-1]
    changed = intervene(few, name, strength, seed=0, donors=emoji)
    refused = "could not be recognised"  # a control of colour that would leave nothing of the image
    made = [pair for pair in zip(few.rows, changed.rows, strict=True) if refused not in (reason(pair[1]) or "")]
    assert made and (len(made) == len(few) or name.endswith("/lightness"))
    for before, after in made:
        assert (after.read().mode, after.read().size) == (before.read().mode, before.read().size)
        assert before.load().tobytes() != after.load().tobytes()


def test_hue_and_greyscale_do_what_they_say() -> None:
    red = Row(key="red", labels={}, content="red", source=lambda: Image.new("RGB", (1, 1), (200, 40, 40)))
    images = Images("red", (red,))
    grey = intervene(images, "greyscale", 1, seed=0).rows[0].read().getpixel((0, 0))
    turned = intervene(images, "hue", 120, seed=0).rows[0].read().getpixel((0, 0))
    assert isinstance(grey, tuple) and isinstance(turned, tuple)
    assert grey[0] == grey[1] == grey[2]
    assert turned[1] == max(turned)  # a third of the circle on from red is green


@pytest.mark.usefixtures("_sprinkle")
def test_a_row_is_changed_alike_whenever_it_is_read() -> None:
    changed = intervene(blank("a", "b", "c"), "sprinkle", 200, seed=0)
    first = read(changed)
    assert read(changed) == first == read(intervene(blank("a", "b", "c"), "sprinkle", 200, seed=0))
    assert len(set(first.values())) == 3  # every row has a generator of its own


@pytest.mark.usefixtures("_sprinkle")
def test_neither_the_order_nor_the_other_rows_matter() -> None:
    together = read(intervene(blank("a", "b", "c"), "sprinkle", 200, seed=0))
    reordered = intervene(blank("c", "a", "b"), "sprinkle", 200, seed=0)
    backwards = {row.key: row.read().tobytes() for row in reversed(reordered.rows)}
    assert backwards == together
    assert read(intervene(blank("b"), "sprinkle", 200, seed=0)) == {"b": together["b"]}


@pytest.mark.usefixtures("_sprinkle")
def test_another_seed_changes_every_row_otherwise() -> None:
    one, other = (read(intervene(blank("a", "b"), "sprinkle", 200, seed=seed)) for seed in (1, 11))
    assert not set(one.values()) & set(other.values())


@pytest.mark.usefixtures("_sprinkle")
def test_a_key_whose_bytes_are_not_utf8_is_a_key_like_any_other() -> None:
    assert len(set(read(intervene(blank("caf\udce9", "café"), "sprinkle", 200, seed=0)).values())) == 2


def test_labels_and_keys_stay_and_nothing_is_read_before_it_is_asked_for() -> None:
    def refuse() -> Image.Image:
        raise AssertionError("read too early")

    images = Images("lazy", (Row(key="a", labels={"concept": "cat"}, content="x", source=refuse),))
    changed = intervene(images, "hue", 60, seed=0)
    assert [(row.key, row.labels) for row in changed.rows] == [("a", {"concept": "cat"})]


def test_the_fingerprint_says_what_was_changed_how_far_and_with_which_seed() -> None:
    images = blank("a", "b")
    changes = [("hue", 60.0, 0), ("hue", 60.0, 1), ("hue", 120.0, 0), ("hue", 1.0, 0), ("greyscale", 1.0, 0)]
    made = [intervene(images, name, strength, seed=seed) for name, strength, seed in changes]
    assert len({images.fingerprint, *(each.fingerprint for each in made)}) == 6
    assert len({images.name, *(each.name for each in made)}) == 6
    assert intervene(images, "hue", 60.0, seed=0).fingerprint == made[0].fingerprint


def test_what_an_intervention_is_given_is_part_of_its_name_and_of_the_fingerprint() -> None:
    images = blank("a", "b")
    asked = ("tint", "tint=30", "tint=140", "tint=140/lightness", "word", "word=thus", "word=maybe", "word=thus/box")
    made = [intervene(images, name, 0.5, seed=0) for name in asked]
    assert len({each.fingerprint for each in made}) == len({each.name for each in made}) == len(asked)
    assert [find_intervention(name).name for name in asked] == list(asked)
    assert find_intervention("tint=140").controls.keys() == {"lightness"}
    assert find_intervention("word=thus").controls.keys() == {"shuffled", "glyphs", "box"}


def test_a_tint_is_of_the_hue_given_for_all_and_else_of_one_of_its_own_for_each() -> None:
    red = Images("red", tuple(row_of(str(i), Image.new("RGB", (1, 1), (200, 40, 40))) for i in range(12)))

    def hues(name: str) -> set[int]:
        lab = [srgb_to_oklab(np.asarray(row.read())[0, 0] / 255) for row in intervene(red, name, 1, seed=0).rows]
        return {round(float(np.degrees(np.arctan2(b, a)))) for _, a, b in lab}

    assert {abs(hue - 140) <= 2 for hue in hues("tint=140")} == {True}  # rounded to 8 bits
    assert len(hues("tint")) > 8


def test_ink_is_of_exactly_the_vivid_color_of_the_hue_given(emoji: Images) -> None:
    few = emoji.where(style="fluent-high-contrast").take(range(0, 1500, 300))
    for before, after in zip(few.rows, intervene(few, "recolor=30", 1, seed=0).rows, strict=True):
        drawn, shape = np.asarray(after.read()), np.asarray(before.read())[..., 3]
        assert np.array_equal(drawn[..., 3], shape)
        assert (drawn[shape > 0][:, :3] == vivid(30)).all()
    colors = {tuple(np.asarray(row.read())[..., :3].max((0, 1))) for row in intervene(few, "recolor", 1, seed=0).rows}
    assert len(colors) == len(few)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("word=", "'word=' lacks its argument; without the '=' it is drawn at random."),
        ("recolor=", "'recolor=' lacks its argument; without the '=' it is drawn at random."),
        ("tint=/lightness", "'tint=' lacks its argument; without the '=' it is drawn at random."),
        (
            "hue=30",
            "'hue' takes no argument '30'; what takes one: 'tint=', 'recolor=', 'word=', 'background=', 'turn=', ",
        ),
        ("hue=", "'hue' takes no argument ''; what takes one: 'tint=', 'recolor=', 'word=', 'background=', 'turn=', "),
        ("tint=red", "'tint=' takes a hue in degrees, not 'red'."),
        ("tint=30=40", "'tint=' takes a hue in degrees, not '30=40'."),
        ("tint=nan", "'tint=' takes a hue in degrees, not 'nan'."),
        ("recolor=-inf", "'recolor=' takes a hue in degrees, not '-inf'."),
        ("word=猫", "The faces at hand have no letters for '猫'."),
        ("word= ", "The faces at hand have no letters for ' '."),
        ("word=\u2003", "The faces at hand have no letters for '\u2003'."),
        ("word=a\nb", r"The faces at hand have no letters for 'a\nb'."),
        ("word=" + 25 * "x", f"'{25 * 'x'}' is too long to be read in an image: 24 letters at most."),
        ("words=thus", "There is no intervention 'words'. Did you mean word?"),
    ],
)
def test_what_an_intervention_cannot_be_given_is_the_users_to_correct(name: str, message: str) -> None:
    with pytest.raises(UsageError) as error:
        intervene(blank("a"), name, 0.5, seed=0)
    assert str(error.value).startswith(message)


def test_strengths_that_differ_in_the_last_digit_have_fingerprints_that_differ() -> None:
    images = blank("a")
    close = [intervene(images, "hue", strength, seed=0) for strength in (90.0, 90.00001, np.nextafter(90.0, 91))]
    assert len({each.fingerprint for each in close}) == 3


def test_one_change_after_another_is_another_thing_than_the_other_way_round() -> None:
    images = blank("a")
    there = intervene(intervene(images, "hue", 60, seed=0), "greyscale", 0.5, seed=0)
    back = intervene(intervene(images, "greyscale", 0.5, seed=0), "hue", 60, seed=0)
    assert there.fingerprint != back.fingerprint


def test_an_unknown_name_is_answered_with_those_there_are() -> None:
    with pytest.raises(
        UsageError,
        match="no intervention 'sepia'. There are: background, beside, count, crop, greyscale, halftone, house, hue, ",
    ):
        intervene(blank("a"), "sepia", 1, seed=0)


@pytest.mark.parametrize(
    ("name", "strength"),
    [("greyscale", 1.5), ("greyscale", -0.1), ("hue", float("nan")), ("house", 0.5), ("word=thus", 1.1)],
)
def test_a_strength_that_makes_no_sense_is_the_users_to_correct(name: str, strength: float) -> None:
    with pytest.raises(UsageError):
        intervene(blank("a"), name, strength, seed=0).rows[0].read()
