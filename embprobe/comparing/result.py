"""What a comparison of encoders found: how far they agree, what similarity goes with, and where they disagree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embprobe.embeddings.workspace import Workspace
from embprobe.images.rows import Images, Row
from embprobe.measures.disagreement import Pair
from embprobe.statistics import CERTAIN, Estimate, holm
from embprobe.system.files import write_json
from embprobe.system.text import printable


@dataclass(frozen=True)
class Terms:
    """What is asked of every two encoders."""

    k: int = 10
    """Neighbours of an image that mutual k-NN compares."""
    by: tuple[str, ...] = ("category", "style")
    """Labels that may explain a disagreement."""
    pairs: int = 12
    """Disagreement pairs to show in each direction."""
    cosines: tuple[float, float] | None = None
    """Between which cosines these lie, if not the largest difference is wanted."""


@dataclass(frozen=True)
class Agreement:
    """One measure of how far two encoders agree, beside what a random matching of their rows gives."""

    measure: str
    a: str
    b: str
    found: Estimate
    chance: float
    chance_high: float
    """The mean and the 97.5th percentile over matchings."""


@dataclass(frozen=True)
class Explanation:
    """How much more the similarity of one encoder goes with an attribute than that of another.

    Partial rank correlations over pairs of images, the other attributes held constant
    (:func:`embprobe.measures.natural_pairs.natural_pairs`); the estimate is a's less b's.
    """

    attribute: str
    a: str
    b: str
    of_a: Estimate
    of_b: Estimate
    difference: Estimate


@dataclass(frozen=True)
class Shown:
    """A pair of images, near for one encoder and far for another, with its attributes measured."""

    first: Row
    second: Row
    pair: Pair
    same: Mapping[str, bool]
    """By label, whether both have the same value."""
    color: float | None
    """The cosine of their colour histograms, from 0 to 1; None of rows without pictures."""


@dataclass(frozen=True)
class Disagreement:
    """Pairs that ``near`` calls the same and ``far`` does not."""

    near: str
    far: str
    pairs: Sequence[Shown]


@dataclass(frozen=True)
class Comparison:
    """All of it, and what it was asked of."""

    images: Images
    """Those that were asked."""
    compared: int
    """So many of them have a vector by every encoder."""
    encoders: Mapping[str, str]
    """The fingerprints of their specs, by name."""
    queries: int
    """Images whose neighbours were compared, among all."""
    resampled: str
    seed: int
    terms: Terms
    agreements: Sequence[Agreement]
    explanations: Sequence[Explanation]
    disagreements: Sequence[Disagreement]

    def sentence(self, a: str, b: str) -> str:
        """What explains the disagreement of two encoders: attributes that similarity goes with more for one of them.

        Those with p < 0.05, Holm-corrected over all attributes and pairs of encoders.
        """
        adjusted = holm([each.difference.p or 0.0 for each in self.explanations])
        told: dict[str, list[str]] = {a: [], b: []}
        for each, p in zip(self.explanations, adjusted, strict=True):
            if (each.a, each.b) == (a, b) and p < CERTAIN:
                d = each.difference
                low, high = (d.low, d.high) if d.estimate > 0 else (-d.high, -d.low)
                more = f"{each.attribute} (by {abs(d.estimate):.3f}, {low:.3f} to {high:.3f})"
                told[a if d.estimate > 0 else b].append(more)
        said = [f"more with {' and '.join(what)} for {name}" for name, what in told.items() if what]
        return f"Similarity goes {', '.join(said)}." if said else f"{a} and {b}: no attribute tells them apart."

    def both_ways(self) -> list[tuple[Disagreement, Disagreement]]:
        """The disagreements of every two encoders: what the first one calls the same, and what the second does."""
        return list(zip(self.disagreements[::2], self.disagreements[1::2], strict=True))

    @property
    def fingerprint(self) -> str:
        """Eight hex digits that change with the images, the encoders and what was asked."""
        asked = [self.images.fingerprint, dict(self.encoders), self.seed, asdict(self.terms)]
        return hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:8]

    def save(self, workspace: Workspace) -> Path:
        """Write ``comparison.json`` into a folder of the workspace's results and return its path."""
        path = self.path(workspace)
        write_json(path, self.as_json())
        return path

    def plot(self, pair: int = 0) -> Any:
        """Draw the sheet of disagreement pairs of two encoders, the first two by default, as a matplotlib figure."""
        from embprobe.plots.pairs import draw_pairs  # as a result draws itself

        return draw_pairs(self.both_ways()[pair])

    def path(self, workspace: Workspace) -> Path:
        """Return where the workspace keeps this comparison."""
        return workspace.results(f"compare-{self.fingerprint}") / "comparison.json"

    def as_json(self) -> dict[str, Any]:
        """For ``--json`` and for the file."""
        return {
            "images": {"name": self.images.name, "fingerprint": self.images.fingerprint, "count": len(self.images)},
            "images_compared": self.compared,
            "encoders": dict(self.encoders),
            "terms": asdict(self.terms),
            "images_whose_neighbours_were_compared": self.queries,
            "resampled": self.resampled,
            "seed": self.seed,
            "agreement": [asdict(each) for each in self.agreements],
            "explanation": [asdict(each) for each in self.explanations],
            "disagreement": [
                {"near": each.near, "far": each.far, "pairs": [_shown(pair) for pair in each.pairs]}
                for each in self.disagreements
            ],
        }


def _shown(shown: Shown) -> dict[str, Any]:
    return {
        "keys": [printable(shown.first.key), printable(shown.second.key)],
        "cosines": list(shown.pair.cosines),
        "percentiles": list(shown.pair.percentiles),
        "same": dict(shown.same),
        "color": shown.color,
    }
