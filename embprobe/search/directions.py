"""Directions: vectors divided by their length, so that their products are cosines."""

from __future__ import annotations

import numpy as np

from embprobe.encoders.spec import Floats

_SHORT, _LONG = 1e-15, 1e15
"""Between these lengths no square of a float32 that matters is too small or too large for a float32."""


def l2_normalize(vectors: Floats) -> Floats:
    """Divide each row by its length; a row of zeros stays zero. ``[n, d] -> [n, d]``, float32, contiguous."""
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    odd = np.flatnonzero(~((lengths[:, 0] > _SHORT) & (lengths[:, 0] < _LONG)))
    with np.errstate(invalid="ignore", over="ignore"):
        directions = np.ascontiguousarray(vectors / np.where(lengths == 0, 1, lengths), dtype=np.float32)
    if len(odd):
        wide = np.asarray(vectors[odd], np.float64)
        exact = np.linalg.norm(wide, axis=1, keepdims=True)
        directions[odd] = wide / np.where(exact == 0, 1, exact)
    return directions
