"""The arrays that measures take and return, vectors ``[n, d]``, labels ``[n]``, scores ``[n]``, and checks on them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.blocks import Blocks, blocks_of

Vectors = NDArray[np.floating] | Blocks
"""An array, or the blocks of a store, which measures that take many rows read one by one."""
LabelArray = NDArray[np.str_]
ScoreArray = NDArray[np.float64]


def l2_normalize(vectors: Vectors, *, min_rows: int = 2) -> ScoreArray:
    """Divide each row by its Euclidean length, in float64.

    Args:
        vectors: ``[n, d]``, of any floating type.
        min_rows: The smallest number of rows that the measure can work with.

    Returns:
        Rows of length 1, ``[n, d]``; the argument stays as it is.

    Raises:
        EmbprobeError: For fewer than ``min_rows`` rows, and if one is zero or not finite: it has no direction.

    Example:
        >>> l2_normalize(np.array([[3.0, 4.0], [0.0, 2.0]]))
        array([[0.6, 0.8],
               [0. , 1. ]])
    """
    _check_number(vectors, min_rows)
    wide = np.asarray(vectors, np.float64)
    return np.asarray(wide / lengths(wide)[:, None])


def unit_blocks(
    vectors: Vectors, *, min_rows: int = 2, rows: int | None = None, dtype: type[np.floating] = np.float64
) -> Iterator[tuple[slice, NDArray[np.floating]]]:
    """Yield what :func:`l2_normalize` returns block by block: the place of the rows, and the rows ``[m, d]``.

    Rows are divided by their length in float64, and rounded to ``dtype`` at the end. Raises as it does.

    Example:
        >>> [(place.start, block.tolist()) for place, block in unit_blocks(np.array([[3.0, 4.0], [0.0, 2.0]]), rows=1)]
        [(0, [[0.6, 0.8]]), (1, [[0.0, 1.0]])]
    """
    _check_number(vectors, min_rows)
    for start, block in blocks_of(vectors, rows):
        try:
            unit = l2_normalize(block, min_rows=1)
        except EmbprobeError:
            check_directions(vectors)  # counts all of them
            raise
        yield slice(start, start + len(block)), unit.astype(dtype, copy=False)


def add_by_label(sums: ScoreArray, labels: NDArray[np.int64], rows: NDArray[np.floating]) -> None:
    """Add rows ``[m, d]`` to the sums ``[c, d]`` of their labels, numbers from 0 to c − 1, ``[m]``."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    sums[present] += np.add.reduceat(rows[order], starts, axis=0, dtype=sums.dtype)


def lengths(vectors: Vectors) -> ScoreArray:
    """Return the Euclidean length of each row, in float64. ``[n, d] -> [n]``.

    Raises :class:`EmbprobeError` if a row is zero or not finite.
    """
    norms = np.linalg.norm(np.asarray(vectors, np.float64), axis=1)
    bad = int(_directionless(norms).sum())
    if bad:
        raise _no_direction(bad, len(norms))
    return np.asarray(norms)


def lack_direction(vectors: Vectors) -> NDArray[np.bool_]:
    """Return which rows are zero or not finite, so that no cosine with them is defined. ``[n, d] -> [n]``.

    Example:
        >>> lack_direction(np.array([[0, 0], [1e-30, 0], [1e30, 1e30], [1, np.nan]], np.float32)).tolist()
        [True, False, False, True]
    """
    return vectors.each(_lacking) if isinstance(vectors, Blocks) else _lacking(vectors)


def _lacking(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    # Summed in float64, in which no square of a float32 is too large or too small; nothing as large as the vectors.
    return _directionless(np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)))


def _check_number(vectors: Vectors, min_rows: int) -> None:
    if len(vectors) < min_rows:
        raise EmbprobeError(f"This measure needs at least {min_rows} images; there are {len(vectors)}.")


def _no_direction(bad: int, count: int) -> EmbprobeError:
    return EmbprobeError(f"{bad:,} of {count:,} embeddings are zero or not finite, so they have no direction.")


def _directionless(norms: ScoreArray) -> NDArray[np.bool_]:
    return np.asarray(~np.isfinite(norms) | (norms == 0))


def check_directions(vectors: Vectors, *, min_rows: int = 1) -> None:
    """Raise :class:`EmbprobeError` as :func:`l2_normalize` does, for too few rows and those without a direction."""
    _check_number(vectors, min_rows)
    if bad := int(lack_direction(vectors).sum()):
        raise _no_direction(bad, len(vectors))


def check_finite(*arrays: Vectors) -> None:
    """Raise :class:`EmbprobeError` if a row of an array holds a number that is not finite."""
    blocks = (block for vectors in arrays for _, block in blocks_of(vectors))
    bad = sum(int((~np.isfinite(block)).any(axis=1).sum()) for block in blocks)
    if bad:
        raise EmbprobeError(f"{bad:,} embeddings hold numbers that are not finite, so nothing can be measured on them.")


def check_labels(labels: LabelArray, name: str = "label") -> None:
    """Raise :class:`EmbprobeError` unless there are at least two different labels; the message calls them ``name``."""
    values = np.unique(labels)
    if len(values) < 2:
        only = f": all are '{values[0]}'" if len(values) else ""
        raise EmbprobeError(f"This measure needs at least two different values of the {name}{only}.")


def check_same_rows(a: Vectors, b: Vectors, *, min_rows: int) -> None:
    """Raise :class:`EmbprobeError` unless two encoders have equally many vectors, at least ``min_rows``."""
    if len(a) != len(b):
        raise EmbprobeError(f"Encoders are compared on the same images; one has {len(a):,} and the other {len(b):,}.")
    if len(a) < min_rows:
        raise EmbprobeError(f"This comparison needs at least {min_rows} images; there are {len(a)}.")
