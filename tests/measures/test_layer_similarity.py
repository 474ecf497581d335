"""Every layer with every layer: each entry is what the function of two encoders says."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.cka import Kernel, chance_cka, cka
from embprobe.measures.layer_similarity import layer_cka, layer_overlap
from embprobe.measures.mutual_knn import mutual_knn, nearest_others
from tests.measures.pairs_of_encoders import SEEDS, rotation

Array = NDArray[np.float64]


def kernels(*layers: Array) -> list[Kernel]:
    return [Kernel.of(layer) for layer in layers]


def near(*layers: Array, k: int) -> list[NDArray[np.int64]]:
    return [nearest_others(layer, k) for layer in layers]


def network(rows: int, seed: int, depth: int = 3) -> list[Array]:
    """Layers of different widths, each a part of the one before and a part of its own."""
    rng = np.random.default_rng(seed)
    layers = [rng.normal(size=(rows, 8))]
    for width in range(9, 8 + depth):
        before = layers[-1] @ rng.normal(size=(layers[-1].shape[1], width))
        layers.append(before + rng.normal(size=(rows, width)) * np.abs(before).mean())
    return layers


def test_cka_by_hand() -> None:
    # As in test_cka.py: of x = (1, -1, 1, -1) and y = (1, 1, -1, -1) debiased CKA is -1/2, of each with itself 1. A
    # layer that is turned round, scaled and shifted is the same layer.
    x, y = np.array([[1.0], [-1.0], [1.0], [-1.0]]), np.array([[1.0], [1.0], [-1.0], [-1.0]])
    assert layer_cka(kernels(x, y), kernels(y, 3 - 2 * x)).mean(0).tolist() == pytest.approx(
        np.array([[-0.5, 1], [1, -0.5]])
    )


def test_mutual_nearest_neighbours_by_hand() -> None:
    # Of four directions 0 and 1, 2 and 3 are nearest to each other; in the second layer 0 and 2, 1 and 3; in the third
    # as in the first but for 1, whose nearest is 2: three of four neighbours are the same.
    first, second, third = (np.array(each)[:, None] for each in ([1, 0, 3, 2], [2, 3, 0, 1], [1, 2, 3, 2]))
    found = layer_overlap([first, second], [first, second, third], list("abcd"), k=1).mean(0)
    assert found.tolist() == pytest.approx(np.array([[1, 0, 0.75], [0, 1, 0]]))


@settings(max_examples=20)
@given(SEEDS, st.integers(5, 30), st.integers(1, 4))
def test_every_entry_is_that_of_two_encoders(seed: int, rows: int, k: int) -> None:
    a, b = network(rows, seed), network(rows, seed + 1, depth=2)
    k = min(k, rows - 2)
    groups = [f"group {i // 2}" for i in range(rows)]
    by_cka, by_near = layer_cka(kernels(*a), kernels(*b)), layer_overlap(near(*a, k=k), near(*b, k=k), groups, k=k)
    assert by_cka.shape == by_near.shape == (rows, 3, 2)
    for i, j in itertools.product(range(3), range(2)):
        np.testing.assert_allclose(by_cka[:, i, j], cka(a[i], b[j]), rtol=1e-9, atol=1e-9)
        assert by_near[:, i, j].mean() == pytest.approx(mutual_knn(a[i], b[j], k=k).mean())


@settings(max_examples=20)
@given(SEEDS)
def test_a_network_with_itself_is_symmetric_with_ones_on_the_diagonal(seed: int) -> None:
    layers = network(20, seed)
    own, lists = kernels(*layers), near(*layers, k=3)
    groups = [str(i) for i in range(20)]
    for scores, other in (
        (layer_cka(own, own), layer_cka(own, kernels(*layers))),  # the second computes both halves
        (layer_overlap(lists, lists, groups, k=3), layer_overlap(lists, near(*layers, k=3), groups, k=3)),
    ):
        values = scores.mean(0)
        np.testing.assert_allclose(values, values.T)
        np.testing.assert_allclose(values, other.mean(0))
        np.testing.assert_allclose(np.diagonal(values), 1)


@settings(max_examples=20)
@given(SEEDS)
def test_neither_order_nor_rotation_of_a_layer_changes_it(seed: int) -> None:
    a, b = network(25, seed), network(25, seed + 1)
    order = np.random.default_rng(seed).permutation(25)
    groups = [str(i) for i in range(25)]
    turned = [layer[order] @ rotation(seed, layer.shape[1]) for layer in b]
    moved = [layer[order] for layer in a]
    np.testing.assert_allclose(
        layer_cka(kernels(*moved), kernels(*turned)), layer_cka(kernels(*a), kernels(*b))[order], atol=1e-9
    )
    np.testing.assert_allclose(
        layer_overlap(near(*moved, k=4), near(*turned, k=4), groups, k=4).mean(0),
        layer_overlap(near(*a, k=4), near(*b, k=4), groups, k=4).mean(0),
    )


def test_layers_of_noise_agree_as_chance_does() -> None:
    rng, n, k = np.random.default_rng(0), 400, 10
    a, b = ([rng.normal(size=(n, 16)) for _ in range(6)] for _ in range(2))
    by_cka = layer_cka(kernels(*a), kernels(*b)).mean(0)
    assert abs(by_cka.mean()) < 3 * chance_cka(n) / 6 and np.abs(by_cka).max() < 4 * chance_cka(n)
    by_near = layer_overlap(near(*a, k=k), near(*b, k=k), [str(i) for i in range(n)], k=k).mean(0)
    assert by_near.mean() == pytest.approx(k / (n - 1), rel=0.1)


def test_rows_that_are_too_few_or_differ() -> None:
    few, more = kernels(*network(3, 0)), kernels(*network(5, 0))
    with pytest.raises(EmbprobeError, match="at least 4 images; there are 3"):
        layer_cka(few, few)
    with pytest.raises(EmbprobeError, match="same images"):
        layer_cka(few, more)
    with pytest.raises(EmbprobeError, match="at least 6 images; there are 5"):
        near(*network(5, 0), k=4)
