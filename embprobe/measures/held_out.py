"""Groups held out of the training rows, so that a setting is chosen without looking at the tests."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import LabelArray

Positions = NDArray[np.int64]

_DRAWS = 20
"""Draws of held-out groups, of which the first that leaves two labels to fit on is taken."""


class TooFewGroups(EmbprobeError):
    """Too few groups to hold some out for choosing a setting."""


def hold_out(labels: LabelArray, groups: LabelArray, *, seed: int, choosing: str) -> tuple[Positions, Positions]:
    """Draw a fifth of the groups, whose rows are held out, such that the others have two labels at least.

    Args:
        labels: The label of each training row, ``[n]``.
        groups: Their groups, such as concepts, ``[n]``; a group is held out whole.
        seed: Decides which groups.
        choosing: What is chosen on them, for the message.

    Returns:
        Positions of the rows to fit on, and of those that are held out.

    Raises:
        TooFewGroups: There are fewer than two groups, or one label alone is left to fit on.

    Example:
        >>> labels, groups = np.array(list("aabbaabbaa")), np.array(list("1122334455"))
        >>> fit, held_out = hold_out(labels, groups, seed=0, choosing="k")
        >>> len(fit), len(held_out), set(groups[fit]) & set(groups[held_out])
        (8, 2, set())
    """
    from sklearn.model_selection import GroupShuffleSplit

    if len(np.unique(groups)) > 1:
        for fit, held_out in GroupShuffleSplit(_DRAWS, test_size=0.2, random_state=seed).split(labels, labels, groups):
            if len(np.unique(labels[fit])) > 1:
                return fit, held_out
    raise TooFewGroups(
        f"Choosing {choosing} holds some groups out, and too few remain: at least two labels are needed."
    )
