from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from embprobe.interventions.text import draw_word

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
