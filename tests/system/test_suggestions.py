"""Suggestions: the nearest known name, or nothing."""

from __future__ import annotations

import pytest

from embprobe.system.suggestions import did_you_mean, near_matches

FRUIT = ["apple", "apples", "banana"]


@pytest.mark.parametrize(
    ("name", "n", "quoted", "question"),
    [
        ("aple", 1, False, " Did you mean apple?"),
        ("aple", 2, False, " Did you mean apple or apples?"),
        ("aple", 1, True, " Did you mean 'apple'?"),
        ("aple", 3, True, " Did you mean 'apple' or 'apples'?"),  # no third is near
        ("cherry", 3, False, ""),
        ("", 1, False, ""),
    ],
)
def test_the_nearest_names_are_suggested_best_first(name: str, n: int, quoted: bool, question: str) -> None:
    assert did_you_mean(name, FRUIT, n=n, quoted=quoted) == question


def test_a_known_name_is_not_suggested_to_the_user_who_typed_it() -> None:
    assert near_matches("apple", FRUIT, n=3) == []
    assert did_you_mean("apple", FRUIT) == ""


def test_the_cutoff_is_difflibs_ratio() -> None:
    # "abcd" and "abxy" share 2 letters of 4: ratio 2 * 2 / (4 + 4) = 0.5
    assert near_matches("abxy", ["abcd"], cutoff=0.5) == ["abcd"]
    assert near_matches("abxy", ["abcd"], cutoff=0.51) == []


def test_names_may_come_from_a_generator_or_the_keys_of_a_dict() -> None:
    assert near_matches("aple", (name for name in FRUIT)) == near_matches("aple", dict.fromkeys(FRUIT)) == ["apple"]


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert did_you_mean("apple", []) == ""
