"""Draw a word into an image, or, as controls, the same amount of ink that is no word."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from embprobe.images.decoding import flatten
from embprobe.images.rows import WHITE
from embprobe.interventions.sharing import once

FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono-Bold.ttf")
"""The freely licensed faces that come with matplotlib."""
Ink = Literal["word", "shuffled", "glyphs", "box"]
Place = Literal["clear", "random"]
Fill = int | tuple[int, int, int, int]

_GLYPHS = "◆●▲■◇○△□▼◉▽◈"
_BLOCKS = 4
"""Shuffled blocks along the height of a word: no letter survives, strokes do."""
_TALLEST = 0.5
"""No word is taller than this share of the image, however short it is."""
_NEARLY = 1.05
"""Places that hide hardly more than the best one are as good."""
_MIDDLE, _WEIGHT = 0.3, 4.0
"""The spread of the middle of a photograph, as a share of its sides, and its weight against the mean edge."""
_SMALL = 2**20
"""Pixels of an image for whose size the weights of the middle are remembered: 8 MiB."""
_SURELY, _GUESSES = 1.4, 3
"""How much larger geometric signs must be to have more ink for certain, and sizes that are tried before the search."""
_TRIED, _SMALLEST = 128.0, 4.0
"""Sizes of a face in pixels: the one it is measured at, and the smallest there is."""
_FAINT = 32
"""Opacity, of 255, of a pixel into which a letter reaches by less than an eighth."""


def draw_word(
    image: Image.Image,
    word: str,
    *,
    share: float,
    rng: np.random.Generator,
    color: tuple[int, int, int] | None = None,
    ink: Ink = "word",
    place: Place = "clear",
) -> Image.Image:
    """Draw a word into an image, in a random face, colour and place.

    A thin outline in black or white, whichever contrasts, keeps the word legible on any background. The mode of the
    image is kept.

    Args:
        image: RGB or RGBA.
        word: The word.
        share: The width of the word's ink as a share of the image's width, above 0 and at most 1.
        rng: Decides face, colour and place.
        color: The colour of the ink; by default a random one.
        ink: ``word``, or one of its controls, with the same face, colour, place and amount of ink: ``shuffled`` is the
            same pixels, cut into blocks that change places; ``glyphs`` a row of as many geometric signs; ``box`` a bar.
        place: ``clear`` chooses among the places where the word hides the least of a drawing, or of the detail in a
            photograph; ``random`` among all.

    Raises:
        ValueError: The word is empty, or the share is out of range.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    if not word.strip():
        raise ValueError("the word is empty")
    face = FONTS[int(rng.integers(len(FONTS)))]
    paint = color or _color(rng)
    size = _size(face, word, max(4, round(share * image.width)), max(4, round(_TALLEST * image.height)))
    # the same for the word and for the controls that are made of it
    written = once(image, ("written", word, face, size, paint), lambda: _layer(word, face, size, paint, _stroke(size)))
    x, y = _place(image, written.width, written.height, rng, place)
    drawn = _in_ink(ink, written, word, paint, _stroke(size), image.width, rng)
    x += (written.width - drawn.width) // 2
    y += (written.height - drawn.height) // 2
    x = min(max(x, 0), max(image.width - drawn.width, 0))
    y = min(max(y, 0), max(image.height - drawn.height, 0))
    drawn = drawn.crop((0, 0, min(drawn.width, image.width - x), min(drawn.height, image.height - y)))
    changed, box = image.copy(), (x, y, x + drawn.width, y + drawn.height)
    changed.paste(Image.alpha_composite(image.crop(box).convert("RGBA"), drawn).convert(image.mode), box)
    return changed


def is_drawable(text: str) -> bool:
    """Return whether every face has a letter for each character of the text."""
    return _characters().issuperset(text)


@lru_cache(maxsize=1)
def _characters() -> frozenset[str]:
    """Collect the characters for which every face has a letter."""
    from matplotlib.ft2font import FT2Font

    return frozenset(map(chr, set.intersection(*(set(FT2Font(str(_path(face))).get_charmap()) for face in FONTS))))


