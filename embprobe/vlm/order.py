"""The order of samples in a training stage, by seed alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_CHUNK = 32
"""Batches whose samples are sorted by length together."""


def batches(
    lengths: Sequence[int], batch_size: int, steps: int, *, seed: int, by_length: bool = False
) -> NDArray[np.int64]:
    """Return the positions of the samples of each step, ``[steps, batch_size]``.

    Every sample comes once before any comes again. With ``by_length``, samples of similar length are put into one
    batch: of each ``32 x batch_size`` shuffled samples the batches are cut in the order of their lengths, and shuffled.

    Args:
        lengths: The number of tokens of each sample.
        batch_size: Samples of a step.
        steps: The number of steps.
        seed: The same seed gives the same order.
        by_length: Whether batches are of similar lengths.

    Example:
        >>> sorted(sorted(batch) for batch in batches([1, 9, 1, 9], 2, 2, seed=0, by_length=True).tolist())
        [[0, 2], [1, 3]]
    """
    rng = np.random.default_rng(seed)
    count = len(lengths)
    rounds = -(-steps * batch_size // count)
    order = np.concatenate([rng.permutation(count) for _ in range(rounds)])[: steps * batch_size]
    cut = order.reshape(steps, batch_size)
    if not by_length:
        return cut
    of = np.asarray(lengths)
    chunks = []
    for start in range(0, steps, _CHUNK):
        chunk = cut[start : start + _CHUNK].ravel()
        alike = chunk[np.argsort(of[chunk], kind="stable")].reshape(-1, batch_size)
        chunks.append(alike[rng.permutation(len(alike))])
    return np.concatenate(chunks)
