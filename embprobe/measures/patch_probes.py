"""Linear probes of patches, in folds of groups: each image is predicted by a probe that is fitted on other groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.dense import Mask
from embprobe.measures.folds import FOLDS, group_folds
from embprobe.measures.logistic import predict_logistic
from embprobe.measures.vectors import LabelArray, ScoreArray, check_finite

MOST = 20_000
"""Rows that a probe of patches is fitted on, at most: an image has many patches, and neighbours are alike."""
RIDGES: tuple[float, ...] = tuple(np.logspace(-6, 2, 17).tolist())
"""Strengths of the penalty of a ridge regression, in mean variances of a dimension."""
_OBJECT, _BACKGROUND = "object", "background"


def predict_objects(
    patches: NDArray[np.floating],
    covered: Mask,
    groups: LabelArray,
    *,
    seed: int = 0,
    device: str = "cpu",
    most: int = MOST,
    on_unconverged: Callable[[float], None] = lambda c: None,
) -> Mask:
    """Predict which patches show an object, by a linear probe that is fitted on patches of other groups' images.

    Args:
        patches: Patch tokens, ``[n, h, w, d]``.
        covered: Whether an object covers each patch, ``[n, h, w]``.
        groups: The group of each image, such as its concept, ``[n]``.
        seed: Decides folds, fitted patches and the held-out groups.
        device: "cpu", or a device of torch.
        most: Patches to fit on; more are drawn from at random.
        on_unconverged: As of :func:`~embprobe.measures.logistic.predict_logistic`.

    Returns:
        Whether each patch is predicted to show an object, ``[n, h, w]``.

    Raises:
        EmbprobeError: There are fewer than three groups, a number is not finite, or no patch, or every one, is covered.

    Example:
        >>> covered = np.random.default_rng(0).random((9, 2, 2)) < 0.5
        >>> tokens = np.where(covered, 1.0, -1.0)[..., None]
        >>> bool((predict_objects(tokens, covered, np.array(list("abcdefghi"))) == covered).all())
        True
    """
    check_finite(patches.reshape(-1, patches.shape[-1]))
    each = covered[0].size
    x, labels = patches.reshape(-1, patches.shape[-1]), np.where(covered.ravel(), _OBJECT, _BACKGROUND)
    of_patch = np.repeat(groups, each)
    predicted = np.zeros(len(x), bool)
    for fit, tested in _folds(of_patch, seed, most):
        (named,) = predict_logistic(
            x[fit],
            labels[fit],
            of_patch[fit],
            [x[tested]],
            seed=seed,
            device=device,
            on_unconverged=on_unconverged,
        )
        predicted[tested] = named == _OBJECT
    return predicted.reshape(covered.shape)


def guess_objects(covered: Mask, groups: LabelArray, *, seed: int = 0) -> Mask:
    """Guess a mask without seeing the image: for each place, whether most images of other groups have an object there.

    Args:
        covered: Whether an object covers each patch, ``[n, h, w]``.
        groups: The group of each image, ``[n]``.
        seed: Decides the folds, those of :func:`predict_objects`.

    Returns:
        The guessed masks, ``[n, h, w]``; the same for all images of a fold.

    Example:
        >>> covered = np.array([[[True, False]]] * 3)
        >>> guess_objects(covered, np.array(list("abc")))[0].tolist()
        [[True, False]]
    """
    guessed = np.zeros_like(covered)
    for fit, tested in _folds(groups, seed, len(groups)):
        guessed[tested] = covered[fit].mean(0) > 0.5
    return guessed


def predict_ridge(
    vectors: NDArray[np.floating], targets: ScoreArray, groups: LabelArray, *, seed: int = 0, most: int = MOST
) -> ScoreArray:
    """Predict numbers by ridge regressions that are fitted on other groups, the penalty chosen on groups among these.

    Args:
        vectors: ``[n, d]``.
        targets: ``[n, k]``.
        groups: The group of each row, ``[n]``.
        seed: Decides folds, fitted rows and the held-out groups.
        most: Rows to fit on; more are drawn from at random.

    Returns:
        Predictions ``[n, k]``.

    Raises:
        EmbprobeError: There are fewer than three groups, or a number is not finite.

    Example:
        >>> x = np.arange(9.0)[:, None]
        >>> predict_ridge(x, 2 * x + 1, np.array(list("abcdefghi")))[:3].round(2).ravel().tolist()
        [1.0, 3.0, 5.0]
    """
    check_finite(vectors)
    x = vectors if vectors.shape[1] <= len(vectors) else _narrowed(np.asarray(vectors, np.float64))
    predicted = np.empty(targets.shape)
    for fit, tested in _folds(groups, seed, most):
        inner = group_folds(groups[fit], folds=_number(groups[fit]), seed=seed) == 0
        errors = [
            np.square(each - targets[fit[inner]]).sum()
            for each in _ridges(x[fit[~inner]], targets[fit[~inner]], x[fit[inner]], RIDGES)
        ]
        (predicted[tested],) = _ridges(x[fit], targets[fit], x[tested], [RIDGES[int(np.argmin(errors))]])
    return predicted


def _folds(groups: LabelArray, seed: int, most: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield the rows to fit on, ``most`` at most, and the rows that are tested, fold by fold."""
    number = _number(groups)
    if number < 3:
        raise EmbprobeError(f"A probe of patches needs images of at least three groups; there are {number}.")
    fold = group_folds(groups, folds=number, seed=seed)
    for i in range(number):
        fit = np.flatnonzero(fold != i)
        if len(fit) > most:
            fit = np.sort(np.random.default_rng((seed, i)).choice(fit, most, replace=False))
        yield fit, np.flatnonzero(fold == i)


def _number(groups: LabelArray) -> int:
    return min(FOLDS, len(np.unique(groups)))


def _narrowed(x: ScoreArray) -> ScoreArray:
    """Return rows with the same inner products in as many dimensions as there are rows: a ridge sees nothing else."""
    values, vectors = np.linalg.eigh((x - x.mean(0)) @ (x - x.mean(0)).T)
    return np.asarray(vectors * np.sqrt(np.clip(values, 0, None)))


def _ridges(
    x: NDArray[np.floating], y: ScoreArray, tests: NDArray[np.floating], penalties: list[float] | tuple[float, ...]
) -> Iterator[ScoreArray]:
    """Yield the predictions ``[m, k]`` for the tested rows at each penalty, in float64."""
    x, tests = np.asarray(x, np.float64), np.asarray(tests, np.float64)
    center, mean = x.mean(0), y.mean(0)
    values, basis = np.linalg.eigh((x - center).T @ (x - center))
    towards = basis.T @ ((x - center).T @ (y - mean))
    rotated = (tests - center) @ basis
    scale = max(float(values.mean()), np.finfo(np.float64).tiny)
    for penalty in penalties:
        yield mean + rotated @ (towards / (np.clip(values, 0, None) + penalty * scale)[:, None])
