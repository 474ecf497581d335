"""Letters of tied groups: by hand, and that sharing one is being undecided, for any pairs."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.statistics import tied_groups

Pairs = dict[tuple[str, str], float]


def letters(separated: set[str], count: int) -> dict[str, str]:
    """Letters of the first items of the alphabet in this order, of which the pairs in ``separated`` are decided."""
    names = "ABCDEFGHIJ"[:count]
    p_values = {(a, b): 0.01 if a + b in separated else 0.5 for a, b in combinations(names, 2)}
    found = tied_groups({name: -place for place, name in enumerate(names)}, p_values)
    return {name: "".join(those) for name, those in found.items()}


def members(found: dict[str, tuple[str, ...]]) -> dict[str, set[str]]:
    """The items of each letter."""
    return {letter: {name for name in found if letter in found[name]} for those in found.values() for letter in those}


def test_letters_by_hand() -> None:
    assert letters(set(), 3) == {"A": "a", "B": "a", "C": "a"}
    assert letters({"AB", "AC", "BC"}, 3) == {"A": "a", "B": "b", "C": "c"}
    # A and C are told apart, B from neither
    assert letters({"AC"}, 3) == {"A": "a", "B": "ab", "C": "b"}
    # each is told apart from the next but one; a letter for each two neighbours
    assert letters({"AC", "AD", "BD"}, 4) == {"A": "a", "B": "ab", "C": "bc", "D": "c"}
    # a difference of the middle ones alone, as where two networks of one family differ by little but surely
    assert letters({"BC"}, 4) == {"A": "ab", "B": "a", "C": "b", "D": "ab"}
    # only the best and the second are tied, and the third and fourth
    assert letters({"AC", "AD", "BC", "BD"}, 4) == {"A": "a", "B": "a", "C": "b", "D": "b"}


def test_a_letter_that_says_nothing_more_is_left_out() -> None:
    # A from B, C from D, E from F: one of each makes 2^3 = 8 largest sets of three. ACE, ADF, BCF and BDE hold every
    # tie once: 4 letters of 3 pairs each, and 15 - 3 = 12 ties.
    p_values = {(a, b): 0.001 if a + b in ("AB", "CD", "EF") else 0.9 for a, b in combinations("ABCDEF", 2)}
    assert len(members(tied_groups(dict.fromkeys("ABCDEF", 0.0), p_values))) == 4


def test_items_come_by_their_estimates_and_letters_with_them() -> None:
    p_values = {("x", "y"): 0.2, ("y", "z"): 0.001, ("z", "x"): 0.049}
    assert list(tied_groups({"x": 0.5, "y": 0.7, "z": 0.1}, p_values).items()) == [
        ("y", ("a",)),
        ("x", ("a",)),
        ("z", ("b",)),
    ]
    assert list(tied_groups({"x": 0.5, "y": 0.7, "z": 0.1}, p_values, largest_first=False).items()) == [
        ("z", ("a",)),
        ("x", ("b",)),
        ("y", ("b",)),
    ]
    assert list(tied_groups({"second": 1.0, "first": 1.0}, {("first", "second"): 1.0})) == ["second", "first"]


def test_a_p_of_exactly_five_percent_does_not_separate() -> None:
    assert tied_groups({"x": 2.0, "y": 1.0}, {("x", "y"): 0.05}) == {"x": ("a",), "y": ("a",)}
    assert tied_groups({"x": 2.0, "y": 1.0}, {("x", "y"): 0.0499}) == {"x": ("a",), "y": ("b",)}


def test_none_and_one() -> None:
    assert tied_groups({}, {}) == {}
    assert tied_groups({"x": 0.3}, {}) == {"x": ("a",)}


def test_after_z_comes_a2() -> None:
    names = [f"{i:02d}" for i in range(28)]
    found = tied_groups({name: -float(name) for name in names}, dict.fromkeys(combinations(names, 2), 0.0))
    assert [found[name] for name in names[24:]] == [("y",), ("z",), ("a2",), ("b2",)]


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, float], Pairs]:
    names = [f"encoder {i}" for i in range(draw(st.integers(1, 9)))]
    pairs = [pair if draw(st.booleans()) else pair[::-1] for pair in combinations(names, 2)]
    p_values = {pair: draw(st.sampled_from([0.0, 0.049, 0.05, 1.0])) for pair in pairs}
    return {name: draw(st.sampled_from([0.1, 0.2, 0.3])) for name in names}, p_values


@settings(max_examples=300)
@given(tables())
def test_two_share_a_letter_exactly_if_they_are_undecided_and_no_letter_is_redundant(
    table: tuple[dict[str, float], Pairs],
) -> None:
    estimates, p_values = table
    found = tied_groups(estimates, p_values)
    assert all(found.values())
    for (a, b), p in p_values.items():
        assert bool(set(found[a]) & set(found[b])) == (p >= 0.05)
    sets = members(found)
    tied = {frozenset(pair) for pair, p in p_values.items() if p >= 0.05}
    for letter, items in sets.items():
        # something is said by this letter alone: of two items, or of one that has no other
        others = [these for other, these in sets.items() if other != letter]
        alone = [pair for pair in combinations(sorted(items), 2) if not any(set(pair) <= these for these in others)]
        assert alone or (len(items) == 1 and not any(items <= these for these in others))
        # and it could take in no further item
        assert not any(all(frozenset({name, item}) in tied for item in items) for name in estimates.keys() - items)
    order = list(found)
    assert [estimates[name] for name in order] == sorted(estimates.values(), reverse=True)
    firsts = [sorted(order.index(name) for name in sets[letter]) for letter in sorted(sets)]
    assert firsts == sorted(firsts)


def test_many_families_of_two_have_few_letters() -> None:
    # 30 times two networks that differ surely from each other and from no one else: 2^30 maximal sets of tied ones
    names = [f"{family}{size}" for family in range(30) for size in "ab"]
    p_values = {(a, b): 0.001 if a[:-1] == b[:-1] else 0.5 for a, b in combinations(names, 2)}
    found = tied_groups(dict.fromkeys(names, 0.0), p_values)
    assert len(members(found)) < 100
    assert all(bool(set(found[a]) & set(found[b])) == (p >= 0.05) for (a, b), p in p_values.items())


@pytest.mark.parametrize(
    ("p_values", "message"),
    [
        ({("x", "y"): 0.5, ("x", "z"): 0.5}, "no p-value of y and z"),
        ({("x", "y"): 0.5, ("y", "x"): 0.5, ("x", "z"): 0.5, ("y", "z"): 0.5}, "one p-value"),
        ({("x", "x"): 0.5}, "none with itself"),
        ({("x", "w"): 0.5}, "of two of the items"),
        ({("x", "y"): float("nan")}, "not nan of"),
        ({("x", "y"): 1.5}, "not 1.5 of"),
    ],
)
def test_p_values_that_do_not_fit_are_refused(p_values: Pairs, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tied_groups({"x": 3.0, "y": 2.0, "z": 1.0}, p_values)


def test_an_estimate_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        tied_groups({"x": float("nan"), "y": 1.0}, {("x", "y"): 0.5})
