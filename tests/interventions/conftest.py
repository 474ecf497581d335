"""A photograph and a drawing that the tests of several interventions change."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from embprobe.images import Images


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    from skimage import data

    load: Callable[[], NDArray[np.uint8]] = data.astronaut  # published without types
    return Image.fromarray(load()).resize((160, 160), Image.Resampling.BOX)


@pytest.fixture(scope="module")
def car(emoji: Images) -> Image.Image:
    return next(row for row in emoji.rows if row.key == "1f697/fluent-3d").read()
