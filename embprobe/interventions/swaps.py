"""Swap a row's image, its colours or its background for those of another row or of a photographed texture.

Planners take from other rows, the ``donors``; the choice among them depends on the seed and the row's key alone.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.images.decoding import UnreadableImage, flatten
from embprobe.images.rows import WHITE, Images, Row
from embprobe.interventions.base import Edit, Plan, Planner, Rng, pixels
from embprobe.interventions.color import recolor, srgb_to_oklab, transfer_palette, vivid

_CANDIDATES = 200
"""Rows of each style among which a matching one is sought; more take longer to read."""
_NEAREST = 5
"""Of the best matches one is taken at random, so that rows that look alike get different objects."""
_DESCRIBING = ("category", "style", "name")
"""The donors' labels that decide which of them match."""
_SMALL = 32
"""Side in pixels at which an image's features are computed."""
_KNOWN = 2**20
"""Pixels of an image up to which the textures that all images get are remembered."""
TEXTURES = ("brick", "grass", "gravel")
"""Photographs of scikit-image without an object in them, in the public domain (CC0)."""


def palette(donors: Images) -> Plan:
    """Plan to give each image the colours of another one, chosen at random."""
    rows = by_key(donors).rows

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        donor = another(rows, row, rng, "to take colours from")
        return Edit(lambda image, rng: transfer_palette(image, donor.read(), strength), mark_of(donor))

    return plan


def hued(change: Callable[[Image.Image, float, float], Image.Image], hue: float | None = None) -> Planner:
    """Make a planner for ``change(image, hue, strength)``, with a hue in degrees, or a random one for each row."""

    if hue is not None:
        return pixels(lambda image, strength, rng: change(image, hue, strength))

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        chosen = float(rng.uniform(0, 360))
        return Edit(lambda image, rng: change(image, chosen, strength))

    return lambda donors: plan


def ink(image: Image.Image, hue: float, share: float) -> Image.Image:
    """Recolour a drawing in one ink with the vivid colour of a hue in degrees."""
    return recolor(image, vivid(hue), share)


def house(donors: Images) -> Plan:
    """Plan to replace each drawing by another house's of the same concept: a change of style that no filter made."""
    ordered = by_key(donors)
    drawings: dict[str, list[int]] = defaultdict(list)
    # for each drawing of a concept by a house, the number of drawings by others before it: the places of the others
    # follow by bisection, and no row needs a list of its own
    before: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    of_row = zip(*(ordered.values(label) for label in ("concept", "family", "style")), strict=True)
    for i, (of_concept, family, style) in enumerate(of_row):
        concept, house = of_concept or "", family if family is not None else style
        before[concept, house].append(len(drawings[concept]) - len(before[concept, house]))
        drawings[concept].append(i)

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        concept, style = row.labels.get("concept"), _house(row)
        of_concept, own = drawings.get(concept or "", []), before.get((concept or "", style), [])
        others = len(of_concept) - len(own)
        if not concept or not style or not others:
            raise UnreadableImage("there is no other drawing of the same concept in another style")
        chosen = int(rng.integers(others))
        donor = ordered.rows[of_concept[chosen + bisect_right(own, chosen)]]
        return Edit(lambda image, rng: image.copy() if strength == 0 else _put(donor, image), mark_of(donor))

    return plan


def _house(row: Row) -> str | None:
    """Return the family of a drawing's style, or the style: styles of one family may share their drawings."""
    return row.labels.get("family", row.labels.get("style"))


def object_(donors: Images) -> Plan:
    """Plan to replace each image by one of another category in the same style, alike in colours, size and shape.

    Where images have names, the names share no word: a cat may be filed under animals and, smiling, under smileys.
    """
    described: dict[str, _Described] = {}
    ordered = by_key(donors)
    facts = [[row.key, row.content, *(row.labels.get(name) for name in _DESCRIBING)] for row in ordered.rows]
    mark = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]

    of_style: dict[str, list[int]] = defaultdict(list)
    for i, (category, style) in enumerate(zip(ordered.values("category"), ordered.values("style"), strict=True)):
        if category is not None:
            of_style[style or ""].append(i)

    def matching(image: Image.Image, row: Row, rng: Rng) -> Row:
        style = row.labels.get("style", "")
        if style not in described:
            described[style] = _described(ordered.take(of_style.get(style, [])).rows)
        candidates = described[style]
        category, words = row.labels["category"], _words(row)
        allowed = np.flatnonzero([of != category and words.isdisjoint(has) for of, has in candidates.named])
        if not len(allowed):
            raise UnreadableImage("there is no image of another category in the same style")
        distance = np.linalg.norm((candidates.features[allowed] - _features(image)) / candidates.spread, axis=1)
        nearest = allowed[np.argsort(distance, kind="stable")[:_NEAREST]]
        return candidates.rows[int(rng.choice(nearest))]

    def plan(row: Row, strength: float, rng: Rng) -> Edit:
        if "category" not in row.labels:
            raise UnreadableImage("it has no label 'category', so another category cannot be told")

        def apply(image: Image.Image, rng: Rng) -> Image.Image:
            return image.copy() if strength == 0 else _put(matching(image, row, rng), image)

        return Edit(apply, f"{row.labels['category']}|{row.labels.get('name', '')}|{mark}")

    return plan


