"""Compute the share of each patch that an object covers, from a mask that is resized and cropped as pictures are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from embprobe.encoders.preprocessing import cropped
from embprobe.encoders.spec import ImageInput, TokenGrid
from embprobe.errors import UsageError

Shares = NDArray[np.float64]


def visible_mask(mask: Image.Image, image_input: ImageInput) -> Shares:
    """Return the part of a picture's mask that an encoder sees, as it sees the picture.

    Args:
        mask: The mask, of the picture's size; its first channel is 255 where the object is opaque.
        image_input: How the encoder is fed. What a crop adds around a small picture is not covered.

    Returns:
        The share of each pixel that the object covers, 0 to 1, ``[input_size, input_size]``.
    """
    grey = mask if mask.mode == "L" else mask.getchannel(0)
    return np.asarray(cropped(grey, image_input), np.float64) / 255


def patch_cover(seen: Shares, grid: TokenGrid) -> Shares:
    """Return the share of each patch that an object covers.

    Args:
        seen: What :func:`visible_mask` returns, ``[s, s]``.
        grid: How the encoder's patches stand. A patch may end within a pixel, which then counts for both by its parts.

    Returns:
        Shares ``[rows, columns]``, 0 to 1; the mean over patches is the mean over pixels.

    Raises:
        UsageError: There are no patches.

    Example:
        >>> seen = np.zeros((4, 4))
        >>> seen[:2, :3] = 1  # the upper left patch is covered, the upper right one by half
        >>> patch_cover(seen, TokenGrid(prefix=1, rows=2, columns=2)).tolist()
        [[1.0, 0.5], [0.0, 0.0]]
    """
    if not grid.rows * grid.columns:
        raise UsageError("An encoder without patches has no patch that an object could cover.")
    return np.asarray(_parts(grid.rows, seen.shape[0]) @ seen @ _parts(grid.columns, seen.shape[1]).T)


def _parts(patches: int, pixels: int) -> Shares:
    """Return the share of each patch's side that each pixel is, ``[patches, pixels]``."""
    start = np.arange(patches)[:, None] * pixels / patches
    pixel = np.arange(pixels)[None]
    overlap = np.minimum(start + pixels / patches, pixel + 1) - np.maximum(start, pixel)
    return np.asarray(np.clip(overlap, 0, None) * patches / pixels)
