"""DINO: from every crop a student predicts the output of a slow teacher for another crop (Caron et al. 2021).

In ``dino-v1`` the teacher's outputs are centred by a running mean and sharpened, as published. At this size targets
then tell little of their image, and nothing of its content is learned (docs/pretraining.md), so ``dino`` departs from
it twice: the teacher's outputs are balanced by Sinkhorn-Knopp (SwAV, Caron et al. 2020; used in DINOv2), and KoLeo
(Sablayrolles et al. 2019) keeps the features of a batch apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.encoders.towers.vit import IMAGE_SIZE, WIDTH
from embprobe.pretraining.objectives.base import Features, Objective, entropy
from embprobe.pretraining.views import DINO_GLOBAL, View

STUDENT_TEMPERATURE = 0.1
PROTOTYPES, BOTTLENECK, HIDDEN = 128, 128, 512


def sinkhorn(logits: Tensor, *, iterations: int = 3) -> Tensor:
    """Turn logits into distributions that use every column equally: ``[n, k] -> [n, k]``.

    Alternately divides exp(logits) by its column sums and its row sums. Each row sums to 1, each column to about n/k.
    """
    weights = torch.exp(logits - logits.max())
    for _ in range(iterations):
        weights = weights / weights.sum(0, keepdim=True)
        weights = weights / weights.sum(1, keepdim=True)
    return weights


def koleo(features: Tensor) -> Tensor:
    """Return minus the mean log distance of each unit feature to its nearest in the batch, ``[n, d] -> []``."""
    unit = F.normalize(features, dim=-1)
    with torch.no_grad():
        similarity = (unit @ unit.T).fill_diagonal_(-1)
        nearest = similarity.argmax(1)
    return -torch.log((unit - unit[nearest]).norm(dim=-1) + 1e-6).mean()


class Head(nn.Module):
    """A three-layer projection onto unit vectors and their cosines with fixed random prototypes, ``[n, K]``."""

    prototypes: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(WIDTH, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.GELU(),
            nn.Linear(HIDDEN, HIDDEN), nn.BatchNorm1d(HIDDEN), nn.GELU(),
            nn.Linear(HIDDEN, BOTTLENECK),
        )  # fmt: skip
        self.register_buffer("prototypes", F.normalize(torch.randn(PROTOTYPES, BOTTLENECK), dim=-1))

    def forward(self, features: Tensor) -> Tensor:
        return F.normalize(self.mlp(features), dim=-1) @ self.prototypes.T


class Balance(nn.Module):
    """The student's targets from the teacher's outputs ``[n, K]``, by Sinkhorn-Knopp over the batch."""

    temperature = 0.02

    def forward(self, outputs: Tensor) -> Tensor:
        return sinkhorn(outputs / self.temperature)


class Centring(nn.Module):
    """The student's targets as published (equation 4): minus a running mean of momentum 0.9, then sharpened."""

    center: Tensor
    temperature = 0.04

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(PROTOTYPES))

    def forward(self, outputs: Tensor) -> Tensor:
        targets = F.softmax((outputs - self.center) / self.temperature, dim=-1)
        self.center.lerp_(outputs.mean(0), 0.1)
        return targets


class Dino(Objective):
    """DINO's objective on two global and two local crops; the encoder that is kept is the teacher's.

    ``momentum`` is the teacher's at the start; it rises to 1 along a half cosine.
    """

    views = (*[DINO_GLOBAL] * 2, *[View(size=IMAGE_SIZE // 2, scale=(0.2, 0.5), jitter="color")] * 2)
    language, encoder_head = False, "none"

    def __init__(
        self, encoder: TwoTowers, *, balance: nn.Module | None = None, koleo: float = 0.3, momentum: float = 0.98
    ) -> None:
        super().__init__(copy.deepcopy(encoder).requires_grad_(False))
        self.balance, self.koleo, self.momentum = balance or Balance(), koleo, momentum
        self.student, self.student_head = encoder, Head()
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(False)

    def forward(self, views: Sequence[Tensor], captions: Sequence[str]) -> Features:
        """Compute the student's features of all four crops, then the teacher's of the two global ones."""
        large, small = torch.cat(list(views[:2])), torch.cat(list(views[2:]))
        with torch.no_grad():
            teacher = self.encoder.encode_images(large).chunk(2)
        student = [self.student.encode_images(crops).chunk(2) for crops in (large, small)]
        return (*student[0], *student[1], *teacher)

    def loss(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        student, teacher = features[:4], features[4:]
        with torch.no_grad():
            targets = self.balance(self.teacher_head(torch.cat(teacher))).chunk(2)
        log_student = F.log_softmax(self.student_head(torch.cat(student)) / STUDENT_TEMPERATURE, dim=-1).chunk(4)
        terms = [
            -(target * log).sum(-1).mean()
            for t, target in enumerate(targets)
            for s, log in enumerate(log_student)
            if s != t
        ]
        match = torch.stack(terms).mean()
        spread = torch.stack([koleo(half) for half in student[:2]]).mean()
        information = entropy(targets[0].mean(0)) - entropy(targets[0]).mean()  # 0 when collapsed, log K at best
        return match + self.koleo * spread, {"match": match.item(), "information": information.item()}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        momentum = 1 - (1 - self.momentum) * (1 + math.cos(math.pi * progress)) / 2
        pairs = ((self.encoder, self.student), (self.teacher_head, self.student_head))
        for teacher, student in pairs:
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)


class DinoV1(Dino):
    """DINO's objective with the centring, the temperatures and the momentum of the teacher as published.

    The head is smaller, with batch normalisation and prototypes that are not trained, and weight decay is constant, as
    in all objectives here.
    """

    def __init__(self, encoder: TwoTowers) -> None:
        super().__init__(encoder, balance=Centring(), koleo=0.0, momentum=0.996)
