"""Compute a vision transformer (Dosovitskiy et al. 2021) behind a stem: timm's names of weights, and its arithmetic.

timm's own classes take three seconds to import. Weights have the names that timm's ``VisionTransformer`` gives them,
and operations come in its order, so that files fit both and vectors are equal to the last bit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_EPS = 1e-6
"""Added to the variance in layer norms."""


class Attention(nn.Module):
    """Self-attention of several heads, ``[n, t, width] -> [n, t, width]``.

    The plain product takes the place of torch's fused attention: with so few tokens it is a tenth faster on a CPU.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return for each token the values of all tokens, weighted by how well their keys fit its query."""
        n, count, width = tokens.shape
        split = self.qkv(tokens).reshape(n, count, 3, self.heads, width // self.heads)
        query, key, value = split.permute(2, 0, 3, 1, 4).unbind(0)  # each [n, heads, t, width / heads]
        weights = (query * self.scale @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.proj((weights @ value).transpose(1, 2).reshape(n, count, width))
        return mixed


class Mlp(nn.Module):
    """Two layers with a hidden one four times as wide, ``[n, t, width] -> [n, t, width]``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return both layers' output for each token by itself."""
        output: Tensor = self.fc2(self.act(self.fc1(tokens)))
        return output


class Block(nn.Module):
    """Attention, then the MLP, each on normalised tokens and added to them: ``[n, t, width] -> [n, t, width]``."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=_EPS), Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=_EPS), Mlp(width)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the tokens with both sums added."""
        tokens = tokens + self.attn(self.norm1(tokens))
        mixed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return mixed


class Stem(nn.Module):
    """The layers that make tokens of an image, ``[n, 3, s, s] -> [n, h, w, width]``."""

    def __init__(self, backbone: nn.Sequential) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Tensor:
        """Return the backbone's features, channels last."""
        features: Tensor = self.backbone(images)
        return features.permute(0, 2, 3, 1)


class VisionTransformer(nn.Module):
    """A stem, learned positions, blocks, and the CLS token as the image's features: ``[n, 3, s, s] -> [n, width]``."""

    def __init__(self, *, backbone: nn.Sequential, grid: int, width: int, depth: int, heads: int) -> None:
        """Make the network; the CLS token and the positions are not yet drawn.

        Args:
            backbone: Makes ``[n, width, grid, grid]`` of images of the usual size.
            grid: Tokens along a side of such an image.
            width: Dimension of a token.
            depth: Number of blocks.
            heads: Heads of the attention; they divide the width.
        """
        super().__init__()
        self.grid = grid
        self.patch_embed = Stem(backbone)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + grid * grid, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, images: Tensor) -> Tensor:
        """Return the CLS token, ``[n, width]``."""
        return self.forward_features(images)[:, 0]

    def forward_features(self, images: Tensor) -> Tensor:
        """Return all tokens after the last norm, CLS first: ``[n, 1 + h w, width]``."""
        tokens: Tensor = self.patch_embed(images)
        n, height, width, _ = tokens.shape
        tokens = torch.cat([self.cls_token.expand(n, -1, -1), tokens.flatten(1, 2)], dim=1)
        features: Tensor = self.norm(self.blocks(tokens + self._positions(height, width)))
        return features

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the positions of CLS and of a grid of this size, interpolated where images are smaller or larger."""
        if (height, width) == (self.grid, self.grid):
            return self.pos_embed
        first, rest = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        square = rest.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        resized = F.interpolate(square, size=(height, width), mode="bicubic", antialias=True)
        return torch.cat([first, resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)
