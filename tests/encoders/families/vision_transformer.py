"""The vision transformer that DINO, MAE and their kin share, in plain tensors: nothing of timm is in it."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

State = dict[str, Tensor]
HEADS = {192: 3, 384: 6, 768: 12}


def weights(patch: int, *, dim: int = 192, side: int = 224, seed: int = 0) -> State:
    """Return random weights of twelve blocks under the names that these networks have in common."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, (side // patch) ** 2 + 1, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
        "norm.weight": (dim,),
        "norm.bias": (dim,),
    }
    layers = {"attn.qkv": (3 * dim, dim), "attn.proj": (dim, dim), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
    for i in range(12):
        for name, shape in {**layers, "norm1": (dim,), "norm2": (dim,)}.items():
            shapes |= {f"blocks.{i}.{name}.weight": shape, f"blocks.{i}.{name}.bias": shape[:1]}
    chance = 0.05 * torch.randn(3_000_017, generator=torch.Generator().manual_seed(seed))
    state, start = {}, 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        start = (start + count) % (len(chance) - count)
        state[name] = chance[start : start + count].reshape(shape) + ("norm" in name and name.endswith("weight"))
    return state


def tokens(state: State, batch: Tensor, each: Callable[[Tensor], None] = lambda block: None) -> Tensor:
    """Return the class token and the patch tokens after the last norm, ``[n, 1 + patches, d]``.

    ``each`` is called with the output of every block.
    """

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps=1e-6)

    kernel = state["patch_embed.proj.weight"]
    n, dim, patch = len(batch), kernel.shape[0], kernel.shape[-1]
    patches = F.conv2d(batch, kernel, state["patch_embed.proj.bias"], stride=patch).flatten(2).transpose(1, 2)
    x = torch.cat([state["cls_token"].expand(n, 1, dim), patches], 1) + _positions(state, batch.shape[-1] // patch)
    for i in range(12):
        block, heads = f"blocks.{i}", HEADS[dim]
        qkv = linear(norm(x, f"{block}.norm1"), f"{block}.attn.qkv")
        q, k, v = qkv.reshape(n, -1, 3, heads, dim // heads).permute(2, 0, 3, 1, 4)
        mixed = (q @ k.transpose(-2, -1) / math.sqrt(dim // heads)).softmax(-1) @ v
        x = x + linear(mixed.transpose(1, 2).reshape(n, -1, dim), f"{block}.attn.proj")
        x = x + linear(F.gelu(linear(norm(x, f"{block}.norm2"), f"{block}.mlp.fc1")), f"{block}.mlp.fc2")
        each(x)
    return norm(x, "norm")


def _positions(state: State, side: int) -> Tensor:
    """Return position embeddings of ``side`` x ``side`` patches, interpolated as in DINO's own code.

    It adds 0.1 to the side against rounding.
    """
    positions = state["pos_embed"]
    trained = math.isqrt(positions.shape[1] - 1)
    if side == trained:
        return positions
    grid = positions[:, 1:].reshape(1, trained, trained, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, scale_factor=(side + 0.1) / trained, mode="bicubic")
    return torch.cat([positions[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)
