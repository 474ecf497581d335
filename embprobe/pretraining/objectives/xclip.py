"""xCLIP: CLIP's and nCLIP's losses together, each with heads of its own (Zhou et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from embprobe.encoders.towers.two_towers import TwoTowers, build_head
from embprobe.encoders.towers.vit import WIDTH
from embprobe.pretraining.objectives.base import Features, Objective
from embprobe.pretraining.objectives.clip import Temperature, contrastive_loss
from embprobe.pretraining.objectives.nclip import clustering_loss_of_heads


class XClip(Objective):
    """xCLIP's objective; the embedding that is kept is CLIP's, the heads onto clusters are for training alone."""

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__(encoder)
        self.temperature = Temperature()
        self.image_clusters = build_head("clusters", WIDTH)
        self.text_clusters = build_head("clusters", encoder.text_width)

    def forward(self, views: Sequence[Tensor], captions: Sequence[str]) -> Features:
        """Compute the towers' features before any head."""
        return self.encoder.vit(views[0]), self.encoder.text_features(captions)

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        images, texts = features
        scale = self.temperature()
        contrast = contrastive_loss(self.encoder.image_projection(images), self.encoder.text_projection(texts), scale)
        image_logits, text_logits = self.image_clusters(images), self.text_clusters(texts)
        clustering, numbers = clustering_loss_of_heads(
            self.image_clusters, image_logits, self.text_clusters, text_logits
        )
        return contrast + clustering, {"contrast": contrast.item(), **numbers, "scale": scale.item()}

    def after_step(self, progress: float) -> None:
        self.temperature.clamp()
