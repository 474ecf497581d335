from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from embprobe.images import Images
from embprobe.interventions.color import desaturate, oklab_to_srgb, rotate_hue, srgb_to_oklab

Values = NDArray[np.float64]
ANGLES = st.floats(-720, 720)
SEEDS = st.integers(0, 2**32 - 1)


def some(emoji: Images) -> list[Image.Image]:
    """Every 199th drawing; 199 and the six styles have no common divisor, so there are some of each."""
    return [row.read() for row in emoji.take(range(0, len(emoji), 199)).rows]


def picture(colors: Values) -> Image.Image:
    """One row of pixels from sRGB in 0..1, ``[n, 3]``."""
    return Image.fromarray(np.rint(colors[None] * 255).astype(np.uint8))


def lab_of(image: Image.Image) -> Values:
    return srgb_to_oklab(np.asarray(image)[..., :3] / 255)


def random_colors(seed: int) -> Values:
    return np.random.default_rng(seed).random((200, 3))


def muted_colors(seed: int) -> Values:
    """Colours with lightness 0.45 to 0.85 and chroma 0.06: every hue of these is inside sRGB."""
    rng = np.random.default_rng(seed)
    hue = rng.uniform(0, 2 * np.pi, 200)
    rgb = oklab_to_srgb(np.stack([rng.uniform(0.45, 0.85, 200), 0.06 * np.cos(hue), 0.06 * np.sin(hue)], axis=1))
    assert rgb.min() > 0 and rgb.max() < 1
    return rgb


@pytest.mark.parametrize(
    ("hexadecimal", "published"),
    [
        ("ff0000", (0.62796, 0.22486, 0.12585)),
        ("00ff00", (0.86644, -0.23389, 0.17950)),
        ("0000ff", (0.45201, -0.03246, -0.31153)),
        ("008000", (0.51975, -0.14030, 0.10768)),
        ("663399", (0.44027, 0.08818, -0.13386)),
        ("ffffff", (1.0, 0.0, 0.0)),
        ("000000", (0.0, 0.0, 0.0)),
    ],
)
def test_oklab_of_named_colors_is_as_css_publishes_it(hexadecimal: str, published: tuple[float, ...]) -> None:
    assert srgb_to_oklab(np.array(list(bytes.fromhex(hexadecimal))) / 255) == pytest.approx(published, abs=1e-4)


@settings(deadline=None)
@given(SEEDS)
def test_oklab_and_back_is_the_same_color(seed: int) -> None:
    colors = random_colors(seed) ** 4  # many dark ones, on both sides of the linear part of the curve
    np.testing.assert_allclose(oklab_to_srgb(srgb_to_oklab(colors)), colors, atol=1e-6)


def test_greyscale_of_pure_colors_by_hand() -> None:
    # red: L = 0.62796, linear L ** 3 = 0.24762, sRGB 1.055 * 0.24762 ** (1 / 2.4) - 0.055 = 0.5347, times 255 = 136.4
    # green: 0.86644 ** 3 = 0.65045, 0.8269, 210.9; blue: 0.45201 ** 3 = 0.09235, 0.3360, 85.7
    grey = np.asarray(desaturate(picture(np.eye(3)), 1))
    assert grey.tolist() == [[[136] * 3, [211] * 3, [86] * 3]]


def test_greyscale_leaves_no_chroma_on_drawings(emoji: Images) -> None:
    for drawing in some(emoji):
        grey = desaturate(drawing, 1)
        assert np.ptp(np.asarray(grey)[..., :3], axis=-1).max() <= 1  # one step of rounding
        assert np.abs(lab_of(grey)[..., 1:]).max() < 0.002
        assert np.abs(lab_of(grey)[..., 0] - lab_of(drawing)[..., 0]).mean() < 0.01


def test_half_the_chroma_is_half_of_a_and_b() -> None:
    before, after = lab_of(picture(random_colors(0))), lab_of(desaturate(picture(random_colors(0)), 0.5))
    # a channel is rounded by at most 1 / 510; in Oklab that is below 0.004 for all but the darkest
    light = before[..., 0] > 0.3
    np.testing.assert_allclose(after[light][:, 1:], before[light][:, 1:] / 2, atol=0.004)
    np.testing.assert_allclose(after[light][:, 0], before[light][:, 0], atol=0.004)


@pytest.mark.parametrize(
    "change",
    [
        lambda image: rotate_hue(image, 0),
        lambda image: rotate_hue(image, 360),
        lambda image: rotate_hue(image, -360),
        lambda image: desaturate(image, 0),
    ],
)
def test_a_full_turn_or_none_changes_no_channel_by_more_than_one(
    emoji: Images, change: Callable[[Image.Image], Image.Image]
) -> None:
    everything = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8))
    corners = picture(np.array(np.meshgrid(*[[0.0, 1.0]] * 3)).reshape(3, 8).T)
    for image in (*some(emoji), everything, corners):
        before, after = np.asarray(image).astype(int), np.asarray(change(image)).astype(int)
        assert np.abs(after - before).max() <= 1


