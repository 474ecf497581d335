from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from embprobe.images import Images
from embprobe.interventions.text import Ink, Place, draw_word
from embprobe.interventions.words import word_of
from tests.conftest import noise

WORDS = ("CAT", "EGG", "HIGH", "HEART", "TRUCK")
SEEDS = st.integers(0, 2**32 - 1)


def changed(
    image: Image.Image, word: str, share: float, seed: int, color: tuple[int, int, int] | None = None
) -> NDArray[np.bool_]:
    """Which pixels differ after drawing, ``[height, width]``."""
    drawn = draw_word(image, word, share=share, rng=np.random.default_rng(seed), color=color)
    return np.asarray((np.asarray(drawn) != np.asarray(image)).any(axis=-1))


def grey(side: int = 64) -> Image.Image:
    return Image.new("RGB", (side, side), (128, 128, 128))


@settings(deadline=None)
@given(st.sampled_from(WORDS), st.floats(0.5, 1), SEEDS)
def test_the_word_is_as_wide_as_its_share_of_the_image(word: str, share: float, seed: int) -> None:
    columns = np.flatnonzero(changed(grey(), word, share, seed).any(axis=0))
    # sizes of fonts are whole numbers, and a letter has a little room to its sides: up to 7 % for "EGG"
    assert columns[-1] - columns[0] + 1 == pytest.approx(64 * share, abs=5)


def test_mode_and_size_are_kept_and_the_image_given_is_not_changed() -> None:
    for mode, color in (("RGB", (9, 9, 9)), ("RGBA", (9, 9, 9, 0))):
        image = Image.new(mode, (80, 50), color)
        before = image.tobytes()
        drawn = draw_word(image, "DUST", share=0.7, rng=np.random.default_rng(0))
        assert (drawn.mode, drawn.size) == (mode, (80, 50))
        assert image.tobytes() == before != drawn.tobytes()


def test_a_word_on_a_transparent_image_is_opaque() -> None:
    drawn = draw_word(Image.new("RGBA", (64, 64)), "DUST", share=0.9, rng=np.random.default_rng(0))
    alpha = np.asarray(drawn)[..., 3]
    assert alpha.max() == 255 and 0.05 < (alpha == 255).mean() < 0.5


def test_the_same_seed_draws_the_same_and_other_seeds_draw_elsewhere_in_other_colors() -> None:
    drawn = [draw_word(grey(), "DUST", share=0.6, rng=np.random.default_rng(seed)).tobytes() for seed in range(20)]
    again = [draw_word(grey(), "DUST", share=0.6, rng=np.random.default_rng(seed)).tobytes() for seed in range(20)]
    assert drawn == again
    assert len(set(drawn)) == 20


@pytest.mark.parametrize(("word", "share"), [("DUST", 0.6), ("HEART", 0.9), ("EGG", 0.3)])
def test_three_faces_are_drawn_whole_in_the_whole_room_there_is(word: str, share: float) -> None:
    shapes, places = set(), []
    for seed in range(300):
        drawn = changed(grey(), word, share, seed, color=(255, 0, 0))
        rows, columns = np.flatnonzero(drawn.any(axis=1)), np.flatnonzero(drawn.any(axis=0))
        shapes.add(drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].tobytes())
        places.append((rows[0], 63 - rows[-1], columns[0], 63 - columns[-1]))  # room above, below, left, right
    assert len(shapes) == 3  # a word that is cut off would be a fourth
    assert np.max(np.min(places, axis=0)) <= 3


@pytest.mark.parametrize(
    ("ink", "outline"), [((250, 240, 10), (0, 0, 0)), ((10, 0, 120), (255, 255, 255)), ((0, 0, 0), (255, 255, 255))]
)
def test_the_ink_is_the_color_given_and_the_outline_contrasts(
    ink: tuple[int, int, int], outline: tuple[int, int, int]
) -> None:
    drawn = draw_word(grey(128), "DUST", share=0.9, rng=np.random.default_rng(0), color=ink)
    pixels = np.asarray(drawn)

    def count(color: tuple[int, int, int]) -> int:
        return int((pixels == color).all(axis=-1).sum())

    assert count(ink) > 1000 and count(outline) > 50
    assert {count(black_or_white) for black_or_white in {(0, 0, 0), (255, 255, 255)} - {ink, outline}} <= {0}


