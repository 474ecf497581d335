"""Whether a claim is reproduced, not reproduced or undecided, and why it may not have been asked.

A claim is *reproduced* if the whole interval of its difference lies in the claim's region, *not reproduced* if it lies
wholly outside, else *undecided*; and for the first two p must be below 0.05, corrected over all claims that were asked.

**p.** Each end of the region is tested by sign flips, two-sided, against the hypothesis that the difference equals it;
a claim's p is the largest. So ``similar`` needs both of its two one-sided tests (Schuirmann 1987, "A comparison of the
two one-sided tests procedure and the power approach for assessing the equivalence of average bioavailability"). As both
must reject, they need no correction between them (Berger 1982, "Multiparameter hypothesis testing and acceptance
sampling"). Usually each of them has a level of 0.05, which is to look at a 90 % interval (Lakens 2017, "Equivalence
tests: a practical primer"). Here each has 0.025, which is to look at the 95 % interval that is shown: a claim may be
found wrong as well as right, and for a difference of exactly the margin both errors together stay below 0.05.

**Holm.** One p a claim, of whatever kind, corrected over the claims that were asked (Holm 1979). That holds for any
tests and any dependence between them, so equivalence tests need nothing of their own: the chance that even one claim is
called reproduced or not although its difference lies on an end of its region stays below 5 %. Claims that could not be
asked are not counted; one that is undecided whatever its numbers say is, because it was tested.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from embprobe.claims.model import Claim
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.results import Result, format_p
from embprobe.statistics import CERTAIN, Estimate, compare_recipes, resample

Verdict = Literal["reproduced", "not reproduced", "undecided", "not asked"]


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What became of a claim. Without numbers, it was not asked."""

    claim: Claim
    verdict: Verdict
    because: str = ""
    """Why it was not asked, or is undecided whatever the numbers are."""
    estimates: tuple[Result, Result] | None = None
    difference: Result | None = None
    """With the p of the claim, which is of no difference only where the claim is ``more``."""
    runs: tuple[int, int] = (1, 1)
    """Training runs of a and of b."""
    spread: tuple[float, float] | None = None
    """The standard deviation of the estimates of each one's runs, where both have several: the interval is over images
    and runs then."""
    beside: Result | None = None
    """The difference with the other vector of the same encoders; it decides nothing."""

    @property
    def sentence(self) -> str:
        """The verdict, the claim and its numbers."""
        said = f"{self.verdict.capitalize()}: {self.claim.sentence}"
        if self.difference is None:
            return f"{said} ({self.because})."
        row = self.difference
        within = f", margin {self.claim.margin:g}" if self.claim.margin else ""
        over = "" if self.runs == (1, 1) else f", {self.runs[0]} and {self.runs[1]} runs"
        numbers = f"{row.estimate:+.3f}, {row.low:+.3f} to {row.high:+.3f}{within}; {format_p(row.p_adjusted or 0.0)}"
        why = f", because {self.because}" if self.because else ""
        return f"{said} ({self.claim.a} - {self.claim.b} at '{row.key}': {numbers}{over}){why}."

    def as_json(self) -> dict[str, Any]:
        """For machines: the claim, its numbers and its verdict."""
        return {
            "sentence": self.claim.sentence,
            **self.claim.model_dump(),
            "verdict": self.verdict,
            "because": self.because,
            "estimates": None if self.estimates is None else [row.as_json() for row in self.estimates],
            "difference": None if self.difference is None else self.difference.as_json(),
            "runs": list(self.runs),
            "spread": None if self.spread is None else list(self.spread),
            "beside": None if self.beside is None else self.beside.as_json(),
        }


@dataclass(frozen=True)
class Difference:
    """The difference of two recipes for a claim: the estimate with the claim's p, not corrected."""

    estimate: Estimate
    spread: tuple[float, float] | None = None
    """The standard deviation of the means of each recipe's runs, where both have several."""


def measure_difference(
    claim: Claim, a: ScoreArray, b: ScoreArray, groups: Sequence[str], *, seed: int, unit: str = "concept"
) -> Difference:
    """Estimate the mean of a - b over the same ``n`` images, with the claim's p.

    Where both recipes have several training runs, interval and p are over images and runs
    (:func:`embprobe.statistics.compare_recipes`), else over images alone.

    Args:
        claim: Its region has the numbers that p tests.
        a: Scores ``[n, runs]``, or ``[n]`` of one run.
        b: Those of the other recipe.
        groups: The resampled group of each image.
        seed: Of the resamples.
        unit: The word for a group.
    """
    ends = [end for end in claim.region if math.isfinite(end)]
    first, second = (scores.reshape(len(scores), -1) for scores in (a, b))
    if min(first.shape[1], second.shape[1]) > 1:
        found = compare_recipes(first, second, groups, seed=seed, unit=unit)
        p = max(found.p_against(end) for end in ends)
        return Difference(replace(found.both, p=p), found.spread)
    drawn = resample((first.mean(1) - second.mean(1))[:, None], groups, seed=seed, unit=unit)
    return Difference(max((drawn.against(0, end) for end in ends), key=lambda each: each.p or 0.0))


def decide(claim: Claim, low: float, high: float, p_adjusted: float) -> Verdict:
    """What an interval of the difference says of a claim, if its corrected p is below 0.05."""
    least, most = claim.region
    if p_adjusted >= CERTAIN:
        return "undecided"
    if least < low and high < most:
        return "reproduced"
    return "not reproduced" if high < least or most < low else "undecided"
