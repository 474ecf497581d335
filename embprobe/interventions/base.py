"""What an intervention is: a name, a strength with a unit, and a plan for every row of what will be done to it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from embprobe.images.rows import Images, Row

Rng = np.random.Generator
Change = Callable[[Image.Image, float, Rng], Image.Image]
"""``change(image, strength, rng)``: an image of the same size and mode; strength 0 changes nothing."""


@dataclass(frozen=True)
class Edit:
    """What will be done to one row's image; raises :class:`~embprobe.images.UnreadableImage` if it cannot be done."""

    apply: Callable[[Image.Image, Rng], Image.Image]
    mark: str = ""
    """What the result depends on beside the row, the strength and the seed: the word drawn, the other row used."""
    word: str = ""
    """The word drawn into the image, or the one whose ink a control draws: the changed row's label ``word``."""


Plan = Callable[[Row, float, Rng], Edit]
Planner = Callable[[Images], Plan]
"""From the images that words, palettes and drawings may be taken from to a plan for each row."""


@dataclass(frozen=True)
class Intervention:
    """One attribute of an image changed, by so much.

    ``controls`` change something else by the same amount: what an embedding moves under the intervention beyond what it
    moves under its control is what it noticed of the attribute itself. One is named ``hue/lightness``.
    """

    name: str
    attribute: str
    unit: str
    range: tuple[float, float]
    """The lowest and highest strength that means something."""
    preview: tuple[float, ...]
    """Strengths worth looking at."""
    planner: Planner
    controls: Mapping[str, Planner] = field(default_factory=dict)
    whole: bool = False
    """Done (strength 1) or not done (0), and nothing between."""
    given: Callable[[str], Intervention] | None = None
    """Returns the intervention for an argument, as in ``word=thus``; raises :class:`UsageError` for a wrong one.

    None if it takes no argument.
    """
    origin: str = ""
    """The package and version of an intervention that is not ours: its images are made anew for another version."""


def pixels(change: Change) -> Planner:
    """A planner for a change that needs nothing but the image."""

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        return Edit(lambda image, rng: change(image, strength, rng))

    return lambda donors: plan


def changes_nothing(strength: float, most: float) -> bool:
    """Whether a strength is 0; raises ``ValueError`` if it is not between 0 and ``most``."""
    if not 0 <= strength <= most:
        raise ValueError(f"strength must be between 0 and {most:g}, not {strength:g}")
    return strength == 0


def matched(planner: Planner, match: Callable[[Image.Image, Image.Image, Rng], Image.Image]) -> Planner:
    """A planner for a control made from an image and its changed version: ``match(original, changed, rng)``."""

    def bind(donors: Images) -> Plan:
        plan = planner(donors)

        def control(row: Row, strength: float, rng: Rng) -> Edit:
            edit = plan(row, strength, rng)

            def apply(image: Image.Image, rng: Rng) -> Image.Image:
                return match(image, edit.apply(image, copy.deepcopy(rng)), rng)

            return Edit(apply, edit.mark)

        return control

    return bind
