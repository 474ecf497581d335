from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from skimage.color import rgb2xyz

from embprobe.images import Images
from embprobe.images.decoding import UnreadableImage
from embprobe.interventions.color import (
    _linear_to_oklab,
    _planckian,
    black_body_srgb,
    desaturate,
    match_lightness,
    mean_delta_e,
    oklab_to_srgb,
    recolor,
    rotate_hue,
    saturate,
    shift_temperature,
    srgb_to_oklab,
    tint,
    transfer_palette,
    vivid,
)
from tests.conftest import solid

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


VIVID = ((205, 60, 60), (60, 150, 70), (70, 110, 210), (190, 150, 30), (150, 80, 200))
SKY_AND_EARTH = ((0.7, -0.03, -0.06), (0.5, 0.04, 0.05))
LEAF_AND_ROSE = ((0.6, -0.08, 0.07), (0.65, 0.09, 0.01))


def shade(lightness: float, a: float, b: float) -> tuple[int, int, int]:
    """The sRGB colour of these Oklab coordinates, which there must be."""
    rgb = oklab_to_srgb(np.array([lightness, a, b]))
    assert rgb.min() >= 0 and rgb.max() <= 1
    red, green, blue = np.rint(255 * rgb).astype(int).tolist()
    return red, green, blue


def two_colors(left: tuple[float, float, float], right: tuple[float, float, float]) -> Image.Image:
    """Two Oklab colours side by side, as much of the one as of the other."""
    image = solid(shade(*left), (20, 20))
    image.paste(shade(*right), (10, 0, 20, 20))
    return image


DONOR = two_colors(*LEAF_AND_ROSE)
CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "hue 60": lambda image: rotate_hue(image, 60),
    "hue 120": lambda image: rotate_hue(image, 120),
    "hue 180": lambda image: rotate_hue(image, 180),
    "saturation -0.5": lambda image: saturate(image, -0.5),
    "saturation 0.5": lambda image: saturate(image, 0.5),
    "saturation 1": lambda image: saturate(image, 1),
    "greyscale 0.5": lambda image: desaturate(image, 0.5),
    "greyscale 1": lambda image: desaturate(image, 1),
    "temperature -100": lambda image: shift_temperature(image, -100),
    "temperature 100": lambda image: shift_temperature(image, 100),
    "temperature 250": lambda image: shift_temperature(image, 250),
    "palette 0.5": lambda image: transfer_palette(image, DONOR, 0.5),
    "palette 1": lambda image: transfer_palette(image, DONOR, 1),
    "tint 0.5": lambda image: tint(image, 260, 0.5),
    "tint 1": lambda image: tint(image, 260, 1),
}
EVERY_CHANGE = pytest.mark.parametrize("name", CHANGES)


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    from skimage import data

    loads: tuple[Callable[[], NDArray[np.uint8]], ...] = (data.astronaut, data.chelsea, data.coffee, data.rocket)
    return [Image.fromarray(load()).resize((96, 96), Image.Resampling.BOX) for load in loads]


@pytest.fixture(scope="module")
def drawings(emoji: Images) -> list[Image.Image]:
    """Sixty drawings in colour, of five styles."""
    return [row.read() for row in emoji.rows[::131] if row.labels["style"] != "fluent-high-contrast"]


def opacity(image: Image.Image) -> Values:
    return np.asarray(image.convert("RGBA"))[..., 3] / 255


def mean_distance(a: Image.Image, b: Image.Image) -> float:
    """The mean distance of two images' colours in Oklab, weighted by opacity."""
    return float(np.average(np.linalg.norm(lab_of(a) - lab_of(b), axis=-1), weights=opacity(a)))


def ciede2000(a: Image.Image, b: Image.Image) -> float:
    """The mean CIEDE2000 of two images, weighted by opacity."""
    from skimage import color

    lab_1976: Callable[..., Values] = color.rgb2lab  # published without types
    distance: Callable[..., Values] = color.deltaE_ciede2000
    first, second = (lab_1976(np.asarray(image)[..., :3]) for image in (a, b))
    return float(np.average(distance(first, second), weights=opacity(a)))


