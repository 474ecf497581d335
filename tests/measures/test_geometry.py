from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.geometry import (
    alignment,
    centred,
    conformity,
    effective_rank,
    mean_cosine,
    modality_gap,
    principal_axes,
    uniformity,
)

Array = NDArray[np.float64]
Measure = Callable[[Array], Array]
SEEDS = st.integers(0, 2**32 - 1)
COUNTS = st.integers(4, 40)
DIMENSIONS = st.integers(4, 12)


def at(*degrees: float) -> Array:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def directions(x: Array) -> Array:
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def cloud(seed: int, n: int, d: int) -> Array:
    """Vectors about a point that is not the origin, with a variance of its own in each dimension."""
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, d)) * np.linspace(1, 2, d) + 0.7)


def halves(x: Array) -> tuple[Array, Array]:
    """One array as pairs of images and texts on opposite sides of the origin: the gap beside the other statistics."""
    half = x.shape[1] // 2
    return x[:, :half], -x[:, half : 2 * half]


def gap(x: Array) -> Array:
    return modality_gap(*halves(x))


# Each statistic as its definition says, for images of any weights that sum to 1.


def weighted_pairs(kernel: Callable[[float], float], x: Array, w: Array) -> float:
    """Over pairs of distinct rows, the weighted mean of a function of the squared distance."""
    x = directions(x)
    above = below = 0.0
    for i, j in itertools.permutations(range(len(x)), 2):
        above += w[i] * w[j] * kernel(float(((x[i] - x[j]) ** 2).sum()))
        below += w[i] * w[j]
    return above / below


def weighted_uniformity(x: Array, w: Array) -> float:
    return float(np.log(weighted_pairs(lambda square: float(np.exp(-2 * square)), x, w)))


def weighted_mean_cosine(x: Array, w: Array) -> float:
    return weighted_pairs(lambda square: 1 - square / 2, x, w)


def weighted_effective_rank(x: Array, w: Array) -> float:
    apart = (x - w @ x) * np.sqrt(w)[:, None]
    singular = np.linalg.svd(apart, compute_uv=False)
    share = singular[singular > 1e-12] / singular.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def weighted_mean_length(x: Array, w: Array) -> float:
    return float(np.linalg.norm(w @ directions(x)))


def weighted_gap(x: Array, w: Array) -> float:
    images, texts = halves(x)
    return float(np.linalg.norm(w @ directions(images) - w @ directions(texts)))


STATISTICS: dict[str, tuple[Measure, Callable[[Array, Array], float]]] = {
    "uniformity": (uniformity, weighted_uniformity),
    "mean_cosine": (mean_cosine, weighted_mean_cosine),
    "effective_rank": (effective_rank, weighted_effective_rank),
    "conformity": (conformity, weighted_mean_length),
    "modality_gap": (gap, weighted_gap),
}
every_statistic = pytest.mark.parametrize("name", STATISTICS)


def test_alignment_by_hand() -> None:
    # squared distance 2 - 2 cos: 60 degrees 1, 90 degrees 2, 30 degrees 2 - sqrt 3 = 0.268
    # "a" at 0, 60, 90: (1 + 2) / 2, (1 + 0.268) / 2, (2 + 0.268) / 2; "b" opposite each other: 4; "c" alone
    scores = alignment(at(0, 10, 60, 90, 190, 45), np.array(["a", "b", "a", "a", "b", "c"]))
    assert scores == pytest.approx([1.5, 4, 0.634, 1.134, 4, np.nan], abs=1e-3, nan_ok=True)


def test_images_of_a_label_that_coincide_are_aligned_perfectly() -> None:
    for seed in range(20):
        scores = alignment(np.repeat(cloud(seed, 1, 8), 3, axis=0), np.array(["a", "a", "a"]))
        assert scores == pytest.approx([0, 0, 0], abs=1e-14)
        assert (scores >= 0).all()  # rounding does not make a distance negative


