"""Tied groups: letters that say which of several encoders were not told apart."""

from __future__ import annotations

import string
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from embprobe.statistics.many_tests import CERTAIN

_Sets = NDArray[np.bool_]  # [letters, items]


def tied_groups(
    estimates: Mapping[str, float], p_values: Mapping[tuple[str, str], float], *, largest_first: bool = True
) -> dict[str, tuple[str, ...]]:
    """Give items letters so that two of them share a letter exactly if their difference is undecided (p >= 0.05).

    A letter stands for a largest possible set of items of which no two are separated; no letter could be left out.
    That a and c share no letter with each other but both with b is no contradiction: "not told apart" is not "equal".

    The algorithm is Piepho's insert-and-absorb (2004, "An Algorithm for a Letter-Based Representation of All-Pairwise
    Comparisons"). All items start with one letter. Each separated pair splits every letter that has both in two, one
    without the first and one without the second. Letters that say nothing which others do not say are dropped at once,
    so that there are never more than pairs; at the end each takes in all items that it can.

    Args:
        estimates: The estimate of each item, such as the accuracy of each encoder, by its name.
        p_values: The p-value, corrected for all pairs (:func:`embprobe.statistics.holm`), of every two items, in either
            order of their names.
        largest_first: Whether the largest estimate comes first, or the smallest. Of equal ones the first given does.

    Returns:
        The letters of each item, items sorted by their estimates and letters in that order: ``a`` to ``z``, then ``a2``
        to ``z2``, and so on.

    Raises:
        ValueError: If a pair is missing, is there twice or names something else, and if an estimate or a p-value is not
            a number.

    Example:
        >>> p_values = {("mid", "best"): 0.2, ("mid", "worst"): 0.08, ("best", "worst"): 0.001}
        >>> tied_groups({"worst": 0.5, "mid": 0.6, "best": 0.7}, p_values)
        {'best': ('a',), 'mid': ('a', 'b'), 'worst': ('b',)}
    """
    if any(np.isnan(estimate) for estimate in estimates.values()):
        raise ValueError("an estimate that is not a number has no place among the others")
    names = sorted(estimates, key=lambda name: -estimates[name] if largest_first else estimates[name])
    if not names:
        return {}
    tied = _tied(names, p_values)
    groups = np.ones((1, len(names)), bool)
    for first, second in np.argwhere(np.triu(~tied)):
        groups = _without_superfluous(_split(groups, first, second))
    groups = _without_superfluous(np.unique(_grown(groups, tied), axis=0))
    groups = groups[sorted(range(len(groups)), key=lambda letter: np.flatnonzero(groups[letter]).tolist())]
    return {name: tuple(_letter(int(i)) for i in np.flatnonzero(groups[:, place])) for place, name in enumerate(names)}


def _tied(names: list[str], p_values: Mapping[tuple[str, str], float]) -> _Sets:
    """Return whether each two items are not separated, ``[k, k]``; an item is tied with itself."""
    places = {name: place for place, name in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    np.fill_diagonal(table, 1.0)
    for pair, p in p_values.items():
        if not (set(pair) <= places.keys() and 0 <= p <= 1):
            raise ValueError(f"a p-value from 0 to 1 of two of the items is needed, not {p} of {pair}")
        i, j = (places[name] for name in pair)
        if not np.isnan(table[i, j]):
            raise ValueError(f"{pair} needs one p-value, and an item none with itself")
        table[i, j] = table[j, i] = p
    if np.isnan(table).any():
        i, j = np.argwhere(np.isnan(table))[0]
        raise ValueError(f"there is no p-value of {names[i]} and {names[j]}, which may be tied or separated")
    return np.asarray(table >= CERTAIN)


def _split(groups: _Sets, first: int, second: int) -> _Sets:
    """Replace every letter that has both items by two that have one of them each."""
    both = groups[:, first] & groups[:, second]
    without_first, without_second = groups[both].copy(), groups[both].copy()
    without_first[:, first] = False
    without_second[:, second] = False
    return np.concatenate([groups[~both], without_second, without_first])


def _without_superfluous(groups: _Sets) -> _Sets:
    """Drop letters, small ones first, whose every pair and every item another letter has, too."""
    counts = groups.T.astype(np.int64) @ groups
    kept = np.ones(len(groups), bool)
    for letter in np.argsort(groups.sum(1), kind="stable"):
        members = np.ix_(groups[letter], groups[letter])
        if (counts[members] > 1).all():
            counts[members] -= 1
            kept[letter] = False
    return groups[kept]


def _grown(groups: _Sets, tied: _Sets) -> _Sets:
    """Give each letter all items that are tied with all that have it, the first items first."""
    grown = groups.copy()
    for letter in grown:
        for item in range(len(tied)):
            letter[item] = letter[item] or tied[item, letter].all()
    return grown


def _letter(i: int) -> str:
    round_, place = divmod(i, len(string.ascii_lowercase))
    return string.ascii_lowercase[place] + (str(round_ + 1) if round_ else "")
