"""Vectors that are not copied: several arrays, such as memory maps of a store's shards, that are read as one array."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from typing import Any, cast

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin
from numpy.typing import NDArray

Rows = NDArray[Any]
"""Vectors ``[m, d]``, tokens ``[m, t, d]``, or a property of each, ``[m]``."""
Positions = NDArray[np.int64]

ROWS = 4096
"""Rows of a block unless another number is given: 25 MB of 768 dimensions in float64."""
COPIED = 2**26
"""Bytes of chosen rows up to which they are copied: reading them again and again would take longer."""


class Blocks(NDArrayOperatorsMixin):
    """Vectors ``[n, d]``, or tokens ``[n, t, d]``, in several arrays one after another, or some of their rows.

    Nothing is copied.

    They are indexed as an array is. Rows asked for by slice, position or mask come as an array: a view where they lie
    in one part side by side, else a copy of just them. Anything else that NumPy does with an array, it does with a copy
    of all rows: ``x @ w``, ``np.linalg.norm(x, axis=1)``, ``x.mean(0)``; ``np.asarray(x)`` is that copy.

    Example:
        >>> x = Blocks([np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[4.0, 5.0]])])
        >>> x.shape, x[1:].tolist(), x[[2, 0], 0].tolist(), (x + 1)[2].tolist()
        ((3, 2), [[2.0, 3.0], [4.0, 5.0]], [4.0, 0.0], [5.0, 6.0])
        >>> x.at(np.array([2, 1])).at(np.array([1]))[:].tolist()
        [[2.0, 3.0]]
    """

    def __init__(self, parts: Sequence[Rows]) -> None:
        """Put arrays of the same width and type one after another; there is at least one."""
        self._parts = [np.asarray(part) for part in parts]  # indexing a plain array is faster than a memory map's class
        if len({(part.ndim, part.shape[1:], part.dtype) for part in self._parts}) != 1 or self._parts[0].ndim < 2:
            shapes = ", ".join(f"{part.dtype} {list(part.shape)}" for part in self._parts) or "none"
            raise ValueError(f"blocks are matrices of the same width and type; these are {shapes}")
        self._ends = np.cumsum([len(part) for part in self._parts])
        self._chosen: Positions | None = None
        self._known: dict[Callable[[Rows], Rows], Rows] = {}

    def at(self, positions: Positions) -> Blocks:
        """Return the rows at these positions, in this order; they are read when they are asked for."""
        own, chosen = _in_range(positions, len(self)), copy(self)
        chosen._chosen = own if self._chosen is None else self._chosen[own]
        return chosen

    def each(self, function: Callable[[Rows], Rows]) -> Rows:
        """Compute a property of each row, ``[m, d] -> [m]``, block by block; return all of them, ``[n]``.

        The same function is computed once for these blocks and all choices of their rows.
        """
        if function not in self._known:
            blocks = (part[start : start + ROWS] for part in self._parts for start in range(0, len(part) or 1, ROWS))
            self._known[function] = np.concatenate([function(block) for block in blocks])
        known = self._known[function]
        return known if self._chosen is None else known[self._chosen]

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of rows, of tokens if there are several a row, and of dimensions."""
        return int(self._ends[-1] if self._chosen is None else len(self._chosen)), *self._parts[0].shape[1:]

    @property
    def ndim(self) -> int:
        """Two, or three of tokens."""
        return self._parts[0].ndim

    @property
    def size(self) -> int:
        """The number of numbers."""
        return math.prod(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""
        return self._parts[0].dtype

    @property
    def nbytes(self) -> int:
        """The bytes of all rows; far fewer are held in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[Rows]:
        for _, block in blocks_of(self):
            yield from block

    def __repr__(self) -> str:
        return f"Blocks(shape={self.shape}, dtype={self.dtype}, parts={len(self._parts)})"

    def __getitem__(self, key: Any) -> Any:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if any(not isinstance(each, int | np.integer | slice) for each in rest) or len(rest) >= self.ndim:
            return np.asarray(self)[key]  # pairs of positions, new axes
        if isinstance(rows, int | np.integer):
            return self._read(_in_range(np.array([rows]), len(self)))[(0, *rest)]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            return self._span(start, max(start, stop), rest) if step == 1 else self[np.arange(start, stop, step), *rest]
        positions = np.asarray(rows) if isinstance(rows, list | np.ndarray) else np.empty(())
        if positions.dtype == bool and positions.shape == (len(self),):
            positions = np.flatnonzero(positions)
        if positions.ndim != 1 or positions.dtype.kind not in "iu" and len(positions):
            return np.asarray(self)[key]
        return self._read(_in_range(positions.astype(np.int64), len(self)))[(slice(None), *rest)]

    def __getattr__(self, name: str) -> Any:
        """Return what an array has besides, such as ``mean`` or ``T``, of a copy of all rows."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"Blocks have no attribute '{name}'", name=name, obj=self)
        return getattr(np.asarray(self), name)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Rows:
        rows = self[:]
        if copy is False and rows.base is None:
            raise ValueError("Blocks are several arrays: one array of them is a copy.")
        return np.asarray(rows.copy() if copy and rows.base is not None else rows, dtype)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        if any(isinstance(each, Blocks) for each in options.get("out", ())):
            return NotImplemented
        arrays = (np.asarray(each) if isinstance(each, Blocks) else each for each in inputs)
        return getattr(ufunc, method)(*arrays, **options)

    # Parts stay as they are: ``x /= 2`` lets x be another array.

    def __iadd__(self, other: Any) -> Any:
        return self + other

    def __isub__(self, other: Any) -> Any:
        return self - other

    def __imul__(self, other: Any) -> Any:
        return self * other

    def __itruediv__(self, other: Any) -> Any:
        return self / other

    def _span(self, start: int, stop: int, rest: Sequence[Any]) -> Rows:
        """Read the rows from ``start`` to before ``stop``."""
        if self._chosen is not None:
            return self._read(np.arange(start, stop))[(slice(None), *rest)]
        return self._side_by_side(start, stop, rest)

    def _side_by_side(self, start: int, stop: int, rest: Sequence[Any] = ()) -> Rows:
        """Read the rows of the parts from ``start`` to before ``stop``, whatever is chosen of them."""
        pieces = []
        for part, end in zip(self._parts, self._ends.tolist(), strict=True):
            first = end - len(part)
            if first < stop and start < end:
                pieces.append(part[(slice(max(start - first, 0), stop - first), *rest)])
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else self._parts[0][(slice(0, 0), *rest)]

    def _read(self, positions: Positions) -> Rows:
        """Read the rows at these positions, of which none is negative."""
        rows = positions if self._chosen is None else self._chosen[positions]
        if len(rows) and (np.diff(rows) == 1).all():
            return self._side_by_side(int(rows[0]), int(rows[-1]) + 1)
        if len(self._parts) == 1:
            return np.asarray(self._parts[0][rows])
        read = np.empty((len(rows), *self.shape[1:]), self.dtype)
        part = np.searchsorted(self._ends, rows, side="right")
        order = np.argsort(part, kind="stable")
        bounds = np.searchsorted(part[order], np.arange(len(self._parts) + 1))
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            here, array = order[bounds[number] : bounds[number + 1]], self._parts[number]
            read[here] = array[rows[here] - (self._ends[number] - len(array))]
        return read


def blocks_of(vectors: Rows | Blocks, rows: int | None = None) -> Iterator[tuple[int, Rows]]:
    """Yield vectors block by block: the position of its first row, and the block ``[m, d]``.

    m is ``rows``, by default :data:`ROWS`; at the end it may be less.
    """
    step = rows or ROWS
    for start in range(0, len(vectors), step):
        yield start, vectors[start : start + step]


def as_array(blocks: Blocks) -> Rows:
    """Return the blocks themselves, as what they are used as: type checkers take them for an array from here on."""
    return cast(Rows, blocks)


def rows_at(vectors: Rows | Blocks, positions: Sequence[int] | Positions) -> Rows:
    """Return the vectors at these positions, in this order.

    All of them come as they are, few (:data:`COPIED`) as a copy, and many as :class:`Blocks`, which read them when they
    are asked for.
    """
    chosen = np.asarray(positions, np.int64)
    if len(chosen) == len(vectors) and (chosen == np.arange(len(chosen))).all():
        return as_array(vectors) if isinstance(vectors, Blocks) else vectors
    if len(chosen) * math.prod(vectors.shape[1:]) * vectors.dtype.itemsize <= COPIED:
        few: Rows = vectors[chosen]
        return few
    return as_array((vectors if isinstance(vectors, Blocks) else Blocks([vectors])).at(chosen))


def _in_range(positions: NDArray[Any], count: int) -> Positions:
    """Return positions counted from the front; negative ones are counted from the end."""
    if len(positions) and not -count <= positions.min() <= positions.max() < count:
        raise IndexError(f"a position is out of range for {count} rows")
    return np.asarray(np.where(positions < 0, positions + count, positions), np.int64)
