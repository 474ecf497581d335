"""Embedded text: a word drawn into an image."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FONTS = ("DejaVuSans-Bold.ttf", "DejaVuSerif-Bold.ttf", "DejaVuSansMono-Bold.ttf")
"""The freely licensed faces that come with matplotlib."""


def draw_word(
    image: Image.Image, word: str, *, share: float, rng: np.random.Generator, color: tuple[int, int, int] | None = None
) -> Image.Image:
    """The image with ``word`` drawn into it, its width a ``share`` (0 to 1) of the image's.

    Face, place and (unless given) colour are random. A thin outline in black or white, whichever contrasts, keeps it
    legible on any background. The mode of the image is kept.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, not {share}")
    font = _font_of_width(FONTS[int(rng.integers(len(FONTS)))], word, round(share * image.width))
    left, top, right, bottom = font.getbbox(word, stroke_width=1)
    width, height = right - left, bottom - top
    x = int(rng.integers(max(round(image.width - width), 0) + 1)) - left
    y = int(rng.integers(max(round(image.height - height), 0) + 1)) - top
    ink = color or tuple(rng.integers(0, 256, 3).tolist())
    luminance = 0.299 * ink[0] + 0.587 * ink[1] + 0.114 * ink[2]
    outline = (255, 255, 255) if luminance < 128 else (0, 0, 0)
    drawn = image.copy()
    ImageDraw.Draw(drawn).text((x, y), word, font=font, fill=ink, stroke_width=1, stroke_fill=outline)
    return drawn


@lru_cache(maxsize=4096)
def _font_of_width(face: str, word: str, width: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / face
    reference = ImageFont.truetype(path, 100).getlength(word)
    return ImageFont.truetype(path, max(6, round(100 * (width - 2) / reference)))
