"""The order of the samples of a stage."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.vlm.order import batches

lengths = st.lists(st.integers(1, 50), min_size=1, max_size=40)


@given(lengths, st.integers(1, 7), st.integers(1, 40), st.booleans(), st.integers(0, 9))
def test_every_sample_comes_as_often_as_any_other_or_once_more(
    of: list[int], size: int, steps: int, by_length: bool, seed: int
) -> None:
    order = batches(of, size, steps, seed=seed, by_length=by_length)
    assert order.shape == (steps, size)
    times = Counter(order.ravel().tolist())
    fewest, rest = divmod(steps * size, len(of))
    assert sorted(times[i] for i in range(len(of))) == [fewest] * (len(of) - rest) + [fewest + 1] * rest
    assert np.array_equal(order, batches(of, size, steps, seed=seed, by_length=by_length))


@given(lengths, st.integers(1, 7), st.integers(1, 40), st.integers(0, 9))
def test_each_round_has_every_sample_once(of: list[int], size: int, steps: int, seed: int) -> None:
    flat = batches(of, size, steps, seed=seed).ravel()
    for start in range(0, len(flat), len(of)):
        once = flat[start : start + len(of)].tolist()
        assert len(set(once)) == len(once)


def padding(of: list[int], order: NDArray[np.int64]) -> int:
    """Return the number of places that are filled up."""
    each = np.asarray(of)[order]
    return int((each.max(1, keepdims=True) - each).sum())


def test_batches_of_similar_length_are_filled_up_less() -> None:
    of = np.random.default_rng(0).integers(1, 100, 400).tolist()
    mixed, alike = (batches(of, 8, 50, seed=0, by_length=each) for each in (False, True))
    assert sorted(alike.ravel()) == sorted(mixed.ravel()) == list(range(400))
    assert padding(of, alike) < padding(of, mixed) / 5
    # shuffled, so that a training does not go from short to long
    means = np.asarray(of)[alike].mean(1)
    assert abs(np.corrcoef(means, np.arange(50))[0, 1]) < 0.5


def test_another_seed_gives_another_order() -> None:
    of = [1] * 20
    assert not np.array_equal(batches(of, 4, 5, seed=0), batches(of, 4, 5, seed=1))


def test_four_samples_by_hand() -> None:
    # the long ones in one batch and the short ones in the other, in whichever order
    assert sorted(sorted(batch) for batch in batches([9, 1, 8, 2], 2, 2, seed=5, by_length=True).tolist()) == [
        [0, 2],
        [1, 3],
    ]
