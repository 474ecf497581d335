"""A photograph and a drawing that the tests of several interventions change, and how a drawn word is looked at."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embprobe.images import Images
from embprobe.interventions.text import FONTS, _layer


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from skimage import data

    load: Callable[[], NDArray[np.uint8]] = data.astronaut  # published without types
    return Image.fromarray(load()).resize((160, 160), Image.Resampling.BOX)


@pytest.fixture(scope="module")
def car(emoji: Images) -> Image.Image:
    return next(row for row in emoji.rows if row.key == "1f697/fluent-3d").read()


def box_of(drawn: Image.Image) -> tuple[int, int, int, int]:
    """Where something stands on nothing: left, top, width and height."""
    left, top, right, bottom = drawn.getchannel("A").getbbox() or (0, 0, 0, 0)
    return left, top, right - left, bottom - top


def face_of(word: str, drawn: Image.Image) -> str:
    """The face of a word on nothing: the one whose letters, made as large, cover the most alike."""
    alpha = drawn.getchannel("A").crop(drawn.getbbox())

    def off(face: str) -> float:
        large = _layer(word, face, 128.0, (0, 0, 0), 8).getchannel("A").resize(alpha.size, Image.Resampling.BOX)
        return float(np.abs(np.asarray(large, float) - np.asarray(alpha, float)).mean())

    return min(FONTS, key=off)
