"""Preview interventions before measuring: one image under all that change an attribute, and under their controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions.apply import intervene
from embprobe.interventions.base import Intervention
from embprobe.interventions.color import mean_delta_e
from embprobe.interventions.registry import attributes, find_intervention, list_interventions

LARGEST = 512
"""A larger image is shown, and changed, at this size."""


@dataclass(frozen=True)
class Cell:
    """One picture of a sheet: the image under an intervention at one strength, or the reason why there is none."""

    intervention: str
    """The intervention's name; with the control, if it is one: ``hue/lightness``."""
    strength: float
    picture: Image.Image | None
    reason: str = ""
    delta_e: float = 0.0
    """The mean difference of its pixels' colours from the original's, CIEDE2000."""

    @property
    def control(self) -> str:
        """The control's name; "" for the intervention itself."""
        return self.intervention.partition("/")[2]

    @property
    def argument(self) -> str:
        """The intervention's argument; "" where it has none."""
        return self.intervention.partition("/")[0].partition("=")[2]


@dataclass(frozen=True)
class Line:
    """One intervention of a sheet: growing strengths of each argument, then its controls at the last strength."""

    intervention: Intervention
    cells: Sequence[Cell]


@dataclass(frozen=True)
class Sheet:
    """One image under every intervention on an attribute."""

    attribute: str
    key: str
    original: Image.Image
    lines: Sequence[Line]

    def as_json(self) -> dict[str, Any]:
        """Return names, strengths and sizes of the changes, for ``--json``."""
        return {
            "attribute": self.attribute,
            "image": self.key,
            "cells": [
                {
                    "intervention": cell.intervention,
                    "strength": cell.strength,
                    "unit": line.intervention.unit,
                    **({"refused": cell.reason} if cell.picture is None else {"delta_e": round(cell.delta_e, 2)}),
                }
                for line in self.lines
                for cell in line.cells
            ],
        }


def preview(row: Row, attribute: str, donors: Images, *, seed: int) -> Sheet:
    """Show one image under every intervention on an attribute, and under their controls.

    Args:
        row: The image.
        attribute: One of :func:`~embprobe.interventions.attributes`.
        donors: The rows that words, palettes and other drawings are taken from.
        seed: Decides all that is random in the changes.

    Returns:
        A sheet with a line for each intervention. An image larger than ``LARGEST`` is changed, and shown, at that size.

    Raises:
        UsageError: No intervention changes this attribute.
        UnreadableImage: The image cannot be read.
    """
    if attribute not in attributes():
        raise UsageError(f"No intervention changes '{attribute}'. There are some for: {', '.join(attributes())}.")
    small, lines = shrunk(row), []
    original = small.load()
    for intervention in map(find_intervention, list_interventions()):
        if intervention.attribute == attribute:
            given = [f"{intervention.name}={argument}" for argument in intervention.arguments] or [intervention.name]
            variants = [(name, strength) for name in given for strength in intervention.preview]
            strongest = intervention.preview[-1]
            variants += [(f"{intervention.name}/{control}", strongest) for control in intervention.controls]
            cells = [under(small, original, name, strength, donors, seed=seed) for name, strength in variants]
            lines.append(Line(intervention, cells))
    return Sheet(attribute, row.key, original, lines)


def shrunk(row: Row, side: int = LARGEST) -> Row:
    """Read a row's image once and return the row with it, no larger than ``side`` pixels.

    Raises:
        UnreadableImage: The image cannot be read.
    """
    picture = row.read(at_least=side)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return replace(row, source=picture.copy)


def under(row: Row, original: Image.Image, name: str, strength: float, donors: Images, *, seed: int) -> Cell:
    """Change a row's image by one intervention, or by a control of one (``hue/lightness``), and measure the change.

    Args:
        row: The image.
        original: The same image unchanged, as RGB, from which the difference is measured.
        name: The intervention or control.
        strength: In the intervention's unit.
        donors: The rows that words, palettes and other drawings are taken from.
        seed: Decides all that is random in the change.

    Raises:
        UsageError: The name is not known, or the strength is out of range.
    """
    (changed,) = intervene(Images("preview", (row,)), name, strength, seed=seed, donors=donors).rows
    try:
        picture = changed.load()
    except UnreadableImage as reason:
        return Cell(name, strength, None, str(reason))
    return Cell(name, strength, picture, delta_e=mean_delta_e(original, picture))
