from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.decomposition import PCA

from embprobe.errors import EmbprobeError, UsageError
from embprobe.measures.compression import RIDGE, check_compression, fit_compression

Array = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)
NAMES = ["truncate:3", "pca:3", "int8", "binary", "whiten"]
BAD_NAMES = [
    "", "int4", "INT8", "int8 ", "pca", "pca:", "pca:0", "pca:03", "pca:-1", "pca:1.5", "pca: 3", "pca:3:4", "pca:٣",
    "pca:" + "9" * 5_000, "truncate", "binary:3", "whiten:3", "pca:3\n",
]  # fmt: skip


def cloud(seed: int, n: int = 60, d: int = 6) -> Array:
    """Vectors about a point that is not the origin, with a variance of its own in each dimension."""
    return np.asarray(np.random.default_rng(seed).normal(size=(n, d)) * np.linspace(1, 3, d) + 2)


def cosines(x: NDArray[np.floating]) -> Array:
    wide = np.asarray(x, np.float64)
    unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def test_truncation_keeps_the_first_dimensions() -> None:
    x = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 7.0]])
    assert fit_compression("truncate:2", x)(10 * x).tolist() == [[10, 20], [40, 50]]
    assert fit_compression("truncate:3", x)(x).tolist() == x.tolist()


def test_int8_by_hand() -> None:
    # first dimension: 0 to 510, steps of 2; 3.1 / 2 = 1.55 -> 2 -> 4. Second: always 7, whatever comes.
    # third: -1 to 1, steps of 2 / 255; 0.001 is 127.6 steps from -1 -> 128 -> -1 + 256 / 255 = 1 / 255
    train = np.array([[0.0, 7.0, -1.0], [510.0, 7.0, 1.0]])
    compress = fit_compression("int8", train)
    assert compress(np.array([[3.1, 9.0, 0.001]])) == pytest.approx(np.array([[4, 7, 1 / 255]]))
    assert compress(np.array([[-50.0, 7.0, 99.0]])) == pytest.approx(np.array([[0, 7, 1]]))  # cut at the ends
    assert compress(train) == pytest.approx(train)


def test_binary_by_hand() -> None:
    # training means 1 and -2; at the mean counts as above
    compress = fit_compression("binary", np.array([[0.0, -3.0], [2.0, -1.0]]))
    assert compress(np.array([[1.0, -2.1], [0.9, 5.0]])).tolist() == [[1, -1], [-1, 1]]


def test_pca_by_hand() -> None:
    # about (1, 1), all lie along (1, 1) / sqrt 2, at -sqrt 2 and sqrt 2; (3, 1) is (2, 0) from the mean: 2 / sqrt 2
    compress = fit_compression("pca:1", np.array([[0.0, 0.0], [2.0, 2.0]]))
    sign = np.sign(compress(np.array([[2.0, 2.0]]))[0, 0])
    compressed = compress(np.array([[2.0, 2.0], [0.0, 0.0], [3.0, 1.0]])) * sign
    assert compressed == pytest.approx(np.array([[1], [-1], [1]]) * np.sqrt(2))