@settings(max_examples=20)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_alignment_agrees_with_its_definition(seed: int, n: int, d: int) -> None:
    x, labels = cloud(seed, n, d), np.random.default_rng(seed).choice(["a", "b"], n)
    labels[:4] = ["a", "a", "b", "b"]
    u = directions(x)
    for i, score in enumerate(alignment(x, labels)):
        others = [((u[i] - u[j]) ** 2).sum() for j in range(n) if j != i and labels[j] == labels[i]]
        assert score == pytest.approx(np.mean(others))


def test_uniformity_by_hand() -> None:
    # kernel exp(4 cos - 4): between 0 and 90 degrees e^-4, 0 and 180 e^-8, 90 and 180 e^-4
    # u = (e^-4 + e^-8) / 2, e^-4, (e^-4 + e^-8) / 2; U = (2 e^-4 + e^-8) / 3; scores log U + 2 (u - U) / U
    near, far = np.exp(-4), np.exp(-8)
    mean = (2 * near + far) / 3
    u = np.array([(near + far) / 2, near, (near + far) / 2])
    assert uniformity(at(0, 90, 180)) == pytest.approx(np.log(mean) + 2 * (u - mean) / mean)
    assert uniformity(at(0, 180)) == pytest.approx([-8, -8])  # the least there is
    assert uniformity(at(30, 30, 30)) == pytest.approx([0, 0, 0])


def test_mean_cosine_by_hand() -> None:
    # cosines between 0, 60 and 120 degrees: 0.5, 0.5, -0.5; u = 0, 0.5, 0; mean 1/6; scores 2 u - 1/6
    assert mean_cosine(at(0, 60, 120)) == pytest.approx([-1 / 6, 5 / 6, -1 / 6])


def test_effective_rank_by_hand() -> None:
    # about the mean (1, 1): squares 9, 9 in the first dimension, 1, 1 in the second: deviations sqrt(18/4), sqrt(2/4),
    # shares 3/4 and 1/4; entropy -(3/4 log 3/4 + 1/4 log 1/4) = 0.5623; its exponential 1.7548
    x = np.array([[4.0, 1.0], [-2.0, 1.0], [1.0, 2.0], [1.0, 0.0]])
    scores = effective_rank(x)
    assert scores.mean() == pytest.approx(1.7548, abs=1e-4)
    # S = 2 sqrt 2 (sum of deviations); rows 0 and 1: squares 9, 0 less variances 4.5, 0.5: d(deviation) = 4.5 / (2 *
    # sqrt 4.5) = 1.0607 and -0.5 / (2 * sqrt 0.5) = -0.3536. dH = -(1.0607 (log 3/4 + 0.5623) - 0.3536 (log 1/4 +
    # 0.5623)) / 2.8284 = -(0.2913 + 0.2914) / 2.8284 = -0.2060; score 1.7548 (1 - 0.2060) = 1.3933
    assert scores == pytest.approx([1.3933, 1.3933, 2.1163, 2.1163], abs=1e-4)


def test_one_direction_has_rank_one_and_equal_ones_their_number() -> None:
    line = np.outer([1.0, 2.0, 5.0], [1.0, 2.0, 3.0])
    assert effective_rank(line) == pytest.approx([1, 1, 1])
    corners = np.array(list(itertools.product([-1.0, 1.0], repeat=4)))
    assert effective_rank(corners) == pytest.approx(np.full(16, 4))


def test_the_simplex_reaches_the_largest_rank_that_so_few_images_can_have() -> None:
    assert effective_rank(np.eye(5)) == pytest.approx(np.full(5, 4))  # n - 1


def test_conformity_by_hand() -> None:
    # 0, 0 and 90 degrees: mean (2, 1) / 3, at 26.57 degrees; cosines 2 / sqrt 5, 2 / sqrt 5, 1 / sqrt 5
    assert conformity(at(0, 0, 90)) == pytest.approx(np.array([2, 2, 1]) / np.sqrt(5))


