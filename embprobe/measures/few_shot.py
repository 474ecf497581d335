"""Few-shot sampling: an equal, small number of training images of every label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray


def draw_shots(labels: LabelArray, shots: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw ``shots`` random rows of every label.

    Args:
        labels: The label of each row, ``[n]``.
        shots: The number of rows to draw of each label.
        seed: The same seed gives the same rows.

    Returns:
        Positions of the drawn rows in ascending order, ``[labels x shots]``.

    Raises:
        EmbprobeError: If a label has fewer than ``shots`` rows.

    Example:
        >>> labels = np.array(["a", "b", "a", "b", "a"])
        >>> sorted(labels[draw_shots(labels, 2)].tolist())
        ['a', 'a', 'b', 'b']
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen: list[int] = []
    for value in np.unique(labels):
        candidates = order[labels[order] == value]
        if len(candidates) < shots:
            raise EmbprobeError(
                f"'{value}' has {len(candidates)} images to fit on, fewer than the {shots} that were asked for: "
                "ask for fewer shots, or leave the value out."
            )
        chosen += candidates[:shots].tolist()
    return np.array(sorted(chosen), np.int64)
