from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import rankdata, spearmanr

from embprobe.errors import EmbprobeError
from embprobe.measures.natural_pairs import Attribute, natural_pairs
from tests.conftest import cosines

Vectors = NDArray[np.float64]
SEEDS = st.integers(0, 2**32 - 1)


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def random_case(seed: int, n: int = 40) -> tuple[Vectors, dict[str, Attribute]]:
    """Vectors that know some of each attribute, and attributes of all three kinds."""
    rng = np.random.default_rng(seed)
    histogram = rng.random((n, 4))
    words = [set(rng.choice(list("abcdef"), rng.integers(0, 4), replace=False).tolist()) for _ in range(n)]
    style = rng.integers(0, 3, n)
    seen = np.hstack([histogram, [[letter in each for letter in "abcdef"] for each in words], np.eye(3)[style]])
    x = seen @ rng.normal(size=(13, 8)) + rng.normal(size=(n, 8))
    return x, {"color": histogram, "words": words, "style": style.astype(str)}


def similarity(attribute: Attribute) -> Vectors:
    """``[n, n]``, as the definition says."""
    if isinstance(attribute, np.ndarray) and attribute.ndim == 2:
        return cosines(attribute, attribute)
    if isinstance(attribute, np.ndarray):
        return np.equal(attribute[:, None], attribute[None]).astype(float)
    sets = [set(each) for each in attribute]
    return np.array([[len(a & b) / len(a | b) if a | b else 1.0 for b in sets] for a in sets])


def reference(x: Vectors, attributes: dict[str, Attribute], of: str) -> Vectors:
    """Over all other images: residuals of least squares on ranks, then their correlation."""
    embedding = cosines(x, x)
    similar = {name: similarity(attribute) for name, attribute in attributes.items()}
    scores = np.full(len(x), np.nan)
    for i in range(len(x)):
        others = np.arange(len(x)) != i
        ranks = {name: rankdata(each[i, others].round(9)) for name, each in similar.items()}
        design = np.stack([np.ones(len(x) - 1), *(ranks[name] for name in ranks if name != of)], axis=1)
        two = np.stack([rankdata(embedding[i, others].round(9)), ranks[of]], axis=1)
        left = two - design @ np.linalg.lstsq(design, two, rcond=None)[0]
        if left.std(0).min() > 1e-6:
            scores[i] = np.corrcoef(left.T)[0, 1]
    return scores


def test_labels_by_hand() -> None:
    # Ten images along a quarter circle, the first two red. The first one's partners by similarity: 1, 2, .. 9 with
    # ranks 9 .. 1, and the only red one ranks highest. Sums of squares: ranks 60, indicator 1 - 1/9 = 8/9; product
    # 9 - 5 = 4. The second is 9 degrees from both 0 and 2: its red partner, 0, has rank 8.5, so 3.5 over the same root,
    # where the tie of 8 and 9 takes (2^3 - 2) / 12 = 0.5 from the 60.
    x, color = at(*range(0, 90, 9)), np.array(["red"] * 2 + ["blue"] * 8)
    scores = natural_pairs(x, {"color": color}, "color")
    assert scores[:2] == pytest.approx([4 / np.sqrt(60 * 8 / 9), 3.5 / np.sqrt(59.5 * 8 / 9)])
    # The last: its two red partners have the lowest ranks 1 and 2: product 3 - 10 = -7, indicator 2 - 4/9 = 14/9, and
    # similar are the other seven.
    assert scores[9] == pytest.approx(7 / np.sqrt(60 * 14 / 9))


def test_words_by_hand() -> None:
    # The first image, {a, b}, has Jaccard 1 with the second, 1/3 with the third, {b, c}, 1/2 with the fourth, {a}, and
    # 0 with the other six: ranks 9, 7, 8 and six times 3.5. Embedding ranks 9 .. 1.
    #   product: (9-5)4 + (7-5)3 + (8-5)2 + (3.5-5)(1+0-1-2-3-4) = 16 + 6 + 6 + 13.5 = 41.5
    #   squares: 16 + 4 + 9 + 6 * 2.25 = 42.5 and 60
    words = [{"a", "b"}, {"b", "a"}, {"b", "c"}, {"a"}, *({letter} for letter in "uvwxyz")]
    scores = natural_pairs(at(*range(0, 90, 9)), {"words": words}, "words")
    assert scores[0] == pytest.approx(41.5 / np.sqrt(42.5 * 60))


