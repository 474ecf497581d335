"""Official splits: the images of a data set that its numbers are fitted on, and those that they are tested on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.images.paths import split_named
from embprobe.images.rows import Images

SPLIT = "split"
"""The label whose values are the parts of a data set."""
TRAIN = "train"
HELD_OUT = ("test", "validation", "valid", "val")
"""The names that data sets give the images to test on; the first that is there is taken."""


def official_split(images: Images) -> tuple[str, str] | None:
    """Return the values of the label ``split`` for images to fit on and to test on, if a data set has such a split.

    Example:
        >>> from embprobe.images import Images
        >>> official_split(Images.without_pictures("three", ["a", "b", "c"], {"split": ["train", "val", "test"]}))
        ('train', 'test')
    """
    values = set(images.values(SPLIT))
    test = next((value for value in HELD_OUT if value in values), None)
    return (TRAIN, test) if TRAIN in values and test else None


def rows_in(images: Images, split: str) -> NDArray[np.int64]:
    """Return the positions of the images of a split, however it is spelled.

    Example:
        >>> three = Images.without_pictures("three", ["a", "b", "c"], {"split": ["train", "val", "train"]})
        >>> rows_in(three, "validation")
        array([1])
    """
    wanted = split_named(split) or split
    return np.flatnonzero(
        [value is not None and (split_named(value) or value) == wanted for value in images.values(SPLIT)]
    )
