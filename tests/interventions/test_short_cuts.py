"""Where an intervention skips work, its result is bit by bit that of the plain way, which is written out here."""

from __future__ import annotations

import math

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from embprobe.images import Images
from embprobe.interventions import color, nuisance, style, swaps, text
from embprobe.interventions.text import FONTS, Ink, draw_word
from embprobe.interventions.words import NEUTRAL

Values = NDArray[np.float64]
WORDS = (*NEUTRAL[::3], "AVATAR", "Type Av", "hiking boot", "office fly", "i", "l", "...j", "piñata", "WWWW")
PAINT = (200, 30, 90)


def plain_extent(face: str, word: str, size: float) -> tuple[int, int]:
    mask = text._font(face, size).getmask(word, stroke_width=text._stroke(size))
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    return right - left, bottom - top


def plain_size(face: str, word: str, width: int, tallest: int) -> float:
    """Go down from a size that is surely too large, and measure the outlined word at every step."""
    across, down = plain_extent(face, word, 128.0)
    size = math.ceil(10.5 * 128 * min(width / across, tallest / down)) / 10
    while size > 4:
        across, down = plain_extent(face, word, size)
        if across <= width and down <= tallest:
            break
        size -= 0.1
    return max(size, 4.0)


@pytest.mark.parametrize("face", FONTS)
@pytest.mark.parametrize(("width", "tallest"), [(64, 64), (38, 64), (10, 64), (200, 30), (300, 200)])
def test_a_words_size_is_that_of_a_search_that_measures_every_size(face: str, width: int, tallest: int) -> None:
    for word in WORDS:
        assert text._size(face, word, width, tallest) == plain_size(face, word, width, tallest), word


def plain_glyphs(written: Image.Image, count: int, stroke: int, widest: int, rng: np.random.Generator) -> Image.Image:
    """Halve the interval of sizes, and draw the signs at every size."""
    signs = "".join(rng.choice(list(text._GLYPHS), count))
    target = sum(text._amounts(written, PAINT))
    while True:
        low, high = 4.0, 4.0 * max(written.size)
        while high - low > 0.05:
            middle = (low + high) / 2
            fits = sum(text._amounts(text._layer(signs, FONTS[0], middle, PAINT, stroke), PAINT)) <= target
            low, high = (middle, high) if fits else (low, middle)
        glyphs = text._layer(signs, FONTS[0], low, PAINT, stroke)
        if glyphs.width <= widest or len(signs) == 1:
            return glyphs
        signs = signs[1:]


@pytest.mark.parametrize(("size", "stroke"), [(5.0, 1), (11.0, 1), (26.0, 2), (47.3, 3)])
def test_signs_are_those_of_a_search_that_draws_every_size(size: float, stroke: int) -> None:
    for seed, word in enumerate(("i", "cat", "elephant")):
        written = text._layer(word, FONTS[seed % 3], size, PAINT, stroke)
        widest = written.width + seed
        expected = plain_glyphs(written, len(word), stroke, widest, np.random.default_rng(seed))
        made = text._glyphs(written, len(word), PAINT, stroke, widest, np.random.default_rng(seed))
        assert made.size == expected.size and made.tobytes() == expected.tobytes(), word


@pytest.mark.parametrize("stroke", [1, 2, 5])
def test_a_sign_has_more_ink_than_one_that_is_surely_smaller(stroke: int) -> None:
    sizes = [4 * 1.1**i for i in range(34)]  # up to 93 pixels
    for sign in text._GLYPHS:
        ink = [text._opacity(sign, FONTS[0], size, stroke) for size in sizes]
        least = [
            min(more for larger, more in zip(sizes, ink, strict=True) if larger >= size * text._SURELY)
            for size in sizes
            if size * text._SURELY <= sizes[-1]
        ]
        assert all(larger > smaller for larger, smaller in zip(least, ink, strict=False)), sign


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("ink", ["word", "glyphs", "box"])
def test_a_word_is_drawn_as_onto_the_whole_image(photo: Image.Image, mode: str, ink: Ink) -> None:
    image = photo.convert(mode)
    image.putalpha(Image.linear_gradient("L").resize(image.size)) if mode == "RGBA" else None
    drawn = np.asarray(draw_word(image, "hence", share=0.5, rng=np.random.default_rng(4), ink=ink), np.int16)
    changed = (drawn != np.asarray(image)).any(axis=-1)
    assert drawn.shape == np.asarray(image).shape and 0.005 < changed.mean() < 0.2


