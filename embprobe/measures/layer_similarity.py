"""Similarity of every layer of one network with every layer of another, as influence scores of the same images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.cka import Kernel, cka_of_kernels
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import neighbor_overlap_effects
from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.vectors import ScoreArray
from embprobe.system.threads import side_by_side

Layer = TypeVar("Layer", Kernel, Positions)
_CKA_ROW = 16 * 4096
"""Bytes that CKA of two layers holds for each of their dimensions: two float64 arrays of a block of rows."""


def layer_cka(a: Sequence[Kernel], b: Sequence[Kernel]) -> ScoreArray:
    """Compute debiased linear CKA (:func:`embprobe.measures.cka.cka`) of every layer of ``a`` with every one of ``b``.

    The norm of a layer is computed once, the product of two layers once a pair, and only for one half of the pairs
    where ``a`` is ``b``: time O(L_a L_b n d e).

    Args:
        a: The layers of one network, in order, by :meth:`embprobe.measures.cka.Kernel.of`.
        b: The layers of the other, of the same ``n`` rows.

    Returns:
        Scores ``[n, L_a, L_b]`` whose means over rows are the CKAs: 1 for layers that are equal up to rotation, scale
        and shift; 0 in the mean over all matchings of the rows, with the spread of
        :func:`embprobe.measures.cka.chance_cka`.

    Raises:
        EmbprobeError: For fewer than four rows, or different numbers of them, and if the rows of a layer are all
            equally far from each other.

    Example:
        >>> x = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 1.0], [1.0, 4.0]])
        >>> layers = [Kernel.of(x), Kernel.of(5 - 2 * x), Kernel.of(np.square(x))]
        >>> layer_cka(layers, layers).mean(0).round(2) + 0.0
        array([[1.  , 1.  , 0.93],
               [1.  , 1.  , 0.93],
               [0.93, 0.93, 1.  ]])
    """
    rows = {len(kernel.vectors) for kernel in (*a, *b)}
    if len(rows) > 1:
        raise EmbprobeError(f"Layers of the same images are compared; these are of {' and '.join(map(str, rows))}.")
    if min(rows) < 4:
        raise EmbprobeError(f"This comparison needs at least 4 images; there are {min(rows)}.")
    widest = sum(max(kernel.vectors.shape[1] for kernel in each) for each in (a, b))
    side_by_side(
        lambda kernel: kernel.own, {id(kernel): kernel for kernel in (*a, *b)}.values(), memory=_CKA_ROW * widest
    )
    return _every_pair(a, b, cka_of_kernels, memory=_CKA_ROW * widest)


def layer_overlap(a: Sequence[Positions], b: Sequence[Positions], groups: Sequence[str], *, k: int) -> ScoreArray:
    """Compute mutual k-NN (:func:`embprobe.measures.mutual_knn.mutual_knn`) of every layer with every other one.

    Args:
        a: The neighbours of each row by the layers of one network, nearest first, ``[n, k]`` each, such as
            :func:`embprobe.measures.mutual_knn.nearest_others` returns.
        b: Those by the layers of the other network.
        groups: The resampled group of each row, ``[n]``.
        k: The number of neighbours that count.

    Returns:
        Scores ``[n, L_a, L_b]`` whose means over rows are the shares of common neighbours, from 0 to 1, and whose
        spread over groups is that of these means (:mod:`embprobe.measures.pair_effects`). Chance is k / (n − 1).

    Example:
        >>> one, other = np.array([[1], [0], [3], [2]]), np.array([[1], [0], [1], [0]])
        >>> layer_overlap([one], [one, other], ["a", "b", "c", "d"], k=1).mean(0)
        array([[1. , 0.5]])
    """

    def overlap(near: Positions, other: Positions) -> ScoreArray:
        scores: ScoreArray = influence_scores([neighbor_overlap_effects(near, other, groups, k=k)], groups)[:, 0]
        return scores

    return _every_pair(a, b, overlap)


def _every_pair(
    a: Sequence[Layer], b: Sequence[Layer], score: Callable[[Layer, Layer], ScoreArray], *, memory: int = 0
) -> ScoreArray:
    """Score every pair of layers, ``[n, L_a, L_b]``; where ``a`` is ``b``, each pair once."""
    pairs = [(i, j) for i in range(len(a)) for j in range(i if a is b else 0, len(b))]
    each = side_by_side(lambda pair: score(a[pair[0]], b[pair[1]]), pairs, memory=memory)
    scores = np.empty((len(each[0]), len(a), len(b)))
    for (i, j), of_pair in zip(pairs, each, strict=True):
        scores[:, i, j] = of_pair
        if a is b:
            scores[:, j, i] = of_pair
    return scores
