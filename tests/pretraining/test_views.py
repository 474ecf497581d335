from __future__ import annotations

import math
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from torch import Tensor

from embprobe.errors import UsageError
from embprobe.interventions.color import black_body_srgb
from embprobe.pretraining import views
from embprobe.pretraining.objectives import OBJECTIVES
from embprobe.pretraining.views import AUGMENTATIONS, DINO_GLOBAL, Jitter, View, _lights, augmented, make_view

GLOBAL, LOCAL = View(size=48, scale=(0.5, 1.0)), View(size=24, scale=(0.2, 0.5))
VIEWS = pytest.mark.parametrize("view", [GLOBAL, LOCAL])


def seen(images: Tensor, view: View = GLOBAL, *, backgrounds: bool = True, seed: int = 0) -> Tensor:
    return make_view(images, view, backgrounds=backgrounds, generator=torch.Generator().manual_seed(seed))


def jittered(view: View, jitter: Jitter = "color") -> View:
    return replace(view, jitter=jitter)


def plain(n: int, red: int, green: int, blue: int, alpha: int = 255) -> Tensor:
    return torch.tensor([red, green, blue, alpha], dtype=torch.uint8).view(1, 4, 1, 1).repeat(n, 1, 64, 64)


def noise(n: int) -> Tensor:
    return torch.randint(0, 256, (n, 4, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))


