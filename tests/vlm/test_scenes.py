"""Scenes: every part is where it should be, as large, as turned and in its colour."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from embprobe.images.decoding import UnreadableImage
from embprobe.vlm.scenes import COLORS, Area, Scene, Thing, Word, compose, looks_turned, trimmed

WHOLE = (0.0, 0.0, 1.0, 1.0)
GREEN = Area(WHOLE, (0, 200, 0))
MAGENTA = (255, 0, 255)


def pin(side: int = 40) -> Image.Image:
    """A magenta square whose upper left quarter is white, in a margin of a quarter: it shows how it is turned."""
    image = Image.new("RGBA", (2 * side, 2 * side))
    drawing = ImageDraw.Draw(image)
    drawing.rectangle((side // 2, side // 2, side // 2 + side - 1, side // 2 + side - 1), (*MAGENTA, 255))
    drawing.rectangle((side // 2, side // 2, side - 1, side - 1), (255, 255, 255, 255))
    return image


def drawn(*things: Thing, words: tuple[Word, ...] = ()) -> NDArray[np.uint8]:
    return np.asarray(compose(Scene((GREEN,), things, words), lambda row: pin(), 100))


def test_areas_lie_where_their_boxes_are() -> None:
    halves = Scene((Area((0, 0, 0.5, 1), (1, 2, 3)), Area((0.5, 0, 1, 1), (4, 5, 6))))
    values = np.asarray(compose(halves, lambda row: pin(), 10))
    assert (values[:, :5] == (1, 2, 3)).all()
    assert (values[:, 5:] == (4, 5, 6)).all()


def test_a_thing_has_its_size_and_its_centre_without_the_margin_of_its_drawing() -> None:
    there = (drawn(Thing(0, 0.3, 0.6, 0.2)) != (0, 200, 0)).any(-1)
    ys, xs = np.nonzero(there)
    assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 39, 50, 69)  # 20 pixels around 30 and around 60


@pytest.mark.parametrize(("quarters", "white"), [(0, (25, 25)), (1, (75, 25)), (2, (75, 75)), (3, (25, 75))])
def test_quarter_turns_go_to_the_right(quarters: int, white: tuple[int, int]) -> None:
    values = drawn(Thing(0, 0.5, 0.5, 1.0, quarters))
    for x in (25, 75):
        for y in (25, 75):
            assert tuple(values[y, x]) == ((255, 255, 255) if (x, y) == white else MAGENTA)


def test_what_lies_outside_is_cut_off() -> None:
    assert (drawn(Thing(0, 0.0, 0.5, 0.2))[56, :12] == [MAGENTA] * 10 + [(0, 200, 0)] * 2).all()


def test_a_word_stays_in_its_strip_and_has_its_ink() -> None:
    before = drawn()
    values = drawn(words=(Word("MOON", (0.0, 0.6, 1.0, 1.0), COLORS["blue"], 3),))
    changed = (values != before).any(-1)
    assert not changed[:60].any()
    assert (values == COLORS["blue"]).all(-1).sum() > 100
    columns = np.flatnonzero(changed.any(0))
    assert 70 <= columns[-1] - columns[0] <= 92  # 0.8 or 0.9 of the strip
    others = drawn(words=(Word("TOOL", (0.0, 0.6, 1.0, 1.0), COLORS["blue"], 3),))
    assert (values != others).any()


def test_a_texture_takes_the_place_of_areas() -> None:
    one, same, other = (compose(Scene(texture=seed), lambda row: pin(), 32).tobytes() for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_only_cut_outs_can_be_put_into_a_scene() -> None:
    assert trimmed(pin(40)).size == (40, 40)
    with pytest.raises(UnreadableImage, match="no transparent background"):
        trimmed(Image.new("RGB", (4, 4)))
    with pytest.raises(UnreadableImage, match="no transparent background"):
        trimmed(Image.new("RGBA", (4, 4), (0, 0, 0, 255)))
    with pytest.raises(UnreadableImage, match="transparent everywhere"):
        trimmed(Image.new("RGBA", (4, 4)))


def test_a_drawing_that_some_turn_leaves_alike_does_not_look_turned() -> None:
    assert looks_turned(trimmed(pin()))
    bar = Image.new("RGBA", (60, 20), (*MAGENTA, 255))  # upside down it is the same
    assert not looks_turned(bar)


def test_colours_are_well_apart() -> None:
    values = np.array(list(COLORS.values()), float)
    distance = np.linalg.norm(values[:, None] - values[None], axis=-1) + 1e9 * np.eye(len(values))
    assert distance.min() > 70  # shades of a colour are at most 17.4 apart from it: 10 in each channel
