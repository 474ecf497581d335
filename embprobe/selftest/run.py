"""The instrument, tested before it is believed: does it find what was planted, and nothing where there is nothing?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embprobe.embeddings.workspace import Workspace
from embprobe.images import load_images
from embprobe.images.rows import Images
from embprobe.measures.displacement import displacement
from embprobe.measures.vectors import ScoreArray
from embprobe.probing.card import bundled_card
from embprobe.probing.results import Question
from embprobe.probing.run import run_probe
from embprobe.selftest.oracles import FACTORS, Oracle, OracleSession
from embprobe.statistics import resample

PLANTED = (0.03, 0.12, 0.3)
"""Shares of the probed attribute in three oracles; they have a tenth of every other."""
TOLERANCE = 0.02
"""Of a variance share."""
_EVERY = 6
"""The bundled concepts that are used: every sixth."""
_NEVER, _CERTAIN = 0.005, 0.99
"""Accuracies below and above may tie: there is nothing to order."""
_CONCEPTS, _DIMENSION = 60, 16
"""Of a simulated study."""

CARDS: Mapping[str, str] = {"concept": "category"}
"""The card that asks for an attribute, where it has another name."""
ORDERED: Mapping[str, Mapping[Question, int]] = {
    "concept": {
        Question("concept k-NN, unseen drawings"): 1,
        Question("variance share of concept"): 1,
    },
    "category": {
        Question("category decoding, unseen concepts"): 1,
        Question("category GDA from few, unseen concepts", "shots", 16): 1,
        Question("similarity by category, colour and style and text held constant"): 1,
    },
    "text": {
        Question("displacement beyond the control", "word-neutral", 0.5): 1,
        Question("word decoding, unseen concepts"): 1,
        Question("concept preferred to word"): -1,
        Question("variance share of text"): 1,
    },
    "color": {
        Question("displacement beyond the control", "hue", 120): 1,
        Question("displacement", "greyscale", 1): 1,
        Question("hue decoding, unseen concepts"): 1,
        Question("concept preferred to hue"): -1,
        Question("variance share of color"): 1,
        Question("similarity by colour, category and style and text held constant"): 1,
    },
    "style": {
        Question("displacement", "house", 1): 1,
        Question("displacement beyond the control", "oil", 0.02): 1,
        Question("style decoding, unseen concepts"): 1,
        Question("concept preferred to family"): -1,
        Question("variance share of style"): 1,
        Question("similarity by style, colour and category and text held constant"): 1,
    },
}
"""By attribute, what a larger share must raise (1) or lower (-1)."""


@dataclass(frozen=True)
class Verdict:
    """One thing that is known beforehand, and what the instrument found."""

    about: str
    expected: str
    found: str
    passed: bool


def selftest(
    *, studies: int = 400, seed: int = 0, notify: Callable[[str], None] = lambda what: None
) -> Iterator[Verdict]:
    """Verdicts as they come: planted orders and shares, blindness, false alarms, coverage.

    ``studies`` are simulated for the last two. About two minutes on two cores. ``tell`` is called with what is
    being done.
    """
    images = _images()
    for attribute in ORDERED:
        notify(f"oracles, {attribute}")
        yield from planted(attribute, images, seed=seed)
    notify(f"{studies} simulated studies")
    yield from simulated(studies, seed=seed)


def planted(attribute: str, images: Images, *, seed: int) -> Iterator[Verdict]:
    """The bundled card of an attribute, asked of an oracle that is blind to it and three with growing shares."""
    without = {attribute, "category"} if attribute == "concept" else {attribute}  # concepts share their category
    blind = Oracle("blind", {factor: 0.0 if factor in without else 0.1 for factor in FACTORS})
    seeing = [Oracle(f"{share:g}", {**blind.shares, attribute: share}) for share in PLANTED]
    session = OracleSession(Workspace(Path()), seed=seed)
    results = run_probe(bundled_card(CARDS.get(attribute, attribute)), images, [blind, *seeing], [], session)
    estimates: dict[Question, dict[str, float]] = {}
    for row in results.rows:
        if not row.is_difference:
            estimates.setdefault(row.question, {})[row.encoder] = row.estimate
    for question, sign in ORDERED[attribute].items():
        found = [estimates[question][oracle.spec.name] for oracle in (blind, *seeing)]
        steps = [
            sign * (b - a) > 0 or min(a, b) > _CERTAIN or 0 <= max(a, b) < _NEVER
            for a, b in zip(found, found[1:], strict=False)
        ]
        yield Verdict(
            f"{attribute}: {question}",
            f"{'rises' if sign > 0 else 'falls'} with planted shares of 0, {', '.join(f'{s:g}' for s in PLANTED)}",
            ", ".join(f"{value:.3f}" for value in found),
            all(steps),
        )
    share = estimates.get(Question(f"variance share of {attribute}"), {})
    for oracle, planted_share in zip((blind, *seeing), (0.0, *PLANTED), strict=True):
        if oracle.spec.name in share:
            value = share[oracle.spec.name]
            yield Verdict(
                f"{attribute}: variance share",
                f"{planted_share:.2f} within {TOLERANCE:g}",
                f"{value:.3f}",
                abs(value - planted_share) <= TOLERANCE,
            )


def simulated(studies: int, *, seed: int) -> Iterator[Verdict]:
    """False alarms between two encoders that differ by noise only, and how often intervals hold the truth.

    A study has 60 concepts. Every concept's image and its changed version are a shared signal and each encoder's own
    noise; what is compared is displacement. The bounds are those within which 99.9 % of correct instruments stay.
    """
    rng = np.random.default_rng(seed)
    truth = _displacements(rng, concepts=20_000)[:, 0].mean()
    groups = [str(i) for i in range(_CONCEPTS)]
    alarms = covered = 0
    for study in range(studies):
        found = resample(_displacements(rng, concepts=_CONCEPTS), groups, seed=study, resamples=999)
        alarms += (found.difference(0, 1).p or 0.0) < 0.05
        mean = found.mean(0)
        covered += mean.low <= truth <= mean.high
    spread = 3.3 * (0.05 * 0.95 / studies) ** 0.5
    for about, rate, wanted in (
        ("two encoders that differ by noise only: p < 0.05", alarms / studies, 0.05),
        ("95 % intervals hold the truth", covered / studies, 0.95),
    ):
        low, high = wanted - spread - 0.01, wanted + spread + 0.01
        yield Verdict(
            about,
            f"in {max(low, 0):.1%} to {min(high, 1):.1%} of {studies} studies",
            f"{rate:.1%}",
            low <= rate <= high,
        )


def _displacements(rng: np.random.Generator, *, concepts: int) -> ScoreArray:
    """Displacement of every concept's image for two encoders, ``[concepts, 2]``."""
    signal = rng.standard_normal((concepts, _DIMENSION))
    size = rng.gamma(2.0, 0.25, (concepts, 1))  # how much the change shows differs from concept to concept
    change = signal + size * rng.standard_normal((concepts, _DIMENSION))
    noise = 0.3 * rng.standard_normal((2, 2, concepts, _DIMENSION))
    return np.column_stack([displacement(signal + before, change + after) for before, after in noise])


def _images() -> Images:
    """Every sixth of the bundled concepts, in all their drawings."""
    images = load_images()
    kept = set(sorted(set(images.label("concept")))[::_EVERY])
    return images.take(i for i, row in enumerate(images.rows) if row.labels["concept"] in kept)
