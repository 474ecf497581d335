"""Interventions: an image in, the same image with one attribute changed out. One is a function and a line here."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.rows import Images, Row
from embprobe.interventions.color import desaturate, rotate_hue


@dataclass(frozen=True)
class Intervention:
    """``apply(image, strength, rng)`` returns a changed image of the same size and mode; strength 0 changes nothing."""

    name: str
    attribute: str
    unit: str
    range: tuple[float, float]
    """The lowest and highest strength that means something."""
    apply: Callable[[Image.Image, float, np.random.Generator], Image.Image]


INTERVENTIONS = {
    intervention.name: intervention
    for intervention in (
        Intervention("hue", "color", "degrees in OKLCh", (-360, 360), lambda image, s, rng: rotate_hue(image, s)),
        Intervention(
            "greyscale", "color", "share of the chroma removed", (0, 1), lambda image, s, rng: desaturate(image, s)
        ),
    )
}


def find_intervention(name: str) -> Intervention:
    """The intervention of this name; raises :class:`UsageError` with the known names if there is none."""
    if name not in INTERVENTIONS:
        raise UsageError(f"There is no intervention '{name}'. There are: {', '.join(sorted(INTERVENTIONS))}.")
    return INTERVENTIONS[name]


def intervene(images: Images, name: str, strength: float, *, seed: int) -> Images:
    """The same rows with every image changed when it is read.

    Deterministic: the random generator of a row depends on the seed and the row's key alone. Raises
    :class:`UsageError` for an unknown name or a strength outside the intervention's range.
    """
    intervention = find_intervention(name)
    low, high = intervention.range
    if not low <= strength <= high:
        raise UsageError(
            f"The strength of '{name}' goes from {low:g} to {high:g} ({intervention.unit}), not {strength:g}."
        )

    def change(row: Row, image: Image.Image) -> Image.Image:
        digest = hashlib.sha256(f"{seed}:{row.key}".encode("utf-8", "surrogateescape")).digest()
        return intervention.apply(image, strength, np.random.default_rng(list(digest)))

    return images.map(f"{name}={float(strength)!r}@{seed}", change)
