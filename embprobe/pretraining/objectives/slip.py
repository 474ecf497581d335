"""SLIP: CLIP, and two more views of each image that find each other (Mu et al. 2022; SimCLR, Chen et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH
from embprobe.pretraining.objectives.base import CAPTIONED, Features, Objective
from embprobe.pretraining.objectives.clip import Temperature, contrastive_loss
from embprobe.pretraining.views import View

TEMPERATURE = 0.1
HIDDEN = 512


def simclr_loss(first: Tensor, second: Tensor, *, temperature: float = TEMPERATURE) -> Tensor:
    """Return NT-Xent (Chen et al. 2020, equation 1) of two views' features ``[n, d]``, of any length.

    It is the mean over the 2 n features of the cross-entropy of finding the other view of the same image among the
    2 n - 1 others, with logits cos / temperature.
    """
    n = len(first)
    both = F.normalize(torch.cat([first, second]), dim=-1)
    logits = (both @ both.T / temperature).masked_fill(
        torch.eye(2 * n, dtype=torch.bool, device=both.device), -torch.inf
    )
    return F.cross_entropy(logits, torch.arange(2 * n, device=both.device).roll(n))


class Slip(Objective):
    """SLIP's objective: CLIP's view and two stronger ones with colour jitter; the embedding that is kept is CLIP's.

    The two losses have equal weight and the second has a three-layer head of its own, as published.
    """

    views = (CAPTIONED, *[View(size=IMAGE_SIZE, scale=(0.3, 1.0), jitter="color")] * 2)

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__(encoder)
        self.temperature = Temperature()
        self.projector = nn.Sequential(
            nn.Linear(WIDTH, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.ReLU(),
            nn.Linear(HIDDEN, WIDTH),
        )  # fmt: skip

    def forward(self, views: Sequence[Tensor], captions: Sequence[str]) -> Features:
        """Compute CLIP's two embeddings, then the features of the two other views before the head."""
        captioned, *others = self.encoder.vit(torch.cat(list(views))).chunk(3)
        return self.encoder.image_projection(captioned), self.encoder.encode_texts(captions), *others

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        images, texts, *others = features
        scale = self.temperature()
        contrast = contrastive_loss(images, texts, scale)
        alike = simclr_loss(*self.projector(torch.cat(others)).chunk(2))
        return contrast + alike, {"contrast": contrast.item(), "alike": alike.item(), "scale": scale.item()}

    def after_step(self, progress: float) -> None:
        self.temperature.clamp()