def matched(image: Image.Image, changed: Image.Image, seed: int = 0) -> Image.Image:
    return match_lightness(image, changed, np.random.default_rng(seed))


def painted(image: Image.Image, changed: Image.Image, value: int) -> Image.Image:
    """The image with this grey wherever it was changed."""
    pixels = np.array(image)
    pixels[(pixels != np.asarray(changed)).any(axis=-1), :3] = value
    return Image.fromarray(pixels)


def chroma_of(image: Image.Image) -> NDArray[np.complex128]:
    """Oklab's a and b of every pixel as one complex number: its angle is the hue, its size the chroma."""
    lab = lab_of(image)
    return np.asarray(lab[..., 1] + 1j * lab[..., 2])


def moments(image: Image.Image) -> tuple[Values, Values]:
    """Mean and spread of a and b over visible pixels, by opacity."""
    ab, weight = lab_of(image)[..., 1:].reshape(-1, 2), opacity(image).ravel()
    mean = np.average(ab, axis=0, weights=weight)
    return mean, np.sqrt(np.average((ab - mean) ** 2, axis=0, weights=weight))


@pytest.mark.parametrize(
    ("xyz", "published"),
    [
        ((0.950, 1.000, 1.089), (1.000, 0.000, 0.000)),
        ((1.000, 0.000, 0.000), (0.450, 1.236, -0.019)),
        ((0.000, 1.000, 0.000), (0.922, -0.671, 0.263)),
        ((0.000, 0.000, 1.000), (0.153, -1.415, -0.449)),
    ],
)
def test_oklab_of_xyz_is_as_its_author_publishes_it(xyz: tuple[float, ...], published: tuple[float, ...]) -> None:
    # from XYZ to linear sRGB: IEC 61966-2-1
    to_linear = np.array([[3.2406255, -1.537208, -0.4986286], [-0.9689307, 1.8757561, 0.0415175]])
    to_linear = np.vstack([to_linear, [0.0557101, -0.2040211, 1.0569959]])
    assert _linear_to_oklab(to_linear @ np.array(xyz)) == pytest.approx(published, abs=2e-3)


@EVERY_CHANGE
def test_color_changes_and_lightness_does_not(
    name: str, drawings: list[Image.Image], photographs: list[Image.Image]
) -> None:
    distances = []
    for image in (*drawings[::4], *photographs):
        changed = CHANGES[name](image)
        lightness = lab_of(image)[..., 0]
        drift = np.abs(lab_of(changed)[..., 0] - lightness)
        assert np.average(drift, weights=opacity(image)) < 0.005
        assert (
            drift[(opacity(image) > 0) & (lightness > 0.3)].max(initial=0) < 0.005
        )  # one level of a dark grey is more
        distances.append(mean_distance(image, changed))
    assert np.median(distances) > 0.009


@EVERY_CHANGE
def test_alpha_size_and_mode_stay_under_every_change(name: str, emoji: Images) -> None:
    for image in (*some(emoji)[::2], picture(random_colors(0))):
        changed = CHANGES[name](image)
        assert (changed.mode, changed.size) == (image.mode, image.size)
        assert np.array_equal(opacity(changed), opacity(image))


def test_alpha_size_and_mode_stay_under_the_control(drawings: list[Image.Image]) -> None:
    for image in (*drawings[::12], picture(random_colors(0))):
        control = matched(image, rotate_hue(image, 120))
        assert (control.mode, control.size) == (image.mode, image.size)
        assert np.array_equal(opacity(control), opacity(image))


@pytest.mark.parametrize("color", VIVID)
@pytest.mark.parametrize("degrees", [-120, -60, 30, 60, 120, 180])
def test_the_hue_of_a_vivid_color_turns_by_as_many_degrees(color: tuple[int, int, int], degrees: float) -> None:
    before = solid(color)
    turned = np.angle(chroma_of(rotate_hue(before, degrees)) / chroma_of(before), deg=True)
    assert (turned - degrees + 180) % 360 - 180 == pytest.approx(np.zeros((8, 8)), abs=1)


