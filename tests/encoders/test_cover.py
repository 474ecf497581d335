"""The share of a patch that an object covers is what is left of the mask after the picture's resizing and cropping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from embprobe.encoders.cover import patch_cover, visible_mask
from embprobe.encoders.preprocessing import cropped
from embprobe.encoders.spec import ImageInput, TokenGrid
from embprobe.errors import UsageError


def fed(side: int, *, resize_to: int | None = None) -> ImageInput:
    return ImageInput(
        input_size=side,
        resize="shortest",
        resize_to=resize_to or side,
        interpolation="bilinear",
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


def mask(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.asarray(values * 255, np.uint8))


def test_a_crop_cuts_the_mask_as_it_cuts_the_picture() -> None:
    """Of an image twice as wide as high the middle is seen, of which the object covers the right half."""
    whole = np.zeros((8, 16), bool)
    whole[:, 8:] = True
    seen = visible_mask(mask(whole), fed(8))
    assert patch_cover(seen, TokenGrid(prefix=1, rows=2, columns=2)).tolist() == [[0, 1], [0, 1]]
    assert patch_cover(seen, TokenGrid(prefix=0, rows=1, columns=1)).tolist() == [[0.5]]


def test_what_a_crop_adds_around_a_small_picture_is_not_covered() -> None:
    seen = visible_mask(mask(np.ones((4, 4), bool)), fed(8, resize_to=4))
    assert patch_cover(seen, TokenGrid(prefix=0, rows=2, columns=2)).tolist() == [[0.25, 0.25], [0.25, 0.25]]


def test_a_picture_in_white_on_black_is_its_own_mask() -> None:
    rng = np.random.default_rng(0)
    values = rng.integers(0, 256, (50, 70)).astype(np.uint8)
    picture = Image.fromarray(values).convert("RGB")
    input_ = fed(24, resize_to=30)
    np.testing.assert_allclose(visible_mask(picture, input_), cropped(picture, input_)[..., 0] / 255)


def test_a_pixel_on_a_border_counts_for_both_patches() -> None:
    # three pixels are two patches of 1.5: the middle one is a third of each
    seen = np.array([[0.0, 1.0, 0.0]]).repeat(3, 0)
    np.testing.assert_allclose(patch_cover(seen, TokenGrid(prefix=0, rows=1, columns=2)), [[1 / 3, 1 / 3]])


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 20), st.integers(0, 9))
@settings(max_examples=50)
def test_patches_share_out_the_whole_area(rows: int, columns: int, side: int, seed: int) -> None:
    seen = np.random.default_rng(seed).random((side, side))
    cover = patch_cover(seen, TokenGrid(prefix=0, rows=rows, columns=columns))
    assert cover.shape == (rows, columns) and cover.mean() == pytest.approx(seen.mean())
    assert cover.min() >= -1e-12 and cover.max() <= 1 + 1e-12


def test_no_patches_are_refused() -> None:
    with pytest.raises(UsageError, match="without patches"):
        patch_cover(np.zeros((2, 2)), TokenGrid(prefix=1, rows=0, columns=0))