@settings(max_examples=20)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_conformity_is_linear_in_the_mean_cosine_to_all_others(seed: int, n: int, d: int) -> None:
    x = directions(cloud(seed, n, d))
    to_others = np.array([np.mean([x[i] @ x[j] for j in range(n) if j != i]) for i in range(n)])
    scores = conformity(x)
    assert (n * scores.mean() * scores - 1) / (n - 1) == pytest.approx(to_others)  # as the docstring says


def test_modality_gap_by_hand() -> None:
    # means (1, 0) and (0.6, 0): the gap is 0.4 along the first dimension; differences along it 0.4 and 0.4, and with a
    # text at 0 degrees and another at 90: means (1, 0), (0.5, 0.5), gap (0.5, -0.5), differences (0, 0), (1, -1)
    assert modality_gap(at(0, 0), np.array([[0.6, 0.8], [0.6, -0.8]])) == pytest.approx([0.4, 0.4])
    assert modality_gap(at(0, 0), at(0, 90)) == pytest.approx([0, np.sqrt(2)])  # their mean is |(0.5, -0.5)|
    assert modality_gap(at(0, 0), at(180, 180)) == pytest.approx([2, 2])  # the largest there is


@every_statistic
@settings(max_examples=10)
@given(SEEDS, st.integers(4, 15), DIMENSIONS)
def test_the_mean_of_the_scores_is_the_statistic(name: str, seed: int, n: int, d: int) -> None:
    measure, definition = STATISTICS[name]
    x = cloud(seed, n, d)
    assert measure(x).mean() == pytest.approx(definition(x, np.full(n, 1 / n)), rel=1e-9, abs=1e-12)


@every_statistic
@settings(max_examples=10)
@given(SEEDS, st.integers(4, 10), DIMENSIONS)
def test_a_score_is_the_statistic_and_its_derivative_by_the_weight_of_the_image(
    name: str, seed: int, n: int, d: int
) -> None:
    measure, definition = STATISTICS[name]
    x = cloud(seed, n, d)
    scores = measure(x)
    step = 1e-5
    for i in (0, n - 1):
        more, less = (definition(x, (1 - e) / n + e * (np.arange(n) == i)) for e in (step, -step))
        assert scores[i] - scores.mean() == pytest.approx((more - less) / (2 * step), rel=1e-4, abs=1e-6)


@every_statistic
def test_the_scatter_of_the_scores_is_that_of_the_statistic_over_data_sets(name: str) -> None:
    # The standard deviation over 400 data sets is known to 1 / sqrt(800) = 3.5 %; 15 % are four of these. (The mean
    # cosine's u_i instead of 2 u_i - U would give half of it.)
    measure, _ = STATISTICS[name]
    scores = [measure(cloud(seed, 150, 6)) for seed in range(400)]
    over_data_sets = np.std([each.mean() for each in scores])
    predicted = np.mean([each.std() / np.sqrt(len(each)) for each in scores])
    assert predicted == pytest.approx(over_data_sets, rel=0.15)


def test_a_gap_that_is_none_looks_like_one_of_the_size_of_its_noise() -> None:
    # E |mean|^2 of differences of unrelated directions is 2 / n: about sqrt(2 / 150) = 0.115, as the docstring warns
    pairs = np.random.default_rng(0).normal(size=(100, 2, 150, 6))
    gaps = np.array([modality_gap(images, texts).mean() for images, texts in pairs])
    assert np.sqrt((gaps**2).mean()) == pytest.approx(np.sqrt(2 / 150), rel=0.1)


