"""From the bytes of a file somebody else made to pixels, or to a sentence that says why not."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


class UnreadableImage(Exception):
    """This image cannot be decoded; the message is the reason, in a few words."""


def decode(source: bytes | Path) -> Image.Image:
    """Decode an image exactly: first frame, EXIF orientation applied, as RGB, or RGBA where it has transparency.

    Only the formats in ``FORMATS`` are tried, and an image so large that Pillow suspects a decompression bomb is
    refused. Raises :class:`UnreadableImage` for anything that is not a whole, readable image.
    """
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS) as opened:
            if opened.width * opened.height > (Image.MAX_IMAGE_PIXELS or math.inf):
                raise Image.DecompressionBombError
            upright = ImageOps.exif_transpose(opened)
            if upright.mode.startswith("I"):  # 16 bits; Pillow would clip them to 8 instead of scaling
                return Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except UnidentifiedImageError:
        raise UnreadableImage("not an image in a known format") from None
    except Image.DecompressionBombError:
        raise UnreadableImage("too many pixels to be a photograph") from None
    except Exception as error:  # Pillow's plugins raise many kinds on damaged files
        raise UnreadableImage(f"damaged or unreadable ({type(error).__name__}: {error})") from None


def flatten(image: Image.Image, background: tuple[int, int, int]) -> Image.Image:
    """RGB from RGB or RGBA, transparent parts composited onto ``background``."""
    if image.mode != "RGBA":
        return image.convert("RGB")
    canvas = Image.new("RGBA", image.size, (*background, 255))
    return Image.alpha_composite(canvas, image).convert("RGB")
