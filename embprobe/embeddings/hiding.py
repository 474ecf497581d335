"""Hide one block of an image after another, without painting an edge that was not there."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.preprocessing import Pixels
from embprobe.errors import UsageError

_RAMP = 0.25
"""Share of half a block over which it fades into its surroundings."""
_REACH = 1 / 3
"""Standard deviation of the Gaussian that fills a block from its surroundings, in steps of the grid."""
_Weights = NDArray[np.floating]


def hide_blocks(crop: Pixels, blocks: int) -> Iterator[Pixels]:
    """Yield an image with one block of a grid after another hidden, row by row: ``[s, s, 3] -> [s, s, 3]``, bytes.

    A block is twice as wide as a step of the grid, up to the centres of its neighbours: what lies on a border of the
    grid is hidden whole once. In trials on drawings pasted into photographs, that found the drawing more often than
    blocks of one step.

    It is filled with the average of what surrounds it, weighted by a Gaussian of a third of a step, so that near pixels
    decide, and fades into them over its outer eighth. A plain background stays as it is and the drop is 0, where the
    image's mean colour would paint a square on it; both found about as many of the drawings.

    Raises:
        UsageError: The number of blocks is not between 2 and ``s``.
    """
    side = len(crop)
    if not 2 <= blocks <= side:
        raise UsageError(f"An image of {side} x {side} pixels is hidden in 2 to {side} blocks a row, not {blocks}.")
    step, centres = side / blocks, np.arange(side, dtype=np.float64) + 0.5
    gaussian = np.exp(-0.5 * ((centres[:, None] - centres) / (_REACH * step)) ** 2)
    gaussian /= gaussian.sum(axis=1, keepdims=True)
    pixels = crop.astype(np.float64).transpose(2, 0, 1)
    blurred = gaussian @ pixels @ gaussian.T
    places = [_span(centres, (i + 0.5) * step, step) for i in range(blocks)]
    for (rows, down), (columns, across) in itertools.product(places, places):
        of_rows, of_columns = gaussian[rows, rows] * down, gaussian[columns, columns] * across
        hidden = np.outer(down, across)
        inside = pixels[:, rows, columns]
        # the blur of all but the block: that of the whole image less that of the block, over the weights that are left
        left = 1 - np.outer(of_rows.sum(axis=1), of_columns.sum(axis=1))
        around = (blurred[:, rows, columns] - of_rows @ inside @ of_columns.T) / left
        filled = inside + hidden * (around - inside)
        changed = crop.copy()
        changed[rows, columns] = np.rint(filled).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
        yield changed


def _span(centres: _Weights, middle: float, half: float) -> tuple[slice, _Weights]:
    """Return the pixels of a block along one side, and how far each is hidden, from 0 at its edge to 1."""
    weights = np.clip((half - np.abs(centres - middle)) / (half * _RAMP), 0, 1)
    inside = np.flatnonzero(weights)
    span = slice(int(inside[0]), int(inside[-1]) + 1)
    return span, weights[span]
