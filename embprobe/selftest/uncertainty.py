"""Promises on intervals and p-values, checked on simulated scores with a closed form or a known truth.

Functions are called through their module, as ``statistics.resample``, so that a fault in that module is seen here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from embprobe import statistics
from embprobe.measures.displacement import displacement
from embprobe.measures.variance import permutation_p
from embprobe.measures.vectors import ScoreArray
from embprobe.selftest.promise import Settings, Verdict, between, holds, near, over

_WIDTH = 0.12
"""Relative difference of a bootstrap interval's width from its closed form: of some hundred scores it is below 0.05."""
_STUDY_CONCEPTS, _DIMENSION = 60, 16
"""Concepts and dimensions of a simulated study."""


def pairing(settings: Settings) -> Iterator[Verdict]:
    """Check that what two encoders share cancels in their difference.

    Scores are a part that both share, with a standard deviation of 1, and a tenth of it of each encoder's own: paired,
    the interval of the difference has the width 2 * 1.97 * 0.14 / sqrt(200) = 0.04; unpaired, it would be ten times as
    wide.
    """
    rng = np.random.default_rng(settings.seed)
    scores = rng.standard_normal((200, 1)) + 0.1 * rng.standard_normal((200, 2))
    images = [str(i) for i in range(200)]
    estimate = statistics.resample(scores, images, seed=settings.seed).difference(0, 1)
    closed = _closed_width(scores[:, 0] - scores[:, 1])
    yield near(
        "width of the interval of a difference whose shared part cancels, over its closed form",
        over(estimate.high - estimate.low, closed),
        1,
        _WIDTH,
    )
    positive = scores + 10
    ratio = statistics.resample(positive, images, seed=settings.seed).ratio(0, 1)
    yield holds(
        "the interval of a ratio of 10 to 10 with the same parts",
        "narrower than 0.01",
        None if ratio is None else f"{ratio.high - ratio.low:.4f}",
        ratio is not None and ratio.high - ratio.low < 0.01,
    )


def groups(settings: Settings) -> Iterator[Verdict]:
    """Check that images of one concept are resampled together.

    The six images of a concept have one score, so 360 images say as much as 60 and the interval is that of 60 numbers;
    image by image it would be too narrow by sqrt(6) = 2.4.
    """
    by_concept = np.random.default_rng(settings.seed).standard_normal(60)
    concepts = [str(i) for i in range(60) for _ in range(6)]
    estimate = statistics.resample(np.repeat(by_concept, 6)[:, None], concepts, seed=settings.seed).mean(0)
    yield near(
        "width of the interval of 60 concepts with 6 equal images each, over the closed form of 60 numbers",
        over(estimate.high - estimate.low, _closed_width(by_concept)),
        1,
        _WIDTH,
    )
    yield holds(
        "images and groups of this estimate",
        "360 and 60",
        f"{estimate.images} and {estimate.groups}",
        (estimate.images, estimate.groups) == (360, 60),
    )


def skewed(settings: Settings) -> Iterator[Verdict]:
    """Check BCa's ends on skewed scores against SciPy's, at the level that Student's t makes of 95 %."""
    from scipy import stats

    scores = np.random.default_rng(settings.seed).exponential(size=40)
    ours = statistics.resample(scores[:, None], [str(i) for i in range(40)], seed=settings.seed, resamples=9_999).mean(
        0
    )
    widest = stats.t.ppf(0.975, 39) * np.sqrt(40 / 39)
    theirs = stats.bootstrap(
        (scores,),
        np.mean,
        confidence_level=2 * stats.norm.cdf(widest) - 1,
        n_resamples=9_999,
        method="BCa",
        rng=np.random.default_rng(settings.seed),
    ).confidence_interval
    error = float(scores.std(ddof=1) / np.sqrt(40))
    for end, our, their in (("lower", ours.low, theirs.low), ("upper", ours.high, theirs.high)):
        about = f"the {end} end of the BCa interval of 40 exponential scores, less SciPy's, in standard errors"
        yield near(about, (our - float(their)) / error, 0, 0.15)


