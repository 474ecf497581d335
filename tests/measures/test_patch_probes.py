"""Probes of patches: encoders of which it is known what their patches hold, and scikit-learn's ridge."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from embprobe.errors import EmbprobeError
from embprobe.measures import patch_probes
from embprobe.measures.dense import explained, mean_iou, patch_places, shuffle_patches
from embprobe.measures.folds import group_folds
from embprobe.measures.patch_probes import guess_objects, predict_objects, predict_ridge

N, H, W = 60, 4, 4
GROUPS = np.array([f"concept {i % 20}" for i in range(N)])


@pytest.fixture(scope="module")
def covered() -> NDArray[np.bool_]:
    """Objects of two by two patches at a random place."""
    rng, masks = np.random.default_rng(0), np.zeros((N, H, W), bool)
    for mask in masks:
        top, left = rng.integers(0, 3, 2)
        mask[top : top + 2, left : left + 2] = True
    return masks


def positions() -> NDArray[np.float64]:
    """Tokens that hold their place and nothing else."""
    return np.broadcast_to(np.eye(H * W).reshape(H, W, H * W), (N, H, W, H * W))


def test_tokens_that_are_the_mask_find_it(covered: NDArray[np.bool_]) -> None:
    noise = np.random.default_rng(1).normal(scale=0.1, size=(N, H, W, 5))
    tokens = np.concatenate([np.where(covered, 1.0, -1.0)[..., None], noise], -1)
    assert mean_iou(predict_objects(tokens, covered, GROUPS), covered).mean() == 1
    shuffled = predict_objects(shuffle_patches(tokens), covered, GROUPS)
    assert mean_iou(shuffled, covered).mean() <= mean_iou(guess_objects(covered, GROUPS), covered).mean() + 0.05


def test_tokens_that_are_their_place_do_not_find_the_mask_beyond_guessing(covered: NDArray[np.bool_]) -> None:
    found = mean_iou(predict_objects(positions(), covered, GROUPS), covered).mean()
    guessed = mean_iou(guess_objects(covered, GROUPS), covered).mean()
    assert found <= guessed + 0.02 < 0.6
    places = np.broadcast_to(patch_places(H, W), (N, H, W, 2))

    def placed(tokens: NDArray[np.float64]) -> float:
        of_patch = np.repeat(GROUPS, H * W)
        predicted = predict_ridge(tokens.reshape(N * H * W, -1), places.reshape(-1, 2), of_patch)
        return float(explained(predicted.reshape(places.shape), places).mean())

    assert placed(positions()) == pytest.approx(1, abs=1e-4)
    assert abs(placed(shuffle_patches(positions()))) < 0.02


def test_an_image_is_never_fitted_on_with_its_group(covered: NDArray[np.bool_]) -> None:
    """Tokens name the image's group: whoever saw it would know the mask."""
    same = np.repeat(covered[:20][None], 3, 0).reshape(N, H, W)  # of a concept the same mask
    tokens = np.eye(20)[np.arange(N) % 20][:, None, None].repeat(H, 1).repeat(W, 2)
    tokens = (tokens[..., None] * positions()[..., None, :]).reshape(N, H, W, -1)
    found = mean_iou(predict_objects(tokens, same, GROUPS), same).mean()
    assert found <= mean_iou(np.zeros_like(same), same).mean() + 0.02


def test_a_ridge_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(2)
    for d in (3, 90):  # fewer dimensions than rows, and more
        x, y = rng.normal(size=(N, d)), rng.normal(size=(N, 2))
        monkeypatch.setattr(patch_probes, "RIDGES", (0.5,))
        predicted = predict_ridge(x, y, GROUPS)
        fold = group_folds(GROUPS, folds=5, seed=0)
        fit, tested = fold != 0, fold == 0
        centred = x[fit] - x[fit].mean(0)
        alpha = 0.5 * np.square(centred).sum() / min(d, N)  # mean variance of a dimension, of those that there are
        reference = Ridge(alpha=alpha).fit(x[fit], y[fit]).predict(x[tested])
        np.testing.assert_allclose(predicted[tested], reference, atol=1e-8)


def test_more_rows_than_may_be_fitted_on_are_drawn_from() -> None:
    x = np.arange(200.0)[:, None]
    groups = np.array([str(i % 10) for i in range(200)])
    assert predict_ridge(x, 3 * x, groups, most=20)[100, 0] == pytest.approx(300, rel=1e-3)


def test_too_few_groups_and_numbers_that_are_not_finite_are_refused(covered: NDArray[np.bool_]) -> None:
    tokens = np.where(covered, 1.0, -1.0)[..., None]
    with pytest.raises(EmbprobeError, match="at least three groups; there are 2"):
        predict_objects(tokens, covered, np.array(["a", "b"] * 30))
    with pytest.raises(EmbprobeError, match="not finite"):
        predict_objects(tokens * np.nan, covered, GROUPS)
    with pytest.raises(EmbprobeError, match="not finite"):
        predict_ridge(np.full((N, 2), np.inf), np.zeros((N, 1)), GROUPS)
    with pytest.raises(EmbprobeError, match="two different values"):
        predict_objects(tokens, np.zeros_like(covered), GROUPS)
