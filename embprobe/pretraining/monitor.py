"""Look at an encoder while it trains: has it collapsed, does it recognise a concept in a drawing it has not seen?"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from embprobe.encoders.families.bundled import towers_encoder
from embprobe.encoders.preprocessing import preprocess
from embprobe.encoders.towers.two_towers import TwoTowers
from embprobe.errors import EmbprobeError
from embprobe.images.rows import Images

CONCEPTS = 300
"""The number of concepts in a look: enough to watch a run every few minutes, not for a result."""
_AT_ONCE = 256


class Monitor:
    """Held-out drawings of some concepts, whose nearest training drawing should show the same concept.

    Without ``held_out`` images, some training images serve to see collapse alone.
    """

    def __init__(self, train: Images, held_out: Images | None, *, device: str = "cpu") -> None:
        self._device = device
        if held_out is None:
            self._gallery, self._queries = self._pictures(train.take(range(0, len(train), _every(len(train))))), None
            return
        concepts = sorted(set(held_out.label("concept")) & set(train.label("concept")))
        if not concepts:
            raise EmbprobeError(f"'{held_out.name}' and '{train.name}' share no concept, so none can be looked for.")
        chosen = concepts[:: _every(len(concepts))]
        self._gallery, self._queries = (self._pictures(images.where(concept=chosen)) for images in (train, held_out))
        self._gallery_concepts, self._query_concepts = (
            images.where(concept=chosen).label("concept") for images in (train, held_out)
        )

    @torch.no_grad()
    def look(self, encoder: TwoTowers) -> dict[str, float]:
        """Measure the encoder as it is now.

        Returns:
            ``effective_rank`` of the training images' embeddings and, if there are held-out drawings,
            ``nearest_concept``: the share of them whose nearest training drawing shows the same concept.
        """
        encoder.eval()
        gallery = self._encoded(encoder, self._gallery)
        numbers = {"effective_rank": effective_rank(gallery)}
        if self._queries is not None:
            queries = self._encoded(encoder, self._queries)
            nearest = (F.normalize(queries, dim=-1) @ F.normalize(gallery, dim=-1).T).argmax(1).tolist()
            nearest_concepts = [self._gallery_concepts[i] for i in nearest]
            hits = [a == b for a, b in zip(nearest_concepts, self._query_concepts, strict=True)]
            numbers["nearest_concept"] = sum(hits) / len(hits)
        encoder.train()
        return numbers

    def _pictures(self, images: Images) -> Tensor:
        spec = towers_encoder(TwoTowers(seed=0), family="bundled", model="monitored", weights="", device="cpu").spec
        image_input = spec.require_image_input()
        return torch.stack([preprocess(row.load(), image_input) for row in images.rows])

    def _encoded(self, encoder: TwoTowers, pictures: Tensor) -> Tensor:
        parts = [encoder.encode_images(part.to(self._device)) for part in pictures.split(_AT_ONCE)]  # type: ignore[no-untyped-call]
        return torch.cat(parts).float()


def effective_rank(features: Tensor) -> float:
    """Return exp of the entropy of the normalised singular values of the centred features ``[n, d]``, from 1 to d.

    Roy and Vetterli, "The effective rank", 2007. Features that differ by less than a thousandth of their size count as
    one point, of rank 1, because their differences are rounding. NaN if the features are not all finite.
    """
    if not features.isfinite().all():
        return math.nan
    values = torch.linalg.svdvals(features - features.mean(0))
    if values.max() <= 1e-3 * features.norm():
        return 1.0
    p = values / values.sum()
    return math.exp(-(p * p.clamp_min(1e-12).log()).sum().item())


def _every(count: int) -> int:
    """Return the step at which a list of ``count`` is cut down to ``CONCEPTS`` at most."""
    return -(-count // CONCEPTS)
