from __future__ import annotations

import numpy as np
import pytest

from embprobe.errors import EmbprobeError
from embprobe.measures.pairs import pair_cosines, percentile, random_pairs
from tests.measures.pairs_of_encoders import related


def test_pairs_of_many_rows_are_drawn_and_of_different_rows() -> None:
    pairs = random_pairs(5000)
    assert pairs.shape == (1_000_000, 2) and (pairs[:, 0] != pairs[:, 1]).all()
    assert pairs.min() == 0 and pairs.max() == 4999
    assert np.array_equal(pairs, random_pairs(5000)) and not np.array_equal(pairs, random_pairs(5000, seed=1))


def test_a_percentile_counts_equal_values_half() -> None:
    assert percentile(np.array([1.0]), np.array([0.0, 1.0, 1.0, 2.0])).tolist() == [0.5]


def test_a_pair_without_a_direction_has_no_cosine() -> None:
    a, _ = related(0)
    a[2] = 0
    assert pair_cosines(a, np.array([[0, 1]])).shape == (1,)
    with pytest.raises(EmbprobeError, match="zero or not finite"):
        pair_cosines(a, np.array([[0, 2]]))
