"""Few-shot: so many images of each label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray


def draw_shots(labels: LabelArray, shots: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Positions of ``shots`` random rows of every label, in ascending order.

    Raises :class:`EmbprobeError` if a label has fewer rows.

    >>> labels = np.array(["a", "b", "a", "b", "a"])
    >>> sorted(labels[draw_shots(labels, 2)].tolist())
    ['a', 'a', 'b', 'b']
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    chosen: list[int] = []
    for value in np.unique(labels):
        mine = order[labels[order] == value]
        if len(mine) < shots:
            raise EmbprobeError(
                f"'{value}' has {len(mine)} images to fit on, fewer than the {shots} that were asked for: "
                "ask for fewer shots, or leave the value out."
            )
        chosen += mine[:shots].tolist()
    return np.array(sorted(chosen), np.int64)
