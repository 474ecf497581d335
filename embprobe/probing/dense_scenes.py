"""Scenes with a known mask, as encoders of tokens see them: the patches of the object, its box and its centre."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images
from embprobe.measures.dense import Mask
from embprobe.measures.same_part import object_box
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.context import NotApplicable, ProbeContext

if TYPE_CHECKING:
    from embprobe.encoders.spec import Encoder, EncoderSpec

MASK = "mask"
"""The control of an intervention that shows the mask of its scene."""
COVERED = 0.5
"""A patch shows the object if this share of it is covered."""


@dataclass(frozen=True)
class Truth:
    """Where the objects of some scenes are, as one encoder sees them."""

    cover: ScoreArray
    """The share of each patch that the object covers, ``[n, rows, columns]``."""
    boxes: ScoreArray
    """Top, left, bottom and right of the object, in shares of the image that is seen, ``[n, 4]``."""
    centers: ScoreArray
    """Row and column of the object's centre of mass, in shares of the image, ``[n, 2]``."""

    @property
    def covered(self) -> Mask:
        """Whether each patch shows the object, ``[n, rows, columns]``."""
        return np.asarray(self.cover >= COVERED)


def token_encoders(context: ProbeContext) -> dict[str, Encoder]:
    """Return by the name of each encoder the one of its tokens: those of its layer, or of the last.

    Those of raw pixels stand in the grid of the first subject. Encoders without tokens are noted.

    Raises:
        NotApplicable: None of the subjects has tokens.
    """
    found: dict[str, Encoder] = {}
    first: Encoder | None = None
    for encoder in context.encoders:
        try:
            tokens = tokens_of(encoder, first)
        except UsageError:
            context.note(f"patches, of {encoder.spec.name}: it gives an image one vector and has no tokens")
            continue
        found[encoder.spec.name] = tokens
        first = first or tokens
    if not any(encoder.spec.name in found for encoder in context.subjects):
        names = ", ".join(encoder.spec.name for encoder in context.subjects)
        raise NotApplicable(f"it asks patches, and {names} has no tokens: name a network, such as bundled/dino")
    return found


def tokens_of(encoder: Encoder, first: Encoder | None) -> Encoder:
    """Return the encoder of tokens; UsageError if it has none."""
    with_grid: Any = getattr(encoder, "with_grid", None)
    grid = None if first is None else first.spec.tokens
    if with_grid is not None and grid is not None and encoder.spec.tokens is None:
        (tokens,) = encoder.views({"pooling": "tokens"})  # type: ignore[attr-defined]  # refuses what has none
        gridded: Encoder = tokens.with_grid(grid.rows, grid.columns)
        return gridded
    if encoder.spec.tokens is not None:
        return encoder
    views: Any = getattr(encoder, "views", None)
    if views is None:
        raise UsageError(f"'{encoder.spec.name}' has no tokens.")
    layer = {} if encoder.spec.layer is None else {"layer": str(encoder.spec.layer), "norm": encoder.spec.norm}
    (viewed,) = views(layer | {"pooling": "tokens"})
    made: Encoder = viewed
    return made


def mask_of(scene: str) -> str:
    """Return the name of the control that shows the mask of a scene.

    Example:
        >>> mask_of("plant")
        'plant/mask'
    """
    return f"{scene}/{MASK}"


def read_truths(masks: Images, specs: Mapping[str, EncoderSpec]) -> Mapping[str, Truth]:
    """Return by the name of each encoder where the objects are; each mask is read once for all of them.

    Raises:
        NotApplicable: A mask cannot be read.
    """
    from embprobe.encoders.cover import patch_cover, visible_mask
    from embprobe.encoders.preprocessing import geometry

    made: dict[str, list[tuple[ScoreArray, ScoreArray, ScoreArray]]] = defaultdict(list)
    for row in masks.rows:
        try:
            mask = row.load()
        except UnreadableImage as reason:
            raise NotApplicable(f"the mask of '{row.key}' cannot be read: {reason}") from None
        seen = {geometry(spec.require_image_input()): spec.require_image_input() for spec in specs.values()}
        pixels = {key: visible_mask(mask, image_input) for key, image_input in seen.items()}
        facts = {key: (object_box(each), _center(each)) for key, each in pixels.items()}
        for name, spec in specs.items():
            assert spec.tokens is not None
            key = geometry(spec.require_image_input())
            made[name].append((patch_cover(pixels[key], spec.tokens), *facts[key]))
    return {name: Truth(*map(np.array, zip(*each, strict=True))) for name, each in made.items()}


def _center(seen: ScoreArray) -> ScoreArray:
    """Return row and column of the centre of mass of a mask ``[s, s]``; the middle where nothing is covered."""
    total = seen.sum()
    if not total:
        return np.array([0.5, 0.5])
    return np.array(
        [((np.arange(seen.shape[k]) + 0.5) * seen.sum(1 - k)).sum() / total / seen.shape[k] for k in (0, 1)]
    )


def partners(rows: Images, label: str, drawn_by: Sequence[str]) -> NDArray[np.int64]:
    """Return the position of each row's next one of the same value of a label, drawn by another hand; -1 for none.

    Args:
        rows: The rows, in any order: partners depend on keys alone.
        label: The label whose value is the same: ``concept``.
        drawn_by: Labels, of which the first that rows have tells hands apart: ``family``, ``style``.
    """
    found = np.full(len(rows), -1)
    hand = next((name for name in drawn_by if rows.has(name)), None)
    if hand is None or not rows.has(label):
        return found
    of, by, keys = rows.label(label), rows.label(hand), rows.keys
    together: dict[str, list[int]] = defaultdict(list)
    for i in sorted(range(len(keys)), key=keys.__getitem__):
        together[of[i]].append(i)
    for members in together.values():
        for place, i in enumerate(members):
            others = members[place + 1 :] + members[:place]
            found[i] = next((j for j in others if by[j] != by[i]), -1)
    return found
