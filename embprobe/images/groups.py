"""Groups of images that are not independent: drawings of one motif, photographs of one folder, copies of one file.

A classifier that is tested on an image whose twin it was fitted on is not tested on anything new, and an interval over
images that come in dozens is too narrow. So folds and resampling take groups whole.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.system.text import visible

IMAGE = "image"
"""The label of a treated row that holds the key of the image it was made from."""
CONCEPT, MOTIF, FOLDER, CATEGORY = "concept", "motif", "folder", "category"
MIN_GROUPS = 5
"""Fewer folders are no sample: folds could not be filled, and an interval over them would say nothing."""


@dataclass(frozen=True)
class Grouping:
    """The label whose values are groups of images that belong together, and a note for the user."""

    label: str
    """``motif``, ``concept``, ``folder``, another label that a card names, or ``image``: each image by itself."""
    note: str = ""
    """A sentence on folders, without its full stop; empty where the grouping needs no explanation."""

    def of(self, rows: Images) -> list[str]:
        """Return the group of each row; a row in no folder is a group of its own.

        Raises:
            MissingLabel: A row lacks the label, and it is neither ``folder`` nor ``image``.
        """
        if self.label == IMAGE:
            return _themselves(rows)
        if self.label == FOLDER:
            return _folders(rows)
        return rows.label(self.label)


def choose_grouping(images: Images, label: str = CONCEPT) -> Grouping:
    """Choose the label that images are folded and resampled by.

    It is ``label``, if the images have it; but ``motif`` instead of ``concept``, if they have that: a motif is several
    concepts that are drawn nearly alike. Without the label it is the deepest folder, where images lie in folders below
    their category's (see :func:`~embprobe.images.paths.path_labels`), else each image by itself.

    Folders are groups if there are at least five of them and at least half of the images are of a category that has two
    or more: a category that fills a single folder can never be learned from other folders.

    Args:
        images: All images of the run, before any selection, so that every measure groups alike.
        label: The label that a card resamples by.

    Example:
        >>> keys = [f"{day}/{i}" for day in ("a1", "a2", "b1", "b2", "b3") for i in range(2)]
        >>> labels = {"category": [key[0] for key in keys], "folder": [f"{key[0]}/{key[:2]}" for key in keys]}
        >>> walks = Images.without_pictures("walks", keys, labels)
        >>> choose_grouping(walks)
        Grouping(label='folder', note='images of one folder count as one group: 10 images in 5 folders')
        >>> choose_grouping(walks, "category").label
        'category'
    """
    if label == CONCEPT and images.has(MOTIF):
        return Grouping(MOTIF)
    if not images.lacks(label):
        return Grouping(label)
    if images.lacks(FOLDER):
        return Grouping(IMAGE)
    groups = _folders(images)
    number = f"{len(set(groups)):,} folder{'' if len(set(groups)) == 1 else 's'}"
    alone = _alone(images, groups)
    if len(set(groups)) < MIN_GROUPS or 2 * sum(alone.values()) > len(images):
        return Grouping(
            IMAGE,
            f"each image counts as a group of its own, because {len(images):,} images in {number} are too few folders "
            "to test on others: if images of a folder are alike, scores are too high and intervals too narrow",
        )
    note = f"images of one folder count as one group: {len(images):,} images in {number}"
    if alone:
        names = ", ".join(f"'{visible(name)}'" for name in sorted(alone)[:3]) + (", …" if len(alone) > 3 else "")
        note += f"; {CATEGORY} {names} fills a single folder and cannot be learned from others"
    return Grouping(FOLDER, note)


def same_pictures(images: Images) -> list[str]:
    """Return for each row a mark of its picture; rows of the same bytes have the same mark.

    Every image is read, and none is decoded. Changes that are made to images do not count. An image that cannot be
    read, or of which there is only a key, has a mark of its own.
    """
    return [_mark(row) if images.has_pictures else f"key {row.key}" for row in images.rows]


def join_groups(groups: Sequence[str], marks: Sequence[str]) -> list[str]:
    """Join groups whose members share a mark, however long the chain between them.

    A joined group is called by its first one in the order of the rows.

    Args:
        groups: The group of each row, ``[n]``.
        marks: A mark of each row, such as that of its picture, ``[n]``.

    Returns:
        The joined group of each row, ``[n]``.

    Example:
        >>> join_groups(["cook", "man", "pilot", "cup"], ["p1", "p2", "p1", "p3"])
        ['cook', 'man', 'cook', 'cup']
    """
    parent = {group: group for group in groups}
    rank = {group: i for i, group in enumerate(parent)}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    first: dict[str, str] = {}
    for group, mark in zip(groups, marks, strict=True):
        low, high = sorted((root(first.setdefault(mark, group)), root(group)), key=rank.__getitem__)
        parent[high] = low
    return [root(group) for group in groups]


def _themselves(images: Images) -> list[str]:
    untreated = images.values(IMAGE)
    return [key if image is None else image for key, image in zip(images.keys, untreated, strict=True)]


def _folders(images: Images) -> list[str]:
    return [folder or itself for folder, itself in zip(images.values(FOLDER), _themselves(images), strict=True)]


def _alone(images: Images, groups: Sequence[str]) -> Mapping[str, int]:
    """Count the images of each category that lies in one group altogether."""
    by_category: dict[str, list[str]] = defaultdict(list)
    for category, group in zip(images.values(CATEGORY), groups, strict=True):
        if category is not None:
            by_category[category].append(group)
    return {category: len(members) for category, members in by_category.items() if len(set(members)) == 1}


def _mark(row: Row) -> str:
    try:
        picture = row.fetch()
    except (OSError, UnreadableImage):
        return f"key {row.key}"
    if isinstance(picture, Image.Image):
        digest = hashlib.sha256(f"{picture.mode} {picture.size}".encode() + picture.tobytes())
    else:
        digest = hashlib.sha256(picture)
    return digest.hexdigest()
