"""Find, among the names of all images, one that shares no word and no category with an image's own."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from itertools import combinations

_SCANNED = 16
"""Names that are looked at one by one before the index is asked; also the names with a part that is rare."""


class Vocabulary:
    """Names with their categories, in an order that the caller chooses."""

    def __init__(self, names: Iterable[tuple[str, str]]) -> None:
        """Take pairs of a name and its category, "" where it has none."""
        self._names = list(names)

    def __len__(self) -> int:
        return len(self._names)

    def conflicting(self, start: int, parts: frozenset[str], category: str) -> str | None:
        """Return the first name, from place ``start`` on and then from the front, that conflicts with an image's own.

        Most searches end within a few names. Where nearly all names share a word or a category with the image, the
        place is computed from counts in O(log² n), so that the names of n images are chosen in O(n log² n) at most.

        Args:
            start: The place of the first name to consider.
            parts: The words of the image's own names.
            category: The image's category; "" if it has none, and then every other category will do.

        Returns:
            The name; None if there is none without a word of ``parts`` and of another category.
        """
        n = len(self._names)
        for step in range(min(n, _SCANNED)):
            name, of = self._names[(start + step) % n]
            if parts.isdisjoint(parts_of(name)) and (of != category or not category):
                return name
        if n <= _SCANNED:
            return None
        traits = parts | {_trait(category)} if category else parts
        place = self._index.first_without(traits, start)
        return None if place is None else self._names[place][0]

    @cached_property
    def _index(self) -> TraitIndex:
        return TraitIndex([parts_of(name) | {_trait(of)} for name, of in self._names])


class TraitIndex:
    """Sets of traits in an order, in which the next one without any of some traits is found by counting.

    The sets before a place that have one of the traits are counted by inclusion and exclusion from sorted lists of
    places, one for each combination of common traits that some set has. A set of k traits is in ``2 ** k - 1`` lists;
    a name of twelve letters has at most seven traits, most have two or three. Rare traits are left out of the lists,
    or a million names would make a million combinations: the few sets with one of them are checked one by one.
    """

    def __init__(self, sets: list[frozenset[str]]) -> None:
        self._sets = sets
        frequency = Counter(trait for traits in sets for trait in traits)
        rare: dict[str, list[int]] = defaultdict(list)
        together: dict[tuple[str, ...], array[int]] = defaultdict(lambda: array("q"))
        for place, traits in enumerate(sets):
            common = []
            for trait in sorted(traits):
                if frequency[trait] > _SCANNED:
                    common.append(trait)
                else:
                    rare[trait].append(place)
            for size in range(1, len(common) + 1):
                for combination in combinations(common, size):
                    together[combination].append(place)
        self._rare: Mapping[str, list[int]] = dict(rare)
        self._together: Mapping[tuple[str, ...], array[int]] = dict(together)

    def first_without(self, traits: frozenset[str], start: int) -> int | None:
        """Return the first place, from ``start`` on and then from the front, whose set has none of the traits."""
        signed = self._combinations(traits)
        common = {combination[0] for combination, _, _ in signed if len(combination) == 1}
        few = {place for trait in traits for place in self._rare.get(trait, ())}
        extra = sorted(place for place in few if common.isdisjoint(self._sets[place]))

        def free(end: int) -> int:
            """Count the places before ``end`` whose sets have none of the traits."""
            return end - sum(sign * bisect_left(places, end) for _, sign, places in signed) - bisect_left(extra, end)

        total = free(len(self._sets))
        if total == 0:
            return None
        before = free(start) % total  # none from start on: the first of all
        return bisect_left(range(len(self._sets)), before + 1, key=lambda place: free(place + 1))

    def _combinations(self, traits: frozenset[str]) -> list[tuple[tuple[str, ...], int, array[int]]]:
        """List the combinations of these traits that occur, the sign of each in the sum, and its places."""
        listed: list[tuple[tuple[str, ...], int, array[int]]] = []
        singles = [trait for trait in sorted(traits) if (trait,) in self._together]
        longest: list[tuple[str, ...]] = [()]
        sign = 1
        while longest:
            longer = [known + (trait,) for known in longest for trait in singles if not known or trait > known[-1]]
            longest = [combination for combination in longer if combination in self._together]
            listed += [(combination, sign, self._together[combination]) for combination in longest]
            sign = -sign
        return listed


@lru_cache(maxsize=2**16)
def parts_of(name: str) -> frozenset[str]:
    """Return the words of a name, in small letters.

    >>> sorted(parts_of("Smiling cat-face"))
    ['cat', 'face', 'smiling']
    """
    return frozenset(re.findall(r"[^\W_]+", name.lower()))


def _trait(category: str) -> str:
    """Write a category as a trait that is no word."""
    return f"\0{category}"
