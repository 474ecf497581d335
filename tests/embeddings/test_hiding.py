"""Hidden blocks: where they lie, what fills them, and that nothing else changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.embeddings.hiding import hide_blocks
from embprobe.encoders.preprocessing import Pixels
from embprobe.errors import UsageError


def noise(side: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3)).astype(np.uint8)


def test_a_block_reaches_to_the_centres_of_its_neighbours() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[5, 5] = 255  # on a grid of 4 x 4 in the third block; the fourth begins at its pixel, too
    gone = [int(hidden[5, 5, 0]) == 0 for hidden in hide_blocks(picture, 4)]
    assert np.array_equal(np.reshape(gone, (4, 4)), np.outer([0, 0, 1, 1], [0, 0, 1, 1]))


def test_a_block_is_filled_with_the_gaussian_average_of_what_surrounds_it() -> None:
    side, blocks, row, column = 12, 4, 2, 0
    picture = noise(side)
    centres = np.arange(side) + 0.5
    step = side / blocks
    near = np.exp(-0.5 * ((centres[:, None] - centres) / (step / 3)) ** 2)
    near /= near.sum(axis=1, keepdims=True)
    down, across = (np.clip((step - np.abs(centres - (i + 0.5) * step)) / (step / 4), 0, 1) for i in (row, column))
    expected = picture.astype(float)
    for y in range(side):
        for x in range(side):
            weights = np.outer(near[y], near[x]) * (1 - np.outer(down, across))
            fill = (weights[..., None] * picture).sum((0, 1)) / weights.sum()
            expected[y, x] += down[y] * across[x] * (fill - expected[y, x])
    hidden = list(hide_blocks(picture, blocks))[row * blocks + column]
    assert np.abs(hidden - expected).max() <= 0.5 + 1e-9  # it is rounded to bytes


@given(side=st.integers(4, 40), data=st.data())
def test_every_pixel_is_hidden_and_what_lies_outside_of_a_block_stays(side: int, data: st.DataObject) -> None:
    blocks = data.draw(st.integers(2, min(side, 9)))
    picture = noise(side, side)
    hidden = list(hide_blocks(picture, blocks))
    again = list(hide_blocks(picture, blocks))
    assert len(hidden) == blocks * blocks
    assert all(np.array_equal(a, b) for a, b in zip(hidden, again, strict=True))
    step, centres = side / blocks, np.arange(side) + 0.5
    for i, each in enumerate(hidden):
        down, across = (np.abs(centres - (place + 0.5) * step) < step for place in divmod(i, blocks))
        assert np.array_equal(each[~np.outer(down, across)], picture[~np.outer(down, across)])
    assert (np.abs(np.array(hidden, int) - picture).max(axis=(0, 3)) > 0).mean() > 0.9  # but for a lucky fill


@given(color=st.tuples(*[st.integers(0, 255)] * 3), side=st.integers(4, 64))
def test_a_plain_image_stays_as_it_is(color: tuple[int, int, int], side: int) -> None:
    picture = np.full((side, side, 3), color, np.uint8)
    assert all(np.array_equal(hidden, picture) for hidden in hide_blocks(picture, 4))


@pytest.mark.parametrize("blocks", [-1, 0, 1, 9])
def test_numbers_of_blocks_that_hide_nothing_or_all(blocks: int) -> None:
    with pytest.raises(UsageError, match=f"8 x 8 pixels is hidden in 2 to 8 blocks a row, not {blocks}"):
        list(hide_blocks(noise(8), blocks))
