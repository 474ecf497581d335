"""Results of ``embprobe compare`` on the page: agreement beside chance, explanations, pairs with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from embprobe.comparing.result import Comparison, Disagreement, DisagreementPair, rows_by_key
from embprobe.images import Images, Row
from embprobe.plots.thumbnails import describe
from embprobe.report.thumbnails import row_uri

SIDE = 80


@dataclass(frozen=True)
class Drawn:
    """A figure of the workspace as a data URI, and its width in pixels that gives all figures letters of one size."""

    source: Markup
    width: int


@dataclass(frozen=True)
class Pair:
    """Two images, near for one encoder and far for another."""

    pictures: Sequence[str]
    """Two data URIs; an empty one if there is no picture."""
    names: Sequence[str]
    near: str
    far: str
    """Sentences on the pair's similarity for each encoder."""
    facts: Sequence[str]


@dataclass(frozen=True)
class Half:
    """The pairs that are near for one encoder and far for another."""

    disagreement: Disagreement
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Compared:
    """A comparison, and its disagreements with their pictures."""

    comparison: Comparison
    halves: Sequence[Half]
    whys: Sequence[Drawn]
    """Sheets of maps of why some pairs are near, one for every two encoders."""


def compared(comparison: Comparison, images: Images | None, *, whys: Sequence[Drawn] = ()) -> Compared:
    """Return a comparison with the pictures of its pairs, if its images can be opened, and sheets of maps of them."""
    rows = {} if images is None else rows_by_key(images)
    return Compared(
        comparison,
        [Half(half, [_pair(pair, rows) for pair in half.pairs]) for half in comparison.disagreements],
        whys,
    )


def _pair(pair: DisagreementPair, known: Mapping[str, Row]) -> Pair:
    rows = [known.get(key) for key in pair.keys]
    near, far = (
        f"cosine {cosine:.2f}, more alike than {share:.1%} of pairs"
        for cosine, share in zip(pair.cosines, pair.percentiles, strict=True)
    )
    return Pair(
        ["" if row is None else row_uri(row, SIDE) for row in rows],
        [key if row is None else ", ".join(describe(row)) for key, row in zip(pair.keys, rows, strict=True)],
        near,
        far,
        [f"{'same' if same else 'other'} {name}" for name, same in pair.same.items()]
        + ([] if pair.color is None else [f"colours {pair.color:.2f}"]),
    )
