"""A few images with their nearest neighbours by every encoder, as pictures that need no script."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embprobe.images import Row
from embprobe.plots.thumbnails import describe
from embprobe.report.atlas import Atlas
from embprobe.report.thumbnails import row_uri

SIDE, EXAMPLES = 56, 3


@dataclass(frozen=True)
class Neighbor:
    """One of an image's nearest neighbours."""

    picture: str
    name: str
    cosine: float


@dataclass(frozen=True)
class Example:
    """An image, and its nearest neighbours by encoder."""

    picture: str
    name: str
    near: Mapping[str, Sequence[Neighbor]]


def near_examples(atlas: Atlas, *, seed: int = 0) -> list[Example]:
    """Choose at most ``EXAMPLES`` random images of the map and show their neighbours."""
    rows, n = atlas.images.rows, len(atlas.images)
    chosen = np.random.default_rng(seed).permutation(n)[:EXAMPLES]
    return [_example(atlas, rows, int(i)) for i in chosen]


def _example(atlas: Atlas, rows: Sequence[Row], i: int) -> Example:
    near = {
        name: [
            Neighbor(row_uri(rows[j], SIDE), _name(rows[j]), float(cosine))
            for j, cosine in zip(atlas.nearest[name][i], atlas.cosines[name][i], strict=True)
        ]
        for name in atlas.layouts
    }
    return Example(row_uri(rows[i], SIDE), _name(rows[i]), near)


def _name(row: Row) -> str:
    return ", ".join(describe(row))