def _color(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(0, 256, 3).tolist()
    return red, green, blue


def _outline(paint: tuple[int, int, int]) -> tuple[int, int, int]:
    luminance = 0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2]
    return (255, 255, 255) if luminance < 128 else (0, 0, 0)


def _layer(text: str, face: str, size: float, paint: tuple[int, int, int], stroke: int) -> Image.Image:
    """Draw the text on a transparent layer, cut to its ink and outline."""
    layer = _drawn(text, face, size, "RGBA", (*paint, 255), (*_outline(paint), 255), stroke)
    return layer.crop(layer.getchannel("A").getbbox() or (0, 0, 1, 1))


def _drawn(text: str, face: str, size: float, mode: str, fill: Fill, edge: Fill, stroke: int) -> Image.Image:
    """Draw the text on a layer of this mode, with some room around it."""
    font = _font(face, size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    layer = Image.new(mode, (int(right - left) + 4, int(bottom - top) + 4))
    ImageDraw.Draw(layer).text((2 - left, 2 - top), text, font=font, fill=fill, stroke_width=stroke, stroke_fill=edge)
    return layer


def _in_ink(
    ink: Ink,
    written: Image.Image,
    word: str,
    paint: tuple[int, int, int],
    stroke: int,
    widest: int,
    rng: np.random.Generator,
) -> Image.Image:
    """Turn the layer of a written word into that of a control; ``ink`` says which."""
    if ink == "shuffled":
        return _shuffled(written, rng)
    if ink == "glyphs":
        return _glyphs(written, len(word.replace(" ", "")), paint, stroke, widest, rng)
    if ink == "box":
        return _box(written, paint)
    return written


def _shuffled(written: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Shuffle a word's pixels: blocks change places with others of exactly their size."""
    side = max(2, math.ceil(written.height / _BLOCKS))
    rows = -(-written.height // side)
    values = np.pad(np.asarray(written), ((0, rows * side - written.height), (0, 0), (0, 0)))
    columns = np.array_split(np.arange(written.width), max(1, round(written.width / side)))
    mixed = values.copy()
    for width in sorted({len(column) for column in columns}):  # one, or two that differ by a pixel
        alike = [np.ix_(np.arange(side) + y * side, x) for x in columns if len(x) == width for y in range(rows)]
        for target, source in enumerate(rng.permutation(len(alike))):
            mixed[alike[target]] = values[alike[source]]
    return Image.fromarray(mixed)


def _glyphs(
    written: Image.Image, count: int, paint: tuple[int, int, int], stroke: int, widest: int, rng: np.random.Generator
) -> Image.Image:
    """Draw a geometric sign for each letter (fewer if they would not fit), with the word's amount of ink in all."""
    signs = "".join(rng.choice(list(_GLYPHS), count))
    target = sum(_amounts(written, paint))
    while True:
        fits = _fitting(signs, paint, stroke, target)
        low, high = _SMALLEST, 4.0 * max(written.size)
        while high - low > 0.05:
            middle = (low + high) / 2
            low, high = (middle, high) if fits(middle) else (low, middle)
        glyphs = _layer(signs, FONTS[0], low, paint, stroke)  # a thicker outline would be a jump in the amount
        if glyphs.width <= widest or len(signs) == 1:
            return glyphs
        signs = signs[1:]


def _fitting(signs: str, paint: tuple[int, int, int], stroke: int, target: float) -> Callable[[float], bool]:
    """Return a function of a size: whether signs of this size have no more ink than ``target``.

    To draw signs of hundreds of pixels takes long, and far from sizes that are known they need not be drawn: signs that
    are ``_SURELY`` times larger have more ink.
    """
    most_fitting, least_excess = 0.0, math.inf

    def ink(size: float) -> float:
        """Return the amount of ink of signs of this size, and remember on which side of the target it is."""
        nonlocal most_fitting, least_excess
        amount = _opacity(signs, FONTS[0], size, stroke)
        if abs(amount - target) < 1e-6:  # sums of fractions: another order may round to the other side
            amount = sum(_amounts(_layer(signs, FONTS[0], size, paint, stroke), paint))
        if amount <= target:
            most_fitting = max(most_fitting, size)
        else:
            least_excess = min(least_excess, size)
        return amount

    def fits(size: float) -> bool:
        if size * _SURELY <= most_fitting:
            return True
        return size < least_excess * _SURELY and ink(size) <= target

    size = math.sqrt(target / len(signs))
    for _ in range(_GUESSES):
        size = max(size * math.sqrt(target / max(ink(max(size, _SMALLEST)), 1.0)), _SMALLEST)
    return fits


def _opacity(text: str, face: str, size: float, stroke: int) -> float:
    """Return the opacity of all pixels of a layer, summed."""
    levels = _drawn(text, face, size, "L", 255, 255, stroke).histogram()
    return sum(level * count for level, count in enumerate(levels)) / 255


def _box(written: Image.Image, paint: tuple[int, int, int]) -> Image.Image:
    """Draw a bar no wider than the word, with as much ink, and edges above and below with as much outline."""
    inner, outer = _amounts(written, paint)
    height = max(1, math.ceil(inner / written.width))
    width = max(1, round(inner / height))
    edge = round(outer / width / 2)
    bar = Image.new("RGBA", (width, height + 2 * edge), (*_outline(paint), 255))
    bar.paste((*paint, 255), (0, edge, width, edge + height))
    return bar


def _amounts(layer: Image.Image, paint: tuple[int, int, int]) -> tuple[float, float]:
    """Count the pixels under the ink, and those under its outline; a half-transparent pixel counts half."""
    values = np.asarray(layer, np.float64)
    inked, edged = (np.abs(values[..., :3] - color).sum(axis=-1) for color in (paint, _outline(paint)))
    opacity = values[..., 3] / 255
    return float(opacity[inked <= edged].sum()), float(opacity[inked > edged].sum())


def _place(image: Image.Image, width: int, height: int, rng: np.random.Generator, place: Place) -> tuple[int, int]:
    """Choose the upper left corner of a box of this size."""
    across, down = max(image.width - width, 0) + 1, max(image.height - height, 0) + 1
    if place == "random":
        return int(rng.integers(across)), int(rng.integers(down))
    sums = once(image, "detail", lambda: _detail_sums(image))
    wide, high = min(width, image.width), min(height, image.height)
    hidden = sums[high:, wide:] - sums[:-high, wide:]
    hidden -= sums[high:, :-wide]
    hidden += sums[:-high, :-wide]
    good = np.flatnonzero(hidden.ravel() <= hidden.min() * _NEARLY + 1e-6)
    y, x = divmod(int(rng.choice(good)), hidden.shape[1])
    return x, y


def _detail_sums(image: Image.Image) -> NDArray[np.float64]:
    """Sum the weights of all pixels above and to the left of each corner of a pixel, ``[h + 1, w + 1]``."""
    sums = np.zeros((image.height + 1, image.width + 1))
    inner = sums[1:, 1:]
    np.cumsum(np.cumsum(_detail(image), axis=0, out=inner), axis=1, out=inner)
    return sums


def _detail(image: Image.Image) -> NDArray[np.float64]:
    """Weigh each pixel, ``[h, w]``: a word must not hide what is heavy.

    The weight is the opacity or, where nothing is transparent, edges and nearness to the middle. Photographs have their
    subject in the middle: the centre bias of Judd et al., "Learning to predict where humans look", 2009. By edges
    alone, a word could cover a smooth face.
    """
    if image.mode == "RGBA":
        opacity = np.asarray(image.getchannel("A"), np.float64) / 255
        if (opacity == 0).any():
            return opacity
    grey: NDArray[np.float64] = np.asarray(flatten(image, WHITE).convert("L")) / 255
    across, down = _slopes(grey), _slopes(grey.T).T
    edges: NDArray[np.float64] = np.hypot(across, down, out=across)
    edges /= max(float(edges.mean()), 1e-9)
    edges += _middle(*image.size) if image.width * image.height <= _SMALL else _middle.__wrapped__(*image.size)
    return edges


def _slopes(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Subtract each pixel's left neighbour from its right one, ``[h, w]``; the border continues what it borders."""
    slopes = np.empty_like(grey)
    slopes[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    slopes[:, 0] = grey[:, min(1, grey.shape[1] - 1)] - grey[:, 0]
    slopes[:, -1] = grey[:, -1] - grey[:, max(-2, -grey.shape[1])]
    return slopes


@lru_cache(maxsize=4)
def _middle(width: int, height: int) -> NDArray[np.float64]:
    """Weigh each pixel by its nearness to the middle, ``[h, w]``."""
    y, x = np.ogrid[:height, :width]
    away = ((x + 0.5) / width - 0.5) ** 2 + ((y + 0.5) / height - 0.5) ** 2
    return np.asarray(_WEIGHT * np.exp(-away / (2 * _MIDDLE**2)))


@lru_cache(maxsize=2**16)
def _size(face: str, text: str, width: int, tallest: int) -> float:
    """Find the largest size of a face, in steps of a tenth of a pixel, at which the ink of the text fits."""
    across, down = _tried(face, text)
    size = first = math.ceil(10.5 * _TRIED * min(width / across, tallest / down)) / 10
    wide, high, *_ = _letters(face, text, float(np.float32(size)))
    jitter = 2 * len(text) + 4  # pixels: each letter's place and the ink's edges are rounded at each size
    while size > _SMALLEST:
        share, outline = size / first, 2 * _stroke(size)
        over = max(share * wide + outline - width, share * high + outline - tallest)
        if over <= jitter and _may_fit(face, text, size, width, tallest):
            across, down = _extent(face, text, size)
            if across <= width and down <= tallest:
                break
        size -= 0.1
    return max(size, _SMALLEST)


@lru_cache(maxsize=2**16)
def _tried(face: str, text: str) -> tuple[int, int]:
    return _extent(face, text, _TRIED)


def _extent(face: str, text: str, size: float) -> tuple[int, int]:
    """Measure width and height of the ink in pixels; a font's own box has room for side bearings, too."""
    return _outlined(face, text, float(np.float32(size)), _stroke(size))


@lru_cache(maxsize=2**14)
def _outlined(face: str, text: str, size: float, stroke: int) -> tuple[int, int]:
    left, top, right, bottom = _font(face, size).getmask(text, stroke_width=stroke).getbbox() or (0, 0, 1, 1)
    return right - left, bottom - top


def _may_fit(face: str, text: str, size: float, width: int, tallest: int) -> bool:
    """Return whether the ink may fit, judged by the letters without their outline.

    To draw the outline takes four fifths of the time. It widens the letters on each side by its width, rounded to a
    64th of a pixel: by a pixel less only where the letters reach by hardly more than that into the last one.
    """
    across, down, faint_across, faint_down = _letters(face, text, float(np.float32(size)))
    across, down = across + 2 * _stroke(size) - width, down + 2 * _stroke(size) - tallest
    if max(across, down) > 2:
        return False
    return max(across - faint_across if across > 0 else across, down - faint_down if down > 0 else down) <= 0


@lru_cache(maxsize=2**14)
def _letters(face: str, text: str, size: float) -> tuple[int, int, int, int]:
    """Measure the letters without an outline: width, height, and how many of the outer columns and rows are faint.

    FreeType takes sizes of single precision, so that those which many widths try are the same few.
    """
    mask = _font(face, size).getmask(text)
    left, top, right, bottom = mask.getbbox() or (0, 0, 1, 1)
    columns = (mask.crop((x, top, x + 1, bottom)) for x in (left, right - 1))
    rows = (mask.crop((left, y, right, y + 1)) for y in (top, bottom - 1))
    faint_across, faint_down = (sum(line.getextrema()[1] < _FAINT for line in lines) for lines in (columns, rows))
    return right - left, bottom - top, faint_across, faint_down


def _stroke(size: float) -> int:
    return max(1, round(size / 16))


@lru_cache(maxsize=64)
def _font(face: str, size: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_path(face), size)


@cache
def _path(face: str) -> Path:
    import matplotlib

    return Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face
