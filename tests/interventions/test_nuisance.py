from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from embprobe.images.decoding import decode, flatten
from embprobe.interventions.nuisance import crop, jpeg, shift
from embprobe.interventions.nuisance import noise as add_noise
from embprobe.interventions.style import mean_change
from tests.conftest import encoded, noise, solid

Nuisance = Callable[[Image.Image, float, np.random.Generator], Image.Image]

WHITE = (255, 255, 255)
NUISANCES: dict[str, tuple[Nuisance, tuple[float, float, float]]] = {
    "crop": (crop, (0.05, 0.2, 0.5)),
    "shift": (shift, (0.02, 0.1, 0.5)),
    "jpeg": (lambda image, strength, rng: jpeg(image, strength), (20, 80, 95)),
    "noise": (add_noise, (0.05, 0.15, 0.5)),
}
"""Each with a weak strength, a middle one and the strongest there is."""
EVERY_NUISANCE = pytest.mark.parametrize("name", NUISANCES)
SEEDS = st.integers(0, 2**32 - 1)
SIZES = st.tuples(st.integers(1, 24), st.integers(1, 24))
SMALLEST = [noise(0, size, channels) for size in ((1, 1), (1, 500), (500, 1), (3, 2)) for channels in (3, 4)]


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def values(image: Image.Image) -> NDArray[np.int_]:
    return np.asarray(image).astype(int)


def ramp(width: int, height: int, *, down: bool) -> Image.Image:
    """Grey that grows by one level a pixel, to the right or downwards, from 20."""
    level = 20 + np.indices((height, width))[0 if down else 1]
    return Image.fromarray(np.repeat(level[..., None], 3, axis=-1).astype(np.uint8))


# Crop


@pytest.mark.parametrize("strength", [0.1, 0.25, 0.5])
@pytest.mark.parametrize("down", [False, True])
def test_a_crop_enlarges_by_what_it_cut_away(strength: float, down: bool) -> None:
    width, height = 200, 120
    along = height if down else width
    for seed in range(5):
        profile = values(crop(ramp(width, height, down=down), strength, seeded(seed)))[..., 0]
        line = (profile if down else profile.T).mean(axis=1)[5:-5]  # away from the border
        # one level a pixel before; enlarged to 1 / (1 - strength), a pixel is 1 - strength of a level
        slope = np.polyfit(np.arange(len(line)), line, 1)[0]
        assert slope == pytest.approx(1 - strength, rel=0.01)
        # the first and the last level: the window lies inside the picture
        assert profile.min() >= 20 and profile.max() <= 19 + along
        assert np.ptp(profile) == pytest.approx((1 - strength) * along, abs=2)


def test_a_crop_is_at_any_place() -> None:
    for down in (False, True):
        means = [values(crop(ramp(200, 200, down=down), 0.5, seeded(seed))).mean() for seed in range(200)]
        # levels 20 to 119 at one end, mean 69.5; 120 to 219 at the other, mean 169.5; uniform between
        assert min(means) == pytest.approx(69.5, abs=3)
        assert max(means) == pytest.approx(169.5, abs=3)
        assert np.mean(means) == pytest.approx(119.5, abs=6)  # three standard errors: 3 * 100 / 12 ** 0.5 / 200 ** 0.5


@given(st.tuples(*[st.integers(0, 255)] * 3), SIZES, st.floats(0, 0.5), SEEDS)
def test_a_crop_of_one_color_is_that_color(
    color: tuple[int, int, int], size: tuple[int, int], strength: float, seed: int
) -> None:
    for image in (solid(color, size), Image.new("RGBA", size, (*color, 255))):
        assert crop(image, strength, seeded(seed)).tobytes() == image.tobytes()


def test_a_crop_shows_no_color_of_what_is_transparent() -> None:
    # an opaque red disc; around it the colour is green, or nothing, and transparent
    disc = Image.new("RGBA", (64, 64), (0, 255, 0, 0))
    inside = np.hypot(*(np.indices((64, 64)) - 31.5)) < 20
    pixels = np.array(disc)
    pixels[inside] = (255, 0, 0, 255)
    for fringe in ((0, 255, 0, 0), (0, 0, 0, 0)):
        pixels[~inside] = fringe
        after = values(crop(Image.fromarray(pixels), 0.3, seeded(0)))
        seen = after[..., 3] > 16  # below that, 8 bits of red times alpha say little about red
        assert (after[..., 3][seen] < 255).any()
        assert after[seen][:, 0].min() >= 240
        assert after[seen][:, 1:3].max() == 0