@pytest.mark.parametrize(("change", "factor"), [(-1, 0), (-0.5, 0.5), (0, 1), (0.5, 1.5), (1, 2)])
def test_chroma_is_multiplied_and_hue_is_kept(change: float, factor: float) -> None:
    image = picture(muted_colors(0))
    before, after = lab_of(image)[0], lab_of(saturate(image, change))[0]
    room = oklab_to_srgb(np.column_stack([before[:, 0], 2 * before[:, 1:]]))
    inside = (room.min(axis=1) >= 0) & (room.max(axis=1) <= 1)
    assert inside.sum() > 100
    np.testing.assert_allclose(after[inside, 1:], factor * before[inside, 1:], atol=0.004)
    assert np.abs(after[:, 0] - before[:, 0]).max() < 0.004


def test_the_most_vivid_colors_stay_where_there_is_no_room_for_more_chroma() -> None:
    for color in ((255, 0, 0), (0, 255, 0), (255, 255, 0), (255, 0, 255)):
        assert np.abs(np.array(saturate(solid(color), 1)).astype(int) - color).max() <= 5
    # on the way from grey to pure blue one is outside of sRGB from 84 % of the chroma to shortly before the end
    blue = solid((0, 0, 255))
    kept = np.abs(chroma_of(saturate(blue, 1)) / chroma_of(blue))
    assert kept.min() > 0.83


def test_greyscale_has_as_much_red_as_green_and_blue(
    drawings: list[Image.Image], photographs: list[Image.Image]
) -> None:
    differ = [np.ptp(np.asarray(desaturate(image, 1))[..., :3], axis=-1) for image in (*drawings, *photographs)]
    assert np.max([each.max() for each in differ]) <= 1  # a channel may be rounded up and another down,
    assert np.mean([(each > 0).mean() for each in differ]) < 1e-4  # if it was all but half way


def test_less_than_no_chroma_is_refused() -> None:
    with pytest.raises(ValueError, match="at least -1"):
        saturate(solid((1, 2, 3)), -1.5)


def chromaticity(kelvin: float) -> tuple[float, float]:
    x, y, z = _planckian(kelvin)
    return x / (x + y + z), y / (x + y + z)


def test_black_bodies_have_the_published_chromaticities() -> None:
    assert chromaticity(2856) == pytest.approx((0.4476, 0.4074), abs=1e-3)  # CIE standard illuminant A
    assert chromaticity(6504) == pytest.approx((0.3135, 0.3237), abs=1e-3)
    assert chromaticity(10000) == pytest.approx((0.2807, 0.2884), abs=1e-3)
    assert chromaticity(2000) == pytest.approx((0.5267, 0.4133), abs=1e-3)


def planck(kelvin: float) -> tuple[float, float]:
    """The chromaticity by Planck's law and Wyman, Sloan and Shirley's fit of the CIE 1931 functions (JCGT 2013)."""
    nm = np.arange(360.0, 831.0)
    radiance = nm**-5 / np.expm1(1.438777e7 / (nm * kelvin))  # hc/k in nanometres kelvin

    def lobe(height: float, peak: float, below: float, above: float) -> Values:
        curve: Values = height * np.exp(-0.5 * ((nm - peak) / np.where(nm < peak, below, above)) ** 2)
        return curve

    x = lobe(1.056, 599.8, 37.9, 31.0) + lobe(0.362, 442.0, 16.0, 26.7) + lobe(-0.065, 501.1, 20.4, 26.2)
    y = lobe(0.821, 568.8, 46.9, 40.5) + lobe(0.286, 530.9, 16.3, 31.1)
    z = lobe(1.217, 437.0, 11.8, 36.0) + lobe(0.681, 459.0, 26.0, 13.8)
    xyz = np.array([radiance @ each for each in (x, y, z)])
    return xyz[0] / xyz.sum(), xyz[1] / xyz.sum()


@pytest.mark.parametrize("kelvin", [2000, 2856, 3000, 4500, 6504, 10000, 15000])
def test_black_bodies_radiate_by_plancks_law(kelvin: float) -> None:
    assert chromaticity(kelvin) == pytest.approx(planck(kelvin), abs=4e-3)  # the fit of the functions is so close


