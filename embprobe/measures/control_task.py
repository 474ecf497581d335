"""The control task: labels that a probe can only memorise, not read from the embedding."""

from __future__ import annotations

import numpy as np

from embprobe.measures.vectors import LabelArray


def control_labels(labels: LabelArray, groups: LabelArray, *, seed: int = 0) -> LabelArray:
    """Shuffle labels among groups, so that accuracy on them shows how much a probe memorises.

    A classifier that reads the label from the embedding cannot learn these; one that memorises which image belongs to
    which concept can (Hewitt and Liang 2019, "Designing and Interpreting Probes with Control Tasks"). Where all rows of
    a group have one label, groups exchange theirs and a group keeps one label; else rows exchange them.

    Args:
        labels: The label of each row, ``[n]``.
        groups: The group of each row, such as its concept, ``[n]``.
        seed: The same seed gives the same shuffle.

    Returns:
        The shuffled labels, ``[n]``.

    Example:
        >>> control_labels(np.array(["a", "a", "b", "b"]), np.array(["x", "x", "y", "y"]), seed=3).tolist()
        ['b', 'b', 'a', 'a']
    """
    rng = np.random.default_rng(seed)
    names, first, coded = np.unique(groups, return_index=True, return_inverse=True)
    group_labels = labels[first]
    if (group_labels[coded] != labels).any():
        return labels[rng.permutation(len(labels))]
    shuffled: LabelArray = group_labels[rng.permutation(len(names))]
    return shuffled[coded]
