"""Accuracies and their differences by group: sums that one can check by hand, and a reference for means of means."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from embprobe.errors import EmbprobeError, UsageError
from embprobe.statistics import holm, resample
from embprobe.vlm.answers import Answer, Answers, mark_of
from embprobe.vlm.compare import compare_answers


def answers(name: str, scores: Mapping[str, float], **facts: str | int) -> Answers:
    rows = [Answer(key=key, score=score, every=score == 1, **facts) for key, score in scores.items()]  # type: ignore[arg-type]
    return Answers(name=name, rows=rows)


def joined(name: str, *parts: Answers) -> Answers:
    return Answers(name=name, rows=[row for part in parts for row in part.rows])


def test_accuracy_is_the_mean_over_questions_and_differences_are_paired() -> None:
    a = answers("a", {"1": 1, "2": 1, "3": 0.5, "4": 0}, group="text", options=4)  # 2.5 of 4
    b = answers("b", {"4": 0, "3": 0.25, "2": 1, "1": 0}, group="text", options=4)  # 1.25 of 4, in another order
    found = compare_answers([a, b])
    assert [each.accuracy.estimate for each in found.accuracies] == [0.625, 0.3125]
    assert [each.every.estimate for each in found.accuracies] == [0.5, 0.25]  # 1 and 2; 2
    assert found.difference("a", "b", "text").difference.estimate == 0.3125
    group = found.groups[0]
    assert (group.questions, group.units, group.resampled, group.chance) == (4, 4, "question", 0.25)
    with pytest.raises(KeyError):
        found.accuracy("c", "text")


def test_a_difference_turned_round_has_the_opposite_sign_and_interval() -> None:
    rng = np.random.default_rng(0)
    one, two = (answers(n, {str(i): float(rng.integers(2)) for i in range(30)}) for n in "ab")
    found = compare_answers([one, two])
    there, back = found.difference("a", "b", ""), found.difference("b", "a", "")
    assert back.difference.estimate == -there.difference.estimate
    assert (back.difference.low, back.difference.high) == (-there.difference.high, -there.difference.low)
    assert back.p_adjusted == there.p_adjusted


def test_concepts_are_resampled_where_questions_have_them() -> None:
    a, b = (
        joined(
            name,
            *(answers(name, {f"{c}{i}": float((c + i) % k == 0) for i in range(4)}, concept=f"c{c}") for c in range(9)),
        )
        for name, k in (("a", 2), ("b", 3))
    )
    found = compare_answers([a, b], seed=3)
    scores = np.array([[x.score, y.score] for x, y in zip(a.rows, b.rows, strict=True)])
    expected = resample(np.hstack([scores, scores]), [row.concept for row in a.rows], seed=3)
    assert found.groups[0].resampled == "concept" and found.groups[0].units == 9
    assert found.difference("a", "b", "").difference == expected.difference(0, 1)
    assert found.accuracy("b", "").accuracy == expected.mean(1)


def test_both_questions_of_a_pair_must_be_right() -> None:
    right = {"1": 1.0, "2": 1.0, "3": 1.0, "4": 0.0, "5": 0.5, "6": 0.5}
    rows = [
        Answer(key=key, score=score, every=score == 1, options=2, pair=f"p{(int(key) - 1) // 2}")
        for key, score in right.items()
    ]
    found = compare_answers([Answers(name="a", rows=rows)])
    assert found.accuracies[0].accuracy.estimate == pytest.approx((1 + 0 + 0.25) / 3)
    assert found.accuracies[0].every.estimate == pytest.approx(1 / 3)
    group = found.groups[0]
    assert (group.questions, group.pairs, group.units, group.chance, group.resampled) == (6, 3, 3, 0.25, "pair")


def test_a_pair_that_is_not_whole_is_left_out_and_counted() -> None:
    a, b = (
        joined(n, *(answers(n, {f"{p}x": 1, f"{p}y": n == "a"}, pair=p) for p in ("p", "q", "r"))) for n in ("a", "b")
    )
    found = compare_answers([a, Answers(name="b", rows=b.rows[1:])])
    assert found.groups[0].pairs == 2
    assert "1 pairs left out: not all of their questions were answered by all" in found.notes
    assert "5 questions were answered by all; left out: 1 of 'a'" in found.notes


VMC = {"TextVQA": [1, 1, 1, 0], "OCRVQA": [1, 0, 0, 0, 0, 0, 0, 0]}


def test_a_group_of_vmcbench_is_the_mean_of_its_sets() -> None:
    parts = [
        answers("a", {f"{kind}{i}": score for i, score in enumerate(scores)}, group="ocr", kind=kind, options=4)
        for kind, scores in VMC.items()
    ]
    found = compare_answers([joined("a", *parts)])
    assert found.accuracies[0].accuracy.estimate == (0.75 + 0.125) / 2  # not 4 / 12
    assert found.groups[0].kinds == ("TextVQA", "OCRVQA")
    assert found.groups[0].chance == 0.25
    assert not found.notes


def test_a_set_with_one_question_is_left_out_of_the_mean_and_named() -> None:
    parts = [
        answers("a", {f"{kind}{i}": score for i, score in enumerate(scores)}, group="ocr", kind=kind)
        for kind, scores in {**VMC, "OCRVQA": [0]}.items()
    ]
    found = compare_answers([joined("a", *parts)])
    assert found.accuracies[0].accuracy.estimate == 0.75
    assert found.notes == ("'ocr' is the mean of its sets but OCRVQA, with fewer than two questions",)


def study(rng: np.random.Generator, truth: Sequence[tuple[str, int, float]]) -> Answers:
    rows = [
        Answer(key=f"{kind}{i}", score=float(rng.random() < p), every=False, group="doc & chart", kind=kind)
        for kind, n, p in truth
        for i in range(n)
    ]
    return Answers(name="a", rows=rows)


SETS = (
    ("AI2D", 120, 0.7),
    ("ChartQA", 40, 0.4),
    ("DocVQA", 80, 0.55),
    ("InfoVQA", 30, 0.25),
    ("TableVQABench", 60, 0.5),
)


def reference(given: Answers) -> tuple[float, float]:
    """The mean of the K means of sets and its standard error, sqrt(sum of p_k (1 - p_k) / (n_k - 1)) / K."""
    means = {kind: np.mean([row.score for row in given.rows if row.kind == kind]) for kind, _, _ in SETS}
    variance = sum(means[kind] * (1 - means[kind]) / (n - 1) for kind, n, _ in SETS)
    return float(np.mean(list(means.values()))), float(np.sqrt(variance)) / len(SETS)


def test_the_interval_of_a_mean_of_sets_is_as_wide_as_its_standard_error_says() -> None:
    given = study(np.random.default_rng(1), SETS)
    found = compare_answers([given], resamples=4000).accuracies[0].accuracy
    mean, error = reference(given)
    assert found.estimate == pytest.approx(mean)
    assert (found.high - found.low) / 2 == pytest.approx(1.96 * error, rel=0.06)


def test_intervals_of_a_mean_of_sets_hold_the_truth_as_often_as_those_of_the_normal_distribution() -> None:
    truth, rng, studies = float(np.mean([p for _, _, p in SETS])), np.random.default_rng(3), 250
    held, expected = [], []
    for _ in range(studies):
        given = study(rng, SETS)
        found = compare_answers([given], resamples=1000).accuracies[0].accuracy
        mean, error = reference(given)
        held.append(found.low <= truth <= found.high)
        expected.append(abs(mean - truth) <= 1.96 * error)
    assert abs(np.mean(held) - np.mean(expected)) < 0.025
    assert 0.91 <= np.mean(held) <= 0.985


def test_p_values_are_corrected_over_groups_and_pairs() -> None:
    rng = np.random.default_rng(4)
    three = [
        joined(n, *(answers(n, {f"{g}{i}": float(rng.random() < p) for i in range(60)}, group=g) for g in ("x", "y")))
        for n, p in (("a", 0.9), ("b", 0.5), ("c", 0.5))
    ]
    found = compare_answers(three)
    assert len(found.differences) == 6
    ps = [each.difference.p for each in found.differences]
    assert [each.p_adjusted for each in found.differences] == holm([p for p in ps if p is not None])
    assert "x: a is above b by" in found.headline() and "2 of 6 differences are within chance." in found.headline()


def test_answers_to_other_questions_are_refused_and_counted() -> None:
    a = answers("a", {"1": 1, "2": 0})
    with pytest.raises(UsageError, match="of 2 and 3 questions, none is in both"):
        compare_answers([a, answers("b", {"3": 1, "4": 0, "5": 0})])
    rows = [Answer(key=k, score=1, every=True, mark=mark_of("embprobe", k + "seed 0")) for k in "123"]
    others = [Answer(key=k, score=1, every=True, mark=mark_of("embprobe", k + "seed 1")) for k in "123"]
    with pytest.raises(UsageError, match="of 3 common keys 0 are of the same question"):
        compare_answers([Answers(name="a", rows=rows), Answers(name="b", rows=others)])
    mixed = Answers(name="b", rows=[*rows[:2], others[2]])
    found = compare_answers([Answers(name="a", rows=rows), mixed])
    assert found.groups[0].questions == 2
    assert "1 left out, whose keys are of different questions in different files" in found.notes


def test_marks_of_different_tools_do_not_contradict_each_other() -> None:
    one = Answers(name="a", rows=[Answer(key=k, score=1, every=True, mark=mark_of("x", k), group="g") for k in "12"])
    two = Answers(name="b", rows=[Answer(key=k, score=0, every=False, mark=mark_of("y", k)) for k in "12"])
    found = compare_answers([two, one])  # the first file lacks the group
    assert found.groups[0].questions == 2 and found.groups[0].name == "g"


def test_nothing_names_twice_and_too_few_questions_are_refused() -> None:
    with pytest.raises(UsageError, match="no answers to compare"):
        compare_answers([])
    with pytest.raises(UsageError, match="Two files are of 'a'"):
        compare_answers([answers("a", {"1": 1})] * 2)
    with pytest.raises(EmbprobeError, match="needs two questions, and there is one"):
        compare_answers([answers("a", {"1": 1})])


def test_json_holds_all_numbers() -> None:
    found = compare_answers([answers("a", {"1": 1, "2": 0, "3": 1}), answers("b", {"1": 0, "2": 0, "3": 1})])
    content = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert content["schema"] == 1
    assert content["differences"][0]["difference"]["estimate"] == pytest.approx(1 / 3)
    assert "all questions: 0.667" in compare_answers([answers("a", {"1": 1, "2": 0, "3": 1})]).headline()