def test_the_srgb_of_a_black_body_is_of_its_chromaticity_and_the_largest_value_is_1() -> None:
    for kelvin in (3000, 6504, 15000):
        color = black_body_srgb(kelvin)
        assert color.max() == pytest.approx(1) and color.min() > 0
        x, y, z = rgb2xyz(color)
        assert (x / (x + y + z), y / (x + y + z)) == pytest.approx(chromaticity(kelvin), abs=1e-4)
    assert black_body_srgb(6504) == pytest.approx([1, 1, 1], abs=0.03)  # near D65, which is greener
    red, green, blue = black_body_srgb(3000)
    assert red > green > blue
    with pytest.raises(ValueError, match="between 1667 and 25000, not 1000"):
        black_body_srgb(1000)


@pytest.mark.parametrize("kelvin", [2222, 4000])
def test_the_splines_of_the_black_bodies_meet(kelvin: float) -> None:
    assert chromaticity(kelvin + 1e-6) == pytest.approx(chromaticity(kelvin), abs=2e-4)


def test_a_grey_under_candlelight_is_of_the_hue_of_its_white() -> None:
    # adapted by 250 mired from 6504 K, white is the black body at 1e6 / (153.75 + 250) = 2477 K
    white = np.linalg.solve(
        np.array(
            [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
        ),
        _planckian(2477),
    )
    _, a, b = _linear_to_oklab(white)
    changed = chroma_of(shift_temperature(solid((110, 110, 110)), 250))[0, 0]
    assert np.angle(changed / (a + 1j * b), deg=True) == pytest.approx(0, abs=4)


@pytest.mark.parametrize("color", [(128, 128, 128), *VIVID])
def test_warmer_light_is_yellower_and_cooler_light_is_bluer(color: tuple[int, int, int]) -> None:
    mired = (-100, -60, -20, 0, 20, 60, 120, 180, 250)
    yellow = [lab_of(shift_temperature(solid(color), each))[0, 0, 2] for each in mired]
    assert np.diff(yellow).min() > -0.0015  # at the border of sRGB it stays
    assert np.diff(yellow[:5]).min() > 0.003
    assert yellow[0] < yellow[3] - 0.01 and yellow[-1] > yellow[3] + 0.005


def test_the_light_of_a_photograph_becomes_warmer_step_by_step(photographs: list[Image.Image]) -> None:
    for image in photographs:
        means = [moments(shift_temperature(image, mired))[0][1] for mired in (-100, -50, 0, 50, 100, 175, 250)]
        assert np.diff(means[:5]).min() > 0.005 and np.diff(means).min() > -0.001  # in the end vivid colours are stuck


@pytest.mark.parametrize("mired", [-100, 100, 250])
def test_white_and_black_stay_under_any_light(mired: float) -> None:
    for color in ((255, 255, 255), (0, 0, 0)):
        assert shift_temperature(solid(color), mired).tobytes() == solid(color).tobytes()


def test_no_shift_no_more_chroma_and_no_share_of_a_palette_change_no_channel_by_more_than_one(
    drawings: list[Image.Image], photographs: list[Image.Image]
) -> None:
    for image in (*drawings[::6], *photographs):
        for same in (shift_temperature(image, 0), saturate(image, 0), transfer_palette(image, DONOR, 0)):
            assert np.abs(np.asarray(same).astype(int) - np.asarray(image)).max() <= 1


@pytest.mark.parametrize("mired", [-101, 251, float("nan")])
def test_light_that_no_black_body_gives_is_refused(mired: float) -> None:
    with pytest.raises(ValueError, match="mired must be between -100 and 250"):
        shift_temperature(solid((1, 2, 3)), mired)


def test_a_tint_by_hand() -> None:
    # chroma (0.06 ** 2 + 0.08 ** 2) ** 0.5 = 0.1, so at 90 degrees a = 0, b = 0.1; half way (0.06 + 0) / 2 = 0.03 and
    # (-0.08 + 0.1) / 2 = 0.01
    image = solid(shade(0.6, 0.06, -0.08))
    np.testing.assert_allclose(lab_of(tint(image, 90, 1))[0, 0], (0.6, 0, 0.1), atol=0.003)
    np.testing.assert_allclose(lab_of(tint(image, 90, 0.5))[0, 0], (0.6, 0.03, 0.01), atol=0.003)


def test_a_tint_that_srgb_has_no_room_for_by_hand() -> None:
    # Black to pure green is a straight line in Oklab (0.86644, -0.23389, 0.17950). Red's lightness, 0.62796, is
    # 0.62796 / 0.86644 = 0.72476 of it, linear 0.72476 ** 3 = 0.38069, sRGB 1.055 * 0.38069 ** (1 / 2.4) - 0.055 =
    # 0.6505, times 255 = 165.9; the chroma there, 0.72476 * 0.29483 = 0.2137, is less than red's 0.2577.
    green = np.degrees(np.arctan2(0.17950, -0.23389))
    assert np.asarray(tint(solid((255, 0, 0)), green, 1))[0, 0].tolist() == pytest.approx([0, 166, 0], abs=1)


@settings(max_examples=30)
@given(SEEDS, st.floats(-720, 720))
def test_a_tint_sets_every_hue_and_keeps_lightness_and_what_chroma_fits(seed: int, hue: float) -> None:
    image = picture(random_colors(seed))
    before, after = lab_of(image)[0], lab_of(tint(image, hue, 1))[0]
    wide = before[:, 0] > 0.3
    assert np.abs(after[wide, 0] - before[wide, 0]).max() < 0.005
    chroma, found = np.hypot(*before[:, 1:].T), after[:, 1] + 1j * after[:, 2]
    assert (np.abs(found) - chroma)[wide].max() < 0.005
    colored = wide & (np.abs(found) > 0.05)
    assert colored.sum() > 50
    off = np.angle(found[colored] * np.exp(-1j * np.deg2rad(hue)), deg=True)
    assert np.abs(off).max() < 6  # 0.005 / 0.05 = 6 degrees


@settings(max_examples=30)
@given(SEEDS, st.floats(-720, 720))
def test_a_tint_keeps_the_chroma_of_colors_that_stay_in_srgb(seed: int, hue: float) -> None:
    image = picture(muted_colors(seed))
    before, after = lab_of(image)[0], lab_of(tint(image, hue, 1))[0]
    np.testing.assert_allclose(np.hypot(*after[:, 1:].T), np.hypot(*before[:, 1:].T), atol=0.005)


@given(st.floats(-720, 720), st.floats(0, 1))
def test_a_tint_leaves_greys_and_no_tint_leaves_everything(hue: float, share: float) -> None:
    greys = picture(np.repeat(np.arange(256)[:, None] / 255, 3, axis=1))
    assert tint(greys, hue, share).tobytes() == greys.tobytes()
    colors = picture(random_colors(0))
    assert tint(colors, hue, 0).tobytes() == colors.tobytes()


def test_a_tint_of_a_tint_is_the_second_one() -> None:
    image = picture(muted_colors(1))
    twice, once = (np.asarray(each).astype(int) for each in (tint(tint(image, 30, 1), 140, 1), tint(image, 140, 1)))
    assert np.abs(twice - once).max() <= 3  # roundings of half a level, carried on


@pytest.mark.parametrize("share", [-0.01, 1.01, float("nan")])
def test_a_share_of_a_tint_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        tint(solid((1, 2, 3)), 140, share)


def test_a_palette_of_two_colors_by_hand() -> None:
    # means of a: (-0.03 + 0.04) / 2 = 0.005, of b: -0.005; half their distances, the spreads: 0.035 and 0.055.
    # The donor's: means (0.005, 0.04), spreads (0.085, 0.03). The left colour is one spread below both of its means,
    # so it comes to (0.005 - 0.085, 0.04 - 0.03) = (-0.08, 0.01); the right one to (0.005 + 0.085, 0.07).
    image = two_colors(*SKY_AND_EARTH)
    after = lab_of(transfer_palette(image, DONOR, 1))
    np.testing.assert_allclose(after[0, 0], (0.7, -0.08, 0.01), atol=0.005)
    np.testing.assert_allclose(after[0, 19], (0.5, 0.09, 0.07), atol=0.005)
    half = lab_of(transfer_palette(image, DONOR, 0.5))
    np.testing.assert_allclose(half[0, 0], (0.7, -0.055, -0.025), atol=0.005)
    np.testing.assert_allclose(half[0, 19], (0.5, 0.065, 0.06), atol=0.005)


def test_mean_and_spread_become_those_of_the_other_image() -> None:
    after = transfer_palette(two_colors(*SKY_AND_EARTH), DONOR, 1)
    np.testing.assert_allclose(moments(after), moments(DONOR), atol=0.003)
    before = moments(two_colors(*SKY_AND_EARTH))
    for share in (0.25, 0.5, 0.75):
        mixed = moments(transfer_palette(two_colors(*SKY_AND_EARTH), DONOR, share))
        np.testing.assert_allclose(mixed[0], (1 - share) * before[0] + share * moments(DONOR)[0], atol=0.003)


def test_what_cannot_be_seen_has_no_part_in_a_palette() -> None:
    """Transparent pixels have a colour, too, but nobody sees it."""
    seen = two_colors(*LEAF_AND_ROSE).convert("RGBA")
    hidden = Image.new("RGBA", (20, 20), (*shade(0.5, 0.1, -0.1), 0))
    donor = Image.new("RGBA", (40, 20))
    donor.paste(seen, (0, 0))
    donor.paste(hidden, (20, 0))
    image = two_colors(*SKY_AND_EARTH)
    assert transfer_palette(image, donor, 1).tobytes() == transfer_palette(image, DONOR, 1).tobytes()


def test_a_palette_comes_nearer_with_every_share(drawings: list[Image.Image], photographs: list[Image.Image]) -> None:
    nearer = []
    for image in (*drawings[::5], *photographs):
        changed = [transfer_palette(image, DONOR, share) for share in (0, 0.25, 0.5, 0.75, 1)]
        assert np.diff([mean_distance(image, each) for each in changed]).min() > 0.005
        away = [np.linalg.norm(moments(each)[0] - moments(DONOR)[0]) for each in changed]
        nearer.append((np.diff(away) < 0).all())
    assert all(nearer[-4:])  # photographs
    assert np.mean(nearer) > 0.8  # what is nearly white or black has no room for another palette


@pytest.mark.parametrize("color", [(200, 30, 90), (0, 0, 0), (255, 255, 255)])
def test_every_pixel_of_a_drawing_in_one_ink_becomes_exactly_the_color(
    color: tuple[int, int, int], emoji: Images
) -> None:
    for row in emoji.where(style="fluent-high-contrast").rows[::60]:
        before, after = np.asarray(row.read()), np.asarray(recolor(row.read(), color, 1))
        assert np.array_equal(after[..., 3], before[..., 3])
        assert (after[after[..., 3] > 0][:, :3] == color).all()


def test_ink_half_way_to_a_color_is_half_way_in_oklab() -> None:
    drawing = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    drawing.paste((*shade(0.4, 0.05, -0.05), 255), (0, 0, 2, 2))
    changed = lab_of(recolor(drawing, shade(0.8, -0.05, 0.05), 0.5))
    np.testing.assert_allclose(changed[0, 0], (0.6, 0, 0), atol=0.004)
    assert recolor(drawing, (1, 2, 3), 0).tobytes() == drawing.tobytes()


def test_all_high_contrast_drawings_can_be_recolored(emoji: Images) -> None:
    rows = emoji.where(style="fluent-high-contrast").rows
    assert len(rows) == 1570
    for row in rows[::10]:
        recolor(row.read(), (200, 30, 90), 1)


def two_inks(first: tuple[int, int, int], second: tuple[int, int, int]) -> Image.Image:
    """Two bars with nothing around them."""
    drawing = Image.new("RGBA", (20, 20))
    drawing.paste((*first, 255), (2, 2, 18, 8))
    drawing.paste((*second, 255), (2, 8, 18, 14))
    return drawing


@pytest.mark.parametrize(
    ("first", "second"),
    [((0, 0, 0), (255, 255, 255)), ((200, 30, 60), (30, 60, 200)), ((250, 225, 170), (240, 200, 130))],
)
def test_a_drawing_in_two_colors_is_refused(first: tuple[int, int, int], second: tuple[int, int, int]) -> None:
    # the last two are the full moon and its craters, which would be gone
    with pytest.raises(UnreadableImage, match="not drawn in a single colour"):
        recolor(two_inks(first, second), (200, 30, 90), 1)


def test_drawings_in_one_ink_are_told_from_those_with_shades(emoji: Images) -> None:
    image = {row.key: row.read for row in emoji.rows}
    # a cyclone, notes, footprints, a spider's web
    for key in ("1f300/noto", "1f3b5/noto", "1f463/noto", "1f578/noto"):
        recolor(image[key](), (200, 30, 90), 1)
    # the full moon's craters, fog, two busts, a bone's ends, a cloud's shadow: in one colour they would be gone
    for key in ("1f315/noto", "1f32b/fluent-3d", "1f465/noto", "1f9b4/noto", "2601/noto"):
        with pytest.raises(UnreadableImage, match="not drawn in a single colour"):
            recolor(image[key](), (200, 30, 90), 1)


def test_photographs_and_drawings_without_holes_are_refused(photographs: list[Image.Image]) -> None:
    for image in (photographs[0], photographs[0].convert("RGBA"), solid((9, 9, 9))):
        with pytest.raises(UnreadableImage, match="not a drawing on a transparent background"):
            recolor(image, (200, 30, 90), 1)
    with pytest.raises(UnreadableImage, match="not drawn in a single colour"):
        recolor(Image.new("RGBA", (9, 9)), (200, 30, 90), 1)


def test_vivid_colors_have_the_hue_asked_for_and_medium_lightness() -> None:
    for hue in range(0, 360, 15):
        lab = lab_of(solid(vivid(hue)))[0, 0]
        assert lab[0] == pytest.approx(0.6, abs=0.004)
        assert (np.degrees(np.arctan2(lab[2], lab[1])) - hue + 180) % 360 - 180 == pytest.approx(0, abs=2)
        assert np.hypot(lab[1], lab[2]) > 0.09


def test_the_mean_difference_of_black_and_white_is_a_hundred() -> None:
    # L* goes from 0 to 100, and half way the weight of lightness in CIEDE2000 is 1
    black, white = Image.new("RGBA", (4, 4), (0, 0, 0, 255)), Image.new("RGBA", (4, 4), (255, 255, 255, 255))
    assert mean_delta_e(black, white) == pytest.approx(100, abs=0.01)
    assert mean_delta_e(black, black) == 0
    black.paste((0, 0, 0, 0), (0, 0, 4, 2))  # where nothing is drawn both are white
    assert mean_delta_e(black, white) == pytest.approx(50, abs=0.01)


def half(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2), Image.Resampling.BOX)


