"""Predict the masks of scenes by linear probes of patches, to be looked at beside the true ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from embprobe.images.groups import choose_grouping
from embprobe.images.rows import Images
from embprobe.interventions import intervene
from embprobe.measures.dense import Mask, mean_iou
from embprobe.measures.patch_probes import predict_objects
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.dense_scenes import Truth, mask_of, read_truths, tokens_of

if TYPE_CHECKING:
    from embprobe.embeddings.session import Session
    from embprobe.encoders.spec import Encoder


@dataclass(frozen=True)
class PredictedMasks:
    """Scenes, and by encoder which of their patches show the object and which are predicted to."""

    scenes: Images
    truths: Mapping[str, Truth]
    predicted: Mapping[str, Mask]
    """Whether each patch is predicted to show the object, ``[n, rows, columns]``, by encoder."""

    def scores(self, encoder: str) -> ScoreArray:
        """Return the mIoU of each scene by an encoder, ``[n]``."""
        return mean_iou(self.predicted[encoder], self.truths[encoder].covered)


def predict_masks(
    images: Images, encoders: Sequence[Encoder], session: Session, *, scene: str = "plant"
) -> PredictedMasks:
    """Put cut-outs into scenes and predict their masks, each by a probe that has seen no image of its group.

    Args:
        images: Cut-outs of at least three groups (motifs, concepts, folders); the more, the better are the probes.
        encoders: Networks with tokens; raw pixels stand in the grid of the first.
        session: The workspace, the device and the seed.
        scene: An intervention with a control ``mask``.

    Raises:
        UsageError: An encoder has no tokens.
        EmbprobeError: No image is a cut-out, or there are fewer than three groups.
    """
    scenes = intervene(images, scene, 1, seed=session.seed)
    viewed: dict[str, Encoder] = {}
    for encoder in encoders:
        viewed[encoder.spec.name] = tokens_of(encoder, next(iter(viewed.values()), None))
    tokens = {name: session.tokens(scenes, encoder, scene) for name, encoder in viewed.items()}
    shared = set.intersection(*({*each.rows.keys} for each in tokens.values()))
    rows = images.take([i for i, key in enumerate(images.keys) if key in shared])
    masks = intervene(rows, mask_of(scene), 1, seed=session.seed)
    truths = read_truths(masks, {name: encoder.spec for name, encoder in viewed.items()})
    groups = np.asarray(choose_grouping(images).of(rows))
    predicted = {
        name: predict_objects(
            each.at(rows.keys).patches(slice(0, len(rows))), truths[name].covered, groups, seed=session.seed
        )
        for name, each in tokens.items()
    }
    return PredictedMasks(intervene(rows, scene, 1, seed=session.seed), truths, predicted)
