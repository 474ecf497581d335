"""Coverage of intervals that generalise to other data sets, and to other training runs; false alarms of their tests.

python benchmarks/generalisation.py [--studies 1000] [--seed 0]

Data sets: four encoders answer 100 images of each right or wrong. On each data set their accuracies differ by a draw
whose standard deviation is 0, once or five times what 100 images alone make of a difference (about 0.05): from a normal
distribution for every encoder, or from an exponential one for the first encoder alone, so that differences are skewed.
The truth is the mean over 20,000 data sets, and for fixed ones that of the data sets drawn. Compared with percentiles
of a hierarchical bootstrap (data sets drawn, then images in each) and of one that draws whole data sets.

Seeds: networks of two recipes score 100 images: a part of an image that all share, one that a recipe's networks share,
one of the run, and one of image and run. Compared with intervals over images alone and over seeds alone.

Standard errors with 1,000 studies: 0.7 % at 95 % and at 5 %.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from embprobe.statistics import DatasetScores, Estimate, compare_recipes, resample_datasets

Array = NDArray[np.float64]
IMAGES, ENCODERS, RESAMPLES = 100, 4, 499
NOISE = 0.05
"""About the standard error of a difference of two accuracies on one data set."""
OWN_GROUPS = [str(i) for i in range(IMAGES)]


def draw_accuracies(rng: np.random.Generator, sets: int, spread: float, shape: str) -> Array:
    """Draw the true accuracies on data sets, ``[sets, encoders]``."""
    if shape == "normal":
        own = rng.normal(size=(sets, ENCODERS)) / np.sqrt(2)
    else:
        own = np.zeros((sets, ENCODERS))
        own[:, 0] = rng.exponential(size=sets) - 1
    return np.asarray(np.clip(0.5 + spread * own, 0.02, 0.98))


def answer(rng: np.random.Generator, accuracies: Array) -> Array:
    """Draw right and wrong answers, ``[sets, images, encoders]``; images differ in difficulty for all encoders."""
    difficulty = rng.normal(size=(len(accuracies), IMAGES, 1))
    own = rng.normal(size=(len(accuracies), IMAGES, ENCODERS))
    return np.asarray((difficulty + own < np.sqrt(2) * ndtri(accuracies)[:, None]).astype(np.float64))


def rank_of_first(scores: Array) -> Array:
    """Return the rank of the first encoder on each data set, ``[sets]``."""
    means = scores.mean(1)
    others = means[:, 1:] - means[:, :1]
    return np.asarray(1 + (others > 1e-9).sum(1) + 0.5 * (np.abs(others) <= 1e-9).sum(1))


def percentiles(rng: np.random.Generator, differences: Array, *, images: bool) -> tuple[float, float]:
    """Return the ends of the percentile interval of a bootstrap over data sets, ``[sets, images]``, or both."""
    sets = len(differences)
    chosen = rng.integers(0, sets, (RESAMPLES, sets))
    if not images:
        means = differences.mean(1)[chosen].mean(1)
    else:
        means = np.empty(RESAMPLES)
        for i, drawn in enumerate(chosen):
            pictures = rng.integers(0, IMAGES, (sets, IMAGES))
            means[i] = np.take_along_axis(differences[drawn], pictures, axis=1).mean()
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def holds(interval: Estimate | tuple[float, float], truth: float) -> bool:
    """Return whether an interval holds the truth."""
    low, high = (interval.low, interval.high) if isinstance(interval, Estimate) else interval
    return low - 1e-9 <= truth <= high + 1e-9


def over_datasets(rng: np.random.Generator, sets: int, spread: float, shape: str, studies: int) -> list[float]:
    """Return coverage of: drawn, fixed, hierarchical, whole data sets, rank; and the share of p < 0.05 of drawn."""
    population = draw_accuracies(rng, 20_000, spread, shape)
    truth = float((population[:, 0] - population[:, 1]).mean())
    mean_rank = float(rank_of_first(answer(rng, population)).mean())
    rows = []
    for study in range(studies):
        accuracies = draw_accuracies(rng, sets, spread, shape)
        scores = answer(rng, accuracies)
        datasets = [DatasetScores(str(i), each, OWN_GROUPS) for i, each in enumerate(scores)]
        resampled = resample_datasets(datasets, seed=study, resamples=RESAMPLES)
        drawn, fixed = resampled.difference(0, 1), resampled.difference(0, 1, sets="fixed")
        differences = scores[:, :, 0] - scores[:, :, 1]
        rows.append(
            [
                holds(drawn, truth),
                holds(fixed, float((accuracies[:, 0] - accuracies[:, 1]).mean())),
                holds(percentiles(rng, differences, images=True), truth),
                holds(percentiles(rng, differences, images=False), truth),
                holds(resampled.rank(0), mean_rank),
                drawn.p is not None and drawn.p < 0.05,
            ]
        )
    return [float(share) for share in np.mean(rows, axis=0)]


def over_seeds(
    rng: np.random.Generator, seeds: tuple[int, int], run: float, both: float, studies: int
) -> tuple[list[float], float]:
    """Return coverage of both, images and seeds, and the share of p < 0.05 of both; and mean estimated over true SE."""
    true = np.sqrt(2 * 0.5**2 / IMAGES + sum((run**2 + both**2 / IMAGES) / many for many in seeds))
    rows, errors = [], []
    for study in range(studies):
        image = rng.normal(size=(IMAGES, 1))
        recipes = [
            image
            + 0.5 * rng.normal(size=(IMAGES, 1))
            + run * rng.normal(size=(1, many))
            + both * rng.normal(size=(IMAGES, many))
            for many in seeds
        ]
        found = compare_recipes(recipes[0], recipes[1], OWN_GROUPS, seed=study, resamples=RESAMPLES)
        rows.append(
            [*(holds(each, 0.0) for each in (found.both, found.images, found.seeds)), (found.both.p or 0.0) < 0.05]
        )
        errors.append(found.error**2)
    return [float(share) for share in np.mean(rows, axis=0)], float(np.sqrt(np.mean(errors)) / true)


def main() -> None:
    """Print both tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    columns = ["data sets", "spread", "drawn", "fixed", "hierarchical", "whole sets", "mean rank", "false alarms"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for shape in ("normal", "exponential"):
        for sets in (5, 10, 20):
            for times in (0, 1, 5) if shape == "normal" else (5,):
                rng = np.random.default_rng([options.seed, sets, times, len(shape)])
                shares = over_datasets(rng, sets, times * NOISE, shape, options.studies)
                print(f"| {sets} | {times} x, {shape} | {' | '.join(f'{share:.3f}' for share in shares)} |", flush=True)
    columns = ["seeds", "of the run", "of run and image", "both", "images", "seeds", "false alarms", "SE / true"]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for seeds in ((2, 2), (3, 3), (5, 5), (2, 5)):
        for run, both in ((0.0, 1.0), (0.05, 0.5), (0.2, 0.5)):
            rng = np.random.default_rng([options.seed, *seeds, int(100 * run)])
            shares, ratio = over_seeds(rng, seeds, run, both, options.studies)
            cells = " | ".join(f"{share:.3f}" for share in shares)
            print(f"| {seeds[0]} and {seeds[1]} | {run} | {both} | {cells} | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main()
