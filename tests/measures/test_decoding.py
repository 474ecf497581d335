from __future__ import annotations

import numpy as np

from embprobe.measures.decoding import correct, predict_majority


def test_correct_is_one_score_per_image() -> None:
    assert correct(np.array(["a", "b", "c"]), np.array(["a", "c", "c"])).tolist() == [1.0, 0.0, 1.0]


def test_majority_is_the_most_frequent_label_and_the_first_of_a_tie() -> None:
    assert predict_majority(np.array(["c", "b", "c", "a"]), n=3).tolist() == ["c", "c", "c"]
    assert predict_majority(np.array(["c", "b", "b", "c", "a"]), n=1).tolist() == ["b"]
