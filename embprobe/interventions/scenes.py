"""Compose scenes of a row's own cut-out on a photographed texture: how many things there are, where and how arranged.

Each function of an image, an argument and a random generator returns a scene of which the argument is true. What is
not asked is the same for all arguments: the drawn area, the background, the size. So colours alone do not tell it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageStat

from embprobe.images.decoding import UnreadableImage
from embprobe.images.rows import Images, Row
from embprobe.interventions.base import Edit, Plan, Planner, Rng, pixels
from embprobe.interventions.swaps import another, any_texture, by_key, is_cut_out, mark_of

Scene = Callable[[Image.Image, str, Rng], Image.Image]
"""``scene(image, argument, rng)`` composes a scene of a cut-out; it has the size and mode of the image."""
Point = tuple[float, float]

SIDES = ("left", "right", "above", "below")
HALVES = ("left", "right")
WHETHER = ("yes", "no")
COUNTS = ("1", "2", "3", "4", "5")
_TRIES = 200
"""Arrangements at random that are tried until nothing overlaps."""
_GAP = 0.03
"""Least distance between two things, as a share of the shorter side: copies that touch could be taken for one."""
_CROWD = 4
"""Copies among which one may be odd."""
_SAME = 6.0
"""The mean difference, of 255, below which a drawing looks the same upside down."""
_BETWEEN = (64.0, 191.0)
"""The darkest and the lightest mean of a channel that a background in an object's colour has, of 255."""
_MARK = 96
"""Side in pixels of the chequered ball before it is made smaller."""


def count(image: Image.Image, argument: str, rng: Rng) -> Image.Image:
    """Show one to five copies of the object at random places; together they are as large as one would be."""
    scene, thing = _begin(image, rng)
    longest = _unit(image) * rng.uniform(0.5, 0.6) / math.sqrt(int(argument))
    centres = _apart([_extent(thing, longest)] * int(argument), image.size, rng)
    return _shown(scene, [(thing, longest, centre) for centre in centres])


def place(image: Image.Image, argument: str, rng: Rng) -> Image.Image:
    """Show the object alone, at one side of the middle."""
    scene, thing = _begin(image, rng)
    away, along = rng.uniform(0.2, 0.27), rng.uniform(-0.1, 0.1)
    longest = _unit(image) * rng.uniform(0.38, 0.45)
    return _shown(scene, [(thing, longest, _middle(image, _towards(argument, away, along)))])


def plant(image: Image.Image, strength: float, rng: Rng, *, mask: bool = False) -> Image.Image:
    """Show the object alone, anywhere, half to two thirds as long as the scene, which has its mean colour.

    Hence a patch's mean colour does not tell object from background. ``mask`` is the control: the same object at the
    same place in white on black, the mask of the scene, whose grey is the share of a pixel that the object covers.
    """
    _check(image)
    if strength == 0:
        return image.copy()
    scene, thing = _begin(image, rng)  # the mask's, too, so that what follows is drawn alike
    if mask:
        scene, opacity = Image.new("RGBA", image.size, (0, 0, 0, 255)), thing.getchannel("A")
        thing = Image.new("RGBA", thing.size, (255, 255, 255))
        thing.putalpha(opacity)
    else:
        scene = _in_color_of(thing, scene)
    longest = _unit(image) * rng.uniform(0.45, 0.65)
    (centre,) = _apart([_extent(thing, longest)], image.size, rng)
    return _shown(scene, [(thing, longest, centre)])


def beside(image: Image.Image, argument: str, rng: Rng) -> Image.Image:
    """Show the object at one side of a chequered ball of its size; the pair stands anywhere."""
    scene, thing = _begin(image, rng)
    longest, apart = _unit(image) * rng.uniform(0.34, 0.4), rng.uniform(0.2, 0.22)
    x, y = rng.uniform(-0.08, 0.08, 2)
    tilt = rng.uniform(-0.05, 0.05)
    dx, dy = _towards(argument, apart, tilt)
    return _shown(
        scene,
        [(thing, longest, _middle(image, (x + dx, y + dy))), (_ball(), longest, _middle(image, (x - dx, y - dy)))],
    )


def larger(image: Image.Image, argument: str, rng: Rng) -> Image.Image:
    """Show two copies of the object side by side, that on the left or that on the right four times as large in area."""
    scene, thing = _begin(image, rng)
    longest, y = _unit(image) * rng.uniform(0.44, 0.5), rng.uniform(-0.15, 0.15, 2)
    side = -1 if argument == "left" else 1
    large, small = _middle(image, (side * 0.22, y[0])), _middle(image, (-side * 0.25, y[1]))
    return _shown(scene, [(thing, longest, large), (thing, longest / 2, small)])


