from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.preference import preference

Vectors = NDArray[np.float64]
Labels = NDArray[np.str_]
SEEDS = st.integers(0, 2**32 - 1)


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def labels(letters: str) -> Labels:
    return np.array(list(letters))


def random_case(seed: int, n: int = 60) -> tuple[Vectors, Labels, Labels, Labels, Labels]:
    """Vectors, concept, cue, within, apart."""
    rng = np.random.default_rng(seed)
    concept, cue, within, apart = (rng.integers(0, k, n).astype(str) for k in (5, 3, 2, 4))
    return rng.normal(size=(n, 6)), concept, cue, within, apart


def reference(
    x: Vectors, concept: Labels, cue: Labels, within: Labels | None = None, apart: Labels | None = None
) -> Vectors:
    """The definition, pair by pair."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    scores = np.full(len(x), np.nan)
    for i in range(len(x)):
        allowed = [
            j
            for j in range(len(x))
            if (within is None or within[j] == within[i]) and (apart is None or apart[j] != apart[i])
        ]
        a = [j for j in allowed if concept[j] == concept[i] and cue[j] != cue[i]]
        b = [j for j in allowed if cue[j] == cue[i] and concept[j] != concept[i]]
        wins = [0.5 if abs(x[i] @ x[j] - x[i] @ x[k]) < 1e-7 else x[i] @ x[j] > x[i] @ x[k] for j in a for k in b]
        if wins:
            scores[i] = np.mean(wins)
    return scores


def test_preference_by_hand() -> None:
    #  row       0    1    2    3    4     (c)at or (d)og, (p)hoto or (s)ketch
    #  what      cp   cs   dp   ds   dp
    #  degrees   0    20   30   90   10
    # 0: a = 1 (20 away), b = 2 (30), 4 (10): nearer than 2, not than 4             1/2
    # 1: a = 0 (20), b = 3 (70)                                                     1
    # 2: a = 3 (60), b = 0 (30)                                                     0
    # 3: a = 2 (60), 4 (80), b = 1 (70): 2 is nearer, 4 is not                      1/2
    # 4: a = 3 (80), b = 0 (10)                                                     0
    scores = preference(at(0, 20, 30, 90, 10), labels("ccddd"), labels("pspsp"))
    assert scores.tolist() == [0.5, 1, 0, 0.5, 0]


def test_a_tie_counts_half() -> None:
    # a at 40 degrees on one side of the first image, b at 40 on the other
    assert preference(at(0, 40, -40, 80), labels("ccdd"), labels("psps"))[0] == 0.5


def test_only_candidates_are_compared_with() -> None:
    # the first image of the first test without the dog at 10 degrees: its sketch, 20 away, is nearer than the dog at 30
    candidates = np.array([True, True, True, True, False])
    scores = preference(at(0, 20, 30, 90, 10), labels("ccddd"), labels("pspsp"), candidates=candidates)
    assert scores.tolist() == [1, 1, 0, 1, 0]


def test_an_image_without_a_conflict_has_no_score() -> None:
    # the owl exists as a photo alone, so nothing shares its concept under another cue
    scores = preference(at(0, 20, 30, 90, 200), labels("ccddo"), labels("pspsp"))
    assert np.isnan(scores).tolist() == [False, False, False, False, True]


def test_partners_share_within_and_differ_in_apart() -> None:
    x, concept, cue = at(0, 20, 30, 90, 10, 40), labels("ccddcd"), labels("psppss")
    #  row       0    1    2    3    4    5
    #  what      cp   cs   dp   dp   cs   ds
    #  degrees   0    20   30   90   10   40
    # of the first: a = 1 (20), 4 (10); b = 2 (30), 3 (90): always the concept
    assert preference(x, concept, cue)[0] == 1
    # of its own half there is 4 against 3: the concept. Without 4, too.
    assert preference(x, concept, cue, within=labels("uuvuuv"))[0] == 1
    # 1 and 4 are drawn after the same image as the first, so no a remains for it
    assert np.isnan(preference(x, concept, cue, apart=labels("kklmkn"))[0])


def test_the_drawing_kept_apart_decides() -> None:
    x, concept, cue = at(0, 5, 60, 30, 90), labels("cccdd"), labels("psspp")
    # of the first: a = 1 (5), 2 (60); b = 3 (30), 4 (90). 1 wins twice, 2 once of two: 3/4
    assert preference(x, concept, cue)[0] == 0.75
    # 1 is made from the same drawing: 2 alone, 1/2
    assert preference(x, concept, cue, apart=labels("kklmn"))[0] == 0.5
    # 3 is not of the same half: 1 and 2 are both nearer than 4
    assert preference(x, concept, cue, within=labels("uuuvu"))[0] == 1


@settings(max_examples=15)
@given(SEEDS, st.booleans(), st.booleans())
def test_with_all_pairs_it_is_the_definition(seed: int, with_within: bool, with_apart: bool) -> None:
    x, concept, cue, within, apart = random_case(seed)
    half, drawing = within if with_within else None, apart if with_apart else None
    scores = preference(x, concept, cue, within=half, apart=drawing, pairs=60 * 60)
    np.testing.assert_allclose(scores, reference(x, concept, cue, half, drawing), atol=1e-12)


def test_few_pairs_estimate_the_share_of_all() -> None:
    x, concept, cue, _, apart = random_case(0, 600)
    exact = preference(x, concept, cue, apart=apart, pairs=600 * 600)
    drawn = np.stack([preference(x, concept, cue, apart=apart, pairs=20, seed=seed) for seed in range(30)])
    # one image: standard error at most 0.5 / sqrt(20) = 0.112, of 30 draws 0.02; none of 600 beyond 5 of these
    assert np.abs(drawn.mean(0) - exact).max() < 0.1
    assert np.abs(drawn - exact).max() < 0.56
    # all images and draws: 18,000 errors of at most 0.112, the same order as if independent: 4 * 0.0008
    assert abs((drawn - exact).mean()) < 0.0034
    assert np.allclose(drawn * 40, np.rint(drawn * 40))


def test_every_pair_is_drawn_equally_often() -> None:
    # The first image has A of 3, at 10 to 30 degrees, and B of 1, at 15: the concept wins in 1 of 3 pairs. With 2 of
    # the 3 drawn, the strata do not fall on whole pairs, and still each pair comes up in 2/3 of the draws.
    x, concept, cue = at(0, 10, 20, 30, 15, 90), labels("ccccdd"), labels("psssps")
    scores = [preference(x, concept, cue, pairs=2, seed=seed)[0] for seed in range(400)]
    assert set(scores) <= {0.0, 0.5, 1.0}
    assert np.mean(scores) == pytest.approx(1 / 3, abs=4 * 0.25 / 20)  # s.d. of one at most 0.25


def test_the_seed_alone_decides_which_pairs_are_drawn() -> None:
    x, concept, cue, _, _ = random_case(3, 300)
    first, again, other = (preference(x, concept, cue, pairs=10, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_encoder_is_asked_about_the_same_triplets() -> None:
    # cosines of I + g and of I - g, with small g: where one encoder says the concept, the other says the cue
    _, concept, cue, _, _ = random_case(4, 150)
    g = np.random.default_rng(0).normal(size=(150, 150)) / 150
    g = (g + g.T) * (1 - np.eye(150))
    one, other = (preference(np.linalg.cholesky(np.eye(150) + s * g), concept, cue, pairs=7) for s in (1, -1))
    np.testing.assert_allclose(one + other, 1)
    assert one.std() > 0.1


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 1.0), (0.0, 0.0)])
def test_an_encoder_of_one_attribute_follows_it_always(weight: float, expected: float) -> None:
    _, concept, cue, _, _ = random_case(1)
    both = np.hstack(
        [
            weight * (concept[:, None] == np.unique(concept)),
            (1 - weight) * (cue[:, None] == np.unique(cue)),
        ]
    )
    assert (preference(both.astype(float), concept, cue) == expected).all()


def test_an_encoder_of_neither_is_a_coin() -> None:
    x, concept, cue, _, _ = random_case(2, 2000)
    # the standard deviation of an image's score is at most 0.5, and neighbours share partners: 2,000 images, 5 classes
    assert preference(x, concept, cue).mean() == pytest.approx(0.5, abs=0.05)


@settings(max_examples=15)
@given(SEEDS)
def test_scores_follow_from_directions_alone(seed: int) -> None:
    x, concept, cue, within, _ = random_case(seed)
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(6, 6)))
    expected = preference(x, concept, cue, within=within, pairs=30)
    for same in (x @ rotation, x[:, rng.permutation(6)], x * 10 ** rng.uniform(-6, 6, (60, 1))):
        np.testing.assert_allclose(preference(same, concept, cue, within=within, pairs=30), expected, atol=1e-6)


@settings(max_examples=15)
@given(SEEDS)
def test_scores_follow_their_image_when_rows_are_permuted(seed: int) -> None:
    x, concept, cue, _, _ = random_case(seed)
    order = np.random.default_rng(seed).permutation(60)
    scores = preference(x[order], concept[order], cue[order], pairs=3600)
    np.testing.assert_allclose(scores, preference(x, concept, cue, pairs=3600)[order], atol=1e-12)


def test_swapping_the_roles_swaps_the_answer() -> None:
    x, concept, cue, _, _ = random_case(5)
    forward, back = preference(x, concept, cue, pairs=3600), preference(x, cue, concept, pairs=3600)
    np.testing.assert_allclose(forward + back, 1, atol=1e-12)


def test_bad_input_is_named() -> None:
    x, concept, cue = at(0, 20, 30, 90), labels("ccdd"), labels("psps")
    with pytest.raises(EmbprobeError, match="different values of the concept: all are 'c'"):
        preference(x, labels("cccc"), cue)
    with pytest.raises(EmbprobeError, match="different values of the cue"):
        preference(x, concept, labels("pppp"))
    with pytest.raises(EmbprobeError, match="4 embeddings, but 3 values of 'cue'"):
        preference(x, concept, cue[:3])
    with pytest.raises(EmbprobeError, match="4 embeddings, but 2 values of 'apart'"):
        preference(x, concept, cue, apart=cue[:2])
    with pytest.raises(EmbprobeError, match="at least one pair"):
        preference(x, concept, cue, pairs=0)
    with pytest.raises(EmbprobeError, match="1 of 4 embeddings are zero or not finite"):
        preference(x * np.array([[1], [np.nan], [1], [1]]), concept, cue)


def test_without_any_conflict_there_is_an_error() -> None:
    with pytest.raises(EmbprobeError, match=r"nothing pulls in two directions.*several cues\.$"):
        preference(at(0, 20, 30, 90), labels("ccdd"), labels("ppss"))  # every concept has one cue
    with pytest.raises(EmbprobeError, match="ask for less of 'within' and 'apart'"):
        preference(at(0, 20, 30, 90), labels("ccdd"), labels("psps"), within=labels("uvuv"))


def test_coinciding_embeddings_are_no_draw_but_an_error() -> None:
    x = np.ones((4, 8)) * (1 + 1e-7 * np.random.default_rng(0).normal(size=(4, 8)))
    with pytest.raises(EmbprobeError, match="collapsed"):
        preference(x, labels("ccdd"), labels("psps"))
