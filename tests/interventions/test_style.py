from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps
from scipy import ndimage

from embprobe.images.decoding import flatten
from embprobe.interventions.style import (
    halftone,
    line_drawing,
    match_blur,
    mean_change,
    oil,
    pixel_art,
    posterize,
    watercolor,
)
from tests.conftest import noise, solid

Style = Callable[[Image.Image, float], Image.Image]

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
COLORS = ((200, 30, 90), (128, 128, 128), (255, 200, 40), WHITE, BLACK)


def painted(image: Image.Image, strength: float, seed: int = 0) -> Image.Image:
    return watercolor(image, strength, np.random.default_rng(seed))


STYLES: dict[str, tuple[Style, tuple[float, float, float]]] = {
    "line_drawing": (line_drawing, (0.25, 0.5, 1)),
    "posterize": (posterize, (5, 6, 7)),
    "oil": (oil, (0.01, 0.02, 0.05)),
    "halftone": (halftone, (0.02, 0.04, 0.1)),
    "pixel_art": (pixel_art, (0.02, 0.04, 0.2)),
    "watercolor": (painted, (0.3, 0.6, 1)),
}
"""Each with a weak strength, a middle one and the strongest there is."""
EVERY_STYLE = pytest.mark.parametrize("name", STYLES)


@st.composite
def pictures(draw: st.DrawFn) -> Image.Image:
    """Noise of any size, with and without alpha."""
    size = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    return noise(draw(st.integers(0, 99)), size, draw(st.sampled_from([3, 4])))


SMALLEST = [noise(0, size, channels) for size in ((1, 1), (1, 500), (500, 1), (3, 2)) for channels in (3, 4)]


def values(image: Image.Image) -> NDArray[np.int_]:
    return np.asarray(flatten(image, WHITE)).astype(int)


def greys(rows: list[list[int]]) -> Image.Image:
    return Image.fromarray(np.repeat(np.array(rows, np.uint8)[..., None], 3, axis=-1))


