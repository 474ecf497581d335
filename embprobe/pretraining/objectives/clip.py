"""CLIP: an image and its caption find each other among the batch (Radford et al. 2021, figure 3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.pretraining.objectives.base import Features, Objective


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """Return the symmetric cross-entropy of the matching pairs, from embeddings ``[n, d]`` of any length.

    With logits = scale * cos(image_i, text_j): the mean of the cross-entropy over rows and over columns, the target
    being the diagonal. It is log(n) for an encoder that knows nothing.
    """
    logits = scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    target = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class Temperature(nn.Module):
    """A learnable inverse temperature, 1/0.07 at the start and kept at 100 or below."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self) -> Tensor:
        return self.log_scale.exp()

    @torch.no_grad()
    def clamp(self) -> None:
        self.log_scale.clamp_(max=math.log(100))


class Clip(Objective):
    """CLIP's objective: one view per image, a learnable temperature."""

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__(encoder)
        self.temperature = Temperature()

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        images, texts = features
        scale = self.temperature()
        return contrastive_loss(images, texts, scale), {"scale": scale.item()}

    def after_step(self, progress: float) -> None:
        self.temperature.clamp()