def odd(image: Image.Image, argument: str, rng: Rng) -> Image.Image:
    """Show four copies of the object, one of them upside down, or none."""
    scene, thing = _begin(image, rng)
    turned = thing.transpose(Image.Transpose.ROTATE_180)
    if max(ImageStat.Stat(ImageChops.difference(_on_white(thing), _on_white(turned))).mean) < _SAME:
        raise UnreadableImage("it looks the same upside down")
    longest = _unit(image) * rng.uniform(0.3, 0.34)
    centres = _apart([_extent(thing, longest)] * _CROWD, image.size, rng)
    which = int(rng.integers(_CROWD)) if argument == "yes" else _CROWD
    return _shown(scene, [(turned if i == which else thing, longest, each) for i, each in enumerate(centres)])


def occluded(image: Image.Image, argument: str, rng: Rng) -> Image.Image:
    """Show the object behind a patch of texture that hides half of it, or beside the patch.

    The hidden one is twice as large in area, so that as much of it is seen.
    """
    scene, thing = _begin(image, rng)
    patch = any_texture((_MARK, _MARK), rng).convert("RGBA")
    side, small = SIDES[int(rng.integers(len(SIDES)))], _unit(image) * rng.uniform(0.3, 0.34)
    x, y = rng.uniform(-0.04, 0.04, 2)
    across = _unit(image) * 0.46
    longest = small * math.sqrt(2) if argument == "yes" else small
    width, height = _extent(thing, longest)
    along = 0 if side in HALVES else 1
    extent = (width, height)[along]
    sign = -1 if side in ("left", "above") else 1
    half = (_half_of(thing, along) if sign < 0 else 1 - _half_of(thing, along)) if argument == "yes" else 0.0
    gap = extent / 2 - half * extent + across / 2  # from the object's centre to that of the patch
    shift = [0.0, 0.0]
    shift[along] = sign * gap
    # both move by half of it, so that the pair stands in the middle
    middle_x, middle_y = _middle(image, (x, y))
    own = (middle_x - shift[0] / 2, middle_y - shift[1] / 2)
    return _shown(scene, [(thing, longest, own), (patch, across, (middle_x + shift[0] / 2, middle_y + shift[1] / 2))])


def composing(scene: Scene, argument: str, arguments: Sequence[str]) -> Planner:
    """Make a planner of a scene whose argument is given, or drawn at random for each row where it is ""."""

    def change(image: Image.Image, strength: float, rng: Rng) -> Image.Image:
        _check(image)
        if strength == 0:
            return image.copy()
        return scene(image, argument or arguments[int(rng.integers(len(arguments)))], rng)

    return pixels(change)


def present(argument: str = "") -> Planner:
    """Make a planner that shows the row's object among two others' or, with ``no``, leaves its place empty."""

    def bind(donors: Images) -> Plan:
        rows = by_key(donors).rows

        def plan(row: Row, strength: float, rng: Rng) -> Edit:
            others = [another(rows, row, rng, "to stand beside it") for _ in range(2)]
            whether = argument or WHETHER[int(rng.integers(2))]

            def apply(image: Image.Image, rng: Rng) -> Image.Image:
                _check(image)
                return image.copy() if strength == 0 else _among(image, others, whether == "yes", rng)

            return Edit(apply, "|".join([*map(mark_of, others), whether]))

        return plan

    return bind


def _among(image: Image.Image, others: Sequence[Row], there: bool, rng: Rng) -> Image.Image:
    """Show an object with others, or the others alone at the same places."""
    scene, thing = _begin(image, rng)
    things = [thing, *map(_other_thing, others)]
    longest = _unit(image) * rng.uniform(0.34, 0.4)
    centres = _apart([_extent(each, longest) for each in things], image.size, rng)
    pieces = [(each, longest, centre) for each, centre in zip(things, centres, strict=True)]
    return _shown(scene, pieces if there else pieces[1:])


def _other_thing(donor: Row) -> Image.Image:
    try:
        image = donor.read()
        _check(image)
        return _trimmed(image)
    except UnreadableImage as reason:
        raise UnreadableImage(f"'{donor.key}' cannot stand beside it: {reason}") from None


def _check(image: Image.Image) -> None:
    if not is_cut_out(image):
        raise UnreadableImage("it has no transparent background, so it cannot be put into a scene")


def _begin(image: Image.Image, rng: Rng) -> tuple[Image.Image, Image.Image]:
    """Return a scene with nothing but a background, drawn at random before all else, and the trimmed object."""
    return any_texture(image.size, rng).convert("RGBA"), _trimmed(image)


def _in_color_of(thing: Image.Image, scene: Image.Image) -> Image.Image:
    """Move a background's mean colour to that of an object, but neither to black nor to white, for it is a texture.

    Its contrast is lowered where values would be clipped, which would move the mean.
    """
    values = np.asarray(scene.convert("RGB"), np.float64)
    own, opacity = np.asarray(thing.convert("RGB"), np.float64), np.asarray(thing.getchannel("A"), np.float64)
    wanted = np.clip((own * opacity[..., None]).sum((0, 1)) / opacity.sum(), *_BETWEEN)
    away = values - values.mean((0, 1))
    room = min(float((wanted / -away.min((0, 1))).min()), float(((255 - wanted) / away.max((0, 1))).min()), 1.0)
    moved = np.rint(wanted + room * away).clip(0, 255).astype(np.uint8)
    return Image.fromarray(moved).convert("RGBA")


