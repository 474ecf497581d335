"""The ViT of the controlled study: its size, its seed, and a stem that does not mix images."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH, build_vit


def stem() -> nn.Sequential:
    """Return the stem of a fresh ViT."""
    layers = next(module for module in build_vit(0).modules() if isinstance(module, nn.Sequential))
    assert isinstance(layers[0], nn.Conv2d)
    return layers


def test_the_vit_is_as_described() -> None:
    vit = build_vit(0)
    # a block: attention 4 d d + 4 d, MLP 8 d d + 5 d, two norms 4 d = 198,272 at d = 128; six of these 1,189,632;
    # the stem (27 + 1) 32 + (288 + 1) 64 + (576 + 1) 128 = 93,248; positions (16 + 1) d = 2,176; CLS d = 128; last norm
    # 2 d = 256
    assert sum(p.numel() for p in vit.parameters()) == 1_189_632 + 93_248 + 2_176 + 128 + 256
    assert all(p.requires_grad for p in vit.parameters())


@pytest.mark.parametrize("side", [IMAGE_SIZE, IMAGE_SIZE // 2])
@torch.no_grad()
def test_it_takes_images_and_local_crops(side: int) -> None:
    vit = build_vit(0).eval()
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert stem()(images).shape == (2, WIDTH, side // 12, side // 12)
    assert vit(images).shape == (2, WIDTH)
    torch.testing.assert_close(vit(images), vit.forward_features(images)[:, 0])


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_state() -> None:
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first = build_vit(5).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, other = build_vit(5).state_dict(), build_vit(6).state_dict()
    assert first.keys() == again.keys() and all(torch.equal(first[name], again[name]) for name in first)
    differing = {name for name in first if not torch.equal(first[name], other[name])}
    assert {name for name, value in first.items() if value.ndim >= 2 and "cls_token" not in name} <= differing


@torch.no_grad()
def test_an_image_is_encoded_alike_alone_and_among_others() -> None:
    vit = build_vit(0).train()
    images = torch.rand(3, 3, IMAGE_SIZE, IMAGE_SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    together = vit(images)
    for image, row in zip(images, together, strict=True):
        torch.testing.assert_close(vit(image[None])[0], row, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_every_convolution_of_the_stem_starts_standardised() -> None:
    # over smooth noise of another seed than the one it was standardised on: 64 images, so only nearly
    features = torch.rand(64, 3, 6, 6, generator=torch.Generator().manual_seed(1)) * 2 - 1
    features = nn.functional.interpolate(features, IMAGE_SIZE, mode="bicubic")
    for layer in stem():
        features = layer(features)
        if isinstance(layer, nn.Conv2d):
            assert features.mean((0, 2, 3)).abs().max() < 0.2
            assert features.std((0, 2, 3)).min() > 0.8 and features.std((0, 2, 3)).max() < 1.25
