"""The tensor an encoder gets is, to the last bit, the one its own library would make."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import timm.data.transforms_factory
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from embprobe.encoders import preprocessing
from embprobe.encoders.preprocessing import preprocess
from embprobe.encoders.spec import ImageInput
from tests.conftest import make_encoder, noise

MEAN, STD = (0.48, 0.45, 0.40), (0.26, 0.25, 0.27)
PICTURES = {"wide": (317, 211), "tall": (120, 333), "small": (31, 17)}


def input_of(
    size: int,
    *,
    resize_to: int | None = None,
    resize: Literal["shortest", "squash"] = "shortest",
    interpolation: Literal["bilinear", "bicubic"] = "bicubic",
) -> ImageInput:
    return replace(
        make_encoder().spec.require_image_input(),
        input_size=size,
        resize_to=resize_to or size,
        resize=resize,
        interpolation=interpolation,
        mean=MEAN,
        std=STD,
    )


def test_a_picture_by_hand() -> None:
    # four columns of grey; the central two are kept: 0 -> (0 - 0.5) / 0.5 = -1 and 255 -> (1 - 0.5) / 0.5 = 1
    picture = Image.new("RGB", (4, 2), (100, 100, 100))
    picture.paste((0, 0, 0), (1, 0, 2, 2))
    picture.paste((255, 255, 255), (2, 0, 3, 2))
    image_input = replace(input_of(2), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert preprocess(picture, image_input).tolist() == [[[-1, 1], [-1, 1]]] * 3


def test_squash_keeps_the_borders_and_shortest_cuts_them_off() -> None:
    picture = Image.new("RGB", (30, 10), (255, 255, 255))
    picture.paste((0, 0, 0), (0, 0, 10, 10))  # the left third black
    image_input = replace(input_of(10, interpolation="bilinear"), mean=(0.0,) * 3, std=(1.0,) * 3)
    assert preprocess(picture, image_input).min() == 1
    assert preprocess(picture, replace(image_input, resize="squash"))[0, 5, :3].max() == 0


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("resize", ["shortest", "squash"])
def test_equal_to_open_clip(size: tuple[int, int], resize: Literal["shortest", "squash"]) -> None:
    picture = noise(0, size)
    transform = image_transform_v2(
        PreprocessCfg(size=224, mean=MEAN, std=STD, interpolation="bicubic", resize_mode=resize), is_train=False
    )
    assert torch.equal(preprocess(picture, input_of(224, resize=resize)), transform(picture))


@pytest.mark.parametrize("size", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("mode", "resize"), [("center", "shortest"), ("squash", "squash")])
def test_equal_to_timm(
    size: tuple[int, int], interpolation: Literal["bilinear", "bicubic"], mode: str, resize: Literal["shortest"]
) -> None:
    picture = noise(1, size)
    transform: Any = timm.data.transforms_factory.create_transform(
        input_size=(3, 224, 224),
        is_training=False,
        crop_pct=0.9,
        crop_mode=mode,
        interpolation=interpolation,
        mean=MEAN,
        std=STD,
    )
    # 224 / 0.9 = 248.9: timm rounds down
    image_input = input_of(224, resize_to=248, resize=resize, interpolation=interpolation)
    assert torch.equal(preprocess(picture, image_input), transform(picture))


@given(st.integers(1, 150), st.integers(1, 150))
@settings(max_examples=60, deadline=None)
def test_equal_to_open_clip_at_any_size(width: int, height: int) -> None:
    picture = noise(2, (width, height))
    transform = image_transform_v2(PreprocessCfg(size=32, mean=MEAN, std=STD), is_train=False)
    tensor = preprocess(picture, input_of(32))
    assert tensor.shape == (3, 32, 32) and tensor.dtype == torch.float32
    assert torch.equal(tensor, transform(picture))


@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(0, 12),
    st.sampled_from(["shortest", "squash"]),
    st.sampled_from(["bilinear", "bicubic"]),
)
@settings(max_examples=300, deadline=None)
def test_equal_to_torchvision_at_any_size(
    width: int,
    height: int,
    crop: int,
    margin: int,
    resize: Literal["shortest", "squash"],
    interpolation: Literal["bilinear", "bicubic"],
) -> None:
    picture, side = noise(5, (width, height)), crop + margin
    image_input = input_of(crop, resize_to=side, resize=resize, interpolation=interpolation)
    steps = [
        Resize([side, side] if resize == "squash" else side, InterpolationMode(interpolation)),
        CenterCrop(crop),
        ToTensor(),
        Normalize(MEAN, STD),
    ]
    assert torch.equal(preprocess(picture, image_input), Compose(steps)(picture))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 15))
@settings(max_examples=200, deadline=None)
def test_the_middle_is_torchvisions_with_black_around_what_is_smaller(width: int, height: int, side: int) -> None:
    picture = noise(6, (width, height))
    cut = preprocessing._center_crop(picture, side)
    assert np.array_equal(np.asarray(cut), np.asarray(CenterCrop(side)(picture)))


# --- images far longer than wide are resized and cropped in one step ---------------------------------------------


def in_two_steps(picture: Image.Image, image_input: ImageInput) -> torch.Tensor:
    """Return torchvision's result: the whole image resized, then most of it cropped away. Values in 0..255."""
    steps = [
        Resize(image_input.resize_to, InterpolationMode(image_input.interpolation)),
        CenterCrop(image_input.input_size),
        ToTensor(),
    ]
    tensor: torch.Tensor = Compose(steps)(picture)
    return tensor * 255