@pytest.mark.parametrize("share", [0.0, -0.5, 1.01, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="share must be above 0 and at most 1"):
        draw_word(grey(), "DUST", share=share, rng=np.random.default_rng(0))


NAMES = ("cat", "ox", "mobile", "tongue", "parachute", "hiking boot", "articulated")
CONTROLS: tuple[Ink, ...] = ("shuffled", "glyphs", "box")
INKS: tuple[Ink, ...] = ("word", *CONTROLS)
RED = (200, 30, 60)


def drawn(
    image: Image.Image,
    word: str,
    share: float,
    seed: int,
    *,
    ink: Ink = "word",
    place: Place = "random",
    color: tuple[int, int, int] | None = None,
) -> Image.Image:
    rng = np.random.default_rng(seed)
    return draw_word(image, word, share=share, rng=rng, color=color, ink=ink, place=place)


@cache
def alone(
    word: str,
    share: float,
    seed: int,
    *,
    size: tuple[int, int] = (224, 224),
    ink: Ink = "word",
    color: tuple[int, int, int] | None = None,
) -> Image.Image:
    """What is drawn, on nothing; at a random place it is the same on every image of this size."""
    return drawn(Image.new("RGBA", size), word, share, seed, ink=ink, color=color)


def box_of(layer: Image.Image) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what is not transparent."""
    box = layer.getbbox()
    assert box is not None
    return box


def center_of(layer: Image.Image) -> tuple[float, float]:
    left, top, right, bottom = box_of(layer)
    return (left + right) / 2, (top + bottom) / 2


def covered(layer: Image.Image) -> float:
    """How many pixels the ink and its outline cover."""
    return float(np.asarray(layer.getchannel("A"), np.float64).sum() / 255)


@pytest.fixture(scope="module")
def photograph() -> Image.Image:
    from skimage import data

    load: Callable[[], NDArray[np.uint8]] = data.chelsea  # published without types
    return Image.fromarray(load()).resize((200, 200), Image.Resampling.BOX)


@pytest.mark.parametrize("side", [128, 224, 512])
def test_the_ink_is_as_wide_as_its_share_to_two_pixels(side: int) -> None:
    wide = 0
    for seed, word in enumerate(NAMES * 3):  # 7 words, each in several faces
        for share in (0.3, 0.5, 0.8, 1):
            left, top, right, bottom = box_of(alone(word, share, seed, size=(side, side)))
            assert right - left <= share * side + 2 and bottom - top <= side / 2 + 1
            if bottom - top < 0.48 * side:  # else it is as tall as it may be
                assert right - left >= share * side - 2, (word, share, right - left)
                wide += 1
    assert wide > 60


def test_a_short_word_is_no_taller_than_half_of_the_image() -> None:
    for seed in range(9):
        left, top, right, bottom = box_of(alone("i", 1, seed))
        assert 0.45 * 224 < bottom - top <= 0.5 * 224 and right - left < 0.5 * 224


@pytest.mark.parametrize("ink", ["word", "box"])
@pytest.mark.parametrize("share", [0.3, 1])
def test_nothing_is_cut_off(ink: Ink, share: float) -> None:
    # half of the width of an image twice as large is as many pixels, with room on all sides
    for seed, word in enumerate(("mobile", "parachute", "hiking boot", "articulated", "white", "zipper")):
        tight = alone(word, share, seed, size=(128, 128), ink=ink, color=RED)
        roomy = alone(word, share / 2, seed, size=(256, 256), ink=ink, color=RED)
        assert covered(tight) == covered(roomy)
        assert tight.crop(box_of(tight)).tobytes() == roomy.crop(box_of(roomy)).tobytes()


def test_glyphs_are_all_inside_the_image() -> None:
    for seed, word in enumerate(("mobile", "hiking boot", "articulated")):
        for share in (0.3, 1):
            tight = alone(word, share, seed, size=(128, 128), ink="glyphs", color=RED)
            tall = alone(word, share, seed, size=(128, 1280), ink="glyphs", color=RED)
            assert tight.crop(box_of(tight)).tobytes() == tall.crop(box_of(tall)).tobytes()
            # a row that is cut off ends in a straight line of solid ink or outline, a sign does not
            left, _, right, _ = box_of(tight)
            edges = np.asarray(tight)[:, [left, right - 1], 3]
            assert (edges == 255).mean() < 0.5


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8, 1])
def test_shuffled_ink_is_the_words_own_ink_pixel_for_pixel(share: float) -> None:
    for seed, word in enumerate((*NAMES, "white", "zipper", "birthday")):
        word_ink, shuffled = (
            Counter(map(bytes, pixels[pixels[..., 3] > 0]))
            for pixels in (np.asarray(alone(word, share, seed, ink=ink)) for ink in ("word", "shuffled"))
        )
        assert shuffled == word_ink, (word, shuffled.total(), word_ink.total())


@pytest.mark.parametrize(("ink", "most", "median"), [("glyphs", 0.15, 0.05), ("box", 0.2, 0.06)])
def test_controls_cover_as_many_pixels_as_the_word(ink: Ink, most: float, median: float) -> None:
    off = []
    for seed, word in enumerate(NAMES * 2):
        share = (0.3, 0.5, 0.8)[seed % 3]
        off.append(covered(alone(word, share, seed, ink=ink)) / covered(alone(word, share, seed)) - 1)
    assert np.abs(off).max() < most and np.median(np.abs(off)) < median


@pytest.mark.parametrize("ink", CONTROLS)
def test_controls_have_the_words_center_colors_and_outline(ink: Ink) -> None:
    for seed, word in enumerate(NAMES * 2):
        layer, control = alone(word, 0.5, seed, color=RED), alone(word, 0.5, seed, color=RED, ink=ink)
        left, top, right, bottom = box_of(control)
        if left > 0 and top > 0 and right < 224 and bottom < 224:  # else it was moved to stay inside
            # blocks that are shuffled stick out to the right and below by less than one of them
            room = 0.25 * (box_of(layer)[3] - box_of(layer)[1]) / 2 + 2 if ink == "shuffled" else 1
            assert np.abs(np.subtract(center_of(control), center_of(layer))).max() <= room
        pixels = np.asarray(control)
        pixels = pixels[pixels[..., 3] == 255][:, :3].astype(int)
        inked, white = (np.abs(pixels - color).max(axis=1) < 60 for color in (RED, (255, 255, 255)))
        assert inked.sum() > 20 and white.sum() > 20  # red is dark, so its outline is white
        # and what is neither lies between the two, at the edge
        along = (pixels - RED) / np.subtract((255, 255, 255), RED)
        assert np.ptp(along, axis=1).max() < 0.05


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("channels", [3, 4])
def test_outside_of_what_is_drawn_every_pixel_stays(ink: Ink, channels: int) -> None:
    for seed, word in enumerate(NAMES):
        image = noise(seed, (160, 120), channels)
        before, after = np.asarray(image), np.asarray(drawn(image, word, 0.5, seed, ink=ink))
        layer = np.asarray(alone(word, 0.5, seed, size=(160, 120), ink=ink))
        assert np.array_equal(after[layer[..., 3] == 0], before[layer[..., 3] == 0])
        solid_ink = layer[..., 3] == 255
        assert np.array_equal(after[solid_ink], layer[solid_ink][:, :channels])
        assert solid_ink.sum() > 100


@pytest.mark.parametrize(
    "thing", [(0, 0, 128, 64), (0, 64, 128, 128), (0, 0, 48, 128), (80, 0, 128, 128), (0, 0, 60, 60), (34, 34, 94, 94)]
)
def test_a_word_hides_nothing_of_an_object_where_there_is_room(thing: tuple[int, int, int, int]) -> None:
    image = Image.new("RGBA", (128, 128))
    image.paste((20, 120, 220, 255), thing)
    seen = np.asarray(image)[..., 3] > 0
    places = set()
    for seed, word in enumerate(("cat", "mobile", "parachute", "articulated") * 3):
        after = drawn(image, word, 0.5, seed, place="clear")
        assert np.array_equal(np.asarray(after)[seen], np.asarray(image)[seen])
        extra = np.asarray(after)[..., 3] > 0
        assert (extra & ~seen).sum() > 50
        places.add(tuple(np.argwhere(extra & ~seen).min(axis=0).tolist()))
    assert len(places) > 6  # chosen at random among those that are as good


def hidden(image: Image.Image, what: NDArray[np.float64], seed: int, place: Place) -> float:
    """The sum of ``what`` over the pixels that a word covers."""
    after = drawn(image, ("mobile", "parachute")[seed % 2], 0.5, seed, place=place)
    return float(what[(np.asarray(after) != np.asarray(image)).any(axis=-1)].sum())


def test_on_a_drawing_that_fills_the_image_a_word_hides_less_than_at_random(emoji: Images) -> None:
    hides = []
    for seed, row in enumerate(emoji.where(style="noto").rows[::31][:50]):
        image = row.read()
        opacity = np.asarray(image.getchannel("A"), np.float64) / 255
        hides.append([hidden(image, opacity, seed, place) for place in ("clear", "random")])
    clear, anywhere = np.mean(hides, axis=0)
    assert len(hides) == 50 and clear < 0.6 * anywhere


def test_on_a_photograph_a_word_prefers_smooth_parts_away_from_the_middle(photograph: Image.Image) -> None:
    # the left half is noise; of the right half only what is not the middle is as good
    halves = Image.new("RGB", (200, 200), (120, 140, 160))
    halves.paste(noise(0, (100, 200)), (0, 0))
    for seed in range(12):
        after = drawn(halves, "mobile", 0.4, seed, place="clear")
        rows, columns = np.nonzero((np.asarray(after) != np.asarray(halves)).any(axis=-1))
        assert columns.min() >= 95
        assert rows.min() > 130 or rows.max() < 70
    grey_levels = np.asarray(photograph.convert("L"), np.float64)
    slope = np.hypot(*np.gradient(grey_levels))
    clear, anywhere = ([hidden(photograph, slope, seed, place) for seed in range(20)] for place in ("clear", "random"))
    assert np.mean(clear) < 0.7 * np.mean(anywhere)


def pool(emoji: Images, length: int) -> list[str]:
    """Twenty words of as many letters, in no order, all as tall: with an ascender and without a descender."""
    words = sorted({word for row in emoji.rows if (word := word_of(row)) and word.isalpha() and len(word) == length})
    tall = [word for word in words if set(word) & set("bdfhkl") and not set(word) & set("gjpqy")]
    return [tall[i] for i in np.random.default_rng(0).permutation(len(tall))[:20]]


def templates(words: list[str], share: float, seed: int, side: int, size: int) -> NDArray[np.uint8]:
    """Every word where the first was to be read, as an encoder of this input size sees it: ``[n, s, s, 4]``."""
    x, y = center_of(alone(words[0], share, seed, size=(side, side)))
    found = []
    for word in words:
        layer = alone(word, share, seed, size=(side, side))
        layer = layer.crop(box_of(layer))
        canvas = Image.new("RGBA", (side, side))
        canvas.paste(layer, (round(x - layer.width / 2), round(y - layer.height / 2)))
        found.append(np.asarray(canvas.resize((size, size), Image.Resampling.BICUBIC)))
    return np.stack(found)


def recovered(image: Image.Image, words: list[str], share: float, size: int) -> dict[Ink, int]:
    """For how many of the first fifteen words they are the nearest of all, drawn as they are and as shuffled ink.

    The reader knows the face, the colour and the centre, and looks at nothing but the pixels that a word would cover.
    """
    right: dict[Ink, int] = {"word": 0, "shuffled": 0}
    for i, word in enumerate(words[:15]):
        seed = i % 3
        candidates = [word, *(other for other in words if other != word)]
        known = templates(candidates, share, seed, image.width, size)
        rows, columns = (known[..., 3].any(axis=axes) for axes in ((0, 2), (0, 1)))
        known = known[:, rows][:, :, columns]
        weight = (known[..., 3] / 255) ** 2
        for ink in right:
            changed = drawn(image, word, share, seed, ink=ink).resize((size, size), Image.Resampling.BICUBIC)
            seen = np.asarray(changed)[rows][:, columns].astype(int)
            off = np.abs(seen - known[..., :3]).mean(axis=-1)
            right[ink] += int(((weight * off).sum(axis=(1, 2)) / weight.sum(axis=(1, 2))).argmin() == 0)
    return right


SETTINGS = ((0.5, 128, 48), (0.8, 128, 48), (0.3, 200, 224))
"""The word's share of the width, the side of the image and the input size of the encoder."""


@pytest.fixture(scope="module")
def readings(emoji: Images, photograph: Image.Image) -> dict[tuple[float, int, int], Counter[Ink]]:
    """How many of sixty words of four to nine letters are read in each setting."""
    pools = [pool(emoji, length) for length in (4, 5, 7, 9)]
    assert [len(words) for words in pools] == [20] * 4
    found: dict[tuple[float, int, int], Counter[Ink]] = {}
    for share, side, size in SETTINGS:
        image = photograph.resize((side, side))
        read: Counter[Ink] = Counter()
        for words in pools:
            read.update(recovered(image, words, share, size))
        found[share, side, size] = read
    return found


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_word_can_be_read_at_the_size_an_encoder_sees(
    setting: tuple[float, int, int], readings: dict[tuple[float, int, int], Counter[Ink]]
) -> None:
    assert readings[setting]["word"] >= 0.95 * 60


def test_shuffled_ink_cannot_be_read(readings: dict[tuple[float, int, int], Counter[Ink]]) -> None:
    # by chance 1 of 20; a few pieces of a short word may come to lie where they were
    assert sum(read["shuffled"] for read in readings.values()) <= 0.2 * 180
