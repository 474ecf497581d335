"""The control task: how much of a probe's accuracy is the probe's own memory."""

from __future__ import annotations

import numpy as np

from embprobe.measures.vectors import LabelArray


def control_labels(labels: LabelArray, groups: LabelArray, *, seed: int = 0) -> LabelArray:
    """The labels dealt out anew: ``[n], [n] -> [n]``.

    A classifier that reads the label from the embedding cannot learn these; one that memorises which image belongs to
    which concept can (Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks"). Where all rows of
    a group have one label, groups exchange theirs and a group keeps one label; else rows exchange them.

    >>> control_labels(np.array(["a", "a", "b", "b"]), np.array(["x", "x", "y", "y"]), seed=3).tolist()
    ['b', 'b', 'a', 'a']
    """
    rng = np.random.default_rng(seed)
    names, first, coded = np.unique(groups, return_index=True, return_inverse=True)
    of_group = labels[first]
    if (of_group[coded] != labels).any():
        return labels[rng.permutation(len(labels))]
    dealt: LabelArray = of_group[rng.permutation(len(names))]
    return dealt[coded]