def correction(settings: Settings) -> Iterator[Verdict]:
    """Check Holm's correction on numbers worked out by hand, and the family-wise error of 20 true hypotheses."""
    corrected = statistics.holm([0.01, 0.04, 0.03, 0.5])  # 4 * 0.01; 2 * 0.04, but at least 3 * 0.03; 3 * 0.03; 0.5
    yield holds(
        "Holm's correction of 0.01, 0.04, 0.03, 0.5",
        "0.04, 0.09, 0.09, 0.5",
        ", ".join(f"{p:.3g}" for p in corrected),
        bool(np.allclose(corrected, [0.04, 0.09, 0.09, 0.5])),
    )
    families = np.random.default_rng(settings.seed).random((1_000, 20))
    errors = np.mean([min(statistics.holm(family.tolist())) < statistics.CERTAIN for family in families])
    yield between("share of families of 20 true hypotheses in which one is rejected", float(errors), 0.02, 0.075)


def simulated(settings: Settings) -> Iterator[Verdict]:
    """Check false alarms between encoders that differ by noise only, and the coverage of intervals.

    A study has 60 concepts. Every concept's image and its changed version are a shared signal and each encoder's own
    noise; displacements are compared. The bounds are those within which 99.9 % of correct instruments stay.
    """
    rng = np.random.default_rng(settings.seed)
    studies = settings.studies
    truth = _displacements(rng, concepts=20_000)[:, 0].mean()
    concepts = [str(i) for i in range(_STUDY_CONCEPTS)]
    p_values, covered = [], 0
    for study in range(studies):
        scores = _displacements(rng, concepts=_STUDY_CONCEPTS)
        resampled = statistics.resample(scores, concepts, seed=study, resamples=999)
        p_values.append(resampled.difference(0, 1).p or 0.0)
        mean = resampled.mean(0)
        covered += mean.low <= truth <= mean.high
    spread = 3.3 * (0.05 * 0.95 / studies) ** 0.5
    alarms = float((np.array(p_values) < 0.05).mean())
    for about, rate, expected in (
        ("two encoders that differ by noise only: p < 0.05", alarms, 0.05),
        ("95 % intervals hold the truth", covered / studies, 0.95),
    ):
        low, high = expected - spread - 0.01, expected + spread + 0.01
        yield Verdict(
            about,
            f"in {max(low, 0):.1%} to {min(high, 1):.1%} of {studies} studies",
            f"{rate:.1%}",
            low <= rate <= high,
        )
    about = f"mean p of {studies} comparisons in which nothing differs (uniform: 0.5)"
    yield near(about, float(np.mean(p_values)), 0.5, round(3.3 * 12**-0.5 / studies**0.5, 3))


def permutations(settings: Settings) -> Iterator[Verdict]:
    """Check that p of a permutation test is uniform where a factor makes no difference, and small where it does."""
    rng = np.random.default_rng(settings.seed)
    units, levels = np.repeat(np.arange(8).astype(str), 3), np.tile(list("abc"), 8)
    factors = {"unit": units, "level": levels}

    def p_of(vectors: ScoreArray) -> float:
        return permutation_p(vectors, factors, "level", permutations=99, seed=settings.seed)

    p_values = [p_of(rng.standard_normal((24, 8))) for _ in range(200)]
    # p takes the values 0.01 to 1, so its mean is 0.505; its standard deviation of 200 is 0.29 / sqrt(200) = 0.02
    yield near("mean p of 200 permutation tests of a factor without effect", float(np.mean(p_values)), 0.505, 0.07)
    yield between("share of them with p of at most 0.05", float((np.array(p_values) <= 0.05).mean()), 0, 0.1)
    there = rng.standard_normal((24, 8)) + 3 * np.eye(8)[np.unique(levels, return_inverse=True)[1]]
    p = p_of(there)  # none of 99 permutations has as much scatter, or a bound that is smaller takes its place
    yield holds("p of a factor that is there, of 99 permutations", "at most 0.01", f"{p:.4f}", 0 < p <= 0.01)


def _closed_width(values: ScoreArray) -> float:
    """Return the width of the 95 % interval of a mean by Student's t."""
    from scipy import stats

    n = len(values)
    return float(2 * stats.t.ppf(0.975, n - 1) * values.std(ddof=1) / np.sqrt(n))


def _displacements(rng: np.random.Generator, *, concepts: int) -> ScoreArray:
    """Draw the displacement of every concept's image by two encoders, ``[concepts, 2]``."""
    signal = rng.standard_normal((concepts, _DIMENSION))
    size = rng.gamma(2.0, 0.25, (concepts, 1))  # how much the change shows differs from concept to concept
    change = signal + size * rng.standard_normal((concepts, _DIMENSION))
    noise = 0.3 * rng.standard_normal((2, 2, concepts, _DIMENSION))
    return np.column_stack([displacement(signal + before, change + after) for before, after in noise])
