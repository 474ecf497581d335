"""DeCLIP's nearest-neighbour supervision beside CLIP's (Li et al. 2022, "Supervision Exists Everywhere", section 3).

DeCLIP adds three kinds of supervision to CLIP's: of each modality by itself, of several views of an image and its
caption, and of the caption's nearest neighbour. Only the last is here; the first two are nearly SLIP's.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.pretraining.objectives.base import Features, Objective
from embprobe.pretraining.objectives.clip import Temperature, contrastive_loss

QUEUE = 1024
"""The number of past captions: 16 batches of 64, about as many as there are concepts. Published: 64 thousand."""
NEIGHBOR_WEIGHT = 0.2
"""The share of the neighbours in the loss, gamma, as published; the rest is CLIP's."""


class TextQueue(nn.Module):
    """The text features of the latest ``size`` captions, first in, first out; a checkpoint keeps them."""

    features: Tensor
    filled: Tensor

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.zeros(size, width))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def nearest(self, texts: Tensor) -> Tensor | None:
        """Return the unit feature in the queue that is nearest to each text by cosine, ``[n, d] -> [n, d]``.

        None before any caption is in the queue.
        """
        known = self.features[: int(self.filled)]
        if not len(known):
            return None
        return known[(F.normalize(texts, dim=-1) @ known.T).argmax(1)]

    @torch.no_grad()
    def append(self, texts: Tensor) -> None:
        """Put the texts ``[n, d]`` of a batch into the queue; the oldest leave it."""
        latest = torch.cat([F.normalize(texts, dim=-1), self.features])[: len(self.features)]
        self.features.copy_(latest)
        self.filled.add_(len(texts)).clamp_(max=len(self.features))


class DeClip(Objective):
    """CLIP's objective, and each image finds the nearest neighbour of its caption among past captions, too.

    The loss is (1 - gamma) CLIP + gamma NN, the paper's with the weights of the other kinds of supervision at zero. NN
    is CLIP's loss with each caption's text feature replaced by its nearest in the queue, which carries no gradient. On
    drawings of few concepts, that is often an earlier caption of the same concept with other keywords.
    """

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__(encoder)
        self.temperature = Temperature()
        self.queue = TextQueue(QUEUE, encoder.dimension)

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of the whole batch, then queue its captions; the first batch has CLIP's loss alone."""
        images, texts = features
        scale = self.temperature()
        contrast = contrastive_loss(images, texts, scale)
        near = self.queue.nearest(texts)
        neighbor = contrast if near is None else contrastive_loss(images, near, scale)
        self.queue.append(texts)
        numbers = {"contrast": contrast.item(), "neighbor": neighbor.item(), "scale": scale.item()}
        return (1 - NEIGHBOR_WEIGHT) * contrast + NEIGHBOR_WEIGHT * neighbor, numbers

    def after_step(self, progress: float) -> None:
        self.temperature.clamp()
