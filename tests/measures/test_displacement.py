from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.displacement import displacement, displacement_percentile

Vectors = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(2, 40)
DIMENSIONS = st.integers(4, 20)  # below 4, two random directions too often coincide


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def random_pair(seed: int, n: int, d: int) -> tuple[Vectors, Vectors]:
    rng = np.random.default_rng(seed)
    original = rng.normal(size=(n, d))
    return original, original + rng.uniform(0, 3) * rng.normal(size=(n, d))


def both(original: NDArray[np.floating], changed: NDArray[np.floating]) -> Vectors:
    return np.stack([displacement(original, changed), displacement_percentile(original, changed)])


def test_displacement_by_hand() -> None:
    # cosines between 0, 60 and 120 degrees: 0.5, 0.5, -0.5; distances 0.5, 0.5, 1.5; their mean 2.5 / 3
    # moved by 90, 0 and 180 degrees: distances 1, 0 and 2
    scores = displacement(at(0, 60, 120), at(90, 60, -60))
    assert scores == pytest.approx([1 / (2.5 / 3), 0, 2 / (2.5 / 3)])  # 1.2, 0, 2.4


def test_percentile_by_hand() -> None:
    # image  moved by  the others are away by   nearer than its changed self
    #   0       20           10  40  90         1 of 3
    #  10        0           10  30  80         0 of 3
    #  40       45           40  30  50         2 of 3
    #  90      180           90  80  50         3 of 3
    scores = displacement_percentile(at(0, 10, 40, 90), at(20, 10, 85, 270))
    assert scores == pytest.approx([1 / 3, 0, 2 / 3, 1])


def test_a_tie_counts_half() -> None:
    # the image at 0 moves by 40 degrees, to either side: the one at 10 is nearer, the one at 40 as near: 1.5 of 3
    for moved in (40, -40):
        assert displacement_percentile(at(0, 10, 40, 90), at(moved, 10, 40, 90))[0] == pytest.approx(0.5)


@settings(deadline=None)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_the_unit_is_the_mean_distance_over_all_pairs(seed: int, n: int, d: int) -> None:
    original, changed = random_pair(seed, n, d)
    a = original / np.linalg.norm(original, axis=1, keepdims=True)
    b = changed / np.linalg.norm(changed, axis=1, keepdims=True)
    distances = 1 - a @ a.T
    mean = (distances.sum() - np.trace(distances)) / (n * (n - 1))
    np.testing.assert_allclose(displacement(original, changed), (1 - (a * b).sum(1)) / mean, rtol=1e-8, atol=1e-12)


@settings(deadline=None)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_the_percentile_with_all_partners_is_the_share_over_all_other_images(seed: int, n: int, d: int) -> None:
    original, changed = random_pair(seed, n, d)
    a = original / np.linalg.norm(original, axis=1, keepdims=True)
    b = changed / np.linalg.norm(changed, axis=1, keepdims=True)
    for i, score in enumerate(displacement_percentile(original, changed)):
        nearer = [a[i] @ a[j] - a[i] @ b[i] for j in range(n) if j != i]
        by_hand = np.mean([0.5 if abs(by) < 1e-7 else by > 0 for by in nearer])
        assert score == pytest.approx(by_hand)


@settings(deadline=None)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_scores_do_not_change_under_rotation(seed: int, n: int, d: int) -> None:
    original, changed = random_pair(seed, n, d)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(d, d)))
    np.testing.assert_allclose(both(original @ rotation, changed @ rotation), both(original, changed), atol=1e-6)


@settings(deadline=None)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_scores_do_not_change_when_dimensions_are_permuted(seed: int, n: int, d: int) -> None:
    original, changed = random_pair(seed, n, d)
    order = np.random.default_rng(seed).permutation(d)
    np.testing.assert_allclose(both(original[:, order], changed[:, order]), both(original, changed), atol=1e-6)


@settings(deadline=None)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_scores_do_not_change_when_every_vector_has_a_length_of_its_own(seed: int, n: int, d: int) -> None:
    original, changed = random_pair(seed, n, d)
    first, second = 10 ** np.random.default_rng(seed).uniform(-6, 6, (2, n, 1))
    np.testing.assert_allclose(both(first * original, second * changed), both(original, changed), atol=1e-6)