@settings(deadline=None)
@given(ANGLES)
def test_greys_never_move(degrees: float) -> None:
    greys = picture(np.repeat(np.arange(256)[:, None] / 255, 3, axis=1))
    assert np.array_equal(np.asarray(rotate_hue(greys, degrees)), np.asarray(greys))


@pytest.mark.parametrize("degrees", [60, 120, 180])
def test_a_turn_keeps_the_lightness_of_drawings_and_moves_their_color(emoji: Images, degrees: float) -> None:
    drawings = some(emoji)
    moved = 0
    for drawing in drawings:
        before, after = lab_of(drawing), lab_of(rotate_hue(drawing, degrees))
        assert np.abs(after[..., 0] - before[..., 0]).mean() < 0.01
        moved += np.abs(after[..., 1:] - before[..., 1:]).max() > 0.05
    assert moved > 0.7 * len(drawings)  # high contrast drawings are black and white


@settings(deadline=None)
@given(SEEDS, ANGLES)
def test_a_turn_is_a_rotation_of_a_and_b(seed: int, degrees: float) -> None:
    image = picture(muted_colors(seed))
    before, after = lab_of(image)[0], lab_of(rotate_hue(image, degrees))[0]
    turned = (before[:, 1] + 1j * before[:, 2]) * np.exp(1j * np.deg2rad(degrees))
    np.testing.assert_allclose(after[:, 0], before[:, 0], atol=0.004)
    np.testing.assert_allclose(after[:, 1], turned.real, atol=0.004)
    np.testing.assert_allclose(after[:, 2], turned.imag, atol=0.004)


@settings(deadline=None)
@given(SEEDS)
def test_three_turns_by_120_come_back_for_colors_that_stay_in_gamut(seed: int) -> None:
    image = picture(muted_colors(seed))
    turned = rotate_hue(rotate_hue(rotate_hue(image, 120), 120), 120)
    # three roundings of half a level in each channel, carried on through one or two more turns
    assert np.abs(np.asarray(turned).astype(int) - np.asarray(image)).max() <= 4


@settings(deadline=None)
@given(SEEDS, ANGLES)
def test_a_color_outside_srgb_loses_chroma_and_keeps_lightness_and_hue(seed: int, degrees: float) -> None:
    image = picture(random_colors(seed))
    before, after = lab_of(image)[0], lab_of(rotate_hue(image, degrees))[0]
    wide = before[:, 0] > 0.3
    wanted = (before[:, 1] + 1j * before[:, 2]) * np.exp(1j * np.deg2rad(degrees))
    found = after[:, 1] + 1j * after[:, 2]
    assert np.abs(after[wide, 0] - before[wide, 0]).max() < 0.005
    assert (np.abs(found) - np.abs(wanted))[wide].max() < 0.005
    colored = wide & (np.abs(found) > 0.05)
    assert np.abs(np.angle(found[colored] / wanted[colored], deg=True)).max() < 6  # 0.005 / 0.05 = 6 degrees


def test_of_a_color_outside_srgb_as_much_chroma_is_kept_as_fits() -> None:
    blue = picture(np.array([[0.0, 0.0, 1.0]]))
    for degrees in (60, 120, 180, 240, 300):
        lightness, *ab = lab_of(rotate_hue(blue, degrees))[0, 0]
        more = oklab_to_srgb(np.array([lightness, 1.05 * ab[0], 1.05 * ab[1]]))
        assert more.min() < 0 or more.max() > 1  # 5 % more would not fit


@pytest.mark.parametrize("change", [lambda image: rotate_hue(image, 77), lambda image: desaturate(image, 0.7)])
def test_alpha_size_and_mode_are_kept(emoji: Images, change: Callable[[Image.Image], Image.Image]) -> None:
    for drawing in some(emoji):
        changed = change(drawing)
        assert (changed.mode, changed.size) == (drawing.mode, drawing.size)
        assert np.array_equal(np.asarray(changed)[..., 3], np.asarray(drawing)[..., 3])
    opaque = Image.new("RGB", (3, 5), (200, 30, 30))
    assert (change(opaque).mode, change(opaque).size) == ("RGB", (3, 5))


def test_the_image_given_is_not_changed_itself() -> None:
    image = picture(random_colors(0))
    before = image.tobytes()
    rotate_hue(image, 90)
    desaturate(image, 1)
    assert image.tobytes() == before


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_of_chroma_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        desaturate(Image.new("RGB", (2, 2)), share)
