from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.nearest_mean import predict_nearest_mean
from embprobe.measures.shape_bias import covered, estimate_shape_bias, shape_bias
from embprobe.measures.zero_shot import predict_zero_shot
from embprobe.statistics import resample

Labels = NDArray[np.str_]
THREE = st.sampled_from("abc")


def cases(*rows: tuple[str, str, str]) -> tuple[Labels, Labels, Labels]:
    """``(decision, shape, texture)`` of each image, as columns."""
    decisions, shape, texture = np.array(rows).T
    return decisions, shape, texture


def test_a_case_by_hand() -> None:
    # In conflict are four: for shape 2, for texture 1, for neither 1. Bias 2 / 3, coverage 3 / 4.
    taken = cases(("a", "a", "b"), ("a", "a", "c"), ("b", "a", "b"), ("na", "b", "a"), ("a", "a", "a"))
    scores = shape_bias(*taken)
    assert scores[:4].mean() == pytest.approx(2 / 3) and np.isnan(scores[4])
    # 2/3 + (1 - 2/3) / (3/4) = 10/9; 2/3 - 2/3 / (3/4) = -2/9
    assert scores[:4] == pytest.approx([10 / 9, 10 / 9, -2 / 9, 2 / 3])
    assert covered(*taken)[:4].tolist() == [1, 1, 1, 0] and np.isnan(covered(*taken)[4])
    found = estimate_shape_bias(*taken)
    assert (found.shape, found.texture, found.neither, found.left_out) == (2, 1, 1, 1)
    assert found.bias and found.bias.estimate == pytest.approx(2 / 3) and found.bias.images == 4
    assert found.coverage and found.coverage.estimate == 0.75
    assert found.bias.low < 2 / 3 < found.bias.high
    of_a = found.by_class["a"]
    assert (of_a.shape, of_a.texture, of_a.neither) == (2, 1, 0) and of_a.coverage and of_a.coverage.estimate == 1
    of_b = found.by_class["b"]  # one image: counted, and nothing is estimated
    assert (of_b.neither, of_b.bias, of_b.coverage) == (1, None, None)


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "na"]), THREE, THREE), min_size=1, max_size=40))
def test_the_mean_of_the_scores_is_the_formula_of_the_authors(rows: list[tuple[str, str, str]]) -> None:
    """Shares of all decisions, of those whose cues are in conflict: p_shape / (p_shape + p_texture)."""
    conflict = [row for row in rows if row[1] != row[2]]
    if not conflict:
        with pytest.raises(EmbprobeError, match="cues in conflict"):
            shape_bias(*cases(*rows))
        return
    by_shape = sum(decision == shape for decision, shape, _ in conflict) / len(rows)
    by_texture = sum(decision == texture for decision, _, texture in conflict) / len(rows)
    scores = shape_bias(*cases(*rows))
    if by_shape + by_texture:
        assert np.nanmean(scores) == pytest.approx(by_shape / (by_shape + by_texture))
        assert np.isnan(scores).sum() == len(rows) - len(conflict)
    else:
        assert np.isnan(scores).all()


def test_the_interval_is_that_of_the_ratio() -> None:
    rng = np.random.default_rng(0)
    decisions = rng.choice(["a", "b", "na"], 400, p=[0.5, 0.3, 0.2])
    shape, texture = np.repeat("a", 400), np.repeat("b", 400)
    found = estimate_shape_bias(decisions, shape, texture, seed=3)
    either = np.stack([decisions == "a", decisions != "na"], axis=1).astype(float)
    ratio = resample(either, [str(i) for i in range(400)], seed=3).ratio(0, 1)
    assert ratio and found.bias and found.bias.estimate == pytest.approx(ratio.estimate)
    assert (found.bias.low, found.bias.high) == pytest.approx((ratio.low, ratio.high), abs=0.003)
    # the standard error of a share of about 320: sqrt(0.625 * 0.375 / 320) = 0.027
    assert found.bias.high - found.bias.low == pytest.approx(2 * 1.96 * 0.027, rel=0.12)


def test_decisions_of_several_people_on_an_image_are_resampled_together() -> None:
    """Ten people who decide alike know no more of forty images than one of them."""
    rng = np.random.default_rng(0)
    one = rng.choice(["a", "b"], 40)
    shape, texture, images = np.repeat("a", 400), np.repeat("b", 400), [str(i % 40) for i in range(400)]
    ten = estimate_shape_bias(np.tile(one, 10), shape, texture, images=images)
    alone = estimate_shape_bias(one, shape[:40], texture[:40])
    assert ten.bias and alone.bias and ten.bias.groups == 40
    assert (ten.bias.low, ten.bias.high) == pytest.approx((alone.bias.low, alone.bias.high), abs=0.01)


def test_an_encoder_of_shapes_and_one_of_textures() -> None:
    """Vectors are the sum of a direction of the shape and one of the texture, one of them ten times as long."""
    rng = np.random.default_rng(0)
    classes = np.array([f"class {i:02d}" for i in range(16)])
    code_of_shape, code_of_texture = (each.ravel() for each in np.meshgrid(range(16), range(16)))
    directions = np.eye(16)
    noise = 0.1 * rng.normal(size=(256, 16))
    others = directions[code_of_shape] + 0.1 * rng.normal(size=(256, 16))  # of one class each, without a conflict
    for weight, expected in ((10, 1.0), (0.1, 0.0)):
        conflicting = weight * directions[code_of_shape] + directions[code_of_texture] + noise
        (nearest,) = predict_nearest_mean(others, classes[code_of_shape], [conflicting])
        named = predict_zero_shot(conflicting, directions, classes)
        for decisions in (nearest, named):
            found = estimate_shape_bias(decisions, classes[code_of_shape], classes[code_of_texture])
            assert found.bias and found.coverage and found.left_out == 16
            assert found.bias.estimate == expected and found.coverage.estimate == 1
            assert len(found.by_class) == 16 and all(each.bias for each in found.by_class.values())


def test_where_nothing_is_decided_for_either_there_is_no_bias_and_a_coverage_of_zero() -> None:
    found = estimate_shape_bias(*cases(("c", "a", "b"), ("na", "b", "a")))
    assert found.bias is None and found.coverage and found.coverage.estimate == 0 and found.neither == 2


def test_other_numbers_of_decisions_than_images_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="there are 1, 2 and 2"):
        shape_bias(np.array(["a"]), np.array(["a", "b"]), np.array(["b", "a"]))
    with pytest.raises(EmbprobeError, match="2 decisions, but 1 names of images"):
        estimate_shape_bias(*cases(("a", "a", "b"), ("b", "a", "b")), images=["one"])


def test_the_interval_of_a_few_decisions_stays_a_share() -> None:
    few = cases(("a", "a", "b"), ("b", "b", "c"), ("c", "a", "c"), ("na", "c", "b"))  # shape 2, texture 1, neither 1
    found = estimate_shape_bias(*few)
    drawn = resample(shape_bias(*few)[:, None], ["1", "2", "3", "4"], seed=0).mean(0)
    assert drawn.high > 1  # the linearised ratio alone
    assert found.bias and found.bias.estimate == pytest.approx(2 / 3)
    assert found.bias.high == 1 and found.bias.low == pytest.approx(max(0.0, drawn.low))
