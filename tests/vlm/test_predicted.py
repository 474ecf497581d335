"""Whether probes predict accuracies: ranks, an exact p, and an interval that few encoders leave wide."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr

from embprobe.errors import EmbprobeError
from embprobe.probing.key import Key
from embprobe.probing.results import Conclusions, Results
from embprobe.statistics import holm
from embprobe.vlm.answers import Answer, Answers
from embprobe.vlm.compare import compare_answers
from embprobe.vlm.predicted import predict_groups, rank_agreement

NAMES = "abcdefghijkl"


def by_name(values: list[float]) -> dict[str, float]:
    return dict(zip(NAMES, values, strict=False))


@given(st.integers(4, 7).flatmap(lambda n: st.tuples(*(st.lists(st.integers(0, 9), min_size=n, max_size=n),) * 2)))
def test_correlations_are_those_of_scipy_with_ties_too(pair: tuple[list[int], list[int]]) -> None:
    a, b = pair
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    found = rank_agreement(by_name([*map(float, a)]), by_name([*map(float, b)]))
    assert found.spearman == pytest.approx(spearmanr(a, b).statistic)
    assert found.kendall == pytest.approx(kendalltau(a, b).statistic)
    assert -1 <= found.low <= found.spearman <= found.high <= 1


@given(*(st.lists(st.integers(0, 3), min_size=4, max_size=4),) * 2)
def test_p_is_the_share_of_all_orders_that_are_as_far(a: list[int], b: list[int]) -> None:
    assume(len(set(a)) > 1 and len(set(b)) > 1)
    found = rank_agreement(by_name([*map(float, a)]), by_name([*map(float, b)]))
    correlations = [abs(spearmanr(a, order).statistic) for order in permutations(b)]
    assert found.p == pytest.approx(np.mean([each >= abs(found.spearman) - 1e-9 for each in correlations]))


def test_four_encoders_in_perfect_agreement_say_little() -> None:
    found = rank_agreement(by_name([1, 2, 3, 4]), by_name([0.1, 0.2, 0.3, 0.4]))
    assert (found.spearman, found.kendall, found.high) == (1, 1, 1)
    assert found.p == pytest.approx(2 / 24)  # the order and its reverse
    assert found.low == pytest.approx(-0.6916, abs=1e-4)
    turned = rank_agreement(by_name([4, 3, 2, 1]), by_name([0.1, 0.2, 0.3, 0.4]))
    assert turned.low == -1
    assert turned.high == pytest.approx(0.6916, abs=1e-4)


def test_the_interval_is_fishers_with_the_variance_of_bonett_and_wright() -> None:
    values = [1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    order = [2.0, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11]
    found = rank_agreement(by_name(values), by_name(order), seed=1)
    r = 1 - 6 * 12 / (12 * 143)
    half = 1.96 * np.sqrt((1 + r * r / 2) / 9)
    assert found.spearman == pytest.approx(r)
    assert (found.low, found.high) == pytest.approx(tuple(np.tanh(np.arctanh(r) + np.array([-half, half]))))
    assert found.p == 1 / 10_000  # none of the random orders is as far


def test_intervals_hold_the_truth_of_six_encoders() -> None:
    rng, held, studies = np.random.default_rng(0), 0, 400
    truth = 6 / np.pi * np.arcsin(0.8 / 2)  # Spearman's correlation of normal numbers whose Pearson's is 0.8
    for _ in range(studies):
        x, e = rng.normal(size=(2, 6))
        found = rank_agreement(by_name(list(x)), by_name(list(0.8 * x + 0.6 * e)))
        held += found.low <= truth <= found.high
    assert held / studies >= 0.95


def test_fewer_than_four_encoders_and_equal_numbers_are_refused() -> None:
    with pytest.raises(EmbprobeError, match="of 3 encoders .a, b and c.: a rank correlation needs at least 4"):
        rank_agreement(by_name([1, 2, 3]), by_name([1, 2, 3, 4]))
    with pytest.raises(EmbprobeError, match="Both numbers are there of 0 encoders: "):
        rank_agreement(by_name([1, 2, 3, 4]), {"x": 1})
    for bad in ([1.0, 1, 1, 1], [1.0, 2, 3, float("nan")]):
        with pytest.raises(EmbprobeError, match="not finite, or all the same"):
            rank_agreement(by_name([1, 2, 3, 4]), by_name(bad))


def probe(attribute: str, numbers: dict[str, float], key: Key | None) -> Results:
    conclusions = Conclusions(key=key, numbers=numbers, sentences=[], checks=[])
    return Results(manifest={"card": {"attribute": attribute}}, rows=[], scores=[], conclusions=conclusions)


def test_every_probe_is_correlated_with_every_group() -> None:
    answers = [
        Answers(
            name=name,
            rows=[
                Answer(key=f"{group}{i}", score=float(i < right), every=i < right, group=group)
                for group, right in (("text", 2 + place), ("count", 9 - place))
                for i in range(10)
            ],
        )
        for place, name in enumerate("abcde")
    ]
    key = Key(kind="decoding", target="word", test="cards")
    rising, other = by_name([1, 2, 3, 4, 5]), by_name([2, 1, 3, 5, 4])
    found = predict_groups([probe("text", rising, key), probe("color", other, key)], compare_answers(answers))
    assert [(each.attribute, each.group, round(each.agreement.spearman, 6)) for each in found] == [
        ("text", "text", 1.0),
        ("text", "count", -1.0),
        ("color", "text", 0.8),
        ("color", "count", -0.8),
    ]
    assert [each.p_adjusted for each in found] == holm([each.agreement.p for each in found])
    with pytest.raises(EmbprobeError, match="'text' and 'text': Both numbers are there of 3 encoders"):
        predict_groups([probe("text", rising, key)], compare_answers(answers[:3]))
    with pytest.raises(EmbprobeError, match="have no headline number"):
        predict_groups([probe("text", rising, None)], compare_answers(answers))
