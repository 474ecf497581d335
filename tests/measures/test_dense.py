"""Scores of patches by hand, and beside scikit-learn's metrics."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import jaccard_score, r2_score, roc_auc_score

from embprobe.errors import EmbprobeError
from embprobe.measures.dense import explained, mean_iou, patch_accuracy, patch_places, ranked_above, shuffle_patches

MASKS = arrays(bool, (3, 2, 4))


def test_a_mask_is_scored_by_both_overlaps() -> None:
    truth = np.array([[[True, True, False, False]]] * 3)
    predicted = np.array([[[True, True, False, False]], [[False, False, True, True]], [[False] * 4]])
    # right; all wrong; of the object nothing (0 / 2), of the background two of four
    assert mean_iou(predicted, truth).tolist() == [1.0, 0.0, 0.25]
    assert patch_accuracy(predicted, truth).tolist() == [1.0, 0.0, 0.5]


def test_a_class_that_is_neither_there_nor_predicted_does_not_count() -> None:
    nothing = np.zeros((1, 2, 2), bool)
    assert mean_iou(nothing, nothing).tolist() == [1.0]
    assert mean_iou(~nothing, nothing).tolist() == [0.0]


@given(MASKS, MASKS)
def test_overlaps_are_those_of_scikit_learn(predicted: np.ndarray, truth: np.ndarray) -> None:
    for i, score in enumerate(mean_iou(predicted, truth)):
        a, b = predicted[i].ravel(), truth[i].ravel()
        there = [label for label in (False, True) if label in (*a, *b)]
        assert score == pytest.approx(jaccard_score(b, a, labels=there, average="macro"))


@given(MASKS, st.integers(0, 9))
def test_ranks_are_the_area_under_the_curve(truth: np.ndarray, seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 4, truth.shape).astype(float)  # with ties
    for i, score in enumerate(ranked_above(values, truth)):
        if 0 < truth[i].sum() < truth[i].size:
            assert score == pytest.approx(roc_auc_score(truth[i].ravel(), values[i].ravel()))
        else:
            assert np.isnan(score)


@given(st.integers(0, 99))
def test_the_mean_of_what_is_explained_is_r2(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=(7, 2, 3, 2))
    predicted = truth + rng.normal(size=truth.shape)
    flat = [each.reshape(-1, 2) for each in (truth, predicted)]
    assert explained(predicted, truth).mean() == pytest.approx(r2_score(*flat, multioutput="variance_weighted"))


def test_nothing_to_explain_and_other_shapes_are_refused() -> None:
    with pytest.raises(EmbprobeError, match="the same in all images"):
        explained(np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(EmbprobeError, match="must be the same"):
        mean_iou(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool))


def test_shuffling_moves_whole_patches_within_their_image() -> None:
    patches = np.arange(3 * 16 * 2.0).reshape(3, 4, 4, 2)
    shuffled = shuffle_patches(patches, seed=1)
    for before, after in zip(patches, shuffled, strict=True):
        assert not np.array_equal(before, after)
        assert sorted(map(tuple, before.reshape(-1, 2))) == sorted(map(tuple, after.reshape(-1, 2)))
    moved = [np.argsort(each[..., 0].ravel()).tolist() for each in shuffled]
    assert moved[0] != moved[1]  # another way for each


def test_places_are_the_middles_of_patches() -> None:
    assert patch_places(2, 4)[1, 2].tolist() == [0.75, 0.625]