def background(image: Image.Image, strength: float, rng: Rng, *, texture: str = "", alone: bool = False) -> Image.Image:
    """Put a photographed texture in a random colour behind an object that was cut out; the object stays as it is.

    It is faded into white: a strength of 1 shows the whole of it. With ``texture``, one of ``TEXTURES``, every image
    has the same background. ``alone`` is the control: the same background with nothing on it.
    """
    if not is_cut_out(image):
        raise UnreadableImage("it has no transparent background that could be swapped")
    if strength == 0:
        return image.copy()
    if texture:
        known = image.width * image.height <= _KNOWN
        photograph = (_same_texture if known else _same_texture.__wrapped__)(image.size, texture)
    else:
        photograph = any_texture(image.size, rng)
    canvas = Image.blend(Image.new("RGB", image.size, (255, 255, 255)), photograph, strength).convert("RGBA")
    return canvas if alone else Image.alpha_composite(canvas, image)


def is_cut_out(image: Image.Image) -> bool:
    """Return whether an image has transparent parts."""
    return image.mode == "RGBA" and image.getchannel("A").getextrema()[0] != 255


def any_texture(size: tuple[int, int], rng: Rng) -> Image.Image:
    """Take a random square of a random texture, turned and tinted at random, in a size in pixels."""
    return _texture(size, rng, TEXTURES[int(rng.integers(len(TEXTURES)))])


def _texture(size: tuple[int, int], rng: Rng, name: str) -> Image.Image:
    """Take a random square of a texture, turn it, tint it with a random hue and resize it."""
    values = _texture_values(name)
    side = int(rng.integers(values.shape[0] // 2, values.shape[0] + 1))
    top, left = rng.integers(0, values.shape[0] - side + 1, 2)
    grey = np.rot90(values[top : top + side, left : left + side], int(rng.integers(4)))
    tint = np.array([0.5, 0.5, 0.5]) + 0.5 * rng.random(3)
    levels = np.rint(np.arange(256.0)[:, None] * tint / tint.max()).astype(np.uint8)  # each grey is tinted once
    channels = Image.fromarray(np.ascontiguousarray(grey))
    colored = Image.merge("RGB", [channels.point(levels[:, channel].tolist()) for channel in range(3)])
    return colored.resize(size, Image.Resampling.LANCZOS)


@lru_cache(maxsize=2 * len(TEXTURES))
def _same_texture(size: tuple[int, int], name: str) -> Image.Image:
    """Take the square of a texture that all images of a size get."""
    return _texture(size, np.random.default_rng(list(name.encode())), name)


@lru_cache(maxsize=len(TEXTURES))
def _texture_values(name: str) -> NDArray[np.uint8]:
    import skimage.data

    values: NDArray[np.uint8] = getattr(skimage.data, name)()
    return values


@dataclass(frozen=True)
class _Described:
    """Rows of one style among which a matching object is sought."""

    rows: Sequence[Row]
    named: Sequence[tuple[str, frozenset[str]]]
    """The category of each row, and the words of its name."""
    features: NDArray[np.float64]
    """``[n, 8]``."""
    spread: NDArray[np.float64]
    """The standard deviation of each feature, above 0: ``[8]``."""


def _words(row: Row) -> frozenset[str]:
    return frozenset(row.labels.get("name", "").lower().split())


def _put(donor: Row, image: Image.Image) -> Image.Image:
    """Read the donor's image in the size and mode of ``image``, whose place it takes."""
    other = donor.read()
    if other.size != image.size:
        other = other.resize(image.size, Image.Resampling.LANCZOS)
    return _in_mode(other, image.mode)


def _in_mode(image: Image.Image, mode: str) -> Image.Image:
    return flatten(image, WHITE) if mode == "RGB" else image.convert(mode)


def mark_of(donor: Row) -> str:
    """Identify a donor and its content, for the mark of an edit that takes from it."""
    return f"{donor.key}:{donor.content}"


def by_key(donors: Images) -> Images:
    """Sort the donors by key, so that the order in which they are listed does not matter."""
    keys = donors.keys
    return donors.take(sorted(range(len(keys)), key=keys.__getitem__))


def another(rows: Sequence[Row], row: Row, rng: Rng, purpose: str) -> Row:
    """Choose a row at random that is not ``row``; the purpose ends the reason why there is none."""
    start = int(rng.integers(max(len(rows), 1)))
    for i in range(len(rows)):
        donor = rows[(start + i) % len(rows)]
        if donor.key != row.key:
            return donor
    raise UnreadableImage(f"there is no other image {purpose}")


def _described(rows: Sequence[Row]) -> _Described:
    """Choose some of a style's rows, which have a category, and describe them; unreadable rows are passed over."""
    chosen = sorted(np.random.default_rng(0).permutation(len(rows))[:_CANDIDATES].tolist())
    kept, each = [], []
    for i in chosen:
        try:
            each.append(_features(rows[i].read()))
        except UnreadableImage:
            continue
        kept.append(rows[i])
    features = np.array(each).reshape(len(kept), 8)
    spread = features.std(axis=0) + 1e-9 if kept else np.ones(8)
    return _Described(kept, [(row.labels["category"], _words(row)) for row in kept], features, spread)


def _features(image: Image.Image) -> NDArray[np.float64]:
    """Compute the mean colour in Oklab and its spread, the share that is covered, and the proportions: ``[8]``."""
    proportion = np.log(image.width / image.height)
    small = np.asarray(image.convert("RGBA").resize((_SMALL, _SMALL), Image.Resampling.BOX), np.float64) / 255
    colors, opacity = srgb_to_oklab(small[..., :3].reshape(-1, 3)), small[..., 3].ravel()
    if not opacity.any():
        return np.zeros(8)
    mean = np.average(colors, axis=0, weights=opacity)
    spread = np.sqrt(np.average((colors - mean) ** 2, axis=0, weights=opacity))
    return np.array([*mean, *spread, opacity.mean(), proportion])
