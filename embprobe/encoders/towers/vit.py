"""Build the one image network of the controlled study: a ViT behind a stem of three convolutions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.header import IMAGE_SIZE as IMAGE_SIZE
from embprobe.encoders.towers.header import WIDTH as WIDTH
from embprobe.encoders.towers.transformer import VisionTransformer

PATCH_SIZE = 12
"""Side in pixels of the square that a token stands for; the stem sees somewhat further."""
_CHANNELS, _STRIDES = (32, 64, WIDTH), (2, 2, 3)
_NOISE_IMAGES = 64
"""Images of noise over which the stem is standardised."""
_DEVIATION_WITHIN_2 = 0.87962566103423978
"""Standard deviation of a standard normal distribution that is cut at -2 and 2."""


def build_vit(seed: int | None) -> VisionTransformer:
    """Build the ViT with fresh weights: 16 tokens and CLS, width 128, depth 6, 2 heads, CLS pooling, 1.3 M parameters.

    Three convolutions take the place of the patches: with so few images a ViT learns twice as much from each behind a
    stem (Xiao et al. 2021, "Early Convolutions Help Transformers See Better"). Multi-crop objectives may feed smaller
    crops. The same seed always gives the same weights, and the global random state is left as it was.
    Without a seed the weights are still to be loaded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed or 0)
        vit = VisionTransformer(backbone=_stem(), grid=IMAGE_SIZE // PATCH_SIZE, width=WIDTH, depth=6, heads=2)
        if seed is not None:
            _draw_weights(vit)
            _standardise(vit.patch_embed.backbone)
    return vit


@torch.no_grad()
def _draw_weights(vit: VisionTransformer) -> None:
    """Draw all weights as timm's ``weight_init="jax"`` does, in its order, so that a seed means the same weights.

    Linear layers are drawn by Xavier's rule; timm's usual deviation of 0.02 suits widths of 768.
    """
    _draw_truncated(vit.pos_embed, 0.02)
    nn.init.normal_(vit.cls_token, std=1e-6)
    for name, layer in vit.named_modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6) if ".mlp." in name else nn.init.zeros_(layer.bias)
        elif isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            _draw_truncated(layer.weight, 1)
            layer.weight.mul_(math.sqrt(1 / layer.weight[0].numel()) / _DEVIATION_WITHIN_2)
            nn.init.zeros_(layer.bias)


def _draw_truncated(weight: Tensor, deviation: float) -> None:
    """Draw from a normal distribution of mean 0 that is cut at -2 and 2."""
    inside = math.erf(2 / deviation / math.sqrt(2))  # the share between the cuts
    weight.uniform_(-inside, inside).erfinv_().mul_(deviation * math.sqrt(2)).clamp_(-2, 2)


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