@pytest.fixture(scope="module", params=[60, 120, 180])
def turned(
    request: pytest.FixtureRequest, drawings: list[Image.Image], photographs: list[Image.Image]
) -> list[tuple[Image.Image, Image.Image, Image.Image]]:
    """Images, the same with their hues turned, and the control for that; all sixty drawings for 120 degrees."""
    every = 1 if request.param == 120 else 5
    pairs = [(image, rotate_hue(image, request.param)) for image in (*map(half, drawings[::every]), *photographs)]
    return [
        (image, changed, matched(image, changed, seed))
        for seed, (image, changed) in enumerate(pairs)
        if ciede2000(image, changed) > 1  # below, rounding to 8 bits is not small against it
    ]


def test_the_control_in_lightness_differs_as_much_as_the_turn(
    turned: list[tuple[Image.Image, Image.Image, Image.Image]],
) -> None:
    ratios = []
    for image, hue, control in turned:
        target, found = ciede2000(image, hue), ciede2000(image, control)
        ratios.append(found / target)
        assert found < 1.03 * target
        if found < 0.95 * target:  # then all black or all white would hardly be far enough either
            assert found > 0.8 * max(ciede2000(image, painted(image, hue, value)) for value in (0, 255))
    within = np.abs(np.array(ratios) - 1) < 0.02
    assert within.mean() >= 0.8 and within[-4:].all()  # photographs all are


