from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray

from embprobe.measures.pair_effects import influence_scores
from embprobe.measures.pair_sharing import links_between, pair_sharing
from embprobe.measures.vectors import LabelArray
from embprobe.statistics import resample
from tests.conftest import cosines
from tests.measures.pairs_of_encoders import SEEDS

Array = NDArray[np.float64]


def drawn(seed: int, n: int = 14) -> tuple[NDArray[np.int64], LabelArray, Array]:
    """Some pairs of n rows, a label of each, vectors of each."""
    rng = np.random.default_rng(seed)
    every = np.stack(np.triu_indices(n, 1), axis=1)
    chosen = np.sort(rng.choice(len(every), rng.integers(3, 40), replace=False))
    return every[chosen], rng.integers(0, 3, n).astype(np.str_), rng.normal(size=(n, 4))


def by_weights(pairs: NDArray[np.int64], shared: Array, weights: Array) -> tuple[float, float]:
    """Both means written out, where row i stands in the sample ``weights[i]`` times."""
    n = len(weights)
    linked = np.zeros((n, n))
    linked[tuple(pairs.T)] = 1
    linked = (linked + linked.T) * np.outer(weights, weights)
    degree = linked.sum(1)
    random = np.outer(degree, degree) * (1 - np.eye(n))
    return float((linked * shared).sum() / linked.sum()), float((random * shared).sum() / random.sum())


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_means_and_influences_are_those_written_out(seed: int) -> None:
    pairs, labels, vectors = drawn(seed)
    n = len(labels)
    same = (labels[:, None] == labels).astype(np.float64)
    alone = [f"{i:02}" for i in range(n)]
    for attribute, shared in ((labels, same), (vectors, 1 - cosines(vectors, vectors))):
        found = pair_sharing(pairs, attribute, alone)
        share, matched = by_weights(pairs, shared, np.ones(n))
        assert (found.share, found.matched) == pytest.approx((share, matched))
        assert found.effects.scores.mean() == pytest.approx(share)
        assert found.beyond.scores.mean() == pytest.approx(share - matched)
        for i in range(n):  # the derivative as the weight of a row grows
            more, less = (by_weights(pairs, shared, 1 + step * np.eye(n)[i]) for step in (1e-6, -1e-6))
            slope = [n * (a - b) / 2e-6 for a, b in zip(more, less, strict=True)]
            assert found.effects.scores[i] - share == pytest.approx(slope[0], abs=1e-5)
            assert found.beyond.scores[i] - share + matched == pytest.approx(slope[0] - slope[1], abs=1e-5)


def test_pairs_that_share_no_image_have_the_error_of_independent_pairs() -> None:
    # 60 pairs of 120 images, 30 of them of one label: the standard error of a share of one half is 0.5 / sqrt(60)
    pairs = np.arange(120).reshape(60, 2)
    labels = np.where(np.arange(120) % 4 == 1, "b", "a").astype(np.str_)
    groups = [f"{i:03}" for i in range(120)]
    found = pair_sharing(pairs, labels, groups)
    assert found.share == 0.5
    scores = influence_scores([found.effects], groups)
    assert np.sqrt(np.square(scores - scores.mean()).sum()) / 120 == pytest.approx(0.5 / np.sqrt(60))
    estimate = resample(scores, groups, seed=0).mean(0)
    assert (estimate.high - estimate.low) / 3.92 == pytest.approx(0.5 / np.sqrt(60), rel=0.1)


def test_a_hub_counts_as_one_image() -> None:
    # image 0 is in all pairs: what it shares with the others is one image's word, however many pairs
    pairs = np.array([[0, i] for i in range(1, 41)])
    labels = np.array(["a", *["a"] * 20, *["b"] * 20])
    groups = [f"{i:02}" for i in range(41)]
    found = pair_sharing(pairs, labels, groups)
    assert found.share == 0.5
    assert found.matched > 0.4  # half of the random pairs have the hub in them, too


def test_pairs_inside_a_group_come_with_it_once() -> None:
    # three groups of two, a pair in each: drawing a group draws its pair, so the error is that of three values
    pairs = np.array([[0, 1], [2, 3], [4, 5]])
    labels = np.array(["a", "a", "a", "b", "a", "b"])
    groups = ["x", "x", "y", "y", "z", "z"]
    assert links_between(pairs, groups).shape == (0, 2)
    found = pair_sharing(pairs, labels, groups)
    sums = (found.effects.scores - found.share).reshape(3, 2).sum(1) / 6
    assert sums == pytest.approx((np.array([1, 0, 0]) - 1 / 3) / 3)


def test_links_are_pairs_of_groups_once() -> None:
    pairs = np.array([[0, 1], [0, 2], [1, 3], [2, 3]])
    assert links_between(pairs, ["a", "a", "b", "b"]).tolist() == [[0, 1]]


def test_intervals_hold_the_truth() -> None:
    """In 95 of 100 studies of 120 images, give or take 3 standard errors of as many studies."""
    expected, held, studies = population_share(), 0, 120
    for seed in range(studies):
        pairs, labels = planted(seed)
        groups = [f"{i:03}" for i in range(len(labels))]
        found = pair_sharing(pairs, labels, groups)
        estimate = resample(influence_scores([found.effects], groups), groups, seed=seed).mean(0)
        held += estimate.low <= expected <= estimate.high
    assert held / studies > 0.95 - 3 * np.sqrt(0.95 * 0.05 / studies)


def planted(seed: int, n: int = 120) -> tuple[NDArray[np.int64], LabelArray]:
    """Pairs of one label are linked with a probability of 0.02, others with 0.005."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n).astype(np.str_)
    every = np.stack(np.triu_indices(n, 1), axis=1)
    same = labels[every[:, 0]] == labels[every[:, 1]]
    return every[rng.random(len(every)) < np.where(same, 0.02, 0.005)], labels


def population_share() -> float:
    return 0.25 * 0.02 / (0.25 * 0.02 + 0.75 * 0.005)
