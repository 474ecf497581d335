"""The vectors of the reference encoders are computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from embprobe.embeddings.extract import encode
from embprobe.encoders import load_encoder
from embprobe.encoders.families.reference import (
    color_and_pixels,
    color_histogram,
    grey_pixels,
    lightness_histogram,
    pixels,
)
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
    "name", ["color-and-pixels", "pixels", "grey-pixels", "color-histogram", "lightness-histogram", "random-vit"]
)
def test_a_reference_has_no_text_side(name: str) -> None:
    encoder = load_encoder(f"reference/{name}")
    assert not encoder.spec.has_text
    with pytest.raises(UsageError, match="text"):
        encoder.encode_texts(["a cat"])
