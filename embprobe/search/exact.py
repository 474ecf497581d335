"""Exact search by cosine over vectors on the disk, block by block: nothing is built, kept or copied as a whole.

Products of float32 choose the candidates of each block; their cosines are computed again in float64, so they are true
to the last digit of a float32 whatever the order of the first sums.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.spec import Floats
from embprobe.search.directions import l2_normalize
from embprobe.search.gpu import GpuSearch
from embprobe.search.mapped import BLOCK, MappedVectors
from embprobe.system.threads import side_by_side, threads_for

Positions = NDArray[np.int64]
Found = tuple[Positions, Positions, Floats]
"""Candidates: numbers of queries, positions of rows, and cosines, each ``[c]``."""

_QUERIES = 1024
"""Queries of a pass over the vectors."""
_WAVE = 8
"""Blocks searched side by side before the worst cosine that still counts is known better."""
_ROUNDING = 1e-5
"""Cosines in float32 this far apart may be in the wrong order."""
_TIES = 1000
"""Candidates kept for each query beyond k where more have the same cosine but for rounding: the first ones."""
_SHORT, _LONG = 1e-30, 1e30
"""Between these squared lengths the sum of float32 squares has lost nothing that matters."""


def search_exactly(
    vectors: MappedVectors,
    directions: Floats,
    k: int,
    *,
    among: Positions | None = None,
    device: str = "cpu",
    notify: Callable[[str], None] = lambda now: None,
) -> tuple[Floats, Positions]:
    """Find the k rows of the highest cosine for each query.

    Args:
        vectors: The rows ``[n, d]``.
        directions: Queries of length 1, ``[m, d]``.
        k: Neighbours of each query, at most as many as there are rows to choose from.
        among: Positions to choose from; all rows if they are not given.
        device: Where many queries are searched: "cpu" or a CUDA device of torch.
        notify: Called with a line if the GPU fails and the CPU goes on.

    Returns:
        Cosines ``[m, k]``, highest first, and positions ``[m, k]``. Of equal cosines at the end the first positions are
        taken, and among the ones that are returned the last position comes first, as FAISS orders them.
    """
    among = None if among is None else np.unique(among)
    gpu = GpuSearch.of(device, len(directions), len(vectors if among is None else among), notify)
    parts = [
        _search(vectors, directions[start : start + _QUERIES], k, among, gpu)
        for start in range(0, len(directions), _QUERIES)
    ]
    if not parts:
        return np.empty((0, k), np.float32), np.empty((0, k), np.int64)
    return np.concatenate([cosines for cosines, _ in parts]), np.concatenate([positions for _, positions in parts])


def rank(vectors: MappedVectors, directions: Floats, candidates: Positions, k: int) -> tuple[Floats, Positions]:
    """Order candidates ``[m, c]`` by their cosines with the queries, in float64; positions below 0 are none.

    Returns:
        Cosines ``[m, k]`` and positions ``[m, k]`` as :func:`search_exactly` does; -inf and -1 where there are fewer.
    """
    cosines, positions = np.full((len(directions), k), -np.inf, np.float32), np.full((len(directions), k), -1)
    for i, (direction, row) in enumerate(zip(directions, candidates, strict=True)):
        kept = np.unique(row[row >= 0])
        exact = _cosines(vectors.at(kept), direction)
        chosen = np.lexsort((kept, -exact))[:k]
        chosen = chosen[np.lexsort((-kept[chosen], -exact[chosen]))]
        cosines[i, : len(chosen)], positions[i, : len(chosen)] = exact[chosen], kept[chosen]
    return cosines, positions


def _search(
    vectors: MappedVectors, directions: Floats, k: int, among: Positions | None, gpu: GpuSearch | None
) -> tuple[Floats, Positions]:
    """Search for some queries in one pass over the vectors."""
    floor = np.full(len(directions), -np.inf, np.float32)
    best: Found = (np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))

    def search_block(block: Positions | range) -> Found:
        rows = vectors.read(block)
        found = None if gpu is None else gpu.nearest(directions, l2_normalize(rows), k)
        query, row, cosine = _above(floor, _products(directions, rows), k) if found is None else found
        return query, row + block.start if isinstance(block, range) else block[row], cosine

    rows_of_block = max(1, BLOCK // max(1, *directions.shape))  # so the products, too, are no more than a block
    blocks = vectors.blocks(among, rows_of_block)
    with threads_for(directions.size * rows_of_block):
        for start in range(0, len(blocks), _WAVE):
            wave = blocks[start : start + _WAVE]
            found = [search_block(block) for block in wave] if gpu is not None else side_by_side(search_block, wave)
            best = _best([best, *found], len(directions), k)
            floor = _floor(best, len(directions), k)
    query, row, _ = best
    widest = int(np.bincount(query, minlength=1).max())
    candidates = np.full((len(directions), widest), -1)
    candidates[query, _numbered(query)] = row
    return rank(vectors, directions, candidates, k)


def _products(directions: Floats, rows: Floats) -> Floats:
    """Return the cosines of directions ``[m, d]`` with rows ``[r, d]`` of any length, ``[m, r]``, in float32."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
        odd = np.flatnonzero(~((squares > _SHORT) & (squares < _LONG)))
        scale = np.sqrt(np.where(squares == 0, 1, squares)).astype(np.float32)
        cosines = np.asarray((directions @ rows.T) / scale, np.float32)
    if len(odd):
        cosines[:, odd] = directions @ l2_normalize(rows[odd]).T
    return cosines


