"""Look before you measure: one image under every intervention on an attribute, and under their controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from embprobe.errors import UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions import INTERVENTIONS, Intervention, attributes, intervene
from embprobe.interventions.color import mean_delta_e

LARGEST = 512
"""A larger image is shown, and changed, at this size."""


@dataclass(frozen=True)
class Cell:
    """What became of the image, or why it could not be done."""

    intervention: str
    """With the control, if it is one: ``hue/lightness``."""
    strength: float
    picture: Image.Image | None
    reason: str = ""
    delta_e: float = 0.0
    """The mean difference of its pixels' colours from the original's, CIEDE2000."""

    @property
    def control(self) -> str:
        """The control's name; empty if it is none."""
        return self.intervention.partition("/")[2]


@dataclass(frozen=True)
class Line:
    """One intervention: growing strengths, then its controls at the last of them."""

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
        """Names, strengths and sizes of the changes, for ``--json``."""
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
    """The sheet of one row; ``donors`` are the rows that words, palettes and other drawings are taken from.

    Raises :class:`UsageError` for an unknown attribute, :class:`~embprobe.images.UnreadableImage` for an unreadable
    image.
    """
    if attribute not in attributes():
        raise UsageError(f"No intervention changes '{attribute}'. There are some for: {', '.join(attributes())}.")
    small, lines = shrunk(row), []
    original = small.load()
    for each in INTERVENTIONS.values():
        if each.attribute == attribute:
            asked = [(each.name, strength) for strength in each.preview]
            asked += [(f"{each.name}/{control}", each.preview[-1]) for control in each.controls]
            lines.append(Line(each, [under(small, original, *one, donors, seed=seed) for one in asked]))
    return Sheet(attribute, row.key, original, lines)


def shrunk(row: Row, side: int = LARGEST) -> Row:
    """The row with its image no larger than so many pixels, read once; raises
    :class:`~embprobe.images.UnreadableImage` if it cannot be read."""
    picture = row.read()
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return replace(row, source=picture.copy)


def under(row: Row, original: Image.Image, name: str, strength: float, donors: Images, *, seed: int) -> Cell:
    """What becomes of a row under an intervention, or under a control of one: ``hue/lightness``.

    ``original`` is the row's own image. Raises :class:`UsageError` for an unknown name or a strength out of range.
    """
    (changed,) = intervene(Images("preview", (row,)), name, strength, seed=seed, donors=donors).rows
    try:
        picture = changed.load()
    except UnreadableImage as reason:
        return Cell(name, strength, None, str(reason))
    return Cell(name, strength, picture, delta_e=mean_delta_e(original, picture))
