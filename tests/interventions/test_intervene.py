from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images import Images, Row
from embprobe.interventions import INTERVENTIONS, find_intervention, intervene
from embprobe.interventions.base import pixels


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
    for before, after in zip(few.rows, changed.rows, strict=True):
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
        match="no intervention 'sepia'. There are: background, crop, greyscale, halftone, house, hue, jpeg, ",
    ):
        intervene(blank("a"), "sepia", 1, seed=0)


@pytest.mark.parametrize(("name", "strength"), [("greyscale", 1.5), ("greyscale", -0.1), ("hue", float("nan"))])
def test_a_strength_that_makes_no_sense_is_the_users_to_correct(name: str, strength: float) -> None:
    with pytest.raises(UsageError):
        intervene(blank("a"), name, strength, seed=0).rows[0].read()