@VIEWS
@pytest.mark.parametrize("jitter", get_args(Jitter))
def test_views_have_their_shape_stay_in_range_and_repeat(view: View, jitter: Jitter) -> None:
    view = replace(view, jitter=jitter)
    first, again, other = (seen(noise(50), view, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (50, 3, view.size, view.size) and first.dtype == torch.float32
    assert -1 <= first.min() < -0.9 and 0.9 < first.max() <= 1
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_the_global_random_state_is_left_alone() -> None:
    before = torch.random.get_rng_state()
    seen(noise(3), jittered(GLOBAL))
    assert torch.equal(torch.random.get_rng_state(), before)


@VIEWS
def test_an_opaque_image_of_one_color_stays_that_color(view: View) -> None:
    # 255, 51 and 0 of 255 are 1, 0.2 and 0; times 2 minus 1
    expected = torch.tensor([1.0, -0.6, -1.0]).view(1, 3, 1, 1)
    off = (seen(plain(1000, 255, 51, 0), view) - expected).abs() / 2
    assert off[:, :, 1:-1, 1:-1].max() < 1e-6
    # the smallest global crop is 40.5 of 64 pixels wide: in 48, its outermost lies 0.5 - 0.42 = 0.08 pixels beyond the
    # centre of the image's last one, and takes that share of the background; at a corner twice
    assert off.max() < 0.16 and (off > 1e-3).flatten(1).any(1).float().mean() < 0.01


def test_a_transparent_image_shows_only_its_background() -> None:
    # red under alpha 0 must not shine through; the same random numbers under another hidden colour give the same view
    red, green = seen(plain(100, 255, 0, 0, 0)), seen(plain(100, 0, 255, 0, 0))
    assert torch.equal(red, green)


def test_every_image_has_a_background_of_its_own_in_every_view() -> None:
    generator = torch.Generator().manual_seed(0)
    images = plain(100, 0, 0, 0, 0)
    one, other = (make_view(images, GLOBAL, backgrounds=True, generator=generator) for _ in range(2))
    colored = one[(one < 1).flatten(1).any(1)]
    assert len({view.numpy().tobytes() for view in colored}) == len(colored) > 50
    assert not ((one == other).flatten(1).all(1) & (one < 1).flatten(1).any(1)).any()


def test_backgrounds_are_white_or_one_color_or_a_straight_ramp() -> None:
    shown = (seen(plain(1000, 0, 0, 0, 0), View(size=12, scale=(0.5, 1.0))) + 1) / 2
    white = (shown == 1).flatten(1).all(1)
    flat = (shown.amax((2, 3)) - shown.amin((2, 3)) < 1e-6).all(1)
    # 0.3 white; half of the others flat: 0.35; standard deviations sqrt(0.3 * 0.7 / 1000) = 0.0145 and 0.0151
    assert white.float().mean().item() == pytest.approx(0.3, abs=4 * 0.0145)
    assert (flat & ~white).float().mean().item() == pytest.approx(0.35, abs=4 * 0.0151)
    for direction in (2, 3):  # second differences of a plane are 0
        torch.testing.assert_close(shown.diff(2, direction), torch.zeros(()).expand_as(shown.diff(2, direction)))
    steepness = shown.diff(dim=2)[:, :, 0, 0].abs().amax(1)[~flat], shown.diff(dim=3)[:, :, 0, 0].abs().amax(1)[~flat]
    assert all(each.max() > 0.04 and each.min() < 0.005 for each in steepness)  # in all directions


def test_without_backgrounds_all_is_on_white() -> None:
    # 51 of 255 is an alpha of 0.2: red is 0.2 * 1 + 0.8 * 1 = 1, the rest 0.8 * 1
    assert (seen(plain(50, 255, 0, 0, 0), backgrounds=False) == 1).all()
    shown = (seen(plain(50, 255, 0, 0, 51), backgrounds=False) + 1) / 2
    expected = torch.tensor([1.0, 0.8, 0.8]).view(1, 3, 1, 1)
    torch.testing.assert_close(shown[:, :, 1:-1, 1:-1], expected.expand(50, 3, 46, 46), atol=1e-5, rtol=0)


def test_a_half_transparent_image_is_half_of_its_background() -> None:
    # 51 of 255 is an alpha of 0.2: 0.2 * 1 + 0.8 * background in red, 0.8 * background in the rest
    background = (seen(plain(20, 255, 0, 0, 0)) + 1) / 2
    expected = 0.8 * background + 0.2 * torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close((seen(plain(20, 255, 0, 0, 51)) + 1) / 2, expected, atol=1e-5, rtol=0)


@VIEWS
def test_crops_have_the_area_and_aspect_stated_and_are_not_turned(view: View) -> None:
    ramp = (4 * torch.arange(64)).to(torch.uint8)
    images = plain(300, 0, 0, 0)
    images[:, 0], images[:, 1] = ramp, ramp.view(64, 1)  # red tells the column, green the row
    shown = (seen(images, view) + 1) / 2 * 255 / 4
    middle = view.size // 2
    # the inner pixels lie side / size of the image apart; the outermost may be held back by the border
    width = (shown[:, 0, middle, -2] - shown[:, 0, middle, 1]) / (view.size - 3) * view.size / 64
    height = (shown[:, 1, -2, middle] - shown[:, 1, 1, middle]) / (view.size - 3) * view.size / 64
    area, aspect = width * height, width / height
    low, high = view.scale
    assert low - 0.01 < area.min() < low + 0.1 * (high - low) and high - 0.2 * (high - low) < area.max() < high + 0.01
    assert 0.79 < aspect.min() < 0.83 and 1.2 < aspect.max() < 1.26
    assert (shown[:, 1, middle, -2] - shown[:, 1, middle, 1]).abs().max() < 0.01  # rows stay rows


def test_crops_reach_every_corner() -> None:
    ramp = (4 * torch.arange(64)).to(torch.uint8)
    images = plain(500, 0, 0, 0)
    images[:, 0], images[:, 1] = ramp, ramp.view(64, 1)
    shown = (seen(images, LOCAL) + 1) / 2 * 255 / 4
    for channel in (0, 1):
        center = shown[:, channel, 11:13, 11:13].mean((1, 2))
        # a crop at least 0.4 wide has its centre between 0.2 and 0.8 of the image; uniform, so the mean is the middle
        assert 12 < center.min() < 20 and 44 < center.max() < 52
        assert center.mean().item() == pytest.approx(31.5, abs=4 * 12 / math.sqrt(500))


def test_jitter_changes_a_grey_only_in_brightness() -> None:
    # brightness and contrast within 0.6 to 1.4; on one grey contrast does nothing: 0.4 becomes 0.24 to 0.56
    shown = (seen(plain(500, 102, 102, 102), View(size=12, scale=(0.5, 1.0), jitter="color")) + 1) / 2
    values = shown.flatten(1)
    assert (values.amax(1) - values.amin(1)).max() < 1e-5
    assert 0.24 - 1e-4 < values.min() < 0.26 and 0.54 < values.max() < 0.56 + 1e-4


def test_jitter_leaves_one_in_six_as_it_is_and_makes_one_in_five_grey() -> None:
    # off on 20 %, of which 80 % are not made grey: 0.16; grey 0.2; standard deviations of 1,200: 0.0106 and 0.0115
    images = plain(1200, 150, 110, 80)
    view = View(size=4, scale=(0.5, 1.0))
    before, after = seen(images, view), seen(images, jittered(view))
    same = ((after - before).abs() < 1e-5).flatten(1).all(1)
    grey = (after.amax(1) - after.amin(1)).flatten(1).amax(1) < 1e-5
    assert same.float().mean().item() == pytest.approx(0.16, abs=4 * 0.0106)
    assert grey.float().mean().item() == pytest.approx(0.2, abs=4 * 0.0115)


def test_contrast_stretches_around_the_mean() -> None:
    images = plain(300, 80, 80, 80)
    images[:, :3, :, 32:] = 160
    view = View(size=16, scale=(1.0, 1.0))
    before = (seen(images, view) + 1).flatten(1) / 2
    after = (seen(images, jittered(view)) + 1).flatten(1) / 2
    brightness = after.mean(1) / before.mean(1)
    contrast = (after - after.mean(1, keepdim=True)).norm(dim=1) / (before - before.mean(1, keepdim=True)).norm(dim=1)
    assert 0.6 - 1e-4 < brightness.min() < 0.65 and 1.35 < brightness.max() < 1.4 + 1e-4
    contrast = contrast / brightness
    assert 0.6 - 1e-4 < contrast.min() < 0.65 and 1.35 < contrast.max() < 1.4 + 1e-4


LIT = View(size=8, scale=(1.0, 1.0), jitter="planckian")


@pytest.fixture
def no_contrast(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contrast stretches the differences of an image's channels, too."""
    monkeypatch.setattr(views, "_contrasted", lambda flat, contrast: flat)


@pytest.mark.usefixtures("no_contrast")
def test_grey_paper_has_the_colors_of_black_bodies_from_3000_to_15000_kelvin() -> None:
    # a grey is a share of white, so the ratios of its channels are the light's, whatever the brightness
    shown = (seen(plain(2000, 128, 128, 128), LIT) + 1)[:, :, 3, 3] / 2
    red, green, blue = (shown / shown.amax(1, keepdim=True)).T
    coldest, warmest = black_body_srgb(15000), black_body_srgb(3000)
    assert red.min().item() == pytest.approx(coldest[0], abs=0.01)
    assert green.min().item() == pytest.approx(warmest[1], abs=0.01)
    assert blue.min().item() == pytest.approx(warmest[2], abs=0.03)
    lights = torch.stack([red, green, blue], 1)
    nearest = torch.cdist(lights, torch.cat([_lights(), torch.ones(1, 3)])).amin(1)
    assert nearest.max() < 1e-3  # nothing beside the locus but the white of the images whose light stays
    stayed = ((lights - 1).abs() < 1e-5).all(1).float().mean().item()
    assert stayed == pytest.approx(0.2, abs=4 * math.sqrt(0.2 * 0.8 / 2000))


def test_another_light_does_not_turn_hues_as_jitter_does() -> None:
    # one saturated colour: no light makes it grey or another hue, while jitter turns it by up to 36 degrees
    images = plain(500, 200, 60, 60)
    red, green, blue = (seen(images, LIT) + 1)[:, :, 3, 3].T / 2
    assert (red > 1.5 * green).all() and (red > 1.5 * blue).all()
    red, green, blue = (seen(images, replace(LIT, jitter="color")) + 1)[:, :, 3, 3].T / 2
    assert (red < 1.1 * green).any() and (red < 1.1 * blue).any()


@pytest.mark.usefixtures("no_contrast")
def test_the_light_and_not_the_brightness_tells_two_channels_apart() -> None:
    # a factor for each channel, the same at every pixel of an image: von Kries
    images = plain(300, 40, 40, 40)
    images[:, :3, :, 32:] = 80
    shown = (seen(images, LIT) + 1) / 2
    factor = shown.mean((2, 3)) / ((seen(images, replace(LIT, jitter="none")) + 1) / 2).mean((2, 3))
    assert 0.4 * 0.6 < factor.min() < 0.5 and 1.3 < factor.max() < 1.4 + 1e-3
    spread = shown[..., 6].mean(2) - shown[..., 1].mean(2)
    torch.testing.assert_close(spread / spread[:, :1], factor / factor[:, :1], rtol=1e-3, atol=1e-3)


def test_a_factor_of_encoded_values_is_nearly_the_light_of_linear_ones() -> None:
    value = np.linspace(0, 1, 256)
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    for light in _lights().numpy()[::48].astype(np.float64):
        gain = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
        exact = np.outer(linear, gain)
        exact = np.where(exact <= 0.0031308, 12.92 * exact, 1.055 * exact ** (1 / 2.4) - 0.055)
        assert np.abs(np.outer(value, light) - exact).max() < 0.03


@VIEWS
def test_a_view_that_asks_for_no_jitter_keeps_every_color(view: View) -> None:
    images = noise(20)
    images[:, 3] = 255
    images[:, :3] = torch.randint(0, 256, (20, 3, 1, 1), dtype=torch.uint8)
    inner = (slice(None), slice(None), slice(1, -1), slice(1, -1))
    color = images[:, :3, 1:-1, 1:-1][:, :, : view.size - 2, : view.size - 2] / 255 * 2 - 1
    torch.testing.assert_close(seen(images, view)[inner], color, atol=1e-5, rtol=0)
    assert not torch.allclose(seen(images, jittered(view))[inner], color, atol=0.1)


def test_augmentations_by_hand() -> None:
    captioned, small = View(size=48, scale=(0.6, 1.0)), View(size=24, scale=(0.2, 0.4), jitter="color")
    assert augmented([captioned, small], "published") == [captioned, small]
    assert augmented([captioned, small], "dino") == [DINO_GLOBAL, small]  # of the small ones nothing is changed
    assert augmented([captioned, small], "no-jitter") == [captioned, View(size=24, scale=(0.2, 0.4))]
    assert augmented([captioned, small], "planckian") == [captioned, replace(small, jitter="planckian")]
    with pytest.raises(UsageError, match="no augmentation 'mae'. There are: published, dino, no-jitter, planckian"):
        augmented([captioned], "mae")


def test_augmentations_of_the_objectives() -> None:
    # CLIP's captions are of images in their own colours; DINO and SLIP's other views are jittered as published
    jitter = {
        augmentation: {
            name: [view.jitter for view in augmented(kind.views, augmentation)] for name, kind in OBJECTIVES.items()
        }
        for augmentation in AUGMENTATIONS
    }
    assert jitter["published"]["clip"] == ["none"] and jitter["published"]["slip"] == ["none", "color", "color"]
    assert jitter["published"]["dino"] == jitter["published"]["dino-v1"] == 4 * ["color"]
    assert jitter["planckian"]["slip"] == ["none", "planckian", "planckian"]
    assert jitter["planckian"]["dino"] == 4 * ["planckian"]
    assert {each for of in jitter["no-jitter"].values() for each in of} == {"none"}
    assert {each for of in jitter["dino"].values() for each in of} == {"color"}
    clip, dino = (augmented(OBJECTIVES[name].views, "dino") for name in ("clip", "dino"))
    assert clip == dino[:1]  # the same crops of the same images: only the objective differs
    assert dino == list(OBJECTIVES["dino"].views)
