"""What the trainer asks of an objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from embprobe.encoders.towers import TwoTowers
from embprobe.pretraining.views import View


class Objective(nn.Module):
    """The views it wants of each image, a loss from them, and the encoder it leaves behind.

    Constructed with ``seed`` and ``captions`` (all of the training images, for a vocabulary).
    """

    views: ClassVar[tuple[View, ...]]
    encoder: TwoTowers
    """The part that is kept."""

    def loss(self, views: Sequence[Tensor], captions: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        """The loss to minimise, from one ``[n, 3, size, size]`` per view; and named numbers worth logging."""
        raise NotImplementedError

    def after_step(self, progress: float) -> None:
        """Called after every optimizer step with the share of the run that is done, 0 to 1."""