# Shift


@given(st.integers(0, 2**32 - 1), st.sampled_from([(64, 40), (33, 50)]), st.floats(0.05, 0.4))
def test_a_pattern_lands_whole_at_its_share_of_the_size(seed: int, size: tuple[int, int], strength: float) -> None:
    width, height = size
    image = Image.new("RGBA", size)
    pattern = noise(seed, (3, 3))
    pattern.putpixel((1, 1), WHITE)  # brighter than all else: where the pattern is
    image.paste(pattern, (width // 2 - 1, height // 2 - 1))
    after = shift(image, strength, seeded(seed))
    y, x = (int(place[0]) for place in np.nonzero((values(after)[..., :3] == 255).all(axis=-1)))
    # shares of width and height are the legs of a right triangle, the strength its hypotenuse; each is whole pixels
    moved = np.array([x - width // 2, y - height // 2])
    legs = np.abs(moved)[:, None] + [-0.5, 0.5]
    shortest, longest = np.hypot(*(legs.clip(0) / np.array(size)[:, None]))
    assert shortest - 1e-9 <= strength <= longest + 1e-9
    place = (x - 1, y - 1)
    assert after.crop((*place, place[0] + 3, place[1] + 3)).convert("RGB").tobytes() == pattern.tobytes()
    assert (values(after)[..., 3] == 255).sum() == 9
    assert values(after).sum() == values(image).sum()


def test_a_quarter_of_eight_pixels_by_hand() -> None:
    # one pixel high, so nothing moves down or up: 0.25 * 8 * cosine is -2 to 2 pixels
    row = Image.fromarray(np.arange(1, 9, dtype=np.uint8)[None, :, None].repeat(3, axis=-1))
    mirrored = {
        (3, 4, 5, 6, 7, 8, 8, 7),
        (2, 3, 4, 5, 6, 7, 8, 8),
        (1, 2, 3, 4, 5, 6, 7, 8),
        (1, 1, 2, 3, 4, 5, 6, 7),
        (2, 1, 1, 2, 3, 4, 5, 6),
    }
    assert {tuple(values(shift(row, 0.25, seeded(seed)))[0, :, 0].tolist()) for seed in range(50)} == mirrored
    transparent = {
        (3, 4, 5, 6, 7, 8, 0, 0),
        (2, 3, 4, 5, 6, 7, 8, 0),
        (1, 2, 3, 4, 5, 6, 7, 8),
        (0, 1, 2, 3, 4, 5, 6, 7),
        (0, 0, 1, 2, 3, 4, 5, 6),
    }
    shifted = [values(shift(row.convert("RGBA"), 0.25, seeded(seed)))[0] for seed in range(50)]
    assert {tuple(pixels[:, 0].tolist()) for pixels in shifted} == transparent
    assert all(np.array_equal(pixels[:, 3], 255 * (pixels[:, 0] > 0)) for pixels in shifted)


def test_a_shift_goes_in_every_direction() -> None:
    dot = Image.new("RGBA", (101, 101))
    dot.putpixel((50, 50), (255, 0, 0, 255))
    quadrants = []
    for seed in range(200):
        y, x = (int(place[0]) for place in np.nonzero(values(shift(dot, 0.3, seeded(seed)))[..., 3]))
        quadrants.append((x > 50, y > 50))
    for quadrant in ((False, False), (False, True), (True, False), (True, True)):
        assert quadrants.count(quadrant) == pytest.approx(50, abs=25)  # four standard deviations of 6.1


# JPEG


@pytest.mark.parametrize("strength", [1, 25, 50, 80, 95])
def test_a_jpeg_is_what_pillow_makes_of_it(photo: Image.Image, strength: float) -> None:
    expected = decode(encoded(photo, "JPEG", quality=int(100 - strength)))
    assert jpeg(photo, strength).tobytes() == expected.tobytes()


@pytest.mark.parametrize("strength", [25, 80, 95])
def test_a_drawing_looks_like_the_jpeg_of_it_on_white_and_keeps_its_alpha(car: Image.Image, strength: float) -> None:
    after = jpeg(car, strength)
    expected = decode(encoded(flatten(car, WHITE), "JPEG", quality=int(100 - strength)))
    alpha = values(car)[..., 3]
    assert np.array_equal(values(after)[..., 3], alpha)
    on_white = values(flatten(after, WHITE))
    assert np.array_equal(on_white[alpha == 255], values(expected)[alpha == 255])
    assert on_white[alpha == 0].min() == 255
    # half-transparent, as far as there is a colour that looks like it: white times 1 - alpha is there in any case
    reachable = (alpha[..., None] > 0) & (values(expected) >= 255 - alpha[..., None])
    assert np.abs(on_white - values(expected))[reachable].max() <= 1
    assert (reachable & (alpha < 255)[..., None]).any()


def test_a_jpeg_of_one_color_is_nearly_that_color() -> None:
    assert np.abs(values(jpeg(solid((200, 30, 90), (32, 32)), 25)) - (200, 30, 90)).max() <= 4


# Noise


@pytest.mark.parametrize("strength", [0.02, 0.1, 0.2])
def test_noise_has_the_deviation_asked_for_and_no_pattern(strength: float) -> None:
    difference = values(add_noise(solid((128, 128, 128), (200, 200)), strength, seeded(0))) - 128
    # of 120,000 values the deviation is known to 0.2 %; 2 % leave room for the one in 80 that 0.2 clips
    assert difference.std() == pytest.approx(255 * strength, rel=0.02)
    assert difference.mean() == pytest.approx(0, abs=5 * 255 * strength / np.sqrt(120_000) + 0.05)
    red, green, blue = difference.reshape(-1, 3).T
    assert np.abs(np.corrcoef([red, green, blue])[np.triu_indices(3, 1)]).max() < 0.02
    assert abs(np.corrcoef(difference[:, 1:].ravel(), difference[:, :-1].ravel())[0, 1]) < 0.02


def test_noise_is_clipped_and_leaves_alpha_alone(car: Image.Image) -> None:
    white = values(add_noise(solid(WHITE, (100, 100)), 0.2, seeded(0)))
    assert (white == 255).mean() == pytest.approx(0.5, abs=0.02)  # what would be lighter than white, is white
    after = add_noise(car, 0.2, seeded(0))
    assert np.array_equal(values(after)[..., 3], values(car)[..., 3])
    assert not np.array_equal(values(after)[..., :3], values(car)[..., :3])


# Every nuisance


@EVERY_NUISANCE
@given(SIZES, st.sampled_from([3, 4]), st.floats(0, 1), SEEDS)
def test_size_mode_and_original_are_kept_and_the_seed_decides(
    name: str, size: tuple[int, int], channels: int, share: float, seed: int
) -> None:
    nuisance, (_, _, most) = NUISANCES[name]
    image = noise(seed, size, channels)
    before = image.tobytes()
    after = nuisance(image, share * most, seeded(seed))
    assert (after.size, after.mode) == (size, image.mode)
    assert nuisance(image, share * most, seeded(seed)).tobytes() == after.tobytes()
    assert image.tobytes() == before
    assert nuisance(image, 0, seeded(seed)).tobytes() == before


@EVERY_NUISANCE
@pytest.mark.parametrize("image", SMALLEST, ids=lambda image: f"{image.width}x{image.height}{image.mode}")
def test_the_smallest_and_narrowest_images_are_changed_too(name: str, image: Image.Image) -> None:
    nuisance, strengths = NUISANCES[name]
    for strength in strengths:
        after = nuisance(image, strength, seeded(0))
        assert (after.size, after.mode) == (image.size, image.mode)


@EVERY_NUISANCE
def test_a_larger_strength_changes_more(name: str, photo: Image.Image) -> None:
    nuisance, strengths = NUISANCES[name]
    weak, middle, most = (
        np.mean([mean_change(photo, nuisance(photo, strength, seeded(seed))) for seed in range(5)])
        for strength in strengths
    )
    assert 0 < 1.1 * weak < middle < most / 1.1


@pytest.mark.parametrize("name", ["crop", "shift", "noise"])
def test_another_seed_changes_otherwise(name: str, photo: Image.Image) -> None:
    nuisance, (_, middle, _) = NUISANCES[name]
    assert nuisance(photo, middle, seeded(1)).tobytes() != nuisance(photo, middle, seeded(2)).tobytes()


@EVERY_NUISANCE
def test_a_strength_out_of_range_is_refused(name: str) -> None:
    nuisance, (_, _, most) = NUISANCES[name]
    for strength in (-0.01, 1.01 * most, float("nan")):
        with pytest.raises(ValueError, match=f"between 0 and {most:g}"):
            nuisance(solid(WHITE), strength, seeded(0))