def test_by_another_measure_too_the_control_moves_about_as_far(
    turned: list[tuple[Image.Image, Image.Image, Image.Image]],
) -> None:
    # Oklab with a and b doubled, for which its author found distances to be the most like those that people see
    def distance(a: Image.Image, b: Image.Image) -> float:
        return float(np.average(np.linalg.norm((lab_of(a) - lab_of(b)) * (1, 2, 2), axis=-1), weights=opacity(a)))

    ratios = [distance(image, control) / distance(image, hue) for image, hue, control in turned]
    assert 0.5 < np.mean(ratios) < 2
    assert min(ratios) > 0.3 and max(ratios) < 3


@pytest.mark.parametrize("name", ["hue 120", "saturation 1", "greyscale 1", "temperature 250", "palette 1"])
def test_the_control_changes_lightness_and_keeps_the_hue(
    name: str, drawings: list[Image.Image], photographs: list[Image.Image]
) -> None:
    for image in (*drawings[::6], *photographs[::2]):
        after = matched(image, CHANGES[name](image))
        before, found = chroma_of(image), chroma_of(after)
        seen = (opacity(image) > 0) & (np.minimum(lab_of(image)[..., 0], lab_of(after)[..., 0]) > 0.3)
        assert (np.abs(found) - np.abs(before))[seen].max(initial=0) < 0.005  # never more chroma
        colored = seen & (np.minimum(np.abs(before), np.abs(found)) > 0.05)
        turn = np.abs(np.angle(found[colored] / before[colored], deg=True))
        assert turn.max(initial=0) < 5 and (not turn.size or turn.mean() < 1)


