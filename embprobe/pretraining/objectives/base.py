"""The interface between the trainer and an objective."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from embprobe.encoders.towers.two_towers import Head, TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE
from embprobe.pretraining.views import View

Features = tuple[Tensor, ...]
"""The features of a batch: one or more ``[n, d]``, row i of each from image i and its caption alone."""
CAPTIONED = View(size=IMAGE_SIZE, scale=(0.5, 1.0))
"""The view that is paired with the caption: a large crop in its own colours, as in SLIP (Mu et al. 2022)."""


class Objective(nn.Module, ABC):
    """A training objective: views of each image, networks that turn them into features, a loss, and an encoder to keep.

    The work is divided where a batch may be: ``forward`` treats each image by itself, so the trainer can run it on a
    part of the batch at a time, or on several GPUs; ``loss`` takes the features of the whole batch, and is cheap.

    Constructed with ``encoder``, the towers to train.
    """

    views: ClassVar[tuple[View, ...]] = (CAPTIONED,)
    """The views as published, scaled to this size of image."""
    language: ClassVar[bool] = True
    """True if it reads captions, so that the encoder needs a text side."""
    encoder_head: ClassVar[Head] = "linear"
    """The head between the encoder's towers and the embedding."""
    encoder: TwoTowers
    """The part that is kept after training."""

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, views: Sequence[Tensor], captions: Sequence[str]) -> Features:
        """Compute features from one ``[n, 3, size, size]`` per view and ``n`` captions.

        By default, these are the embeddings of the first view and of the captions.
        """
        return self.encoder.encode_images(views[0]), self.encoder.encode_texts(captions)

    @abstractmethod
    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of the whole batch to minimise, and named numbers to log."""

    def after_step(self, progress: float) -> None:
        """Update state after an optimizer step, at this share of the run, 0 to 1; by default there is none."""


def entropy(p: Tensor) -> Tensor:
    """Return the entropy of distributions over the last axis, in nats: ``[..., K] -> [...]``, from 0 to log K."""
    return -(p * p.clamp_min(1e-12).log()).sum(-1)
