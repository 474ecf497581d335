"""CLIP: an image and its caption find each other among the batch (Radford et al. 2021, figure 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers import IMAGE_SIZE, TwoTowers, words_of
from embprobe.pretraining.objectives.base import Objective
from embprobe.pretraining.views import View


def contrastive_loss(images: Tensor, texts: Tensor, scale: Tensor) -> Tensor:
    """The symmetric cross-entropy of the matching pairs, from embeddings ``[n, d]`` of any length.

    With logits = scale * cos(image_i, text_j): the mean of the cross-entropy over rows and over columns, the target
    being the diagonal. It is log(n) for an encoder that knows nothing.
    """
    logits = scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T
    target = torch.arange(len(logits))
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2


class Clip(Objective):
    """One view per image; a learnable temperature, its inverse kept at 100 or below."""

    views = (View(size=IMAGE_SIZE, scale=(0.5, 1.0)),)

    def __init__(self, *, seed: int, captions: Sequence[str]) -> None:
        super().__init__()
        self.encoder = TwoTowers(seed=seed, vocabulary=sorted(words_of(captions)))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def loss(self, views: Sequence[Tensor], captions: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        scale = self.log_scale.exp()
        loss = contrastive_loss(self.encoder.encode_images(views[0]), self.encoder.encode_texts(captions), scale)
        return loss, {"scale": scale.item()}

    def after_step(self, progress: float) -> None:
        with torch.no_grad():
            self.log_scale.clamp_(max=math.log(100))
