"""Blind pairs, with cosines that can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.errors import EmbprobeError
from embprobe.measures import alike_pairs, blind_pairs

ORIGINAL = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 2.0]])
CHANGED = np.array([[0.8, 0.6], [0.6, 0.8], [0.0, 1.0], [0.0, 1.0]])  # cosines 0.8, 0.6, 0, 1


def test_nuisances_that_move_farther_are_counted() -> None:
    first = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [3.0, 4.0]])  # cosines 0.6, 0.6, 0.6, 0.8
    second = np.array([[0.0, 1.0], [0.0, 1.0], [-1.0, 0.0], [0.0, 5.0]])  # cosines 0, 0, -1, 1
    # 0.8 is above both; 0.6 ties with one and is above the other; 0 is above one; 1 is above one and ties with one
    assert blind_pairs(ORIGINAL, CHANGED, [first, second]).tolist() == [1.0, 0.75, 0.5, 0.75]


def test_an_encoder_that_sees_no_difference_is_blind_and_one_that_sees_no_nuisance_is_not() -> None:
    assert blind_pairs(ORIGINAL[:3], ORIGINAL[:3], [CHANGED[:3]]).tolist() == [1, 1, 1]
    assert blind_pairs(ORIGINAL[:3], CHANGED[:3], [ORIGINAL[:3]]).tolist() == [0, 0, 0]
    assert blind_pairs(ORIGINAL, ORIGINAL, [ORIGINAL]).tolist() == [0.5] * 4


def test_a_pair_is_alike_above_a_cosine() -> None:
    assert alike_pairs(ORIGINAL, CHANGED).tolist() == [0, 0, 0, 1]
    assert alike_pairs(ORIGINAL, CHANGED, above=0.7).tolist() == [1, 0, 0, 1]


@given(st.integers(0, 200), st.floats(0.01, 100))
def test_lengths_a_turn_and_a_narrow_cone_change_nothing_of_blind_pairs(seed: int, length: float) -> None:
    rng = np.random.default_rng(seed)
    original, changed, nuisance = rng.standard_normal((3, 6, 5))
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    scores = blind_pairs(original, changed, [nuisance])
    assert (blind_pairs(length * original @ turn, changed @ turn, [3 * nuisance @ turn]) == scores).all()
    # with the same large part in unit vectors, all cosines rise towards 1, in order
    cone = [
        np.hstack([each / np.linalg.norm(each, axis=1, keepdims=True), np.full((6, 1), 9.0)])
        for each in (original, changed, nuisance)
    ]
    assert (blind_pairs(cone[0], cone[1], [cone[2]]) == scores).all()
    assert alike_pairs(cone[0], cone[1]).all()  # while the absolute cosine takes all of them for alike


def test_random_vectors_have_a_half() -> None:
    rng = np.random.default_rng(0)
    original, changed, first, second = rng.standard_normal((4, 4000, 16))
    assert blind_pairs(original, changed, [first, second]).mean() == pytest.approx(0.5, abs=0.03)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(EmbprobeError, match="give at least one"):
        blind_pairs(ORIGINAL, CHANGED, [])
    with pytest.raises(EmbprobeError, match=r"vectors of \(4, 2\) and \(3, 2\) are not"):
        alike_pairs(ORIGINAL, CHANGED[:3])
    with pytest.raises(EmbprobeError):
        alike_pairs(ORIGINAL, 0 * CHANGED)