def _above(floor: Floats, cosines: Floats, k: int) -> Found:
    """Return each query's k best of a block ``[m, r]``, those equal but for rounding, and none far below ``floor``."""
    query, row = np.nonzero(cosines >= (floor - _ROUNDING)[:, None])
    if len(query) > 4 * k * len(cosines) and cosines.shape[1] > k:
        kth = np.partition(cosines, cosines.shape[1] - k, axis=1)[:, cosines.shape[1] - k]
        query, row = np.nonzero(cosines >= (np.maximum(kth, floor) - _ROUNDING)[:, None])
    return _without_ties(query, row, cosines[query, row], k)


def _without_ties(query: Positions, row: Positions, cosine: Floats, k: int) -> Found:
    """Keep no more than the k best and the first of many that equal them; ``query`` is in order."""
    if len(query) <= k + _TIES:  # which is nearly always so for one query
        return query, row, cosine
    order = np.lexsort((row, -np.round(cosine, 5), query))
    kept = np.sort(order[_numbered(query) < k + _TIES])
    return query[kept], row[kept], cosine[kept]


def _best(found: list[Found], queries: int, k: int) -> Found:
    """Merge candidates of blocks: the k best of each query, and those equal to the last but for rounding."""
    query, row, cosine = (np.concatenate([each[i] for each in found]) for i in range(3))
    order = np.lexsort((row, -cosine, query))
    query, row, cosine = query[order], row[order], cosine[order]
    kept = cosine >= (_floor((query, row, cosine), queries, k) - _ROUNDING)[query]
    return _without_ties(query[kept], row[kept], cosine[kept], k)


def _floor(best: Found, queries: int, k: int) -> Floats:
    """Return each query's k-th best cosine, -inf where there are fewer; candidates are in order of query and cosine."""
    query, _, cosine = best
    floor = np.full(queries, -np.inf, np.float32)
    last = _numbered(query) == k - 1
    floor[query[last]] = cosine[last]
    return floor


def _numbered(query: Positions) -> Positions:
    """Number the candidates of each query from 0; ``query`` is in order."""
    return np.arange(len(query)) - np.searchsorted(query, query)


def _cosines(rows: Floats, direction: Floats) -> NDArray[np.float64]:
    """Return cosines of rows ``[c, d]`` with a direction ``[d]``; 0 for a row of zeros."""
    wide, towards = np.asarray(rows, np.float64), np.asarray(direction, np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", wide, wide)) * np.sqrt(towards @ towards)
    return np.asarray(np.einsum("ij,j->i", wide, towards) / np.where(lengths == 0, 1, lengths))
