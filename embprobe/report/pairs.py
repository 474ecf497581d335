"""Results of ``embprobe compare`` on the page: agreement beside chance, explanations, pairs with their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from embprobe.errors import EmbprobeError
from embprobe.images import Images, Row
from embprobe.plots.thumbnails import describe
from embprobe.report.thumbnails import row_uri
from embprobe.system.text import printable

SIDE = 80


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

    near: str
    far: str
    pairs: Sequence[Pair]


@dataclass(frozen=True)
class Compared:
    """One comparison with its disagreements in both directions."""

    manifest: Mapping[str, Any]
    halves: Sequence[Half]


def compared(content: Mapping[str, Any], images: Images | None) -> Compared:
    """Read a comparison, with the pictures of its pairs if its images can be opened.

    Raises :class:`EmbprobeError` if it is damaged.
    """
    rows = {} if images is None else {printable(row.key): row for row in images.rows}
    try:
        halves = [
            Half(half["near"], half["far"], [_pair(pair, rows) for pair in half["pairs"]])
            for half in content["disagreement"]
        ]
    except (KeyError, TypeError, ValueError, AttributeError):
        raise EmbprobeError("A comparison in this workspace is damaged. Run 'embprobe compare' again.") from None
    return Compared(content, halves)


def _pair(pair: Mapping[str, Any], rows: Mapping[str, Row]) -> Pair:
    pair_rows = [rows.get(key) for key in pair["keys"]]
    near, far = (
        f"cosine {cosine:.2f}, more alike than {share:.1%} of pairs"
        for cosine, share in zip(pair["cosines"], pair["percentiles"], strict=True)
    )
    return Pair(
        ["" if row is None else row_uri(row, SIDE) for row in pair_rows],
        [key if row is None else ", ".join(describe(row)) for key, row in zip(pair["keys"], pair_rows, strict=True)],
        near,
        far,
        [f"{'same' if same else 'other'} {name}" for name, same in pair["same"].items()]
        + ([] if pair["color"] is None else [f"colours {float(pair['color']):.2f}"]),
    )
