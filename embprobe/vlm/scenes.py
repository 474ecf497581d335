"""Compose scenes of cut-outs, plain colours and words: the pictures that generated questions are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from PIL import Image

from embprobe.images.decoding import UnreadableImage, flatten
from embprobe.images.row import WHITE, Change
from embprobe.images.rows import Images, Row
from embprobe.interventions.swaps import any_texture, is_cut_out
from embprobe.interventions.text import draw_word

Color = tuple[int, int, int]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom, as shares of the side of the scene."""

COLORS: Mapping[str, Color] = {
    "red": (222, 50, 48),
    "orange": (250, 145, 35),
    "yellow": (252, 232, 84),
    "green": (70, 165, 80),
    "blue": (62, 110, 225),
    "purple": (150, 82, 195),
    "pink": (250, 170, 205),
    "brown": (150, 100, 58),
    "grey": (150, 150, 150),
    "black": (12, 12, 12),
    "white": (252, 252, 252),
}
"""Well apart, for people and for encoders."""
BACKGROUNDS = tuple(name for name in COLORS if name not in ("black", "white"))
"""Neither black nor white: drawings in black or white lines would vanish."""
_QUARTERS = (None, Image.Transpose.ROTATE_270, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_90)
_SMALL, _OTHER = 24, 20.0
"""Side in pixels at which a drawing is compared with itself turned, and the mean difference, of 255, that is seen."""
_WORD_SHARES = (0.8, 0.9)
"""Widths of a word as shares of its strip: few values, because fitting a size of letters takes longest."""


@dataclass(frozen=True)
class Area:
    """A rectangle in a plain colour."""

    box: Box
    color: Color


@dataclass(frozen=True)
class Thing:
    """A row's cut-out at a place of the scene."""

    row: int
    """Its position among the images."""
    x: float
    """Its centre, as a share of the scene's side."""
    y: float
    size: float
    """Its longer side, as a share of the scene's side."""
    quarters: int = 0
    """Quarter turns to the right, 0 to 3."""


@dataclass(frozen=True)
class Word:
    """A word in a strip of the scene."""

    text: str
    box: Box
    ink: Color
    seed: int
    """Decides face, width and place within the strip."""


@dataclass(frozen=True)
class Scene:
    """The parts of a picture, drawn in this order: areas, or a texture, then things, then words."""

    areas: tuple[Area, ...] = ()
    things: tuple[Thing, ...] = ()
    words: tuple[Word, ...] = ()
    texture: int | None = None
    """The seed of a photographed texture, in the place of areas."""


def compose(scene: Scene, cut_out: Callable[[int], Image.Image], side: int) -> Image.Image:
    """Draw a scene, RGB, ``side`` x ``side`` pixels.

    Args:
        scene: Its parts.
        cut_out: Returns the image of a row, by its position.
        side: Of the picture, in pixels.

    Raises:
        UnreadableImage: The image of a row cannot be read, or has no transparent background.
    """
    if scene.texture is not None:
        canvas = any_texture((side, side), np.random.default_rng(scene.texture)).convert("RGB")
    else:
        canvas = Image.new("RGB", (side, side))
        for area in scene.areas:
            canvas.paste(area.color, _pixels(area.box, side))
    for thing in scene.things:
        _put(canvas, trimmed(cut_out(thing.row)), thing, side)
    for word in scene.words:
        _write(canvas, word, side)
    return canvas


def trimmed(image: Image.Image) -> Image.Image:
    """Cut an image to what is opaque.

    Raises:
        UnreadableImage: Nothing is transparent, or everything.
    """
    if not is_cut_out(image):
        raise UnreadableImage("it has no transparent background, so it cannot be put into a scene")
    box = image.getchannel("A").getbbox()
    if box is None:
        raise UnreadableImage("it is transparent everywhere")
    return image.crop(box)


def looks_turned(piece: Image.Image) -> bool:
    """Return whether a cut-out looks another by every quarter turn."""
    small = flatten(_square(piece).resize((_SMALL, _SMALL), Image.Resampling.BOX), WHITE)
    own = np.asarray(small, np.float64)
    turned = [np.asarray(small.transpose(turn), np.float64) for turn in _QUARTERS if turn is not None]
    return all(float(np.abs(each - own).mean()) >= _OTHER for each in turned)


@dataclass(frozen=True, eq=False)
class Composing:
    """Returns, for a row whose key is that of a scene, the change of its image into the scene."""

    images: Images
    """The rows that the scenes take cut-outs from."""
    scenes: Mapping[str, tuple[int, Scene]]
    """By key: the position of the row whose image is changed, and the scene."""
    side: int

    def __call__(self, row: Row) -> Change:
        """Return the change."""
        own, scene = self.scenes[row.key]

        def change(image: Image.Image) -> Image.Image:
            return compose(scene, lambda i: image if i == own else self._read(i), self.side)

        return change

    def _read(self, position: int) -> Image.Image:
        row = self.images.rows[position]
        try:
            return row.read()
        except UnreadableImage as reason:
            raise UnreadableImage(f"'{row.key}' cannot be put into it: {reason}") from None


def _pixels(box: Box, side: int) -> tuple[int, int, int, int]:
    left, top, right, bottom = (round(each * side) for each in box)
    return left, top, right, bottom


def _put(canvas: Image.Image, piece: Image.Image, thing: Thing, side: int) -> None:
    scale = thing.size * side / max(piece.size)
    width, height = (max(1, round(scale * length)) for length in piece.size)
    drawn = piece.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=2.0)
    turn = _QUARTERS[thing.quarters]
    if turn is not None:
        drawn = drawn.transpose(turn)
    canvas.paste(drawn, (round(thing.x * side - drawn.width / 2), round(thing.y * side - drawn.height / 2)), drawn)


def _write(canvas: Image.Image, word: Word, side: int) -> None:
    box, rng = _pixels(word.box, side), np.random.default_rng(word.seed)
    share = _WORD_SHARES[int(rng.integers(len(_WORD_SHARES)))]
    strip = draw_word(canvas.crop(box), word.text, share=share, rng=rng, color=word.ink, place="random")
    canvas.paste(strip, box[:2])


def _square(piece: Image.Image) -> Image.Image:
    side = max(piece.size)
    square = Image.new("RGBA", (side, side))
    square.paste(piece, ((side - piece.width) // 2, (side - piece.height) // 2))
    return square
