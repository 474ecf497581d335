"""DINO: a student predicts, from every crop, what a slow teacher says of another crop (Caron et al. 2021).

Two departures from version 1, both because its running centre drifted to a uniform output at this size: the teacher's
outputs are balanced by Sinkhorn-Knopp (SwAV, Caron et al. 2020; used in DINOv2), and KoLeo (Sablayrolles et al. 2019)
keeps the features of a batch apart.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from embprobe.encoders.towers import IMAGE_SIZE, WIDTH, TwoTowers
from embprobe.pretraining.objectives.base import Objective
from embprobe.pretraining.views import View

TEACHER_TEMPERATURE, STUDENT_TEMPERATURE = 0.02, 0.1
PROTOTYPES, BOTTLENECK, HIDDEN = 256, 128, 512
KOLEO_WEIGHT = 0.3
MOMENTUM = 0.98
"""Of the teacher at the start; it rises to 1 along a half cosine."""


def sinkhorn(logits: Tensor, *, iterations: int = 3) -> Tensor:
    """Rows that are distributions, with every column used equally: ``[n, k] -> [n, k]``.

    Alternately divides exp(logits) by its column sums and its row sums. Each row sums to 1, each column to about n/k.
    """
    weights = torch.exp(logits - logits.max())
    for _ in range(iterations):
        weights = weights / weights.sum(0, keepdim=True)
        weights = weights / weights.sum(1, keepdim=True)
    return weights


def koleo(features: Tensor) -> Tensor:
    """Minus the mean log distance of each unit feature to its nearest in the batch, ``[n, d] -> []``."""
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


class Dino(Objective):
    """Two global and two local crops; the encoder kept is the teacher's."""

    views = (*[View(size=IMAGE_SIZE, scale=(0.5, 1.0))] * 2, *[View(size=IMAGE_SIZE // 2, scale=(0.2, 0.5))] * 2)

    def __init__(self, *, seed: int, captions: Sequence[str]) -> None:  # captions: no language here
        super().__init__()
        self.student = TwoTowers(seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.student_head = Head()
        self.encoder = copy.deepcopy(self.student).requires_grad_(False)
        self.teacher_head = copy.deepcopy(self.student_head).requires_grad_(False)

    def loss(self, views: Sequence[Tensor], captions: Sequence[str]) -> tuple[Tensor, dict[str, float]]:
        crops_of = [torch.cat(list(views[:2])), torch.cat(list(views[2:]))]
        with torch.no_grad():
            scores = self.teacher_head(self.encoder.encode_images(crops_of[0])) / TEACHER_TEMPERATURE
            targets = sinkhorn(scores).chunk(2)
        features = [self.student.encode_images(crops) for crops in crops_of]
        logits = self.student_head(torch.cat(features)) / STUDENT_TEMPERATURE
        log_student = F.log_softmax(logits, dim=-1).chunk(len(views))
        terms = [
            -(target * student).sum(-1).mean()
            for t, target in enumerate(targets)
            for s, student in enumerate(log_student)
            if s != t
        ]
        match = torch.stack(terms).mean()
        spread = torch.stack([koleo(half) for half in features[0].chunk(2)]).mean()
        mean = targets[0].mean(0)
        information = _entropy(mean) - _entropy(targets[0]).mean()  # 0 when collapsed, log K at best
        return match + KOLEO_WEIGHT * spread, {"match": match.item(), "information": information.item()}

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        momentum = 1 - (1 - MOMENTUM) * (1 + math.cos(math.pi * progress)) / 2
        pairs = ((self.encoder, self.student), (self.teacher_head, self.student_head))
        for teacher, student in pairs:
            for slow, fast in zip(teacher.parameters(), student.parameters(), strict=True):
                slow.lerp_(fast, 1 - momentum)


def _entropy(p: Tensor) -> Tensor:
    return -(p * p.clamp_min(1e-12).log()).sum(-1)