def test_whitening_by_hand() -> None:
    # variances over n - 1: 50 / 3 and 2 / 3, along the dimensions; their mean 26 / 3, the ridge 1e-4 of it
    train = np.array([[5.0, 0.0], [-5.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
    compressed = np.abs(fit_compression("whiten", train)(train[[0, 2]]))
    ridge = RIDGE * 26 / 3
    expected = [[5 / np.sqrt(50 / 3 + ridge), 0], [0, 1 / np.sqrt(2 / 3 + ridge)]]
    assert compressed == pytest.approx(np.array(expected))


@settings(max_examples=15)
@given(SEEDS, st.integers(10, 60), st.integers(3, 12))
def test_pca_and_whitening_agree_with_sklearn(seed: int, n: int, d: int) -> None:
    train, test = cloud(seed, n, d), cloud(seed + 1, 7, d)
    keep = min(n - 1, d, 3)
    for ours, theirs in (
        (fit_compression(f"pca:{keep}", train), PCA(keep, svd_solver="full")),
        (fit_compression("whiten", train), PCA(min(n - 1, d), svd_solver="full", whiten=True)),
    ):
        expected = theirs.fit(train).transform(test)
        if theirs.whiten:
            variance = theirs.explained_variance_
            expected *= np.sqrt(variance / (variance + RIDGE * variance.mean()))
        compressed = ours(test)
        flipped = np.sign((compressed * expected).sum(0))  # a component has no sign of its own
        np.testing.assert_allclose(compressed * flipped, expected, atol=1e-6)


def test_whitened_training_vectors_have_unit_variance_and_no_correlation() -> None:
    x = cloud(0, 500)
    covariance = np.cov(fit_compression("whiten", x)(x), rowvar=False)
    np.testing.assert_allclose(covariance, np.eye(6), atol=1e-3)  # but for the ridge
    assert np.abs(np.cov(x, rowvar=False) - np.eye(6)).max() > 1


def test_whitening_does_not_blow_up_directions_that_training_hardly_saw() -> None:
    # 10 images in 50 dimensions: 9 directions vary. And float32 leaves one of 1e-7 where there is none.
    few = cloud(0, 10, 50)
    assert fit_compression("whiten", few)(cloud(1, 5, 50)).shape == (5, 9)
    flat = np.concatenate([cloud(0, 100, 3), np.full((100, 1), 1.0)], axis=1)
    flat[:, 3] += 1e-7 * np.random.default_rng(0).normal(size=100)
    assert np.abs(fit_compression("whiten", flat)(flat)).max(0)[-1] < 1e-4


@settings(max_examples=15)
@given(SEEDS)
def test_int8_is_never_more_than_half_a_step_off(seed: int) -> None:
    x = cloud(seed)
    off = np.abs(fit_compression("int8", x)(x) - x).max(0)
    assert (off <= np.ptp(x, axis=0) / 255 / 2 * (1 + 1e-9)).all()
    assert (off > np.ptp(x, axis=0) / 255 / 4).any()  # and it does round


@settings(max_examples=15)
@given(SEEDS)
def test_the_cosine_of_bits_counts_those_that_differ(seed: int) -> None:
    bits = fit_compression("binary", cloud(seed))(cloud(seed, 5, 6))
    differ = (bits[:, None] != bits[None]).sum(2)
    np.testing.assert_allclose(cosines(bits), 1 - 2 * differ / 6, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=10)
@given(SEEDS, st.integers(-20, 20))
def test_similarities_do_not_change_when_the_embedding_is_scaled(name: str, seed: int, power: int) -> None:
    train, test = cloud(seed), cloud(seed + 1, 20)
    factor = 2.0**power  # exact: no rounding of int8 falls to the other side
    expected = cosines(fit_compression(name, train)(test))
    np.testing.assert_allclose(cosines(fit_compression(name, factor * train)(factor * test)), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["pca:3", "whiten"])
@settings(max_examples=10)
@given(SEEDS)
def test_components_do_not_depend_on_the_axes(name: str, seed: int) -> None:
    train, test = cloud(seed), cloud(seed + 1, 20)
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))
    expected = cosines(fit_compression(name, train)(test))
    np.testing.assert_allclose(cosines(fit_compression(name, train @ rotation)(test @ rotation)), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["pca:3", "int8", "binary", "whiten"])
def test_only_training_vectors_are_fitted(name: str) -> None:
    train, test = cloud(0), cloud(1, 20)
    compress = fit_compression(name, train)
    assert np.array_equal(compress(test)[:5], compress(test[:5]))  # rows do not see each other
    assert not np.allclose(compress(test), fit_compression(name, cloud(2) * 2)(test))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("given", "back"), [(np.float16, np.float32), (np.float32, np.float32), (np.float64,) * 2])
def test_precision_is_kept_and_arithmetic_is_double(name: str, given: type, back: type) -> None:
    train: NDArray[np.floating] = cloud(0).astype(given)
    test: NDArray[np.floating] = cloud(1, 20).astype(given)
    before = test.copy()
    compressed = fit_compression(name, train)(test)
    assert compressed.dtype == back
    assert np.array_equal(test, before)
    wide = fit_compression(name, train.astype(np.float64))(test.astype(np.float64))
    np.testing.assert_array_equal(compressed, wide.astype(back))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_offered_is_known(name: str) -> None:
    check_compression(name)


@pytest.mark.parametrize("name", BAD_NAMES, ids=lambda name: repr(name[:12]))
def test_an_ill_name_is_answered_with_what_there_is(name: str) -> None:
    for ask in (lambda: check_compression(name), lambda: fit_compression(name, cloud(0))):
        with pytest.raises(UsageError, match="There are truncate:N and pca:N.*int8, binary and whiten"):
            ask()


def test_more_dimensions_than_there_are_cannot_be_kept() -> None:
    with pytest.raises(EmbprobeError, match="'truncate:7' keeps more dimensions than there are: 6"):
        fit_compression("truncate:7", cloud(0))
    with pytest.raises(EmbprobeError, match="'pca:5' keeps more components than the training vectors have: 4"):
        fit_compression("pca:5", cloud(0, 5))  # five points span four directions


@pytest.mark.parametrize("name", NAMES)
def test_bad_vectors_are_refused(name: str) -> None:
    bad = cloud(0)
    bad[3, 2] = np.nan
    with pytest.raises(EmbprobeError, match="not finite"):
        fit_compression(name, bad)
    with pytest.raises(EmbprobeError, match="not finite"):
        fit_compression(name, cloud(0))(bad)
    with pytest.raises(EmbprobeError, match="collapsed"):
        fit_compression(name, np.ones((20, 6)))
    with pytest.raises(EmbprobeError, match="at least two images; there are 1"):
        fit_compression(name, cloud(0, 1))
    with pytest.raises(EmbprobeError, match="fitted on 6 dimensions cannot be applied to 5"):
        fit_compression(name, cloud(0))(cloud(0, 5, 5))
