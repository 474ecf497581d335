"""Holm's correction, by hand and against its definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.statistics import holm


def test_holm_by_hand() -> None:
    # sorted 0.005 * 4 = 0.02, 0.01 * 3 = 0.03, 0.03 * 2 = 0.06, 0.04 * 1 raised to the 0.06 before it
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]  # 1.2 is cut to 1
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_its_definition_keeps_the_order_and_never_lowers_a_p_value(raw: list[float]) -> None:
    adjusted, m = holm(raw), len(raw)
    ascending = sorted(raw)
    for p, corrected in zip(raw, adjusted, strict=True):
        last = max(i for i in range(m) if ascending[i] == p)
        assert corrected == max(min(1.0, (m - i) * ascending[i]) for i in range(last + 1))
        assert p <= corrected <= 1
    for p, corrected in zip(raw, adjusted, strict=True):
        assert all(corrected <= other for q, other in zip(raw, adjusted, strict=True) if p < q)
