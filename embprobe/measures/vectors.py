"""What every measure takes and gives, and the checks on it: vectors ``[n, d]``, labels ``[n]``, scores ``[n]``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError

Vectors = NDArray[np.floating]
LabelArray = NDArray[np.str_]
ScoreArray = NDArray[np.float64]


def unit(vectors: Vectors, *, least: int = 2) -> ScoreArray:
    """Each row divided by its length, in float64. ``[n, d] -> [n, d]``.

    Raises :class:`EmbprobeError` for fewer than ``least`` rows, and if any is zero or not finite: it has no direction.
    """
    if len(vectors) < least:
        raise EmbprobeError(f"This measure needs at least {least} images; there are {len(vectors)}.")
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / lengths(wide)[:, None])


def lengths(vectors: Vectors) -> ScoreArray:
    """Of each row, in float64. ``[n, d] -> [n]``. Raises :class:`EmbprobeError` if one is zero or not finite."""
    found = np.linalg.norm(np.asarray(vectors, np.float64), axis=1)
    bad = int((~np.isfinite(found) | (found == 0)).sum())
    if bad:
        raise EmbprobeError(f"{bad:,} of {len(found):,} embeddings are zero or not finite, so they have no direction.")
    return np.asarray(found)


def check_finite(*vectors: Vectors) -> None:
    """Raise :class:`EmbprobeError` if a number is not finite."""
    bad = sum(int((~np.isfinite(each)).any(axis=1).sum()) for each in vectors)
    if bad:
        raise EmbprobeError(f"{bad:,} embeddings hold numbers that are not finite, so nothing can be measured on them.")


def check_labels(labels: LabelArray, what: str = "label") -> None:
    """Raise :class:`EmbprobeError` unless there are at least two different labels."""
    found = np.unique(labels)
    if len(found) < 2:
        only = f": all are '{found[0]}'" if len(found) else ""
        raise EmbprobeError(f"This measure needs at least two different values of the {what}{only}.")
