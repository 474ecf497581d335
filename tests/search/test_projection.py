from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from embprobe.encoders.spec import Floats
from embprobe.errors import EmbprobeError, UsageError
from embprobe.search.projection import METHODS, aligned, layouts


def two_ends(seed: int = 0) -> Floats:
    """Thirty points around one direction, then thirty around another at a right angle."""
    ends = np.repeat([[5.0, 0.0, 0.0], [0.0, 5.0, 0.0]], 30, axis=0)
    return (ends + np.random.default_rng(seed).normal(size=(60, 3))).astype(np.float32)


@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
def test_what_is_apart_stays_apart_and_maps_lie_on_each_other(method: str) -> None:
    told: list[str] = []
    a, b = two_ends(), two_ends(1) @ np.diag([-1, 1, 1]).astype(np.float32)  # another encoder sees it mirrored
    maps = layouts({"a": a, "b": b}, method=method, seed=1, notify=told.append)
    assert told == [f"{method}: a", f"{method}: b"]
    again = layouts({"a": a, "b": b}, method=method, seed=1)
    side = np.repeat([0, 1], 30)
    for name, found in maps.items():
        assert np.array_equal(found, again[name])
        assert found.shape == (60, 2) and found.dtype == np.float32
        assert found.mean(0) == pytest.approx([0, 0], abs=1e-5) and np.square(found).mean() == pytest.approx(1)
        distance = np.linalg.norm(found[:, None] - found, axis=-1) + np.diag(np.full(60, np.inf))
        assert (side[distance.argmin(1)] == side).mean() > 0.9  # the nearest point on the map is of the same end
    middles = [[found[side == i].mean(0) for i in (0, 1)] for found in maps.values()]
    same, other = (np.linalg.norm(middles[0][0] - middles[1][i]) for i in (0, 1))
    assert same < other / 2  # an end is where it is on the other map


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.floats(0, 6.3), st.booleans(), st.floats(1e-3, 1e3))
def test_a_map_that_was_turned_mirrored_scaled_and_moved_comes_back(
    seed: int, angle: float, mirrored: bool, size: float
) -> None:
    rng = np.random.default_rng(seed)
    layout = (rng.normal(size=(20, 2)) @ rng.normal(size=(2, 2))).astype(np.float32)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    turn = turn @ np.diag([-1, 1]) if mirrored else turn
    moved = (size * layout @ turn + size * rng.normal(size=2)).astype(np.float32)
    assert aligned(moved, layout) == pytest.approx(aligned(layout, None), abs=2e-3)


def test_what_has_no_map() -> None:
    with pytest.raises(EmbprobeError, match="by umap needs more than 15 images; there are 15"):
        layouts({"a": np.ones((15, 3), np.float32)})
    with pytest.raises(EmbprobeError, match="by pca needs more than 2 images; there are 2"):
        layouts({"a": np.eye(2, 3, dtype=np.float32)}, method="pca")
    assert layouts({"a": np.eye(3, dtype=np.float32)}, method="pca")["a"].shape == (3, 2)
    with pytest.raises(UsageError, match="no method 'mds' for maps. There are: umap, tsne, pca"):
        layouts({"a": two_ends()}, method="mds")
    with pytest.raises(EmbprobeError, match="All embeddings coincide"):
        layouts({"a": np.ones((20, 3), np.float32)}, method="pca")


@pytest.mark.parametrize("method", ["umap", "tsne", "pca"])
def test_one_number_an_image_and_zeros_have_no_map(method: str) -> None:
    one = np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32)
    with pytest.raises(EmbprobeError, match="The embeddings by a are of one number each, .*: leave this encoder out"):
        layouts({"a": one}, method=method)
    holed = two_ends()
    holed[3] = 0
    with pytest.raises(EmbprobeError, match="1 of 60 embeddings by a are zero or not finite"):
        layouts({"a": holed}, method=method)


def test_two_numbers_and_tiny_ones_have_a_map() -> None:
    two = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    found, tiny = (layouts({"a": each}, method="pca")["a"] for each in (two, two * np.float32(1e-30)))
    assert np.isfinite(found).all() and tiny == pytest.approx(found, abs=1e-4)


def test_principal_components_are_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for n, d in ((3, 3), (40, 2), (200, 16), (30, 60)):
        points = (rng.normal(size=(n, d)) * rng.uniform(0.1, 2, d) + rng.normal(size=d)).astype(np.float32)
        expected = PCA(n_components=2, svd_solver="covariance_eigh").fit_transform(points)
        np.testing.assert_allclose(METHODS["pca"](points, None, 0), expected, atol=1e-5)
