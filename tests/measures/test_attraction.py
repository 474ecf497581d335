"""Attraction: shares of triplets counted by hand, what cancels, and intervals that hold the truth."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from embprobe.errors import EmbprobeError
from embprobe.measures.attraction import attraction, separable
from embprobe.statistics import resample

Vectors = NDArray[np.float64]
Labels = NDArray[np.str_]


def at(*degrees: float) -> Vectors:
    """Unit vectors in the plane."""
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def labels(letters: str) -> Labels:
    return np.array(list(letters))


def by_definition(x: Vectors, style: Labels, content: Labels) -> float:
    """The mean over pairs of styles, anchors, other contents and pairs of candidates, one by one."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    rows = range(len(x))

    def cell(s: str, c: str) -> list[int]:
        return [i for i in rows if style[i] == s and content[i] == c]

    of_pairs = {}
    for s, t in itertools.permutations(np.unique(style).tolist(), 2):
        of_anchors = []
        for i in (i for i in rows if style[i] == s):
            of_contents = [
                np.mean([(x[i] @ x[a] > x[i] @ x[b]) + 0.5 * (x[i] @ x[a] == x[i] @ x[b]) for a in same for b in other])
                for c in np.unique(content).tolist()
                if c != content[i] and (same := cell(s, c)) and (other := cell(t, c))
            ]
            if of_contents:
                of_anchors.append(np.mean(of_contents))
        if of_anchors:
            of_pairs[s, t] = np.mean(of_anchors)
    return float(np.mean([value for (s, t), value in of_pairs.items() if (t, s) in of_pairs]))


def test_attraction_by_hand() -> None:
    #  row       0    1    2    3     (c)at or (d)og, (p)hoto or (s)ketch
    #  what      cp   cs   dp   ds
    #  degrees   0    30   20   50
    # 0: a = 2 (20 away), b = 3 (50)    1
    # 1: a = 3 (20),      b = 2 (10)    0
    # 2: a = 0 (20),      b = 1 (10)    0
    # 3: a = 1 (20),      b = 0 (50)    1
    assert attraction(at(0, 30, 20, 50), labels("psps"), labels("ccdd")).mean() == pytest.approx(0.5)
    # with the sketch of the cat at 60 its nearest of the dogs is the sketch, too, and the photos lie near each other
    assert attraction(at(0, 60, 20, 50), labels("psps"), labels("ccdd")).mean() == 1


def test_a_tie_counts_half() -> None:
    # both dogs lie in one place, so neither is nearer to a cat; to the dogs the photo of the cat (at 20) is nearer than
    # its sketch (at 80): right for the photo of the dog, wrong for its sketch. (1/2 + 1/2 + 1 + 0) / 4
    assert attraction(at(20, 80, 40, 40), labels("psps"), labels("ccdd")).mean() == pytest.approx(0.5)


@pytest.mark.parametrize("seed", range(5))
def test_the_mean_is_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    style, content = (rng.choice(list(letters), 40) for letters in ("pqrs", "abcde"))
    x = rng.normal(size=(40, 4))
    assert np.nanmean(attraction(x, style, content)) == pytest.approx(by_definition(x, style, content))
    by_content = attraction(x, style, content, groups=content.tolist())
    assert np.nanmean(by_content) == pytest.approx(by_definition(x, style, content))


def test_images_that_are_near_to_everything_attract_nobody() -> None:
    # sketches lie in the middle, photos around it: a sketch is nearer to anything than a photo, whatever the style
    rng = np.random.default_rng(0)
    style, content = np.array(["photo", "sketch"] * 60), np.repeat(list("abcdef"), 20)
    x = np.eye(200)[:120] * np.where(style == "photo", 1.0, 0.0)[:, None]
    x += np.where(style == "photo", 0.1, 1.0)[:, None] * np.eye(200)[199] + 0.001 * rng.normal(size=(120, 200))
    # sketch: a is a sketch (cosine 1) and b a photo (0.1); photo: a is a photo (0.01) and b a sketch (0.1)
    assert attraction(x, style, content).mean() == pytest.approx(0.5)


def test_an_image_in_no_triplet_has_no_score() -> None:
    # the paintings exist of one content alone, so no other content has them
    scores = attraction(at(0, 60, 20, 50, 90), labels("pspsq"), labels("ccddd"))
    assert np.isnan(scores).tolist() == [False] * 4 + [True]
    assert np.nanmean(scores) == 1


def test_scale_and_order_do_not_matter() -> None:
    rng = np.random.default_rng(0)
    x, style, content = rng.normal(size=(60, 5)), rng.choice(list("ps"), 60), rng.choice(list("abc"), 60)
    scores = attraction(x, style, content)
    order = rng.permutation(60)
    np.testing.assert_allclose(attraction(3 * x[order], style[order], content[order]), scores[order], atol=1e-9)


@pytest.mark.parametrize(("style", "content"), [("ppss", "ccdd"), ("psps", "cdef"), ("pppp", "ccdd")])
def test_a_style_that_goes_with_a_content_cannot_be_told_apart(style: str, content: str) -> None:
    assert not separable(labels(style), labels(content))
    with pytest.raises(EmbprobeError, match=r"cannot be told apart|at least two different values of the attribute"):
        attraction(at(0, 60, 20, 50), labels(style), labels(content))


def test_embeddings_that_coincide_are_an_error() -> None:
    with pytest.raises(EmbprobeError, match="All embeddings coincide"):
        attraction(np.ones((4, 2)), labels("psps"), labels("ccdd"))


# --- intervals -----------------------------------------------------------------------------------------------------

STUDIES = 150


@pytest.mark.parametrize("grouped", [True, False], ids=["contents are sampled", "images are sampled"])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_intervals_hold_the_truth_and_two_encoders_of_one_kind_do_not_differ(
    grouped: bool, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("embprobe.statistics.resampling.MOST_FLIPS", 999)
    rng = np.random.default_rng(0)
    styles, contents = rng.normal(size=(2, 8)), rng.normal(size=(3, 8))
    style = np.tile([0, 1], 60)
    content = np.repeat(np.arange(60), 2) if grouped else np.repeat(np.arange(3), 40)
    groups = content.astype(str).tolist() if grouped else None
    studies = []
    for study in range(STUDIES):
        shown = rng.normal(size=(60, 8))[content] if grouped else contents[content]
        signal = shown + share * styles[style] + 0.5 * rng.normal(size=(120, 8))
        both = [signal + 0.5 * rng.normal(size=signal.shape) for _ in range(2)]
        scores = np.stack([attraction(x, style.astype(str), content.astype(str), groups=groups) for x in both], axis=1)
        resampled = resample(scores, groups or [str(i) for i in range(120)], seed=study, resamples=499)
        studies.append((resampled.mean(0), resampled.mean(1), resampled.difference(0, 1)))
    truth = 0.5 if share == 0 else np.mean([each.estimate for first, second, _ in studies for each in (first, second)])
    held = np.mean([each.low <= truth <= each.high for first, second, _ in studies for each in (first, second)])
    alarms = np.mean([(difference.p or 0) < 0.05 for _, _, difference in studies])
    # 300 intervals of pairs that share a signal, and 150 tests: standard errors of about 1.5 and 1.8 %
    assert 0.91 <= held <= 0.99
    assert alarms <= 0.1
