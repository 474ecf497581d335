"""Objectives by name. A new one is a new module and a line in ``OBJECTIVES``."""

from __future__ import annotations

from collections.abc import Callable

from embprobe.pretraining.objectives.base import Objective
from embprobe.pretraining.objectives.clip import Clip
from embprobe.pretraining.objectives.dino import Dino

OBJECTIVES: dict[str, Callable[..., Objective]] = {"clip": Clip, "dino": Dino}