def test_images_without_words_are_alike_in_that() -> None:
    # as red and blue above, but red is to have no word, blue to have one
    words: list[set[str]] = [set()] * 2 + [{"sale"}] * 8
    x, color = at(*range(0, 90, 9)), np.array(["red"] * 2 + ["blue"] * 8)
    expected = natural_pairs(x, {"color": color}, "color")
    np.testing.assert_allclose(natural_pairs(x, {"words": words}, "words"), expected)


def test_one_control_by_hand() -> None:
    # r_xy.z = (r_xy - r_xz r_yz) / sqrt((1 - r_xz^2) (1 - r_yz^2)), with the three Spearman correlations of scipy
    x, attributes = random_case(0)
    two = {"color": attributes["color"], "style": attributes["style"]}
    others = np.arange(40) != 7
    each = [s[7, others] for s in (cosines(x, x), similarity(two["color"]), similarity(two["style"]))]
    xy, xz, yz = (float(spearmanr(each[i], each[j]).statistic) for i, j in ((0, 1), (0, 2), (1, 2)))
    expected = (xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2))
    assert natural_pairs(x, two, "color")[7] == pytest.approx(expected)


@pytest.mark.parametrize("of", ["color", "words", "style"])
def test_without_controls_it_is_spearmans(of: str) -> None:
    x, attributes = random_case(1)
    scores = natural_pairs(x, {of: attributes[of]}, of)
    embedding, attribute = cosines(x, x), similarity(attributes[of])
    for i in range(40):
        others = np.arange(40) != i
        assert scores[i] == pytest.approx(spearmanr(embedding[i, others], attribute[i, others]).statistic)


@settings(max_examples=8)
@given(SEEDS, st.sampled_from(["color", "words", "style"]))
def test_with_controls_it_is_the_correlation_of_residuals(seed: int, of: str) -> None:
    x, attributes = random_case(seed)
    np.testing.assert_allclose(natural_pairs(x, attributes, of), reference(x, attributes, of), atol=1e-8)


def test_chunks_and_fewer_partners_by_the_definition() -> None:
    # 300 images are two chunks; the partners at random shifts are found again from the seed
    x, attributes = random_case(2, 300)
    scores = natural_pairs(x, {"color": attributes["color"]}, "color", partners=50, seed=5)
    shifts = np.random.default_rng(5).permutation(np.arange(1, 300))[:50]
    embedding, attribute = cosines(x, x), similarity(attributes["color"])
    for i in (0, 255, 256, 299):
        partners = (i + shifts) % 300
        assert scores[i] == pytest.approx(spearmanr(embedding[i, partners], attribute[i, partners]).statistic)


def test_the_embedding_that_is_the_attribute_scores_one() -> None:
    x, attributes = random_case(3)
    np.testing.assert_allclose(natural_pairs(x, {"itself": x}, "itself"), 1)
    np.testing.assert_allclose(natural_pairs(x, {**attributes, "itself": x}, "itself"), 1)


def test_what_goes_along_with_another_attribute_goes_when_that_is_held_constant() -> None:
    # The encoder sees colour alone; shape goes with colour, being colour and something of its own.
    rng = np.random.default_rng(0)
    color = rng.normal(size=(600, 3))
    shape = color + rng.normal(size=(600, 3))
    x = color + 0.3 * rng.normal(size=(600, 3))
    alone = natural_pairs(x, {"shape": shape}, "shape", partners=200)
    held = natural_pairs(x, {"shape": shape, "color": color}, "shape", partners=200)
    assert alone.mean() > 0.3
    # one image has a standard error of about 1 / sqrt(200) = 0.07, their mean a smaller one
    assert abs(held.mean()) < 0.05
    assert natural_pairs(x, {"shape": shape, "color": color}, "color", partners=200).mean() > 0.7


def test_an_embedding_unrelated_to_the_attribute_scores_zero_on_average() -> None:
    rng = np.random.default_rng(1)
    scores = natural_pairs(rng.normal(size=(500, 8)), {"color": rng.random((500, 5))}, "color")
    assert abs(scores.mean()) < 0.02
    assert scores.std() > 0.01


@settings(max_examples=8)
@given(SEEDS)
def test_scores_follow_from_directions_alone(seed: int) -> None:
    x, attributes = random_case(seed)
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    expected = natural_pairs(x, attributes, "color", partners=20)
    for same in (x @ rotation, x[:, rng.permutation(8)], x * 10 ** rng.uniform(-6, 6, (40, 1))):
        np.testing.assert_allclose(natural_pairs(same, attributes, "color", partners=20), expected, atol=1e-6)


