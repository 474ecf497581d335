"""SigLIP: tell for each image and each caption in the batch whether they match (Zhai et al. 2023, algorithm 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.pretraining.objectives.base import Features, Objective


def sigmoid_loss(images: Tensor, texts: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Return the mean over images of their n pairs' summed logistic losses, from embeddings ``[n, d]`` of any length.

    With z_ij = 1 on the diagonal and -1 elsewhere: -1/n sum_ij log sigmoid(z_ij (scale * cos(image_i, text_j) + bias)).
    """
    logits = scale * F.normalize(images, dim=-1) @ F.normalize(texts, dim=-1).T + bias
    sign = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -F.logsigmoid(sign * logits).sum(1).mean()


class SigLip(Objective):
    """SigLIP's objective: a learnable inverse temperature, at first 10, and a bias, at first -10: few pairs match."""

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__(encoder)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10)))
        self.bias = nn.Parameter(torch.tensor(-10.0))

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        images, texts = features
        scale = self.log_scale.exp()
        loss = sigmoid_loss(images, texts, scale, self.bias)
        return loss, {"scale": scale.item(), "bias": self.bias.item()}
