from __future__ import annotations

import numpy as np
import pytest

from embprobe.measures.decoding import correct, guess_majority


def test_correct_is_one_score_per_image() -> None:
    assert correct(np.array(["a", "b", "c"]), np.array(["a", "c", "c"])).tolist() == [1.0, 0.0, 1.0]


def test_guessing_is_the_share_of_the_most_frequent_label() -> None:
    assert guess_majority(np.array(["c", "b", "c", "a"])).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert guess_majority(np.array(["c", "b", "b", "c", "a"])).tolist() == [0.5, 0.5, 0.5, 0.5, 0.0]  # mean 2 of 5


def test_guessing_among_equally_frequent_labels_is_the_same_for_all() -> None:
    """Seven classes of equal size in five folds: the majority of four folds would be the rarest of the fifth."""
    labels = np.array([f"class {i % 7}" for i in range(70)])
    assert guess_majority(labels) == pytest.approx(1 / 7)
