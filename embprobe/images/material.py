"""Material: the facts about a set of images that decide which questions can be put to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Literal

from embprobe.images.decoding import UnreadableImage
from embprobe.images.groups import CATEGORY, CONCEPT, Grouping, choose_grouping
from embprobe.images.rows import Images, Row
from embprobe.system.text import visible

STYLE, SPLIT = "style", "split"
LOOKED_AT = 16
"""Images that are decoded to see whether backgrounds are transparent, evenly spaced among the readable ones."""

Crossing = Literal["none", "one style", "one category", "confounded", "partial", "crossed"]
"""How styles stand to categories:

- ``none``: an image lacks the label ``style`` or ``category``
- ``one style``, ``one category``: there is a single value, so nothing differs
- ``confounded``: each category is in one style, so the two cannot be told apart
- ``partial``: some categories are in two styles or more
- ``crossed``: all are
"""
Kind = Literal["emoji", "categories and styles", "categories", "unlabelled"]


@dataclass(frozen=True)
class Material:
    """The facts about a set of images that decide which questions can be put to it."""

    name: str
    images: int
    has_pictures: bool
    labels: dict[str, int]
    """The number of different values of each label that all images have, by the alphabet."""
    partial_labels: dict[str, int]
    """The number of images that have the label, for each label that some images lack."""
    splits: dict[str, int]
    """The number of images in each split, if all images have one, and ``train`` and another occur; else empty."""
    crossing: Crossing
    transparent: bool
    """Whether most of the images looked at have a transparent background."""
    repeated_concepts: bool
    """Whether every concept is drawn in two images or more."""
    grouping: Grouping
    """The label that images are folded and resampled by, if the card names ``concept``."""

    @property
    def kind(self) -> Kind:
        """The kind of material, for the choice of a card's questions; official splits are asked of ``splits``."""
        if {CONCEPT, CATEGORY, STYLE, "family", "motif"} <= self.labels.keys() and self.crossing == "crossed":
            return "emoji"
        if self.labels.get(CATEGORY, 0) < 2:
            return "unlabelled"
        return "categories and styles" if self.crossing in ("partial", "crossed") else "categories"

    def facts(self) -> list[str]:
        """Return the facts in words, one a line."""
        pictures = "" if self.has_pictures else ", keys and labels without pictures"
        values = ", ".join(f"{visible(label)} ({number:,})" for label, number in self.labels.items())
        partial = ", ".join(f"{visible(label)} ({number:,})" for label, number in self.partial_labels.items())
        splits = ", ".join(f"{visible(split)} ({number:,})" for split, number in self.splits.items())
        return [
            f"{self.images:,} image{'' if self.images == 1 else 's'}{pictures}",
            f"labels of all images, with the number of their values: {values or 'none'}",
            *([f"labels of some images, with the number of these: {partial}"] if partial else []),
            *([f"official splits, with the number of images: {splits}"] if splits else []),
            *([_CROSSINGS[self.crossing]] if self.crossing != "none" else []),
            *(["transparent backgrounds"] if self.transparent else []),
            self.grouping.note or f"folded and resampled by {visible(self.grouping.label)}",
        ]


_CROSSINGS: dict[Crossing, str] = {
    "one style": "all images are of one style",
    "one category": "all images are of one category",
    "confounded": "each category is in one style only, so style and category cannot be told apart",
    "partial": "some categories are in two styles or more, others in one only",
    "crossed": "each category is in two styles or more",
}


def material_of(images: Images) -> Material:
    """Collect the facts about images: their labels, splits, crossing of styles and categories, backgrounds.

    Up to 16 images are decoded; everything else is in the labels.

    Example:
        >>> labels = {"category": ["cat", "cat", "dog"], "style": ["photo", "sketch", "photo"]}
        >>> material = material_of(Images.without_pictures("pets", ["a", "b", "c"], labels))
        >>> material.kind, material.crossing, material.labels
        ('categories and styles', 'partial', {'category': 2, 'style': 2})
    """
    values = {
        label: Counter(value for value in images.values(label) if value is not None) for label in images.label_names
    }
    having = {label: counter.total() for label, counter in sorted(values.items())}
    complete = {label: len(values[label]) for label, number in having.items() if number == len(images)}
    splits = values[SPLIT] if SPLIT in complete else Counter[str]()
    return Material(
        name=images.name,
        images=len(images),
        has_pictures=images.has_pictures,
        labels=complete,
        partial_labels={label: number for label, number in having.items() if label not in complete},
        splits=dict(sorted(splits.items())) if "train" in splits and len(splits) > 1 else {},
        crossing=_crossing(images) if {STYLE, CATEGORY} <= complete.keys() else "none",
        transparent=_are_transparent(images),
        repeated_concepts=CONCEPT in complete and min(values[CONCEPT].values()) > 1,
        grouping=choose_grouping(images),
    )


def _crossing(images: Images) -> Crossing:
    styles: dict[str, set[str]] = defaultdict(set)
    for category, style in zip(images.label(CATEGORY), images.label(STYLE), strict=True):
        styles[category].add(style)
    if len(set.union(*styles.values())) == 1:
        return "one style"
    if len(styles) == 1:
        return "one category"
    in_several = [len(of_category) > 1 for of_category in styles.values()]
    return "crossed" if all(in_several) else "partial" if any(in_several) else "confounded"


def _are_transparent(images: Images) -> bool:
    if not images.has_pictures:
        return False
    step = max(1, len(images) // LOOKED_AT)
    seen = [alpha for row in images.rows[::step][:LOOKED_AT] if (alpha := _has_transparency(row)) is not None]
    return 2 * sum(seen) > len(seen)


def _has_transparency(row: Row) -> bool | None:
    """Return whether a part of the image is transparent; None if it cannot be read."""
    try:
        image = row.read(at_least=1)
    except (OSError, UnreadableImage):
        return None
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255
