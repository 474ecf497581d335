"""The vectors of the reference encoders are computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.feature import local_binary_pattern

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.encoders.families.reference import (
    CIRCLES,
    LUMA,
    color_and_pixels,
    color_histogram,
    grey_pixels,
    lightness_histogram,
    pixels,
    texture,
)
from embprobe.encoders.spec import TokenGrid
from embprobe.errors import UsageError
from tests.conftest import cosines, noise, solid

BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)


def test_pixels_are_the_picture_minus_mid_grey() -> None:
    batch = torch.tensor([[[[0.0, 1.0]], [[0.5, 0.5]], [[0.25, 0.75]]]])  # one picture, 3 channels, 1 x 2
    assert pixels(batch).tolist() == [[-0.5, 0.5, 0.0, 0.0, -0.25, 0.25]]


def test_grey_pixels_are_the_luma_minus_mid_grey() -> None:
    batch = torch.tensor([[[[0.0, 1.0]], [[0.5, 1.0]], [[0.25, 1.0]]]])  # 0.587 / 2 + 0.114 / 4 - 0.5, and white
    assert grey_pixels(batch)[0].tolist() == pytest.approx([-0.178, 0.5], abs=1e-6)


def test_grey_pixels_are_those_of_the_picture_turned_grey() -> None:
    encoder = load_encoder("reference/grey-pixels")
    picture = noise(0, (12, 12))
    colored, grey = encode(encoder, [picture, picture.convert("L").convert("RGB")])  # Pillow has the same luma
    assert colored.shape == (144,) and np.abs(colored - grey).max() <= 1 / 255


def test_the_distance_of_black_and_white_in_pixels() -> None:
    encoder = load_encoder("reference/pixels")
    black, white = encode(encoder, [solid(BLACK, (40, 30)), solid(WHITE, (16, 16))])
    assert black.shape == (432,) and black.dtype == np.float32
    # 12 * 12 * 3 numbers that differ by 1: the square root of 432
    assert np.linalg.norm(black - white) == pytest.approx(math.sqrt(432))
    assert cosines(black[None], white[None])[0, 0] == pytest.approx(-1)


def test_the_dot_product_of_histograms_is_the_bhattacharyya_coefficient() -> None:
    encoder = load_encoder("reference/color-histogram")
    mixed = solid(RED, (64, 64))
    mixed.paste(BLUE, (0, 0, 16, 64))  # a quarter blue
    red, blue, both = encode(encoder, [solid(RED), solid(BLUE), mixed])
    assert red @ red == pytest.approx(1)
    assert red @ blue == 0
    assert both @ red == pytest.approx(math.sqrt(0.75 * 1))
    assert both @ blue == pytest.approx(math.sqrt(0.25 * 1))


def test_colours_joined_with_pixels_are_both_side_by_side() -> None:
    batch = torch.rand((3, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    joined = color_and_pixels(batch)
    assert joined.shape == (3, 968 + 432)
    assert torch.equal(joined[:, :968], color_histogram(batch))
    red, white = (solid(color, (64, 64)) for color in (RED, (255, 255, 255)))
    encoder = load_encoder("reference/color-and-pixels")
    # Of white and of red pixels 288 of 432 numbers differ, by 1, times 0.1; their histograms have nothing in common: 2
    a, b = encode(encoder, [red, white])
    assert ((a - b) ** 2).sum() == pytest.approx(288 * 0.01 + 2, rel=1e-3)


def test_greys_are_in_the_middle_of_a_bin_and_pure_colours_where_cielab_has_them() -> None:
    # black is L 0, white L 100: lightness bins 0 and 7; a = b = 0 is bin 5 of 11 in both: 5 * 11 + 5 = 60
    # red is L 53.2, a 80.1, b 67.2: bins 53.2 / 12.5 = 4, (80.1 + 110) / 20 = 9, (67.2 + 110) / 20 = 8
    colors = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0]])
    histograms = color_histogram(colors[:, :, None, None].expand(3, 3, 2, 2))
    assert histograms.argmax(1).tolist() == [60, 7 * 121 + 60, 4 * 121 + 9 * 11 + 8]
    assert histograms.amax(1).tolist() == [1, 1, 1]


def test_lightness_bins_hold_every_colour_of_a_lightness() -> None:
    # L of black 0, of white 100, of red 53.2, of a grey of 0.5 53.4: bins 0, 7, 4 and 4, a quarter of the pixels each
    colors = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0.5, 0.5, 0.5]])
    picture = colors.T.reshape(1, 3, 2, 2)
    assert lightness_histogram(picture)[0].square().tolist() == pytest.approx([0.25, 0, 0, 0, 0.5, 0, 0, 0.25])


def test_the_position_of_a_pixel_does_not_matter_to_the_histogram() -> None:
    encoder = load_encoder("reference/color-histogram")
    picture = noise(0, (64, 64))
    flat = np.asarray(picture).reshape(-1, 3)
    shuffled = Image.fromarray(np.random.default_rng(0).permutation(flat).reshape(64, 64, 3))
    a, b = encode(encoder, [picture, shuffled])
    assert np.array_equal(a, b)
    assert (a**2).sum() == pytest.approx(1)


# --- texture -----------------------------------------------------------------------------------------------------


def greys(values: NDArray[np.integer]) -> torch.Tensor:
    """A grey picture of these values of 255. ``[s, s] -> [1, 3, s, s]``."""
    return torch.from_numpy(values / 255).float().expand(1, 3, *values.shape)


def test_texture_of_one_grey_is_no_darker_neighbour_and_of_a_dot_are_all_of_them() -> None:
    flat = texture(greys(np.full((9, 9), 100)))[0].square()
    # No neighbour is darker: pattern 8 of 0..9, and 8 + 2 + 16 of the large circle; each radius has half of the shares
    assert flat.nonzero().ravel().tolist() == [8, 26] and flat[[8, 26]].tolist() == pytest.approx([0.5, 0.5])
    dot = np.full((9, 9), 100)
    dot[4, 4] = 200
    # 7 x 7 pixels have the small circle. All 8 neighbours of the dot are darker: pattern 0. No other has a darker one
    assert texture(greys(dot))[0, :10].square().mul(2 * 49).tolist() == pytest.approx([1, *[0] * 7, 48, 0], abs=1e-4)


def test_quarter_turns_and_mirrors_leave_a_texture() -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 64))
    plain = texture(greys(values))
    for turned in (np.rot90(values), np.rot90(values, 2), values.T):
        assert (plain @ texture(greys(turned.copy())).T).item() == pytest.approx(1, abs=1e-4)


def test_a_turned_texture_is_the_same_up_to_interpolation_and_another_is_not() -> None:
    def waves(length: float, degrees: float) -> NDArray[np.integer]:
        y, x = np.indices((128, 128))
        along = x * math.cos(math.radians(degrees)) + y * math.sin(math.radians(degrees))
        return np.asarray(np.rint(127 + 100 * np.sin(2 * math.pi * along / length)), np.int64)

    speckles = np.random.default_rng(0).integers(0, 256, (128, 128))
    pictures = [waves(11.3, 10), waves(11.3, 35), waves(11.3, 65), waves(3.7, 35), speckles]
    plain, *turned, shorter, noisy = torch.cat([texture(greys(values)) for values in pictures])
    assert all(plain @ each > 0.95 for each in turned)
    assert plain @ shorter < 0.8 and plain @ noisy < 0.8


def test_colours_of_one_luma_leave_a_texture() -> None:
    rng = np.random.default_rng(0)
    grey = greys(rng.integers(60, 190, (32, 32)))
    # 0.299 r + 0.587 g + 0.114 b = 0: red up by 0.114 t and blue down by 0.299 t keep the luma
    shift = torch.from_numpy(rng.uniform(-0.5, 0.5, (32, 32))).float()
    colored = grey + torch.stack([0.114 * shift, torch.zeros_like(shift), -0.299 * shift])
    assert not torch.allclose(colored, grey, atol=0.1)
    assert (texture(grey) @ texture(colored).T).item() == pytest.approx(1, abs=1e-6)


def test_a_texture_does_not_depend_on_contrast_and_is_of_unit_length() -> None:
    values = np.random.default_rng(0).integers(0, 120, (32, 32))
    one, lighter = texture(greys(values)), texture(greys(2 * values + 10))
    assert torch.allclose(one, lighter) and one.shape == (1, 28)
    assert one.norm().item() == pytest.approx(1)


def test_textures_are_those_of_the_formula() -> None:
    """Patterns of the four neighbours-of-eight that lie on pixels: counted here for a picture without interpolation."""
    # Horizontal steps of one grey a row: above darker, below lighter, beside equal. Of 8 neighbours 3 are darker, so 5
    # are not; of 16 there are 7 darker and 9 not.
    steps = np.repeat(np.arange(32)[:, None] * 4, 32, axis=1)
    assert texture(greys(steps))[0].square().nonzero().ravel().tolist() == [5, 10 + 9]


def test_the_same_seed_gives_the_same_untrained_network() -> None:
    before = torch.random.get_rng_state()
    a, b, other = (load_encoder(f"reference/random-vit{seed}") for seed in ("", ":0", ":1"))
    assert torch.equal(torch.random.get_rng_state(), before)
    pictures = [noise(0), noise(1)]
    assert np.array_equal(encode(a, pictures), encode(b, pictures))
    assert not np.allclose(encode(a, pictures), encode(other, pictures))
    assert a.spec.fingerprint == b.spec.fingerprint != other.spec.fingerprint


@pytest.mark.parametrize("seed", ["x", "-1", "1.5", "²", "9" * 40])
def test_weights_that_are_no_seed_are_refused(seed: str) -> None:
    with pytest.raises(UsageError, match="seed"):
        load_encoder(f"reference/random-vit:{seed}")


def test_a_reference_without_weights_takes_none() -> None:
    with pytest.raises(UsageError, match=r"'reference/pixels' has no weights to choose; leave out ':mine.pt'"):
        load_encoder("reference/pixels:mine.pt")


@pytest.mark.parametrize(
    "name",
    ["color-and-pixels", "pixels", "grey-pixels", "color-histogram", "lightness-histogram", "random-vit", "texture"],
)
def test_a_reference_has_no_text_side(name: str) -> None:
    encoder = load_encoder(f"reference/{name}")
    assert not encoder.spec.has_text
    with pytest.raises(UsageError, match="text"):
        encoder.encode_texts(["a cat"])


def test_textures_are_scikit_images() -> None:
    rng = np.random.default_rng(0)
    pictures = [np.asarray(noise(0, (64, 64))), np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))]
    batch = torch.from_numpy(np.stack(pictures)).float().permute(0, 3, 1, 2) / 255
    luma = np.einsum("nchw,c->nhw", batch.numpy(), LUMA)
    for found, grey in zip(texture(batch).square().mul(2), np.rint(255 * luma).astype(np.uint8), strict=True):
        start = 0
        for neighbours, radius in CIRCLES:
            patterns = local_binary_pattern(grey, neighbours, radius, method="uniform")  # type: ignore[no-untyped-call]
            inside = patterns[radius:-radius, radius:-radius].astype(int).ravel()
            expected = np.bincount(inside, minlength=neighbours + 2) / len(inside)
            assert found[start : start + neighbours + 2].tolist() == pytest.approx(expected.tolist(), abs=0.002)
            start += neighbours + 2


def test_pixels_of_patches_are_those_of_the_picture_cut_into_squares() -> None:
    encoder = load_encoder("reference/pixels,pooling=tokens")
    assert encoder.spec.name == "reference/pixels,pooling=tokens"
    assert encoder.spec.tokens == TokenGrid(prefix=0, rows=4, columns=4)
    batch = torch.rand(2, 3, 48, 48, generator=torch.manual_seed(0))
    tokens = encoder.encode_images(batch)
    assert tokens.shape == (2, 16, 432)
    square = batch[1, :, 12:24, 36:48] - 0.5  # the second row of patches, the last column
    np.testing.assert_array_equal(tokens[1, 7], square.flatten().numpy())
    with pytest.raises(UsageError, match="no layers"):
        load_encoder("reference/pixels,pooling=tokens,layer=1")
    with pytest.raises(UsageError, match="square grid of patches, not for 2 x 3"):
        encoder.with_grid(2, 3)  # type: ignore[attr-defined]