def in_levels(picture: Image.Image, image_input: ImageInput) -> torch.Tensor:
    """Return embprobe's result without normalisation. Values in 0..255."""
    return preprocess(picture, replace(image_input, mean=(0.0,) * 3, std=(1.0,) * 3)) * 255


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize(("size", "resize_to"), [(224, 224), (224, 256), (32, 37), (31, 32), (7, 7)])
@pytest.mark.parametrize("shape", [(17, 1), (1700, 97), (1601, 100), (1777, 3), (999, 10), (4001, 250)])
@pytest.mark.parametrize("tall", [False, True])
def test_one_step_gives_the_same_as_two_but_for_rounding(
    shape: tuple[int, int],
    tall: bool,
    size: int,
    resize_to: int,
    interpolation: Literal["bilinear", "bicubic"],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In noise of full contrast, which is the worst there is."""
    monkeypatch.setattr(preprocessing, "MAX_RESIZED_PIXELS", 0)  # or so short an image would be resized in two
    values = np.random.default_rng(3).integers(0, 256, (*shape, 3)).astype(np.uint8)
    picture = Image.fromarray(values if tall else values.transpose(1, 0, 2))
    image_input = input_of(size, resize_to=resize_to, interpolation=interpolation)
    off = (in_levels(picture, image_input) - in_two_steps(picture, image_input)).abs()
    assert off.max() < 2.5 and (off.round() > 0).double().mean() < 0.05  # levels of 256


@pytest.mark.parametrize("resize", ["shortest", "squash"])
@pytest.mark.parametrize("tall", [False, True])
def test_a_line_of_60_000_pixels(tall: bool, resize: Literal["shortest", "squash"]) -> None:
    """In two steps, a picture of 13 million by 224 pixels would lie between: nine gigabytes."""
    line = np.random.default_rng(0).integers(0, 256, (1, 60_000, 3)).astype(np.uint8)
    middle = line[:, 29_990:30_010]  # 20 of 60,000: the same middle, and more than the crop keeps
    image_input = input_of(224, resize=resize)
    whole = in_levels(Image.fromarray(line.transpose(1, 0, 2) if tall else line), image_input)
    if resize == "shortest":
        expected = in_two_steps(Image.fromarray(middle.transpose(1, 0, 2) if tall else middle), image_input)
        assert (whole - expected).abs().max() < 1.5
    else:  # every pixel of the result is the mean of 268 or so: grey
        assert (whole - 127.5).abs().max() < 40
        along = whole.mean(2 if tall else 1)[0]
        assert torch.allclose(along, whole[0, :, 0] if tall else whole[0, 0], atol=1)


@pytest.mark.parametrize("shape", [(640, 480), (1600, 100), (100, 1600), (3, 1950), (650, 1)])
def test_all_but_the_longest_images_are_resized_in_two_steps(shape: tuple[int, int]) -> None:
    """At 650 : 1 still the same to the last bit."""
    image_input = input_of(224)
    picture = noise(4, shape)
    assert torch.equal(in_levels(picture, image_input), in_two_steps(picture, image_input))
