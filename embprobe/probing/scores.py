"""The per-image scores behind an estimate, so that anyone can compute it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from embprobe.measures.vectors import ScoreArray
from embprobe.probing.key import Key

Role = Literal["subject", "reference", "baseline"]
"""``subject``: an encoder that is studied. ``reference``: one that it is read against, such as raw pixels.
``baseline``: no encoder at all, such as guessing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scores:
    """One score per image (or per concept or name, where the estimate is no mean over images) of one encoder."""

    key: Key
    encoder: str
    role: Role
    unit: str
    keys: Sequence[str]
    """The keys of the images, concepts or names, ``[n]``."""
    groups: Sequence[str]
    """The value that each is resampled with, ``[n]``."""
    values: ScoreArray
    """``[n]``, float64."""
    floor: float | None = None
    """The estimate of an encoder that is blind to what is measured: 0, guessing or even odds; None if there is none."""
    p: float | None = None
    """Where the estimate itself was tested, as a variance share is by permutation."""
