"""Looking at an encoder while it trains: has it collapsed, and does it find a concept in a drawing it has not seen?"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from embprobe.encoders.bundled import encoder_of
from embprobe.encoders.preprocessing import preprocess
from embprobe.encoders.towers import TwoTowers
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images

CONCEPTS = 300
"""How many concepts are looked at: enough for a look every few minutes, not for a result."""


class Monitor:
    """Held-out drawings of some concepts, to be found among the training drawings of the same concepts."""

    def __init__(self, train: Images, held_out: Images) -> None:
        shared = sorted(set(held_out.label("concept")) & set(train.label("concept")))
        if not shared:
            raise EmbprobeError(f"'{held_out.name}' and '{train.name}' share no concept, so none can be looked for.")
        chosen = shared[:: -(-len(shared) // CONCEPTS)]
        self._gallery, self._queries = (_Pictures(images.where(concept=chosen)) for images in (train, held_out))

    @torch.no_grad()
    def look(self, encoder: TwoTowers) -> dict[str, float]:
        """``nearest_concept``: share of held-out drawings whose nearest training drawing shows the same concept;
        ``effective_rank``: of the training drawings' embeddings."""
        encoder.eval()
        gallery = encoder.encode_images(self._gallery.pixels)
        queries = encoder.encode_images(self._queries.pixels)
        encoder.train()
        nearest = (F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T).argmax(1).tolist()
        found = [self._gallery.concepts[i] for i in nearest]
        hits = [a == b for a, b in zip(found, self._queries.concepts, strict=True)]
        return {"nearest_concept": sum(hits) / len(hits), "effective_rank": effective_rank(gallery)}


class _Pictures:
    def __init__(self, images: Images) -> None:
        spec = encoder_of(TwoTowers(seed=0), family="bundled", model="monitored", weights="", device="cpu").spec
        self.pixels = torch.stack([preprocess(row.load(), spec) for row in images.rows])
        self.concepts = images.label("concept")


def effective_rank(features: Tensor) -> float:
    """exp of the entropy of the normalised singular values of the centred features ``[n, d]``, from 1 to d.

    Roy and Vetterli, "The effective rank", 2007.
    """
    values = torch.linalg.svdvals(features - features.mean(0))
    if not values.any():
        return 1.0
    p = values / values.sum()
    return math.exp(-(p * p.clamp_min(1e-12).log()).sum().item())
