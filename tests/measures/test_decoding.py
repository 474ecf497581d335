from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embprobe.measures.decoding import balance, correct, guess_majority


def test_correct_is_one_score_per_image() -> None:
    assert correct(np.array(["a", "b", "c"]), np.array(["a", "c", "c"])).tolist() == [1.0, 0.0, 1.0]


def test_guessing_is_the_share_of_the_most_frequent_label() -> None:
    assert guess_majority(np.array(["c", "b", "c", "a"])).tolist() == [1.0, 0.0, 1.0, 0.0]
    assert guess_majority(np.array(["c", "b", "b", "c", "a"])).tolist() == [0.5, 0.5, 0.5, 0.5, 0.0]  # mean 2 of 5


def test_guessing_among_equally_frequent_labels_is_the_same_for_all() -> None:
    """Seven classes of equal size in five folds: the majority of four folds would be the rarest of the fifth."""
    labels = np.array([f"class {i % 7}" for i in range(70)])
    assert guess_majority(labels) == pytest.approx(1 / 7)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=60))
def test_guessing_is_as_good_as_the_best_constant_answer_and_no_better(labels: list[str]) -> None:
    truth = np.array(labels)
    best = max(correct(np.repeat(value, len(truth)), truth).mean() for value in set(labels))
    assert guess_majority(truth).mean() == pytest.approx(best)
    assert best >= 1 / len(set(labels)) - 1e-12
    assert balance(guess_majority(truth), truth).mean() == pytest.approx(1 / len(set(labels)))


def test_the_mean_of_balanced_scores_is_the_mean_recall() -> None:
    truth = np.array(["a"] * 8 + ["b"] * 2)
    scores = np.array([1.0] * 6 + [0.0] * 2 + [1.0, 0.0])  # recalls 6 / 8 and 1 / 2
    assert balance(scores, truth).mean() == pytest.approx((6 / 8 + 1 / 2) / 2)
    # Weights are 10 / (2 * 8) = 0.625 and 10 / (2 * 2) = 2.5: 0.625 + 0.625 (1 - 0.625), 0.625 + 2.5 (0 - 0.625)
    assert balance(scores, truth)[[0, 9]] == pytest.approx([0.859375, -0.9375])


def test_where_all_labels_are_as_frequent_balanced_scores_are_the_scores() -> None:
    scores = np.array([1.0, 0.0, 0.0, 1.0])
    assert balance(scores, np.array(["a", "a", "b", "b"])) == pytest.approx(scores)


def test_whoever_always_says_the_same_has_one_over_the_number_of_labels() -> None:
    truth = np.array(["a"] * 7 + ["b"] * 2 + ["c"])
    for value in "abc":
        assert balance(correct(np.array([value] * 10), truth), truth).mean() == pytest.approx(1 / 3)