def test_the_control_leaves_alone_what_the_change_left_alone(drawings: list[Image.Image]) -> None:
    kept = 0
    for image in drawings[::4]:
        changed, after = rotate_hue(image, 120), matched(image, rotate_hue(image, 120))
        same = (np.asarray(changed) == np.asarray(image)).all(axis=-1)
        assert np.array_equal(np.asarray(after)[same], np.asarray(image)[same])
        kept += int((same & (opacity(image) > 0)).sum())
    assert kept > 1000  # greys


def test_the_control_of_a_grey_image_is_the_image() -> None:
    image = picture(np.repeat(np.linspace(0, 1, 50)[:, None], 3, axis=1))
    assert matched(image, rotate_hue(image, 120)).tobytes() == image.tobytes()


def test_the_control_of_more_light_is_as_much_more_or_less_light() -> None:
    # what lightness can do itself needs no other change: one way it is the same, the other way it is as far
    grey, lighter = solid((119, 119, 119)), solid((140, 140, 140))
    made = {np.asarray(matched(grey, lighter, seed))[0, 0, 0].item() for seed in range(12)}
    darker, same = sorted(made)
    assert same == pytest.approx(140, abs=1)
    assert ciede2000(grey, solid((darker,) * 3)) == pytest.approx(ciede2000(grey, lighter), rel=0.04)


