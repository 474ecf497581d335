"""Do two encoders rank the others alike by similarity, near and far?"""

from __future__ import annotations

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.measures.natural_pairs import standard_ranks
from embprobe.measures.rows import check_rows
from embprobe.measures.vectors import ScoreArray, Vectors, unit


def rank_correlation(a: Vectors, b: Vectors) -> ScoreArray:
    """For every image, the Spearman correlation of its cosines to all others within two encoders.

    ``[n, d], [n, e] -> [n]``, from −1 to 1: 1 if both rank the others alike; 0 is chance. Unlike mutual k-NN, it asks
    about all pairs alike, of which few are near. The mean over rows in place of the one correlation over all pairs
    (representational similarity analysis; Kriegeskorte et al. 2008) leaves out that some images are near to many.
    An image to which all others are equally near, as to a blank one, has no order to agree with: 0. Memory is 24 n²:
    of many rows, take some thousand at random. Raises :class:`EmbprobeError` if the numbers of rows differ, for fewer
    than four, for zero and non-finite vectors, and if all others are equally near to every image.

    >>> lines = [np.deg2rad(degrees) for degrees in ([0, 10, 30, 70], [0, 40, 30, 70])]  # the second one moves
    >>> x, y = (np.stack([np.cos(line), np.sin(line)], axis=1) for line in lines)
    >>> rank_correlation(x, y).round(2)  # its others are 10, 20, 60 degrees away, nearest last: 321; then 132
    array([ 0.5, -0.5,  1. ,  0.5])
    """
    check_rows(a, b, least=4)
    return np.asarray((ranks(a) * ranks(b)).sum(1))


def ranks(vectors: Vectors) -> ScoreArray:
    """The ranks of every row's cosines to the others, less their mean, each row of length 1. ``[n, d] -> [n, n]``.

    Zero on the diagonal, and where a row's cosines are all the same; ties have the mean of their ranks.
    """
    x = unit(vectors)
    others = ~np.eye(len(x), dtype=bool)
    found = np.zeros(others.shape)
    found[others] = standard_ranks((x @ x.T)[others].reshape(len(x), -1)).ravel()
    if not found.any():
        raise EmbprobeError(f"All {len(x):,} images are equally near to each other.")
    return found


def correlation_by_chance(a: ScoreArray, b: ScoreArray, *, matchings: int = 200, seed: int = 0) -> ScoreArray:
    """The mean of the rank correlation if the rows of one encoder were matched at random with those of the other.

    From both encoders' :func:`ranks` ``[n, n]`` to ``[matchings]``.
    """
    rng = np.random.default_rng(seed)
    found = np.empty(matchings)
    for i in range(matchings):
        order = rng.permutation(len(a))
        found[i] = (a * b[np.ix_(order, order)]).sum() / len(a)
    return found
