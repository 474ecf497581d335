"""Build the one image network of the controlled study: timm's ViT behind a stem of three convolutions."""

from __future__ import annotations

from functools import partial

import torch
from timm.layers.attention import Attention
from timm.layers.hybrid_embed import HybridEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.header import IMAGE_SIZE as IMAGE_SIZE
from embprobe.encoders.towers.header import WIDTH as WIDTH

PATCH_SIZE = 12
"""Side in pixels of the square that a token stands for; the stem sees somewhat further."""
_CHANNELS, _STRIDES = (32, 64, WIDTH), (2, 2, 3)
_NOISE_IMAGES = 64
"""Images of noise over which the stem is standardised."""


def build_vit(seed: int) -> VisionTransformer:
    """Build the ViT with fresh weights: 16 tokens and CLS, width 128, depth 6, 2 heads, CLS pooling, 1.3 M parameters.

    Three convolutions take the place of the patches: with so few images a ViT learns twice as much from each behind a
    stem (Xiao et al. 2021, "Early Convolutions Help Transformers See Better"). ``dynamic_img_size`` lets multi-crop
    objectives feed smaller crops. The same seed always gives the same weights, and the global random state is left as
    it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vit = VisionTransformer(
            img_size=IMAGE_SIZE,
            patch_size=1,
            embed_layer=partial(HybridEmbed, backbone=_stem(), proj=False),
            embed_dim=WIDTH,
            depth=6,
            num_heads=2,
            num_classes=0,
            global_pool="token",
            dynamic_img_size=True,
            weight_init="jax",  # Xavier; timm's own 0.02 suits widths of 768
        )
        _standardise(vit.patch_embed.backbone)  # now, for timm has just initialised convolutions, too
    for module in vit.modules():
        if isinstance(module, Attention):
            # with so few tokens the plain product is a tenth faster on a CPU
            module.fused_attn = False  # type: ignore[misc]
    return vit


def _stem() -> nn.Sequential:
    """Build the stem, ``[n, 3, s, s] -> [n, WIDTH, s/12, s/12]``.

    It does not normalise over the batch, so that the features of an image do not depend on the others.
    """
    layers: list[nn.Module] = []
    for before, channels, stride in zip((3, *_CHANNELS), _CHANNELS, _STRIDES, strict=False):
        layers += [nn.Conv2d(before, channels, 3, stride=stride, padding=1), nn.GELU()]
    return nn.Sequential(*layers[:-1])


@torch.no_grad()
def _standardise(stem: nn.Sequential) -> None:
    """Let every channel of every convolution start with mean 0 and variance 1 over smooth noise.

    Data-dependent initialisation (Salimans and Kingma 2016, section 3; Mishkin and Matas 2016). Here the network learns
    as fast as with batch normalisation, and a good deal faster than with neither.
    """
    features: Tensor = F.interpolate(2 * torch.rand(_NOISE_IMAGES, 3, 6, 6) - 1, IMAGE_SIZE, mode="bicubic")
    for layer in stem:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            output = layer(features)
            mean, deviation = output.mean((0, 2, 3)), output.std((0, 2, 3))
            layer.weight.div_(deviation.view(-1, 1, 1, 1))
            layer.bias.sub_(mean).div_(deviation)
        features = layer(features)