@every_statistic
@settings(max_examples=10)
@given(SEEDS, COUNTS, st.integers(4, 12))
def test_nothing_changes_under_rotation_scaling_and_another_order(name: str, seed: int, n: int, d: int) -> None:
    measure, _ = STATISTICS[name]
    x = cloud(seed, n, d)
    rng = np.random.default_rng(seed)
    expected = measure(x)
    for factor in (1e-6, 1e6):
        np.testing.assert_allclose(measure(factor * x), expected, rtol=1e-6, atol=1e-6)
    rows = rng.permutation(n)
    np.testing.assert_allclose(measure(x[rows]), expected[rows], rtol=1e-6, atol=1e-6)
    if name == "modality_gap":
        half = d // 2
        rotation, order = np.linalg.qr(rng.normal(size=(half, half)))[0], rng.permutation(half)
        images, texts = halves(x)
        turned, permuted = (modality_gap(images @ m, texts @ m) for m in (rotation, np.eye(half)[order]))
    else:
        rotation, order = np.linalg.qr(rng.normal(size=(d, d)))[0], rng.permutation(d)
        turned, permuted = measure(x @ rotation), measure(x[:, order])
    np.testing.assert_allclose(turned, expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(permuted, expected, rtol=1e-6, atol=1e-6)


@settings(max_examples=10)
@given(SEEDS, COUNTS, DIMENSIONS)
def test_alignment_does_not_change_under_rotation_permutation_and_scaling(seed: int, n: int, d: int) -> None:
    x, labels = cloud(seed, n, d), np.array(["a", "b"])[np.arange(n) % 2]
    rng = np.random.default_rng(seed)
    expected = alignment(x, labels)
    rotation, _ = np.linalg.qr(rng.normal(size=(d, d)))
    rows = rng.permutation(n)
    np.testing.assert_allclose(alignment(x @ rotation, labels), expected, atol=1e-6)
    np.testing.assert_allclose(alignment(x[:, rng.permutation(d)], labels), expected, atol=1e-6)
    np.testing.assert_allclose(alignment(x[rows], labels[rows]), expected[rows], atol=1e-6)
    np.testing.assert_allclose(alignment(x * 10 ** rng.uniform(-6, 6, (n, 1)), labels), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["uniformity", "mean_cosine", "conformity", "modality_gap"])
def test_directions_do_not_change_when_every_vector_has_a_length_of_its_own(name: str) -> None:
    measure, _ = STATISTICS[name]
    x = cloud(0, 30, 8)
    lengths = 10 ** np.random.default_rng(1).uniform(-6, 6, (30, 1))
    np.testing.assert_allclose(measure(lengths * x), measure(x), atol=1e-6)


def test_effective_rank_takes_vectors_with_their_lengths_and_not_the_place_of_the_origin() -> None:
    x = cloud(0, 30, 8)
    np.testing.assert_allclose(effective_rank(x + 100), effective_rank(x), rtol=1e-8)
    assert abs(effective_rank(x).mean() - effective_rank(directions(x)).mean()) > 0.01


def test_uniformity_in_blocks_estimates_the_one_over_all_pairs() -> None:
    x = cloud(0, 1_100, 6)  # more rows than are compared at a time
    everything = uniformity(x)
    u = directions(x)
    kernel = np.exp(-2 * ((u[:, None] - u[None]) ** 2).sum(2))
    assert everything.mean() == pytest.approx(np.log((kernel.sum() - len(x)) / (len(x) * (len(x) - 1))))
    assert np.array_equal(everything, uniformity(x, seed=1))  # nothing is drawn
    # Blocks of 100 have a tenth of the pairs. The division scatters the estimate by 0.005 (20 seeds), the choice of
    # images by 0.022: blocks cost little.
    few = np.array([uniformity(x, partners=99, seed=seed).mean() for seed in range(20)])
    full = everything.mean()
    own = everything.std() / np.sqrt(len(x))
    assert few.std() < own / 2
    assert few.mean() == pytest.approx(full, abs=own / 2)
    assert np.corrcoef(uniformity(x, partners=99), everything)[0, 1] > 0.9
    assert np.array_equal(uniformity(x, partners=99, seed=3), uniformity(x, partners=99, seed=3))
    assert not np.array_equal(uniformity(x, partners=99, seed=3), uniformity(x, partners=99, seed=4))


def test_every_image_has_at_least_as_many_partners_as_asked_for() -> None:
    # one partner: blocks of two or three images, never of one (a division by zero)
    for n in range(2, 12):
        assert np.isfinite(uniformity(cloud(n, n, 4), partners=1)).all()
    with pytest.raises(ValueError, match="at least 1"):
        uniformity(at(0, 90), partners=0)


def test_half_precision_is_widened_before_anything_is_summed() -> None:
    x = cloud(0, 40, 8).astype(np.float16)
    for measure, _ in STATISTICS.values():
        assert np.array_equal(measure(x), measure(x.astype(np.float64)))  # type: ignore[arg-type]


def test_principal_axes_are_those_of_the_covariance() -> None:
    x = cloud(0, 50, 6)
    mean, axes, deviations = principal_axes(x)
    covariance = np.cov(x, rowvar=False, bias=True)
    np.testing.assert_allclose(mean, x.mean(0))
    np.testing.assert_allclose(axes * deviations**2 @ axes.T, covariance, atol=1e-12)
    np.testing.assert_allclose(axes.T @ axes, np.eye(6), atol=1e-12)
    assert (np.diff(deviations) < 0).all()


def test_directions_without_variance_are_no_axes() -> None:
    few = principal_axes(cloud(0, 5, 20))[1]
    assert few.shape == (20, 4)  # n - 1
    flat = np.concatenate([cloud(0, 50, 3), np.ones((50, 2))], axis=1)
    assert principal_axes(flat)[1].shape == (5, 3)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_vectors_without_a_direction_are_counted_in_the_error(bad: float) -> None:
    x = cloud(0, 4, 6)
    x[[1, 3]] = bad
    message = "2 of 4 embeddings are zero or not finite"
    for name in ("uniformity", "mean_cosine", "conformity", "modality_gap"):
        with pytest.raises(EmbprobeError, match=message):
            STATISTICS[name][0](x)
    with pytest.raises(EmbprobeError, match=message):
        alignment(x, np.array(["a", "a", "b", "b"]))


def test_numbers_that_are_not_finite_have_no_rank() -> None:
    x = cloud(0, 4, 6)
    x[2, 3] = np.nan
    with pytest.raises(EmbprobeError, match="1 embeddings hold numbers that are not finite"):
        effective_rank(x)


@every_statistic
def test_one_image_is_too_few(name: str) -> None:
    with pytest.raises(EmbprobeError, match="at least (two|2) images; there are 1"):
        STATISTICS[name][0](cloud(0, 1, 6))


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_embeddings_that_coincide_vary_in_no_direction(noise: float) -> None:
    x = np.ones((20, 8)) * (1 + noise * np.random.default_rng(0).normal(size=(20, 8)))
    with pytest.raises(EmbprobeError, match="collapsed"):
        effective_rank(x)
    with pytest.raises(EmbprobeError, match="collapsed"):
        centred(np.zeros((20, 8)))


def test_images_alone_in_their_labels_cannot_be_aligned() -> None:
    with pytest.raises(EmbprobeError, match="alone in its label"):
        alignment(at(0, 10, 20), np.array(["a", "b", "c"]))
    with pytest.raises(ValueError, match="got 2 and 3"):
        alignment(at(0, 10, 20), np.array(["a", "a"]))


def test_nothing_conforms_to_a_mean_of_zero() -> None:
    with pytest.raises(EmbprobeError, match="mean of the embeddings is zero"):
        conformity(at(0, 180))


def test_images_and_texts_must_be_pairs_and_apart() -> None:
    with pytest.raises(EmbprobeError, match=r"shapes \(2, 2\) and \(3, 2\)"):
        modality_gap(at(0, 10), at(0, 10, 20))
    with pytest.raises(EmbprobeError, match="coincide"):
        modality_gap(at(0, 10), at(0, 10))
    with pytest.raises(EmbprobeError, match="coincide"):
        modality_gap(at(0, 90), at(90, 0))
