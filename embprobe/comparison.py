"""Encoder against encoder: do they see the same neighbours?"""

from __future__ import annotations

from collections.abc import Sequence


def overlap_at_k(a: Sequence[str], b: Sequence[str]) -> float:
    """The share of neighbours two encoders have in common, for one query: |A and B| / k, from 0 to 1.

    The term inside the mean of mutual k-NN (Huh et al. 2024, "The Platonic Representation Hypothesis", equation 13).

    >>> overlap_at_k(["cat", "dog", "cow", "hen"], ["dog", "cat", "fox", "owl"])
    0.5
    """
    if len(a) != len(b) or not a:
        raise ValueError(f"need two lists of the same length above 0, got {len(a)} and {len(b)}")
    return len(set(a) & set(b)) / len(a)
