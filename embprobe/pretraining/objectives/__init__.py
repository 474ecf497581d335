"""Objectives by name. A new one is a new module and a line in ``OBJECTIVES``."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from embprobe.encoders.towers.language import LanguageModel
from embprobe.encoders.towers.two_towers import TextTower, TwoTowers, words_of
from embprobe.pretraining.objectives.base import Objective
from embprobe.pretraining.objectives.clip import Clip
from embprobe.pretraining.objectives.declip import DeClip
from embprobe.pretraining.objectives.dino import Dino, DinoV1
from embprobe.pretraining.objectives.nclip import NClip
from embprobe.pretraining.objectives.siglip import SigLip
from embprobe.pretraining.objectives.slip import Slip
from embprobe.pretraining.objectives.xclip import XClip

OBJECTIVES: dict[str, type[Objective]] = {
    "clip": Clip,
    "siglip": SigLip,
    "nclip": NClip,
    "xclip": XClip,
    "slip": Slip,
    "declip": DeClip,
    "dino": Dino,
    "dino-v1": DinoV1,
}


def build_objective(
    name: str, *, seed: int, captions: Iterable[str] = (), language_model: LanguageModel | None = None
) -> Objective:
    """Make the objective of this name with fresh weights, the same for the same seed.

    Torch's own random state is left as it was. An objective that reads captions gets a text tower that knows the words
    of ``captions``, unless ``language_model`` takes its place.
    """
    kind = OBJECTIVES[name]
    text: TextTower | LanguageModel | None = None
    if kind.language:
        text = language_model or TextTower(seed=seed, vocabulary=sorted(words_of(captions)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(TwoTowers(seed=seed, text=text, head=kind.encoder_head))