def test_the_control_is_lighter_for_half_of_the_images_and_darker_for_the_others() -> None:
    image = solid(shade(0.6, 0.03, 0.04))
    lighter = [lab_of(matched(image, rotate_hue(image, 180), seed))[0, 0, 0] > 0.6 for seed in range(40)]
    assert 10 <= sum(lighter) <= 30


@pytest.mark.parametrize(("lightness", "direction"), [(0.97, -1), (0.1, 1)])
def test_the_control_goes_the_other_way_where_there_is_no_room(lightness: float, direction: int) -> None:
    image = solid(shade(lightness, 0.002, -0.012))
    changed = solid(shade(lightness, -0.012, 0.012))
    after = [lab_of(matched(image, changed, seed))[0, 0, 0] for seed in range(10)]
    assert all(direction * (each - lightness) > 0.01 for each in after)
    assert ciede2000(image, matched(image, changed)) == pytest.approx(ciede2000(image, changed), rel=0.1)


def test_every_pixel_moves_in_proportion_to_its_change_of_color() -> None:
    # chroma 0.08 and 0.04 at the same lightness: the first turns twice as far, and moves twice as far
    image = picture(np.array([shade(0.6, 0.08, 0), shade(0.6, 0.04, 0), shade(0.6, 0, 0)]) / 255)
    for seed in range(6):
        far, near, none = lab_of(matched(image, rotate_hue(image, 60), seed))[0, :, 0] - 0.6
        assert far / near == pytest.approx(2, abs=0.15) and abs(none) < 0.002
