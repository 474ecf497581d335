"""Whether encoders' probe results predict how accurate a vision-language model is with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, permutations

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.probing.results import Results
from embprobe.statistics import holm
from embprobe.statistics.estimate import ROUNDING, Scores
from embprobe.system.text import listed, visible
from embprobe.vlm.compare import VlmComparison

FEWEST = 4
"""Encoders from which on a rank correlation is estimated: of 3, the two-sided p is never below 1/3."""
_ALL_ORDERS = 8
"""Encoders up to which all orders are tried: 40,320."""
_ORDERS = 9_999
_NORMAL = 1.96


@dataclass(frozen=True)
class RankAgreement:
    """How far two numbers rank the same encoders alike."""

    encoders: tuple[str, ...]
    spearman: float
    """Spearman's rank correlation, from -1 to 1."""
    low: float
    high: float
    """Its 95 % interval over encoders."""
    kendall: float
    """Kendall's tau-b, from -1 to 1."""
    p: float
    """Of the hypothesis that any order of the encoders is as likely, two-sided, by Spearman's."""


def rank_agreement(numbers: Mapping[str, float], accuracies: Mapping[str, float], *, seed: int = 0) -> RankAgreement:
    """Correlate the ranks of encoders by two numbers, over the encoders that have both.

    The interval is Fisher's, with the variance (1 + r² / 2) / (n - 3) of atanh r (Bonett and Wright 2000, "Sample size
    requirements for estimating Pearson, Kendall and Spearman correlations"). Perfect agreement is taken as half a step
    less, a step being 12 / (n³ - n), the least that swapping two encoders changes; that end of the interval stays 1. It
    is an interval over encoders like these, and few of them leave it wide: four in perfect agreement have one from
    -0.69 to 1. Of 20,000 simulated studies of 4 to 20 encoders with normal numbers, 94 to 100 % of the intervals held
    the true correlation up to a Pearson correlation of 0.95, but at 0.99 only 98 % (of 4) to 83 % (of 20).

    p is exact up to 8 encoders: the share of all orders that agree or disagree as far. Of more, 9,999 random orders
    are drawn, the observed one counted in.

    Args:
        numbers: A number of each encoder by name, such as that of a probe.
        accuracies: The accuracy of a model with each encoder.
        seed: The same seed draws the same orders.

    Raises:
        EmbprobeError: Fewer than 4 encoders have both numbers, or all of them have the same.

    Example:
        >>> probe = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4, "e": 0.5}
        >>> accuracy = {"a": 0.30, "b": 0.35, "d": 0.4, "c": 0.6, "e": 0.7}  # c and d the other way round
        >>> found = rank_agreement(probe, accuracy)
        >>> round(found.spearman, 6), round(found.kendall, 6), round(found.p, 6)  # 1 - 6 * 2 / 120; 9 and 1 of 10 pairs
        (0.9, 0.8, 0.083333)
    """
    from scipy.stats import kendalltau, rankdata

    names = tuple(name for name in numbers if name in accuracies)
    if len(names) < FEWEST:
        raise EmbprobeError(
            f"Both numbers are there of {len(names)} encoder{'s' * (len(names) != 1)}"
            f"{f' ({visible(listed(names))})' if names else ''}: a rank correlation needs at least {FEWEST}. "
            f"The names must be the same: {visible(listed(list(numbers)))}; {visible(listed(list(accuracies)))}."
        )
    values = np.array([[float(by[name]) for name in names] for by in (numbers, accuracies)])
    if not np.isfinite(values).all() or not np.ptp(values, axis=1).all():
        raise EmbprobeError(f"The numbers of {visible(listed(names))} are not finite, or all the same: no ranks.")
    x, y = (_scaled(rankdata(row)) for row in values)
    rho = float(np.clip(x @ y, -1, 1))
    low, high = _interval(rho, len(names))
    tau = float(kendalltau(*values).statistic)
    return RankAgreement(names, rho, low, high, tau, _p(x, y, seed))


@dataclass(frozen=True)
class Prediction:
    """How far the ranks of encoders by a probe are those by the accuracy in a group of questions."""

    attribute: str
    """Of the probe's card."""
    measure: str
    """The probe's number, in words."""
    group: str
    agreement: RankAgreement
    p_adjusted: float
    """Holm-corrected over all probes and groups."""


def predict_groups(probes: Sequence[Results], comparison: VlmComparison, *, seed: int = 0) -> tuple[Prediction, ...]:
    """Correlate the headline number of each probe with the accuracy in each group, over encoders.

    Encoders are matched by name: that of the probe's results, and that of the answers.

    Args:
        probes: The results of probes, as ``Results.load(folder)`` returns them.
        comparison: The accuracies of models, each named for its encoder.
        seed: The same seed gives the same numbers.

    Raises:
        EmbprobeError: A probe has no headline number, or it and the answers have fewer than 4 encoders in common.
    """
    found = []
    for probe in probes:
        attribute = str(probe.manifest["card"]["attribute"])
        if probe.conclusions.key is None:
            raise EmbprobeError(f"The results of '{visible(attribute)}' have no headline number to predict with.")
        for group in comparison.groups:
            accuracies = {name: comparison.accuracy(name, group.name).accuracy.estimate for name in comparison.models}
            try:
                agreement = rank_agreement(probe.conclusions.numbers, accuracies, seed=seed)
            except EmbprobeError as error:
                raise EmbprobeError(f"'{visible(attribute)}' and '{visible(group.name)}': {error}") from None
            found.append(Prediction(attribute, str(probe.conclusions.key), group.name, agreement, 1.0))
    adjusted = holm([each.agreement.p for each in found])
    return tuple(replace(each, p_adjusted=p) for each, p in zip(found, adjusted, strict=True))


def _scaled(ranks: Scores) -> Scores:
    """Return ranks centred and scaled to length 1, products of which are Spearman's correlations."""
    centred = ranks - ranks.mean()
    return np.asarray(centred / np.sqrt(np.square(centred).sum()))


def _interval(rho: float, n: int) -> tuple[float, float]:
    inside = 1 - 6 / (n**3 - n)
    r = float(np.clip(rho, -inside, inside))
    half = _NORMAL * np.sqrt((1 + r * r / 2) / (n - 3))
    low, high = (float(np.tanh(np.arctanh(r) + side)) for side in (-half, half))
    return (-1.0 if rho < -inside else low), (1.0 if rho > inside else high)


def _p(x: Scores, y: Scores, seed: int) -> float:
    least = abs(x @ y) - ROUNDING
    exact = len(x) <= _ALL_ORDERS
    as_far = np.fromiter((abs(x @ y[list(order)]) >= least for order in _orders(len(x), seed)), bool)
    return float(as_far.mean() if exact else (as_far.sum() + 1) / (len(as_far) + 1))


def _orders(n: int, seed: int) -> Iterator[Sequence[int]]:
    if n <= _ALL_ORDERS:
        return permutations(range(n))
    rng = np.random.default_rng(seed)
    return chain(list(rng.permutation(n)) for _ in range(_ORDERS))
