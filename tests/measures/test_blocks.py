"""Vectors in several arrays: read as the array of them all is, never copied, and measured the same."""

from __future__ import annotations

import pickle
import sys
import tracemalloc
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe import measures
from embprobe.errors import EmbprobeError
from embprobe.measures import blocks, knn
from embprobe.measures.blocks import Blocks, blocks_of, rows_at
from embprobe.measures.disagreement import Limits, draw_samples
from embprobe.measures.vectors import Vectors, add_by_label, check_finite, l2_normalize, lack_direction, unit_blocks

Array = NDArray[Any]
CUTS = st.lists(st.integers(0, 12), max_size=4)


def cut(array: Array, *at: int) -> Blocks:
    return Blocks(np.split(array, sorted(at)))


def module(name: str) -> ModuleType:
    """A submodule, also one whose function of the same name hides it."""
    return sys.modules[f"embprobe.measures.{name}"]


def numbers(n: int = 12, d: int = 3, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


# --- the array -----------------------------------------------------------------------------------------------------


@given(CUTS, st.slices(12), st.data())
def test_they_are_indexed_as_the_array_of_them_all_is(cuts: list[int], rows: slice, data: st.DataObject) -> None:
    array = numbers()
    chosen = data.draw(st.none() | st.lists(st.integers(-12, 11), min_size=12, max_size=12))
    x = cut(array, *cuts)
    if chosen is not None:
        array, x = array[chosen], x.at(np.array(chosen))
    at = data.draw(st.lists(st.integers(-12, 11), max_size=15))
    mask = data.draw(st.lists(st.booleans(), min_size=12, max_size=12))
    keys: list[Any] = [
        rows,
        np.array(at, np.int64),
        at or [0],
        np.array(mask),
        mask,
        data.draw(st.integers(-12, 11)),
        ...,
        None,
    ]
    for key in [
        *keys,
        np.array([at, at], np.int64),
        (rows, 1),
        (rows, slice(0, 2)),
        (np.array(mask), -1),
        ([1, 2], [0, 1]),
    ]:
        assert np.array_equal(x[key], array[key]), key
    assert np.array_equal(np.asarray(x), array) and np.array_equal(np.array(list(x)), array)
    assert (x.shape, x.ndim, x.size, x.dtype, x.nbytes, len(x)) == (
        (array.shape, array.ndim, array.size, array.dtype, array.nbytes, len(array))
    )


@pytest.mark.parametrize("key", [12, -13, [0, 12], np.array([-13]), [True] * 11])
def test_a_position_that_is_not_there_is_an_error(key: Any) -> None:
    for x in (cut(numbers(), 5), cut(numbers(), 5).at(np.arange(12)[::-1])):
        with pytest.raises(IndexError):
            x[key]


@given(CUTS)
def test_what_numpy_does_with_an_array_it_does_with_them(cuts: list[int]) -> None:
    array, x = numbers(), cut(numbers(), *cuts)
    w, out = numbers(3, 2), cast(Array, x)
    pairs: list[tuple[Any, Any]] = [
        (x @ w, array @ w),
        (w.T @ x.T, w.T @ array.T),
        (x / 2 - x, array / 2 - array),
        (array + x, array + array),
        (x > 0, array > 0),
        (np.linalg.norm(x, axis=1), np.linalg.norm(array, axis=1)),
        (np.concatenate([x, array]), np.concatenate([array, array])),
        (np.add.reduce(x, axis=1), np.add.reduce(array, axis=1)),
        (x.mean(0), array.mean(0)),
        (np.std(x, 0), array.std(0)),
        (x.astype(np.float64), array.astype(np.float64)),
        (np.asarray(x, np.float64), array.astype(np.float64)),
        (pickle.loads(pickle.dumps(x)), array),
    ]
    for ours, theirs in pairs:
        assert np.array_equal(ours, theirs)
    scaled: Any = x
    scaled /= 2
    scaled -= 1
    scaled *= 3
    assert np.array_equal(scaled, (array / 2 - 1) * 3) and np.array_equal(x, array)
    scaled = x
    scaled += 1
    assert np.array_equal(scaled, array + 1) and np.array_equal(x, array)
    with pytest.raises(AttributeError, match="no attribute 'iloc'"):
        _ = x.iloc
    with pytest.raises(TypeError):
        np.add(array, 1, out=out)


def test_parts_of_other_widths_or_types_are_refused() -> None:
    for other in (numbers(d=4), numbers().astype(np.float64), numbers()[0]):
        with pytest.raises(ValueError, match="same width and type"):
            Blocks([numbers(), other])
    with pytest.raises(ValueError, match="same width and type"):
        Blocks([])


# --- no copy -------------------------------------------------------------------------------------------------------


def test_rows_of_one_part_are_a_view_and_others_a_copy_of_them_alone() -> None:
    parts = [numbers(6), numbers(6)]
    x = Blocks(parts)
    for rows in (x[7:11], x[[2, 3, 4]], x.at(np.arange(8, 12))[1:3], x[6:]):
        assert any(np.shares_memory(rows, part) for part in parts)
    assert not any(np.shares_memory(x[4:8], part) for part in parts)
    assert x[4:8].base is None and np.shares_memory(np.asarray(Blocks(parts[:1])), parts[0])
    assert not np.shares_memory(np.array(Blocks(parts[:1])), parts[0])
    with pytest.raises(ValueError, match="a copy"):
        np.array(x, copy=False)


def test_many_chosen_rows_are_read_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    array, at = numbers(), np.array([5, 1, 7, 7])
    assert rows_at(array, range(12)) is array  # all of them
    assert isinstance(rows_at(array, at), np.ndarray) and isinstance(rows_at(cut(array, 6), at), np.ndarray)  # few
    monkeypatch.setattr(blocks, "COPIED", 4 * 12 - 1)
    for vectors in (array, cut(array, 3, 9), cut(array[::-1], 5).at(np.arange(12)[::-1])):
        chosen: Any = rows_at(vectors, at)
        assert isinstance(chosen, Blocks) and np.array_equal(chosen, array[at])
        assert np.array_equal(rows_at(chosen, [3, 0]), array[[7, 5]])


def test_a_property_of_rows_is_computed_once_for_all_choices_of_them() -> None:
    seen: list[int] = []

    def first(rows: Array) -> Array:
        seen.append(len(rows))
        return np.asarray(rows[:, 0])

    array = numbers()
    x = cut(array, 0, 5)
    assert np.array_equal(x.each(first), array[:, 0]) and sum(seen) == 12
    assert np.array_equal(x.at(np.array([3, 9])).each(first), array[[3, 9], 0]) and sum(seen) == 12


@given(CUTS, st.integers(1, 13))
def test_blocks_are_all_rows_in_order(cuts: list[int], rows: int) -> None:
    array, x = numbers(), cut(numbers(), *cuts)
    seen = list(blocks_of(x, rows))
    assert [start for start, _ in seen] == list(range(0, 12, rows))
    assert np.array_equal(np.concatenate([block for _, block in seen]), array)
    units = np.concatenate([block for _, block in unit_blocks(x, rows=rows)])
    assert np.array_equal(units, l2_normalize(array))
    labels = np.arange(12) % 5
    sums, expected = np.ones((6, 3)), np.ones((6, 3))
    for start, block in blocks_of(x, rows):
        add_by_label(sums, labels[start : start + rows], block)
    np.add.at(expected, labels, array)
    assert np.allclose(sums, expected, rtol=1e-6)


def test_rows_without_a_direction_are_counted_over_all_blocks() -> None:
    array = numbers()
    array[[1, 10]] = 0
    array[4, 2] = np.nan
    for vectors in (array, cut(array, 4, 8)):
        assert np.flatnonzero(lack_direction(vectors)).tolist() == [1, 4, 10]
        with pytest.raises(EmbprobeError, match="3 of 12 embeddings are zero or not finite"):
            list(unit_blocks(vectors, rows=2))
        with pytest.raises(EmbprobeError, match="1 embeddings hold numbers that are not finite"):
            check_finite(vectors)


# --- measures ------------------------------------------------------------------------------------------------------

LABELS = np.array(list("aabbccabcabcabcabcabcabcabcabcabcabcabca"))
MEASURED: dict[str, Callable[[Vectors, Vectors], Any]] = {
    "cka": lambda a, b: measures.cka(a, b),
    "mutual k-NN": lambda a, b: measures.mutual_knn(a, b, k=3),
    "rank correlation": lambda a, b: measures.rank_correlation(a, b),
    "pairs": lambda a, b: [
        half.positions.tolist()
        for half in measures.contrasting_pairs(
            a, b, (Limits(0.3, 0.0),) * 2, samples=draw_samples(len(a)), among=(np.linspace(-1, 1, 9),) * 2
        )
    ],
    "alignment": lambda a, b: measures.alignment(a, LABELS),
    "uniformity": lambda a, b: measures.uniformity(a, partners=5),
    "mean cosine": lambda a, b: measures.mean_cosine(a),
    "conformity": lambda a, b: measures.conformity(a),
    "effective rank": lambda a, b: measures.effective_rank(a),
    "modality gap": lambda a, b: measures.modality_gap(a, b),
    "attraction": lambda a, b: measures.attraction(a, LABELS, np.roll(LABELS, 3)),
    "natural pairs": lambda a, b: measures.natural_pairs(a, {"x": LABELS, "y": b}, "x"),
    "k-NN": lambda a, b: measures.predict_knn(a, LABELS, b, k=3).tolist(),
    "GDA": lambda a, b: [each.tolist() for each in measures.predict_gda(a, LABELS, [b])],
    "logistic": lambda a, b: [each.tolist() for each in measures.predict_logistic(a, LABELS, np.roll(LABELS, 1), [b])],
    "displacement": lambda a, b: measures.displacement(a, b),
    "int8": lambda a, b: measures.fit_compression("int8", a)(b),
    "whiten": lambda a, b: np.abs(measures.fit_compression("whiten", a)(b)),  # an axis has two directions
}


@pytest.mark.parametrize("name", MEASURED)
def test_a_measure_of_blocks_is_that_of_the_array(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    a = numbers(40, 6)
    b = (a + numbers(40, 6, seed=1)).astype(np.float32)
    expected = MEASURED[name](a, b)
    assert_same(MEASURED[name](cut(a, 7, 7, 30), cut(b, 12)), expected)
    order = np.random.default_rng(2).permutation(40)
    back = np.argsort(order)
    assert_same(MEASURED[name](cut(a[order], 9, 20).at(back), Blocks([b[order]]).at(back)), expected)
    for where, constant, value in (
        ("blocks", "ROWS", 8),
        ("cka", "_ROWS", 9),
        ("compression", "_ROWS", 9),
        ("geometry", "_TALL", 11),
        ("geometry", "_SUMS", 7),  # of one label at a time
        ("logistic", "ROWS", 9),
        ("natural_pairs", "_WIDENED", 50),
        ("natural_pairs", "_CHUNK", 9),
    ):
        monkeypatch.setattr(module(where), constant, value)
    assert_same(MEASURED[name](cut(a, 7, 30), cut(b, 12)), expected)


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, list):
        assert ours == theirs
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


@given(st.integers(0, 99), st.integers(1, 20), CUTS)
def test_a_search_in_blocks_finds_what_one_search_finds(seed: int, k: int, cuts: list[int]) -> None:
    keys, queries = numbers(3000, 4, seed), numbers(2500, 4, seed + 1)
    keys[2000:2010] = keys[:10]  # equal ones in two blocks come in the order of their positions
    expected = knn.nearest(queries, keys, k)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(knn, "_BLOCK", 1)  # 1,024 rows
        similarity, position = knn.nearest(queries, Blocks(np.split(keys, sorted(200 * at for at in cuts))), k)
    np.testing.assert_array_equal(similarity, expected[0])
    inside = similarity[:, :-1] > similarity[:, -1:]  # of equal ones at the end either is right
    np.testing.assert_array_equal(position[:, :-1][inside], expected[1][:, :-1][inside])


def test_a_search_in_blocks_counts_what_has_no_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = numbers(3000)
    keys[[5, 2500]] = 0
    monkeypatch.setattr(knn, "_BLOCK", 1)
    with pytest.raises(EmbprobeError, match="2 of 3,000 embeddings are zero"):
        knn.nearest(numbers(3), keys, 2)


def test_products_of_float32_change_a_cka_of_many_images_by_less_than_a_millionth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a = numbers(5000, 40) + 3
    b = (a[:, :30] + 2 * numbers(5000, 30, seed=1)).astype(np.float32)
    expected = measures.cka(a, b)
    monkeypatch.setattr(module("cka"), "_EXACT", 10)
    found = measures.cka(a, b)
    assert abs(found.mean() - expected.mean()) < 1e-6 and np.abs(found - expected).max() < 1e-4


@pytest.mark.parametrize(
    "measure",
    [
        lambda x: measures.effective_rank(x),
        lambda x: measures.uniformity(x, partners=100),
        lambda x: measures.mean_cosine(x),
        lambda x: measures.conformity(x),
        lambda x: measures.alignment(x, (np.arange(len(x)) % 50).astype(str)),
        lambda x: measures.cka(x, x),
        lambda x: measures.pair_cosines(x, np.stack([np.arange(200), np.arange(200) + 7], axis=1)),
        lambda x: measures.predict_gda(x, (np.arange(len(x)) % 5).astype(str), [x]),
    ],
)
def test_no_array_as_large_as_the_vectors_is_made(
    measure: Callable[[Vectors], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = Blocks([numbers(10_000, 128, seed) for seed in range(6)])  # 31 MB
    monkeypatch.setattr(module("geometry"), "_TALL", 1000)
    monkeypatch.setattr(module("cka"), "_ROWS", 1000)
    measure(x.at(np.arange(300)))  # libraries are loaded
    tracemalloc.start()
    measure(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < x.nbytes