def test_scores_follow_their_image_when_rows_are_permuted() -> None:
    x, attributes = random_case(4)
    order = np.random.default_rng(0).permutation(40)
    turned: dict[str, Attribute] = {
        name: each[order] if isinstance(each, np.ndarray) else [set(each[i]) for i in order]
        for name, each in attributes.items()
    }
    np.testing.assert_allclose(
        natural_pairs(x[order], turned, "words"), natural_pairs(x, attributes, "words")[order], atol=1e-9
    )


def test_the_seed_alone_decides_the_partners() -> None:
    x, attributes = random_case(5, 100)
    first, again, other = (natural_pairs(x, attributes, "color", partners=20, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_image_over_whose_partners_the_attribute_is_constant_has_no_score() -> None:
    # the one green image is like no other, each red one like the other reds
    color = np.array(["green"] + ["red"] * 5 + ["blue"] * 6)
    scores = natural_pairs(at(*range(0, 96, 8)), {"color": color}, "color")
    assert np.isnan(scores).tolist() == [True] + [False] * 11


def test_a_control_that_does_not_vary_or_says_the_same_twice_is_left_out() -> None:
    x, attributes = random_case(6)
    expected = natural_pairs(x, attributes, "color")
    constant = natural_pairs(x, {**attributes, "day": np.array(["monday"] * 40)}, "color")
    again = natural_pairs(x, {**attributes, "style again": attributes["style"]}, "color")
    np.testing.assert_allclose(constant, expected, atol=1e-9)
    np.testing.assert_allclose(again, expected, atol=1e-9)
    # a control constant for one image alone: like no other image in 'day', so its score is that without the control
    day = np.array(["monday"] + ["tuesday"] * 20 + ["friday"] * 19)
    scores = natural_pairs(x, {**attributes, "day": day}, "color")
    assert scores[0] == pytest.approx(expected[0])
    assert np.abs(scores - expected)[1:].max() > 1e-3


def test_nothing_is_left_of_an_attribute_that_is_also_held_constant() -> None:
    x, attributes = random_case(7)
    with pytest.raises(EmbprobeError, match="once 'tint' is held constant beside 'color'"):
        natural_pairs(x, {"color": attributes["color"], "tint": attributes["color"]}, "color")


def test_an_attribute_of_one_value_or_as_many_as_images_is_an_error() -> None:
    x, _ = random_case(8)
    for values in (["red"] * 40, [str(i) for i in range(40)]):
        with pytest.raises(EmbprobeError, match="neither all equal nor all different"):
            natural_pairs(x, {"color": np.array(values)}, "color")


@pytest.mark.parametrize("noise", [0.0, 1e-8])
def test_coinciding_embeddings_are_an_error(noise: float) -> None:
    _, attributes = random_case(9)
    x = np.ones((40, 8)) * (1 + noise * np.random.default_rng(0).normal(size=(40, 8)))
    with pytest.raises(EmbprobeError, match="collapsed"):
        natural_pairs(x, attributes, "color")


def test_too_few_images_or_partners_are_an_error() -> None:
    x, attributes = random_case(10, 11)
    with pytest.raises(EmbprobeError, match="at least 12 images and 11 partners for each; there are 11 images"):
        natural_pairs(x, attributes, "color")
    with pytest.raises(EmbprobeError, match="at least 10 images and 9 partners for each; .* and 8 partners"):
        natural_pairs(x, {"color": attributes["color"]}, "color", partners=8)
    assert len(natural_pairs(x, {"color": attributes["color"]}, "color", partners=9)) == 11


def test_bad_input_is_named() -> None:
    x, attributes = random_case(11)
    with pytest.raises(EmbprobeError, match="no attribute 'shape'; there are 'color', 'words', 'style'"):
        natural_pairs(x, attributes, "shape")
    with pytest.raises(EmbprobeError, match="40 embeddings, but 39 values of the attribute 'style'"):
        natural_pairs(x, {**attributes, "style": np.array(["a"] * 39)}, "color")
    with pytest.raises(EmbprobeError, match="2 of 40 rows of the attribute 'tint' are zero or not finite"):
        natural_pairs(x, {"tint": np.vstack([np.zeros((1, 3)), np.full((1, 3), np.nan), np.ones((38, 3))])}, "tint")
    with pytest.raises(EmbprobeError, match="'size' is neither labels.*few ranges"):
        natural_pairs(x, {"size": np.linspace(0, 1, 40)}, "size")
    x[5] = np.inf
    with pytest.raises(EmbprobeError, match="1 of 40 embeddings are zero or not finite"):
        natural_pairs(x, attributes, "color")