@settings(deadline=None)
@given(SEEDS, st.integers(3, 40), DIMENSIONS)
def test_displacement_follows_its_image_when_rows_are_permuted(seed: int, n: int, d: int) -> None:
    original, changed = random_pair(seed, n, d)
    order = np.random.default_rng(seed).permutation(n)
    np.testing.assert_allclose(both(original[order], changed[order]), both(original, changed)[:, order], atol=1e-9)


@settings(deadline=None)
@given(SEEDS, COUNTS, DIMENSIONS, st.sampled_from([np.float16, np.float32, np.float64]))
def test_an_encoder_blind_to_the_change_scores_zero(seed: int, n: int, d: int, kind: type[np.floating]) -> None:
    original = random_pair(seed, n, d)[0].astype(kind)
    np.testing.assert_allclose(both(original, original), 0, atol=1e-12)


def test_half_precision_is_widened_before_anything_is_summed() -> None:
    original, changed = (v.astype(np.float16) for v in random_pair(0, 50, 300))
    wide = displacement(original.astype(np.float64), changed.astype(np.float64))
    assert np.array_equal(displacement(original, changed), wide)


def test_a_change_to_an_unrelated_image_scores_one_on_average() -> None:
    # original and changed are independent draws of one distribution, so E d(x, Tx) is the mean distance itself.
    # d has mean 1 and standard deviation 1 / sqrt(10), so the mean of 2,000 is within 4 * 0.316 / sqrt(2000) = 0.028.
    rng = np.random.default_rng(0)
    original, changed = rng.normal(size=(2, 2000, 10))
    assert displacement(original, changed).mean() == pytest.approx(1, abs=0.028)
    # its percentile is uniform in 0..1: mean 1/2, standard deviation 0.289, 4 * 0.289 / sqrt(2000) = 0.026
    assert displacement_percentile(original, changed).mean() == pytest.approx(0.5, abs=0.026)


@settings(max_examples=25, deadline=None)
@given(SEEDS)
def test_fewer_partners_estimate_the_percentile_over_all(seed: int) -> None:
    original, changed = random_pair(7, 200, 5)
    few = displacement_percentile(original, changed, partners=20, seed=seed)
    assert np.allclose(few * 40, np.rint(few * 40))  # twentieths, and halves of them for ties
    all_others = displacement_percentile(original, changed, partners=199)
    # each image: a draw of 20 of 199, standard error at most 0.5 / sqrt(20) = 0.112; no image beyond 5.5 of these
    assert np.abs(few - all_others).max() < 0.62
    assert abs((few - all_others).mean()) < 0.05


def test_the_same_seed_takes_the_same_partners_and_another_seed_others() -> None:
    original, changed = random_pair(0, 200, 5)
    first, again, other = (displacement_percentile(original, changed, partners=10, seed=s) for s in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_with_all_partners_the_seed_does_not_matter() -> None:
    original, changed = random_pair(0, 30, 5)
    first, other = (displacement_percentile(original, changed, partners=29, seed=s) for s in (1, 2))
    np.testing.assert_allclose(first, other)


def test_one_image_has_nothing_to_be_compared_with() -> None:
    for measure in (displacement, displacement_percentile):
        with pytest.raises(EmbprobeError, match="at least 2 images; there are 1"):
            measure(at(0), at(90))


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
@pytest.mark.parametrize("which", ["original", "changed"])
def test_vectors_without_a_direction_are_counted_in_the_error(bad: float, which: str) -> None:
    vectors = {"original": at(0, 10, 40, 90), "changed": at(0, 10, 40, 90)}
    vectors[which][[1, 3]] = bad
    for measure in (displacement, displacement_percentile):
        with pytest.raises(EmbprobeError, match="2 of 4 embeddings are zero or not finite"):
            measure(vectors["original"], vectors["changed"])


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_coinciding_originals_are_a_collapsed_encoder(noise: float) -> None:
    # float32 rounds at 6e-8 of a number, so a collapsed encoder leaves distances of about 1e-14 rather than 0
    original = np.ones((20, 8)) * (1 + noise * np.random.default_rng(0).normal(size=(20, 8)))
    with pytest.raises(EmbprobeError, match="collapsed"):
        displacement(original, original)