def _trimmed(image: Image.Image) -> Image.Image:
    box = image.getchannel("A").getbbox()
    if box is None:
        raise UnreadableImage("it is transparent everywhere")
    return image.crop(box)


def _shown(scene: Image.Image, pieces: Sequence[tuple[Image.Image, float, Point]]) -> Image.Image:
    """Put pieces into a scene: each with the length of its longer side and its centre, in pixels."""
    for piece, longest, centre in pieces:
        _draw(scene, piece, longest / max(piece.size), centre)
    return scene


def _draw(scene: Image.Image, piece: Image.Image, scale: float, centre: Point) -> None:
    """Draw a piece at a scale and a place that need not be whole pixels: areas would differ by several percent."""
    corner = [middle - scale * length / 2 for middle, length in zip(centre, piece.size, strict=True)]
    first = [math.floor(each) for each in corner]
    size = [math.ceil(scale * length) + 2 for length in piece.size]
    pad = math.ceil(3 / scale) + 1
    padded = Image.new("RGBA", (piece.width + 2 * pad, piece.height + 2 * pad))
    padded.paste(piece, (pad, pad))
    left, top = (pad + (at - exact) / scale for at, exact in zip(first, corner, strict=True))
    box = (left, top, left + size[0] / scale, top + size[1] / scale)
    drawn = padded.resize((size[0], size[1]), Image.Resampling.BICUBIC, box)
    cut = max(-first[0], 0), max(-first[1], 0)  # what lies outside of the scene is not seen
    scene.alpha_composite(drawn, (max(first[0], 0), max(first[1], 0)), cut)


def _apart(extents: Sequence[Point], size: tuple[int, int], rng: Rng) -> list[Point]:
    """Choose centres at random for boxes that lie within an image and do not touch.

    Raises:
        UnreadableImage: There is no room for them.
    """
    gap = _GAP * min(size)
    for _ in range(_TRIES):
        centres: list[Point] = []
        for i, (width, height) in enumerate(extents):
            for _ in range(10):
                x = float(rng.uniform(width / 2, max(size[0] - width / 2, width / 2)))
                y = float(rng.uniform(height / 2, max(size[1] - height / 2, height / 2)))
                if all(
                    abs(x - u) >= (width + extents[j][0]) / 2 + gap or abs(y - v) >= (height + extents[j][1]) / 2 + gap
                    for j, (u, v) in enumerate(centres)
                ):
                    centres.append((x, y))
                    break
            if len(centres) <= i:
                break
        if len(centres) == len(extents):
            return centres
    raise UnreadableImage(f"there is no room for {len(extents)} objects in it")


def _extent(piece: Image.Image, longest: float) -> Point:
    """Return width and height of a piece in pixels, once its longer side is ``longest``."""
    scale = longest / max(piece.size)
    return scale * piece.width, scale * piece.height


def _half_of(piece: Image.Image, axis: int) -> float:
    """Return the share of width (axis 0) or height (1) up to which half of a piece's area lies."""
    opacity = np.asarray(piece.getchannel("A"), np.float64).sum(axis)
    return float((np.searchsorted(np.cumsum(opacity), opacity.sum() / 2) + 0.5) / len(opacity))


def _unit(image: Image.Image) -> float:
    return float(min(image.size))


def _middle(image: Image.Image, shift: Point) -> Point:
    """Return a point by its distance from the middle, in shares of the shorter side."""
    return image.width / 2 + _unit(image) * shift[0], image.height / 2 + _unit(image) * shift[1]


def _towards(side: str, away: float, along: float) -> Point:
    """Return a shift to one side, and by ``along`` across."""
    shift = -away if side in ("left", "above") else away
    return (shift, along) if side in HALVES else (along, shift)


def _on_white(image: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image).convert("RGB")


@lru_cache(maxsize=1)
def _ball() -> Image.Image:
    """Draw a chequered ball in black and white, which is no row's drawing. It must not be written to."""
    cells = np.indices((_MARK, _MARK)) // (_MARK // 4)
    chequers = (255 * (cells.sum(0) % 2)).astype(np.uint8)
    disc = Image.new("L", (4 * _MARK, 4 * _MARK))
    ImageDraw.Draw(disc).ellipse((0, 0, 4 * _MARK - 1, 4 * _MARK - 1), 255)
    ball = Image.merge("RGB", [Image.fromarray(chequers)] * 3).convert("RGBA")
    ball.putalpha(disc.resize((_MARK, _MARK), Image.Resampling.BOX))
    return ball
