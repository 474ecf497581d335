"""nCLIP: an image and its caption fall into the same cluster; no other pairs are contrasted with them.

Zhou et al. 2022, "Non-Contrastive Learning Meets Language-Image Pre-Training".
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import ClusterHead
from embprobe.pretraining.objectives.base import Features, Objective, entropy


def clustering_loss(images: Tensor, texts: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Compute nCLIP's loss from the cluster logits ``[n, K]`` of images and texts. With p and q their softmax, it is

    (H(p, q) + H(q, p)) / 2 + (H(p) + H(q)) / 2 - (H(mean p) + H(mean q)) / 2, where H(p, q), H(p) are means over the
    batch of the cross-entropy and the entropy, and mean p is the mean over the batch. The first term is agreement, the
    second makes each assignment sharp, the third uses all clusters alike. Lowest, at -log K, where each pair is in one
    cluster and each cluster is as frequent; it would be 0 if everything were in one.
    """
    log_p, log_q = F.log_softmax(images, dim=-1), F.log_softmax(texts, dim=-1)
    p, q = log_p.exp(), log_q.exp()
    agreement = -((p * log_q).sum(-1) + (q * log_p).sum(-1)).mean() / 2
    sharpness = -((p * log_p).sum(-1) + (q * log_q).sum(-1)).mean() / 2
    smoothness = (entropy(p.mean(0)) + entropy(q.mean(0))) / 2
    numbers = {"agreement": agreement.item(), "sharpness": sharpness.item(), "smoothness": smoothness.item()}
    return agreement + sharpness - smoothness, numbers


def clustering_loss_of_heads(
    image_head: nn.Module, images: Tensor, text_head: nn.Module, texts: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """Compute :func:`clustering_loss` of these heads' logits ``[n, K]``, standardised over the whole batch.

    Without standardising, everything falls into one cluster. Let d and e be the assignments of an image and a caption
    minus 1/K, and m their means. Near even assignments the loss is
    log K - K (cov(d, e) + m(d) m(e) - (m(d)^2 + m(e)^2) / 4): it falls fastest along the direction that all images and
    captions have in common. TWIST (Wang et al. 2021, "Self-Supervised Learning by Estimating Twin Class
    Distributions"), which has this loss between two views of an image, ends its heads in a batch normalisation, too.
    """
    assert isinstance(image_head, ClusterHead) and isinstance(text_head, ClusterHead)
    return clustering_loss(image_head.standardised(images), text_head.standardised(texts))


class NClip(Objective):
    """nCLIP's objective; the embedding is the standardised logits over ``CLUSTERS`` clusters."""

    encoder_head = "clusters"

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        images, texts = features
        return clustering_loss_of_heads(self.encoder.image_projection, images, self.encoder.text_projection, texts)
