from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.neighbors import KNeighborsClassifier

from embprobe.errors import EmbprobeError
from embprobe.measures.few_shot import draw_shots, few_shot
from embprobe.measures.gda import predict_gda
from embprobe.measures.nearest_mean import predict_nearest_mean


def drawn(seed: int) -> tuple[NDArray[np.float64], NDArray[np.str_]]:
    """Three overlapping classes of uneven size, 30 rows and more of each."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(3), [30, 45, 60])
    return 2 * np.eye(3, 6)[label] + rng.normal(size=(135, 6)), np.array(list("abc"))[label]


@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_every_label_has_as_many_shots_each_drawn_once(seed: int, shots: int) -> None:
    labels = np.array(list("abc"))[np.random.default_rng(seed).permutation(60) % 3]
    chosen = draw_shots(labels, shots, seed=seed)
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    assert np.unique(labels[chosen], return_counts=True)[1].tolist() == [shots] * 3
    assert chosen.tolist() == draw_shots(labels, shots, seed=seed).tolist()


def test_every_row_is_drawn_as_often() -> None:
    labels = np.array(list("aaaabb"))
    counts = np.bincount(np.concatenate([draw_shots(labels, 1, seed=seed) for seed in range(2000)]), minlength=6)
    assert counts[:4] == pytest.approx(500, abs=80) and counts[4:] == pytest.approx(1000, abs=90)


def test_one_shot_is_one_nearest_neighbour_averaged_over_draws() -> None:
    train, labels = drawn(0)
    test, truth = drawn(1)
    expected = np.zeros(len(test))
    for draw in range(5):
        chosen = draw_shots(labels, 1, seed=7 + draw)
        reference = KNeighborsClassifier(1, metric="cosine").fit(train[chosen], labels[chosen])
        expected += reference.predict(test) == truth
    (scores,) = few_shot(train, labels, [test], [truth], shots=1, seed=7)
    assert scores.tolist() == (expected / 5).tolist()
    assert len(set(scores.tolist())) > 3  # draws differ


def test_more_shots_see_more_and_any_classifier_will_do() -> None:
    train, labels = drawn(0)
    test, truth = drawn(1)
    one, four, sixteen = (few_shot(train, labels, [test], [truth], shots=n)[0].mean() for n in (1, 4, 16))
    assert one + 0.05 < four < sixteen
    by_gda = few_shot(train, labels, [test, test[:3]], [truth, truth[:3]], shots=4, predict=predict_gda)
    assert by_gda[0].mean() > one and by_gda[1].tolist() == by_gda[0][:3].tolist()


def test_a_right_answer_in_every_draw_is_exactly_one() -> None:
    x, labels = np.repeat(np.eye(3), 4, axis=0), np.repeat(list("abc"), 4)
    assert few_shot(x, labels, [x], [labels], shots=2, draws=10)[0].tolist() == [1.0] * 12


def test_all_rows_of_equal_classes_are_one_draw() -> None:
    train, labels = drawn(0)
    every = np.concatenate([np.flatnonzero(labels == c)[:30] for c in "abc"])
    (scores,) = few_shot(train[every], labels[every], [train], [labels], shots=30, draws=3)
    (predicted,) = predict_nearest_mean(train[every], labels[every], [train])
    assert scores.tolist() == (predicted == labels).astype(float).tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shots": 31}, "'a' has 30 images to fit on, fewer than the 31 that were asked for: ask for fewer shots"),
        ({"shots": 0}, "at least one image of each label"),
        ({"draws": 0}, "and one draw"),
        ({"truths": []}, "tests and truths differ in number"),
        ({"truths": [np.array(["a"])]}, "tests and truths differ in number"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(change: dict[str, object], message: str) -> None:
    train, labels = drawn(0)
    with pytest.raises(EmbprobeError, match=message):
        few_shot(train, labels, **{"tests": [train], "truths": [labels], "shots": 1} | change)  # type: ignore[arg-type]
