"""Turning, mirroring and shrinking, on pictures that can be read by eye."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from embprobe.interventions.pose import TURNS, scale, turn
from tests.conftest import noise

RNG = np.random.default_rng(0)


def letters(rows: list[str], mode: str = "L") -> Image.Image:
    """A picture with a grey for every letter."""
    grey = np.array([[ord(letter) for letter in row] for row in rows], np.uint8)
    return Image.merge("RGB", [Image.fromarray(grey)] * 3)


def read(image: Image.Image) -> list[str]:
    return ["".join(map(chr, row)) for row in np.asarray(image)[..., 0].tolist()]


@pytest.mark.parametrize(
    ("how", "after"),
    [("90", ["ca", "db"]), ("180", ["dc", "ba"]), ("270", ["bd", "ac"]), ("mirror", ["ba", "dc"])],
)
def test_a_square_is_turned_clockwise_or_mirrored(how: str, after: list[str]) -> None:
    assert read(turn(letters(["ab", "cd"]), 1, RNG, how=how)) == after


@pytest.mark.parametrize(
    ("how", "after"),
    [
        ("180", ["hgfe", "dcba"]),
        ("mirror", ["dcba", "hgfe"]),
        ("90", ["ffbb", "ggcc"]),  # the middle square, bc over fg, becomes fb over gc, mirrored at both sides
    ],
)
def test_of_a_wide_photograph_the_middle_square_is_turned(how: str, after: list[str]) -> None:
    assert read(turn(letters(["abcd", "efgh"]), 1, RNG, how=how)) == after


def test_of_a_high_cut_out_the_rest_is_transparent() -> None:
    image = Image.new("RGBA", (2, 4), (9, 9, 9, 255))
    alpha = np.asarray(turn(image, 1, RNG, how="90"))[..., 3]
    assert alpha.tolist() == [[0, 0], [255, 255], [255, 255], [0, 0]]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (64, 64), (31, 64)])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_size_and_mode_are_kept_and_pixels_are_kept_by_what_fits(size: tuple[int, int], mode: str) -> None:
    image = noise(0, size).convert(mode)
    for how in TURNS:
        made = turn(image, 1, RNG, how=how)
        assert (made.size, made.mode) == (size, mode)
        if how in ("180", "mirror") or size[0] == size[1]:  # no pixel is lost or made
            assert sorted(np.asarray(made).reshape(-1, len(mode)).tolist()) == sorted(
                np.asarray(image).reshape(-1, len(mode)).tolist()
            )
    assert turn(turn(image, 1, RNG, how="180"), 1, RNG, how="180").tobytes() == image.tobytes()
    assert turn(image, 1, RNG, how="mirror").tobytes() == ImageOps.mirror(image).tobytes()


def test_without_an_argument_each_turn_comes_up() -> None:
    image = letters(["ab", "cd"])
    drawn = {tuple(read(turn(image, 1, np.random.default_rng(seed)))) for seed in range(40)}
    assert len(drawn) == len(TURNS)


def test_half_of_each_side_is_a_quarter_of_the_area() -> None:
    image = Image.new("RGBA", (8, 8), (200, 0, 0, 255))
    alpha = np.asarray(scale(image, 0.5))[..., 3]
    assert alpha.sum() == 16 * 255 and alpha[2:6, 2:6].min() == 255


def test_around_a_small_photograph_is_its_mirror_image() -> None:
    made = read(scale(letters(["aaaa", "aaaa", "zzzz", "zzzz"]), 0.5))
    assert made[1][1:3] == made[0][1:3] and made[2] == made[3]
    assert all(len(set(row)) == 1 for row in made)


@pytest.mark.parametrize("change", [turn, lambda image, strength, rng: scale(image, strength)])
def test_strength_zero_changes_nothing_and_more_than_all_is_refused(change: object) -> None:
    assert callable(change)
    image = noise(1, (9, 5))
    assert change(image, 0, RNG).tobytes() == image.tobytes()
    with pytest.raises(ValueError, match="strength must be between 0 and"):
        change(image, 1.5, RNG)
