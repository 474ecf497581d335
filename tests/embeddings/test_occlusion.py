"""Occlusion maps: by hand, on planted objects, beside chance, and of whatever may be given."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image

from embprobe.embeddings.occlusion import (
    BLOCKS,
    FEW_BLOCKS,
    OcclusionMap,
    Occlusions,
    chance_of,
    check_explainable,
    cosine_drops,
    explain_similarity,
    occlude,
    occlusion_map,
    random_vectors,
)
from embprobe.encoders import load_encoder
from embprobe.encoders.given import given_vectors
from embprobe.encoders.preprocessing import cropped
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images import Images
from tests.conftest import make_encoder, noise, real_images, solid

PIXELS, COLORS = "reference/pixels", "reference/color-histogram"
CLIP, DINO = "bundled/clip", "bundled/dino"


def reading(batch: torch.Tensor) -> torch.Tensor:
    """The red of one pixel, and what it lacks to full red: ``[n, 3, s, s] -> [n, 2]``."""
    red = batch[:, 0, 5, 5]
    return torch.stack([red, 1 - red], 1)


def with_pixel(value: int) -> Image.Image:
    picture = solid((0, 0, 0))
    picture.putpixel((5, 5), (value, 0, 0))
    return picture


def spots(shown: OcclusionMap, across: int) -> tuple[int, int]:
    """The cell of a coarser grid in which the largest drop lies."""
    count = len(shown.drop)
    row, column = divmod(int(shown.drop.argmax()), count)
    return int((row + 0.5) * across / count), int((column + 0.5) * across / count)


def test_a_map_by_hand() -> None:
    encoder = make_encoder(function=reading, side=8, dimension=2)
    # Red is (1, 0). Where the pixel is hidden it is black, (0, 1): the cosine with red falls from 1 to 0, and that with
    # black rises from 0 to 1. Black has nothing to hide.
    where = np.outer([0, 0, 1, 1], [0, 0, 1, 1])
    of_red, of_other_red = explain_similarity((with_pixel(255), with_pixel(255)), encoder)
    assert of_red.drop == pytest.approx(where) and of_other_red.drop == pytest.approx(where)
    of_red, of_black = explain_similarity((with_pixel(255), with_pixel(0)), encoder)
    assert of_red.drop == pytest.approx(-where) and not of_black.drop.any()
    assert of_red.chance is None and not of_red.beyond_chance.any()


def test_chance_by_hand() -> None:
    def at(degrees: float) -> list[float]:
        return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]

    # Hiding turns the vector from 0 to 20 degrees. One at 90 degrees comes nearer by 20, and so do all.
    occlusions = Occlusions(np.zeros((8, 8, 3), np.uint8), np.array(at(0)), np.array([[at(0), at(20)]]))
    random = np.array([at(90)] * 20)
    pair = np.array(at(60))
    chance = chance_of(occlusions, pair, random)
    cos = [math.cos(math.radians(degrees)) for degrees in (60, 40, 80)]
    assert chance == pytest.approx((cos[0] - cos[1], cos[0] - cos[2]))
    assert occlusion_map(occlusions, pair, random).drop == pytest.approx(np.array([[0, cos[0] - cos[1]]]))
    assert chance_of(occlusions, pair, random[:19]) is None
    closer = OcclusionMap(occlusions.crop, np.array([[-0.5, -0.1, 0.1, 0.5]], np.float32), (-0.2, 0.4))
    assert closer.beyond_chance.tolist() == [[True, False, False, True]]
    assert closer.as_json() == {"drop": [[-0.5, -0.1, 0.1, 0.5]], "chance": [-0.2, 0.4]}


def test_of_unrelated_images_one_in_twenty_has_a_block_beyond_chance_and_of_copies_all_have() -> None:
    rng = np.random.default_rng(0)
    unrelated = copies = 0
    for _ in range(400):
        own = rng.standard_normal(64)
        hidden = own + 0.2 * rng.standard_normal((4, 4, 64))
        occlusions = Occlusions(np.zeros((8, 8, 3), np.uint8), own, hidden)
        random, other = rng.standard_normal((100, 64)), rng.standard_normal(64)
        unrelated += bool(occlusion_map(occlusions, other, random).beyond_chance.any())
        copies += bool(occlusion_map(occlusions, own, random).beyond_chance.all())
    assert 0.02 < unrelated / 400 < 0.09 and copies == 400


def planted(emoji: Images, seed: int, *, same_place: bool) -> tuple[list[Image.Image], list[tuple[int, int]]]:
    """A drawing in one of 4 x 4 blocks of a light ground, and in one of a dark ground; and which blocks these are."""
    rng = np.random.default_rng(seed)
    noto = emoji.where(style="noto").rows
    drawing = noto[int(rng.integers(len(noto)))].read().convert("RGBA").resize((24, 24), Image.Resampling.LANCZOS)
    cells = [(int(row), int(column)) for row, column in rng.integers(0, 4, (2, 2))]
    cells = [cells[0]] * 2 if same_place else cells
    pictures = []
    for (row, column), ground in zip(cells, ((190, 220, 200), (40, 30, 70)), strict=True):
        picture = Image.new("RGB", (96, 96), ground)
        picture.paste(drawing, (24 * column, 24 * row), drawing)
        pictures.append(picture)
    return pictures, cells


@pytest.mark.parametrize(
    ("name", "same_place", "least"),
    [(COLORS, False, 40), (PIXELS, True, 20), (CLIP, False, 28), (DINO, False, 28)],
)
def test_a_planted_drawing_lights_up(emoji: Images, name: str, same_place: bool, least: int) -> None:
    """Of 40 maps, 2.5 would have their largest drop in its block by chance. Pixels know places, so it is in one."""
    encoder = load_encoder(name, device="cpu")
    found = 0
    for seed in range(20):
        (one, other), cells = planted(emoji, seed, same_place=same_place)
        maps = explain_similarity((one, other), encoder)
        found += sum(spots(shown, 4) == cell for shown, cell in zip(maps, cells, strict=True))
    assert found >= least


@pytest.mark.parametrize("name", [COLORS, CLIP, DINO])
def test_a_planted_drawing_lights_up_in_front_of_real_photographs(emoji: Images, name: str) -> None:
    """A drawing over one of 2 x 2 blocks: of 40 maps, 10 would have their largest drop there by chance."""
    photographs = real_images("pacs-half.parquet").where(style="photo").rows
    encoder = load_encoder(name, device="cpu")
    noto = emoji.where(style="noto").rows
    rng = np.random.default_rng(0)
    found = 0
    for _ in range(20):
        drawing = noto[int(rng.integers(len(noto)))].read().convert("RGBA").resize((128, 128))
        cells = [(int(row), int(column)) for row, column in rng.integers(0, 2, (2, 2))]
        pictures = []
        for (row, column), i in zip(cells, rng.integers(len(photographs), size=2), strict=True):
            picture = photographs[int(i)].load().resize((256, 256))
            picture.paste(drawing, (128 * column, 128 * row), drawing)
            pictures.append(picture)
        maps = explain_similarity((pictures[0], pictures[1]), encoder)
        found += sum(spots(shown, 2) == cell for shown, cell in zip(maps, cells, strict=True))
    assert found >= 19  # the probability of as many by chance is 0.2 %


def test_a_plain_image_has_nothing_to_hide() -> None:
    encoder = load_encoder(DINO, device="cpu")
    plain, other = explain_similarity((solid((9, 99, 199), (70, 50)), noise(0, (50, 70))), encoder)
    assert np.abs(plain.drop).max() < 1e-6 < np.abs(other.drop).max()


@pytest.mark.parametrize("size", [(1, 1), (300, 40), (17, 90), (3, 500)])
def test_images_of_every_size_have_a_map_of_what_the_encoder_sees(size: tuple[int, int]) -> None:
    for name, count in ((PIXELS, FEW_BLOCKS), (COLORS, BLOCKS)):
        encoder = load_encoder(name, device="cpu")
        side = encoder.spec.require_image_input().input_size
        shown, _ = explain_similarity((noise(1, size), noise(2)), encoder)
        assert shown.crop.shape == (side, side, 3) and shown.drop.shape == (count, count)
        assert np.isfinite(shown.drop).all()


def test_batches_of_one_equal_one_large_batch() -> None:
    encoder = load_encoder(DINO, device="cpu")
    pictures = noise(1, (60, 60)), noise(2, (60, 60))
    one, all_together = (explain_similarity(pictures, encoder, batch_size=size)[0].drop for size in (1, 64))
    assert one == pytest.approx(all_together, abs=1e-5) and np.ptp(one) > 1e-3


def test_batches_are_bounded() -> None:
    encoder = make_encoder(side=8)
    occlude(np.asarray(noise(0)), encoder, blocks=4, batch_size=5)
    assert encoder.batches == [5, 5, 5, 2]  # the image and its 16 blocks


def test_the_cosine_with_a_vector_of_zeros_is_0() -> None:
    occlusions = Occlusions(np.zeros((8, 8, 3), np.uint8), np.array([3.0, 4.0]), np.zeros((1, 1, 2)))
    assert cosine_drops(occlusions, np.array([[1.0, 0.0], [0.0, 0.0]])).ravel() == pytest.approx([0.6, 0])


def test_vectors_that_have_no_map_are_refused_with_a_sentence() -> None:
    crop = np.asarray(noise(0))
    broken = make_encoder("broken", lambda batch: torch.full((len(batch), 3), torch.nan), side=8)
    with pytest.raises(EmbprobeError, match=r"'test/broken' gives vectors that are not finite .* look at its weights"):
        occlude(crop, broken)
    tokens = make_encoder("tokens", lambda batch: torch.ones(len(batch), 5, 3), side=8)
    with pytest.raises(EmbprobeError, match="needs one vector an image, and 'test/tokens' gives 5 x 3 numbers"):
        occlude(crop, tokens)
    with pytest.raises(UsageError, match="'mine' holds vectors and no network, .* or leave --why out"):
        check_explainable([make_encoder(), given_vectors("mine", [[1.0, 2.0]])])
    check_explainable([make_encoder()])


def test_random_vectors_are_others_that_have_a_direction() -> None:
    vectors = np.arange(60, dtype=np.float32).reshape(30, 2)
    vectors[7] = 0
    keys = [str(i) for i in range(30)]
    drawn = random_vectors(vectors, keys, without={"3", "29"}, seed=0)
    assert np.array_equal(drawn, np.delete(vectors, [3, 7, 29], axis=0))
    many = np.arange(1, 2001, dtype=np.float32).reshape(1000, 2)
    first, again, other = (
        random_vectors(many, [str(i) for i in range(1000)], without={"3"}, seed=seed) for seed in (1, 1, 2)
    )
    assert len(first) == 200 and np.array_equal(first, again) and not np.array_equal(first, other)


def test_the_map_is_of_the_pixels_that_the_encoder_sees() -> None:
    encoder = load_encoder(COLORS, device="cpu")
    picture = noise(3, (90, 40))
    shown, _ = explain_similarity((picture, noise(4)), encoder)
    assert np.array_equal(shown.crop, cropped(picture, encoder.spec.require_image_input()))