def plain_room(lab: Values) -> Values:
    """Ask for every share whether its sRGB lies in 0..1."""
    low, high = np.zeros(len(lab)), np.ones(len(lab))
    for _ in range(10):
        kept = (low + high) / 2
        candidate = color.oklab_to_srgb(np.column_stack([lab[:, :1], lab[:, 1:] * kept[:, None]]))
        fits = ((candidate >= 0) & (candidate <= 1)).all(axis=-1)
        low, high = np.where(fits, kept, low), np.where(fits, high, kept)
    return low


def colors_of_all_kinds() -> Values:
    """Random colours, far outside sRGB too, and those of the whole cube's corners, edges and grey axis."""
    rng = np.random.default_rng(0)
    steps = np.stack(np.meshgrid(*[np.linspace(0, 1, 16)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    inside = color.srgb_to_oklab(steps)
    vivid = inside * [1, 3, 3]
    black, white = inside * [0, 1, 1], inside * [0, 1, 1] + [1, 0, 0]
    wild = rng.uniform([0, -0.5, -0.5], [1, 0.5, 0.5], (20_000, 3))
    return np.concatenate([inside, vivid, black, white, wild])


def test_the_room_for_chroma_is_that_of_asking_for_every_share() -> None:
    lab = colors_of_all_kinds()
    assert np.array_equal(color._room(lab), plain_room(lab))


def test_bytes_are_those_of_rounded_powers() -> None:
    lab = colors_of_all_kinds()
    assert np.array_equal(color._in_bytes(lab), np.rint(color._into_gamut(lab) * 255))


def test_a_byte_that_rounding_could_decide_is_that_of_powers(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a wide margin every colour is doubtful, and all are converted by powers."""
    lab = colors_of_all_kinds()[:3000]
    expected = color._in_bytes(lab)
    monkeypatch.setattr(color, "_CLOSE", 1.0)
    assert np.array_equal(color._in_bytes(lab), expected)


def test_a_table_of_levels_gives_the_oklab_of_every_color() -> None:
    codes = np.random.default_rng(1).integers(0, 1 << 24, 50_000).astype(np.uint32)
    assert np.array_equal(color._oklab(codes), color.srgb_to_oklab(color._colors(codes) / 255))


def test_distinct_colors_from_a_table_are_those_of_sorting(monkeypatch: pytest.MonkeyPatch) -> None:
    codes = np.random.default_rng(1).integers(0, 1 << 24, 5000).astype(np.uint32) & np.uint32(0xF00FFF)
    sorted_, places = np.unique(codes, return_inverse=True)
    monkeypatch.setattr(color, "_TABLED", 1)
    unique, inverse = color._distinct(codes)
    assert np.array_equal(unique, sorted_) and np.array_equal(inverse, places)


@pytest.mark.parametrize("noisy", [False, True])
def test_pairs_of_colors_are_those_of_sorting(photo: Image.Image, noisy: bool) -> None:
    changed = color.rotate_hue(photo, 90)
    if noisy:  # the same colour becomes another one here and there
        changed.putpixel((0, 0), (1, 2, 3))
        changed.putpixel((5, 9), (3, 2, 1))
    codes = [color._codes(np.asarray(image)).astype(np.uint64).ravel() for image in (photo, changed)]
    both, places = np.unique(codes[0] << 24 | codes[1], return_inverse=True)
    before, after, inverse = color._pairs(photo, changed)
    assert np.array_equal(before.astype(np.uint64) << 24 | after, both) and np.array_equal(inverse, places)


def plain_match_lightness(original: Image.Image, changed: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Match lightness with every colour converted by powers, at every step, and each of three ways tried."""
    from skimage.color import deltaE_ciede2000, rgb2lab

    def flat(image: Image.Image) -> Values:
        return np.asarray(image)[..., :3].reshape(-1, 3) / 255

    both = np.concatenate([flat(original), flat(changed)], axis=1)
    pairs, inverse = np.unique(both, axis=0, return_inverse=True)
    opacity = np.asarray(original)[..., 3].ravel() / 255 if original.mode == "RGBA" else np.ones(len(both))
    weight = np.bincount(inverse.ravel(), weights=opacity)
    before, after = pairs[:, :3], pairs[:, 3:]
    lab = color.srgb_to_oklab(before)
    size = np.linalg.norm(color.srgb_to_oklab(after) - lab, axis=1)
    visible = np.flatnonzero((size > 0) & (weight > 0))
    if not len(visible):
        return original.copy()
    sampled = visible if len(visible) <= 2048 else rng.choice(visible, 2048, replace=False)

    def moved(step: Values, factor: float) -> Values:
        return color._into_gamut(np.column_stack([np.clip(lab[:, 0] + factor * step, 0, 1), lab[:, 1:]]))

    def mean(colors: Values) -> float:
        distances = deltaE_ciede2000(rgb2lab(before[sampled]), rgb2lab(colors[sampled]))  # type: ignore[no-untyped-call]
        return float(np.average(distances, weights=weight[sampled]))

    target = mean(after)
    one_way = size if rng.integers(2) else -size
    ways = [(mean(moved(step, 8.0)), step) for step in (one_way, -one_way, np.where(lab[:, 0] < 0.5, size, -size))]
    step = next((step for most, step in ways if most >= target), max(ways, key=lambda way: way[0])[1])
    low, high = 0.0, 8.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if mean(moved(step, middle)) < target else (low, middle)
    made = np.where((size > 0)[:, None], np.rint(moved(step, high) * 255), before * 255)
    values = np.asarray(original).copy()
    values[..., :3] = np.rint(made).astype(np.uint8)[inverse.reshape(values.shape[:2])]
    return Image.fromarray(values)


@pytest.mark.parametrize("seed", range(3))
def test_a_control_of_lightness_is_that_of_the_plain_search(photo: Image.Image, emoji: Images, seed: int) -> None:
    for image in (photo, emoji.rows[700 + seed].read(), Image.new("RGB", (6, 6), (255, 0, 0))):
        for changed in (color.rotate_hue(image, 150), color.saturate(image, -1), color.tint(image, 20, 1)):
            made = color.match_lightness(image, changed, np.random.default_rng(seed))
            expected = plain_match_lightness(image, changed, np.random.default_rng(seed))
            assert made.tobytes() == expected.tobytes()


def test_a_blur_that_matches_is_found_as_with_whole_images(photo: Image.Image) -> None:
    from scipy import fft

    changed = style.oil(photo, 0.03)
    target, picture = style.mean_change(photo, changed), np.asarray(photo, np.float32) / 255
    spectrum = fft.dctn(picture, axes=(0, 1))
    rows, columns = (np.pi * np.arange(n, dtype=np.float32) / n for n in picture.shape[:2])
    squares = (rows[:, None] ** 2 + columns**2)[..., None]
    low, high = 0.01, 4.0 * max(photo.size)
    sigma = high
    for _ in range(40):
        values = fft.idctn(spectrum * np.exp(squares * (-(sigma**2) / 2)), axes=(0, 1))
        blurred = Image.fromarray(np.rint(values.clip(0, 1) * 255).astype(np.uint8))
        change = style.mean_change(photo, blurred)
        if abs(change - target) <= 0.01 * target or (sigma == high and change < target):
            break
        low, high = (sigma, high) if change < target else (low, sigma)
        sigma = math.sqrt(low * high)
    assert style.match_blur(photo, changed).tobytes() == blurred.tobytes()


def plain_oil(image: Image.Image, strength: float) -> Image.Image:
    """Stack the means of all four squares of every pixel, and choose the calmest."""
    picture = style._on_paper(image).astype(np.float64)
    radius = max(round(strength * min(image.size)), 1)
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    lightness = padded.mean(axis=-1, keepdims=True)
    side = radius + 1
    means = ndimage.uniform_filter(np.concatenate([padded, lightness, lightness**2], axis=-1), (side, side, 1))
    corners = [(side // 2 + radius * below, side // 2 + radius * right) for below in (0, 1) for right in (0, 1)]
    squares = np.stack([means[top : top + height, left : left + width] for top, left in corners])
    calmest = (squares[..., 4] - squares[..., 3] ** 2).argmin(axis=0)
    return style._printed(np.take_along_axis(squares[..., :3], calmest[None, ..., None], axis=0)[0], image)


@pytest.mark.parametrize("cached", [1, 1_000, 2**15])
@pytest.mark.parametrize("strength", [0.005, 0.03])
def test_oil_in_bands_is_that_of_all_squares_at_once(
    photo: Image.Image, emoji: Images, strength: float, cached: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(style, "_CACHED", cached)
    flat = Image.new("RGB", (31, 17), (10, 200, 90))  # squares that vary equally: the first of them counts
    for image in (photo, flat, emoji.rows[100].read()):
        assert style.oil(image, strength).tobytes() == plain_oil(image, strength).tobytes()


@pytest.mark.parametrize("cached", [1, 1_000, 2**14])
def test_noise_in_bands_is_that_of_one_draw(photo: Image.Image, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nuisance, "_CACHED", cached)
    values = np.asarray(photo)
    normal = np.random.default_rng(5).standard_normal(values.shape)
    plain = np.rint(values + 255 * 0.1 * normal).clip(0, 255).astype(np.uint8)
    assert np.array_equal(np.asarray(nuisance.noise(photo, 0.1, np.random.default_rng(5))), plain)


@pytest.mark.parametrize("shape", [(7, 5, 3), (91, 91, 3), (128, 128, 3), (301, 517, 3)])
def test_bytes_and_their_difference_in_blocks_are_those_of_whole_pictures(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    picture = rng.random(shape, np.float32)
    values = (picture + rng.normal(0, 0.1, shape)).astype(np.float32)
    whole = style._in_bytes(values.copy())
    rounded, difference = style._compared(picture, values)
    assert np.array_equal(rounded, whole)
    assert difference == style._mean_difference(picture, style._in_shares(whole))


@pytest.mark.parametrize("face", FONTS)
@pytest.mark.parametrize(("width", "tallest"), [(1_201, 900), (400, 1_000), (900, 300)])
def test_a_large_words_size_is_found_without_drawing_it_at_sizes_that_are_surely_too_large(
    face: str, width: int, tallest: int
) -> None:
    for word in ("thus", "i", "AVATAR"):
        assert text._size(face, word, width, tallest) == plain_size(face, word, width, tallest), word


@pytest.mark.parametrize("texture", ["brick", "grass", "gravel"])
def test_a_texture_tinted_by_a_table_is_tinted_value_by_value(texture: str) -> None:
    rng, values = np.random.default_rng(3), getattr(skimage.data, texture)().astype(np.float64)
    side = int(rng.integers(values.shape[0] // 2, values.shape[0] + 1))
    top, left = rng.integers(0, values.shape[0] - side + 1, 2)
    grey = np.rot90(values[top : top + side, left : left + side], int(rng.integers(4)))
    tint = np.array([0.5, 0.5, 0.5]) + 0.5 * rng.random(3)
    colored = Image.fromarray(np.rint(grey[..., None] * tint / tint.max()).astype(np.uint8))
    plain = colored.resize((70, 50), Image.Resampling.LANCZOS)
    assert swaps._texture((70, 50), np.random.default_rng(3), texture).tobytes() == plain.tobytes()
