"""The ViT is timm's: from a seed the same weights, from the same weights the same vectors and gradients, bit by bit."""

from __future__ import annotations

from functools import partial
from importlib.resources import as_file, files
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from timm.layers.attention import Attention
from timm.layers.hybrid_embed import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from embprobe.encoders.families.bundled import names
from embprobe.encoders.towers import transformer
from embprobe.encoders.towers import vit as of_embprobe
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH, build_vit


def timms_vit(seed: int) -> VisionTransformer:
    """Build the network of the controlled study from timm's parts, with fresh weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = VisionTransformer(
            img_size=IMAGE_SIZE,
            patch_size=1,
            embed_layer=partial(HybridEmbed, backbone=of_embprobe._stem(), proj=False),
            embed_dim=WIDTH,
            depth=6,
            num_heads=2,
            num_classes=0,
            global_pool="token",
            dynamic_img_size=True,
            weight_init="jax",
        )
        backbone: Any = vit.patch_embed.backbone
        of_embprobe._standardise(backbone)
    for module in vit.modules():
        if isinstance(module, Attention):
            module.fused_attn = False  # type: ignore[misc]
    return vit


def images(side: int, n: int = 5) -> Tensor:
    """Return noise in -1..1, ``[n, 3, side, side]``."""
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(side)) * 2 - 1


@pytest.mark.parametrize("seed", [0, 7])
def test_a_seed_gives_the_weights_that_timm_draws_in_its_order_of_names(seed: int) -> None:
    ours, theirs = build_vit(seed), timms_vit(seed)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.parametrize("name", names())
@torch.no_grad()
def test_bundled_weights_give_timms_vectors(name: str) -> None:
    with as_file(files("embprobe.encoders") / "bundled_weights" / name / "model.safetensors") as path:
        state = {key[4:]: value.float() for key, value in load_file(path).items() if key.startswith("vit.")}
    ours, theirs = build_vit(1).eval(), timms_vit(2).eval()
    ours.load_state_dict(state)
    theirs.load_state_dict(state)
    for side in (IMAGE_SIZE, IMAGE_SIZE // 2, IMAGE_SIZE * 3 // 2):  # crops, whose positions are interpolated
        assert torch.equal(ours(images(side)), theirs(images(side)))
    batch = images(IMAGE_SIZE).contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last
    assert torch.equal(ours.to(memory_format=layout)(batch), theirs.to(memory_format=layout)(batch))


@pytest.mark.parametrize("side", [IMAGE_SIZE, IMAGE_SIZE // 2])
def test_training_computes_timms_gradients(side: int) -> None:
    ours, theirs = build_vit(3).train(), timms_vit(3).train()
    for network in (ours, theirs):
        network(images(side)).pow(3).sum().backward()
    expected = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient, of_timm = parameter.grad, expected[name].grad
        assert gradient is not None and of_timm is not None
        assert torch.equal(gradient, of_timm), name


@torch.no_grad()
def test_half_precision_is_computed_where_timm_computes_it() -> None:
    ours, theirs = build_vit(4).eval(), timms_vit(4).eval()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(ours(images(IMAGE_SIZE)), theirs(images(IMAGE_SIZE)))


@torch.no_grad()
def test_attention_of_two_tokens_by_hand() -> None:
    """One head, width 1, every weight 1: both queries, keys and values are the tokens 0 and ln 3 themselves."""
    network: Any = transformer.VisionTransformer(backbone=torch.nn.Sequential(), grid=1, width=1, depth=1, heads=1)
    attention = network.blocks[0].attn
    for name, value in attention.named_parameters():
        value.fill_(1.0 if name.endswith("weight") else 0.0)
    high = 1.0986123
    # token 0 weighs both alike: (0 + ln 3) / 2; the other by exp(0) and exp(ln 3 x ln 3): e = 3.343 times as much
    expected = torch.tensor([[[high / 2], [high * 3.3434 / 4.3434]]])
    torch.testing.assert_close(attention(torch.tensor([[[0.0], [high]]])), expected, atol=1e-4, rtol=0)
