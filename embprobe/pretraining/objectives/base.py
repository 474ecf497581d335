"""What the trainer asks of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from embprobe.encoders.towers.two_towers import Head, TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE
from embprobe.pretraining.views import View

Features = tuple[Tensor, ...]
"""What networks make of a batch: one or more ``[n, d]``, row i of each from image i and its caption alone."""
CAPTIONED = View(size=IMAGE_SIZE, scale=(0.5, 1.0))
"""The view that a caption is of: a large crop in its own colours, as SLIP takes it for CLIP (Mu et al. 2022)."""


class Objective(nn.Module):
    """The views it wants of each image, what its networks make of them, a loss from that, and the encoder it leaves.

    The work is cut where a batch may be cut: ``forward`` looks at each image by itself, so the trainer can run it on a
    part of the batch at a time, or on several GPUs; ``loss`` looks at the whole batch, and is cheap.

    Constructed with ``encoder``, the towers to train.
    """

    views: ClassVar[tuple[View, ...]] = (CAPTIONED,)
    """As published, scaled to this size of image."""
    language: ClassVar[bool] = True
    """Whether it reads captions, so that the encoder needs a text side."""
    encoder_head: ClassVar[Head] = "linear"
    """What the encoder has between its towers and the embedding."""
    encoder: TwoTowers
    """The part that is kept."""

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, views: Sequence[Tensor], captions: Sequence[str]) -> Features:
        """Features of one ``[n, 3, size, size]`` per view and of ``n`` captions: unless an objective says otherwise,
        the embeddings of the first view and of the captions."""
        return self.encoder.encode_images(views[0]), self.encoder.encode_texts(captions)

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        """The loss of the whole batch to minimise, and named numbers worth logging."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after every optimizer step with the share of the run that is done, 0 to 1."""


def entropy(p: Tensor) -> Tensor:
    """Of distributions over the last axis, in nats: ``[..., K] -> [...]``, from 0 to log K."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)