def step(left: tuple[int, int, int], right: tuple[int, int, int], side: int = 100) -> Image.Image:
    """Two colours side by side."""
    image = solid(left, (side, side))
    image.paste(right, (side // 2, 0, side, side))
    return image


def layout(image: Image.Image) -> NDArray[np.int_]:
    """Lightness on a 16 x 16 grid."""
    return values(flatten(image, WHITE).convert("L").resize((16, 16), Image.Resampling.BOX))[..., 0].ravel()


# Line drawing


@pytest.mark.parametrize("color", COLORS)
def test_a_drawing_of_one_color_is_blank_paper(color: tuple[int, int, int]) -> None:
    assert values(line_drawing(solid(color, (40, 30)), 1)).min() == 255


@pytest.mark.parametrize(
    ("left", "right"),
    # the last two are of one luminance: 0.299 * 196 = 0.587 * 100
    [(BLACK, WHITE), (WHITE, BLACK), ((90, 90, 90), (150, 150, 150)), ((196, 0, 0), (0, 100, 0))],
)
def test_an_edge_becomes_a_line_and_nothing_else_does(left: tuple[int, int, int], right: tuple[int, int, int]) -> None:
    columns = values(line_drawing(step(left, right), 1))[..., 0]
    assert np.ptp(columns, axis=0).max() == 0
    assert columns[0, 45:55].min() < 128
    # 0.5 pixels is the narrow Gaussian's deviation, 0.8 the wide one's: their difference ends after four of these
    assert columns[0, :46].min() == columns[0, 54:].min() == 255


def test_a_faint_edge_leaves_no_line() -> None:
    assert values(line_drawing(step((100, 100, 100), (125, 125, 125)), 1)).min() == 255
    assert values(line_drawing(step((100, 100, 100), (140, 140, 140)), 1)).min() < 255


def test_lines_are_where_a_photograph_has_its_edges(photo: Image.Image) -> None:
    line = values(line_drawing(photo, 1))[..., 0] < 128
    slope = ndimage.gaussian_gradient_magnitude(values(photo).mean(axis=-1), 1.5)
    assert 0.05 < line.mean() < 0.3
    assert slope[line].mean() > 1.8 * slope[~line].mean()


def test_half_a_drawing_is_halfway_between_picture_and_lines(photo: Image.Image) -> None:
    halfway = (values(photo) + values(line_drawing(photo, 1))) / 2
    assert np.abs(values(line_drawing(photo, 0.5)) - halfway).max() <= 1  # roundings of half a level, twice


# Posterize


def test_levels_by_hand() -> None:
    row = greys([[0, 42, 43, 127, 128, 212, 213, 255]])
    # two levels, 0 and 255; four levels, a step is 255 / 3 = 85 and half of it 42.5
    assert values(posterize(row, 7))[0, :, 0].tolist() == [0, 0, 0, 0, 255, 255, 255, 255]
    assert values(posterize(row, 6))[0, :, 0].tolist() == [0, 0, 85, 85, 170, 170, 255, 255]


@given(st.floats(0, 7))
def test_values_move_to_the_nearest_of_so_many_levels(bits: float) -> None:
    every = greys([list(range(256))])
    after = values(posterize(every, bits))[0, :, 0]
    levels = round(2 ** (8 - bits))
    assert len(set(after.tolist())) == levels
    assert after[0] == 0 and after[-1] == 255
    assert np.abs(after - np.arange(256)).max() <= 255 / (levels - 1) / 2 + 0.5  # and half a level of rounding


# Oil


@pytest.mark.parametrize("strength", [0.001, 0.01, 0.02, 0.05])
@pytest.mark.parametrize("turned", [False, True])
def test_a_straight_edge_stays_exactly_as_sharp_as_it_was(strength: float, turned: bool) -> None:
    edge = step((200, 30, 90), (20, 180, 60))
    edge = edge.transpose(Image.Transpose.TRANSPOSE) if turned else edge
    assert oil(edge, strength).tobytes() == edge.tobytes()


def test_a_lone_pixel_goes_and_leaves_a_trace_on_its_own_place() -> None:
    image = solid(WHITE, (40, 40))
    image.putpixel((20, 20), BLACK)
    after = values(oil(image, 0.05))
    # the radius is 0.05 * 40 = 2; all of its neighbours have a square without it, it has none: 255 * (1 - 1 / 9) = 227
    assert after[20, 20].tolist() == [227, 227, 227]
    after[20, 20] = 255
    assert after.min() == 255


def test_noise_is_smoothed_within_a_surface_and_not_across_its_border() -> None:
    clean = values(step((70, 70, 70), (180, 180, 180)))
    spread = np.random.default_rng(0).normal(0, 15, clean.shape)
    noisy = Image.fromarray((clean + spread).clip(0, 255).astype(np.uint8))
    after = values(oil(noisy, 0.05))
    # a mean of 36 pixels and of three times as many with the channels alike; the calmest of four is no outlier
    assert np.abs(after - clean).mean() < np.abs(values(noisy) - clean).mean() / 3
    assert after[:, 49].max() < 100 and after[:, 50].min() > 150


# Halftone


@pytest.mark.parametrize("color", [*COLORS, (204, 204, 204), (90, 160, 220)])
@pytest.mark.parametrize("strength", [0.02, 0.035, 0.1])
def test_dots_and_paper_are_the_color_on_average(color: tuple[int, int, int], strength: float) -> None:
    after = values(halftone(solid(color, (200, 200)), strength))
    # within 1.5 % of the range; the border cuts through dots
    assert after.mean(axis=(0, 1)) == pytest.approx(color, abs=0.015 * 255)


def test_dots_of_grey_by_hand() -> None:
    # the distance is 0.1 * 200 = 20 pixels, a cell 400 square pixels; of it 204 / 255 = 80 % is white, 80 are ink
    after = values(halftone(solid((204, 204, 204), (200, 200)), 0.1))
    assert after.min() == 0 and after.max() == 255
    ink = 1 - after[..., 0] / 255
    dots, n = ndimage.label(ink > 0)
    every = np.arange(1, n + 1)
    center = np.array(ndimage.center_of_mass(ink, dots, every))
    inner = ((center > 20) & (center < 180)).all(axis=1)
    assert ndimage.sum_labels(ink, dots, every)[inner] == pytest.approx(np.full(inner.sum(), 80), abs=3)
    # the nearest dots are 20 pixels away at 45 degrees: 20 / 2 ** 0.5 = 14.1 to the side and as many up or down
    offsets = np.abs(center[inner][:, None] - center)
    nearest = np.hypot(*offsets.T).argsort(axis=0)[1]  # the nearest of all is itself
    assert offsets[np.arange(inner.sum()), nearest] == pytest.approx(np.full((inner.sum(), 2), 14.1), abs=0.5)


def test_a_photograph_keeps_its_brightness_over_a_few_dots(photo: Image.Image) -> None:
    pitch = 0.035 * 160
    before, after = (
        ndimage.gaussian_filter(values(picture).astype(float), (pitch, pitch, 0))
        for picture in (photo, halftone(photo, 0.035))
    )
    assert np.abs(after - before).mean() < 0.02 * 255
    assert np.abs(after - before).max() < 0.15 * 255  # where an edge runs through a dot


def test_where_there_is_no_ink_there_is_no_dot_and_solid_ink_has_no_gap() -> None:
    for color in (WHITE, BLACK, (255, 0, 0), (0, 120, 255)):
        assert halftone(solid(color, (50, 50)), 0.1).tobytes() == solid(color, (50, 50)).tobytes()


# Pixel art


def test_blocks_by_hand() -> None:
    # a side of 0.2 * 10 = 2 pixels: (0 + 10 + 20 + 30) / 4 = 15; the rest is 100
    rows = [[100] * 10 for _ in range(10)]
    rows[0][:2], rows[1][:2] = [0, 10], [20, 30]
    expected = [[100] * 10 for _ in range(10)]
    expected[0][:2] = expected[1][:2] = [15, 15]
    assert pixel_art(greys(rows), 0.2).tobytes() == greys(expected).tobytes()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_blocks_are_of_one_color_and_it_is_their_mean(width: int, height: int, seed: int) -> None:
    image = noise(seed, (width, height))
    side = max(round(0.2 * min(width, height)), 1)
    before, after = values(image), values(pixel_art(image, 0.2))
    for top in range(0, height, side):
        for left in range(0, width, side):
            block = slice(top, top + side), slice(left, left + side)
            assert np.ptp(after[block], axis=(0, 1)).max() == 0
            assert np.abs(after[block][0, 0] - before[block].mean(axis=(0, 1))).max() <= 0.5 + 1e-6


def test_twice_the_pixels_give_blocks_of_twice_the_side(photo: Image.Image) -> None:
    large, enlarged = photo.resize((320, 320), Image.Resampling.NEAREST), Image.Resampling.NEAREST
    for strength in (0.025, 0.05, 0.1):
        assert pixel_art(large, strength).tobytes() == pixel_art(photo, strength).resize((320, 320), enlarged).tobytes()


# Watercolour


def test_a_wash_of_one_color_is_a_fifth_lighter_on_average_and_uneven() -> None:
    # of 128 / 255 the part that is not white is 0.498; 0.8 of it is left at full strength, 0.9 at half: 153 and 141
    for strength, expected in ((1, 153.4), (0.5, 140.7)):
        after = values(painted(solid((128, 128, 128), (100, 100)), strength))
        assert after.mean() == pytest.approx(expected, abs=3)
        # 0.6 * 0.4 * the noise's deviation: the root of 0.3 ** 2 + 0.15 ** 2 + 0.1 ** 2 = 0.35, so 0.084 * 255 = 21
        assert after.std() == pytest.approx(21 * strength, rel=0.15)
    assert values(painted(solid(WHITE, (30, 30)), 1)).min() == 255


def test_paint_is_darker_along_an_edge() -> None:
    after = np.mean([values(painted(step((150, 150, 150), WHITE), 1, seed)) for seed in range(10)], axis=(0, 1, 3))
    rim, middle = after[44:50].min(), after[15:35].mean()
    assert rim < middle - 25
    assert after[60:].min() > 253


@pytest.mark.parametrize("strength", [0.5, 1])
def test_an_edge_wavers(strength: float) -> None:
    after = [values(painted(step((0, 0, 0), WHITE, 200), strength, seed))[..., 0] for seed in range(10)]
    border = (np.stack(after) < 150).sum(axis=-1)
    # by 0.4 % of 200 pixels at full strength, a standard deviation of 0.8
    assert border.std() == pytest.approx(0.8 * strength, rel=0.3)
    assert border.mean() == pytest.approx(100, abs=1)


def test_texture_is_smoothed_and_mean_colors_stay_near(photo: Image.Image, car: Image.Image) -> None:
    for picture in (photo, car):
        drift = values(painted(picture, 0.6)).mean(axis=(0, 1)) - values(picture).mean(axis=(0, 1))
        assert np.abs(drift).max() < 0.04 * 255
    speckled = Image.fromarray(np.random.default_rng(0).integers(100, 156, (100, 100, 3), dtype=np.uint8))
    # next to each other, not overall: blots are wide
    before, after = (np.abs(np.diff(values(picture), axis=1)).mean() for picture in (speckled, painted(speckled, 0.6)))
    assert after < before / 2


def test_another_seed_paints_otherwise(photo: Image.Image) -> None:
    assert painted(photo, 0.6, 1).tobytes() != painted(photo, 0.6, 2).tobytes()


# Every style


@EVERY_STYLE
@given(pictures(), st.floats(0, 1))
def test_size_mode_and_original_are_kept_and_nothing_is_left_to_chance(
    name: str, picture: Image.Image, share: float
) -> None:
    style, (_, _, most) = STYLES[name]
    before = picture.tobytes()
    after = style(picture, share * most)
    assert (after.size, after.mode) == (picture.size, picture.mode)
    assert style(picture, share * most).tobytes() == after.tobytes()
    assert picture.tobytes() == before
    assert style(picture, 0).tobytes() == before


@EVERY_STYLE
@pytest.mark.parametrize("picture", SMALLEST, ids=lambda picture: f"{picture.width}x{picture.height}{picture.mode}")
def test_the_smallest_and_narrowest_images_are_drawn_too(name: str, picture: Image.Image) -> None:
    style, strengths = STYLES[name]
    for strength in strengths:
        after = style(picture, strength)
        assert (after.size, after.mode) == (picture.size, picture.mode)


@EVERY_STYLE
def test_a_transparent_image_is_drawn_as_it_looks_on_white(name: str, car: Image.Image) -> None:
    style, (_, middle, _) = STYLES[name]
    after = style(car, middle)
    assert after.mode == "RGBA"
    assert np.asarray(after)[..., 3].min() == 255
    assert after.convert("RGB").tobytes() == style(flatten(car, WHITE), middle).tobytes()


@EVERY_STYLE
def test_a_larger_strength_changes_more(name: str, photo: Image.Image) -> None:
    style, strengths = STYLES[name]
    changed = [style(photo, strength) for strength in strengths]
    if name == "halftone":  # ink and paper are as far from the picture in dots of any size; from afar fine dots are not
        photo, *changed = (picture.resize((16, 16), Image.Resampling.BOX) for picture in (photo, *changed))
    weak, middle, most = (mean_change(photo, picture) for picture in changed)
    assert 0 < 1.2 * weak < middle < most / 1.2


@EVERY_STYLE
def test_the_layout_of_light_and_dark_is_kept(name: str, photo: Image.Image, car: Image.Image) -> None:
    style, (_, middle, _) = STYLES[name]
    for picture in (photo, car):
        assert np.corrcoef(layout(picture), layout(style(picture, middle)))[0, 1] > 0.8


@pytest.mark.parametrize("name", ["line_drawing", "posterize", "oil", "halftone"])
def test_a_strength_looks_the_same_at_twice_the_resolution(name: str, photo: Image.Image) -> None:
    style, (_, middle, _) = STYLES[name]
    large = photo.resize((320, 320), Image.Resampling.BICUBIC)
    small_again = style(large, middle).resize((160, 160), Image.Resampling.BOX)
    assert mean_change(small_again, style(photo, middle)) < 0.3 * mean_change(photo, style(photo, middle))


@EVERY_STYLE
def test_a_strength_out_of_range_is_refused(name: str) -> None:
    style, (_, _, most) = STYLES[name]
    for strength in (-0.01, 1.01 * most, float("nan")):
        with pytest.raises(ValueError, match=f"between 0 and {most:g}"):
            style(solid(WHITE), strength)


# The control


def test_mean_changes_by_hand() -> None:
    assert mean_change(solid((0, 0, 0)), solid((51, 51, 51))) == pytest.approx(0.2)
    assert mean_change(solid((0, 0, 0)), solid((0, 51, 0))) == pytest.approx(0.2 / 3)
    # transparent black is white paper; half-transparent black is 127 of 255
    assert mean_change(Image.new("RGBA", (3, 3)), solid(WHITE, (3, 3))) == 0
    assert mean_change(Image.new("RGBA", (3, 3), (0, 0, 0, 128)), solid(WHITE, (3, 3))) == pytest.approx(128 / 255)
    with pytest.raises(ValueError, match="3 x 2 and 2 x 3"):
        mean_change(solid(WHITE, (3, 2)), solid(WHITE, (2, 3)))


@EVERY_STYLE
def test_the_blur_changes_as_much_as_the_style(name: str, photo: Image.Image, car: Image.Image) -> None:
    style, (weak, _, _) = STYLES[name]
    for picture in (photo, car):
        changed = style(picture, weak)
        blurred = match_blur(picture, changed)
        assert (blurred.size, blurred.mode) == (picture.size, picture.mode)
        assert mean_change(picture, blurred) == pytest.approx(mean_change(picture, changed), rel=0.02)


@pytest.mark.parametrize("sigma", [1, 3, 8])
def test_it_is_a_gaussian_blur(photo: Image.Image, sigma: float) -> None:
    blurred = ndimage.gaussian_filter(values(photo).astype(float), (sigma, sigma, 0), mode="reflect")
    changed = Image.fromarray(np.rint(blurred).astype(np.uint8))
    assert mean_change(match_blur(photo, changed), changed) < 0.02 * mean_change(photo, changed)
    assert mean_change(match_blur(photo, photo.filter(ImageFilter.GaussianBlur(sigma))), changed) < 0.005


def test_where_no_blur_changes_enough_it_is_the_mean_color(photo: Image.Image) -> None:
    high_contrast = photo.point(lambda value: 255 * (value > 127))
    after = values(match_blur(high_contrast, ImageOps.invert(high_contrast)))
    assert np.ptp(after, axis=(0, 1)).max() == 0
    assert after[0, 0] == pytest.approx(values(high_contrast).mean(axis=(0, 1)), abs=0.51)


@given(pictures(), st.integers(0, 99))
@example(SMALLEST[0], 1)
@example(SMALLEST[3], 1)
def test_a_match_is_never_further_than_asked_and_near_it_where_it_can_be(picture: Image.Image, seed: int) -> None:
    before = picture.tobytes()
    blurred = match_blur(picture, noise(seed, picture.size))
    assert (blurred.size, blurred.mode) == (picture.size, picture.mode)
    target = mean_change(picture, noise(seed, picture.size))
    # of a few pixels each rounds by half a level; all may round alike
    assert mean_change(picture, blurred) <= 1.02 * target + 0.5 / 255
    assert match_blur(picture, picture).tobytes() == picture.tobytes() == before
