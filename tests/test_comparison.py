from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embprobe.comparison import overlap_at_k

K_OF_TWENTY = st.integers(1, 12).flatmap(
    lambda k: st.tuples(*[st.permutations([str(i) for i in range(20)]).map(lambda order: order[:k])] * 2)
)


def test_overlap_by_hand() -> None:
    assert overlap_at_k(["a", "b", "c", "d"], ["d", "x", "a", "c"]) == 0.75  # a, c and d are common
    assert overlap_at_k(["a"], ["a"]) == 1
    assert overlap_at_k(["a", "b"], ["c", "d"]) == 0


@settings(deadline=None)
@given(K_OF_TWENTY)
def test_overlap_counts_each_common_neighbour_and_not_its_rank(lists: tuple[list[str], list[str]]) -> None:
    a, b = lists
    assert overlap_at_k(a, b) == sum(key in b for key in a) / len(a)
    assert overlap_at_k(a, b) == overlap_at_k(b, a) == overlap_at_k(a[::-1], b)
    assert overlap_at_k(a, a) == 1


def test_lists_of_different_lengths_or_none_cannot_overlap() -> None:
    with pytest.raises(ValueError, match="got 2 and 1"):
        overlap_at_k(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="got 0 and 0"):
        overlap_at_k([], [])
