"""Results: a tidy table, one estimate a row, with everything needed to know what was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError
from embprobe.system.files import replacing, write_json
from embprobe.system.text import printable

VERSION = 2
"""Results are comparable only within one version."""
CONTROL = " of shuffled labels"
"""In a measure's name: its control task, labels that mean nothing."""


@dataclass(frozen=True)
class Question:
    """What every encoder was asked: a measure, under an intervention (or another condition) of a strength."""

    measure: str
    intervention: str | None = None
    strength: float | None = None

    def __str__(self) -> str:
        condition = "" if self.intervention is None else f"{self.intervention}"
        condition += "" if self.strength is None else f" {self.strength:g}"
        return f"{condition}: {self.measure}" if condition else self.measure


@dataclass(frozen=True, kw_only=True)
class Result:
    """One estimate of an ``encoder``, or of the difference from another (``against``)."""

    attribute: str
    measure: str
    intervention: str | None
    strength: float | None
    encoder: str
    against: str | None = None
    kind: str
    """``estimate`` or ``difference``."""
    resampled: str
    groups: int
    images: int
    estimate: float
    low: float
    high: float
    p: float | None = None
    """Of no difference; of an estimate, where it was tested against nothing being there."""
    p_adjusted: float | None = None
    unit: str

    @property
    def is_difference(self) -> bool:
        """Whether this row compares two encoders."""
        return self.against is not None

    @property
    def who(self) -> str:
        """The encoder, or ``a - b``."""
        return self.encoder if self.against is None else f"{self.encoder} - {self.against}"

    @property
    def question(self) -> Question:
        """What was asked."""
        return Question(self.measure, self.intervention, self.strength)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The per-image scores behind one :class:`Result`, so that anyone can compute it again.

    Where the estimate is no mean over images, keys are those of what it is a mean over (concepts, names).
    """

    measure: str
    intervention: str | None = None
    strength: float | None = None
    encoder: str
    unit: str
    keys: Sequence[str]
    groups: Sequence[str]
    values: Sequence[float]
    p: float | None = None

    @property
    def question(self) -> Question:
        """What was asked."""
        return Question(self.measure, self.intervention, self.strength)


@dataclass(frozen=True)
class Check:
    """Whether a reference that must fail did; if it did not, the measure sees something else."""

    encoder: str
    measure: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Conclusions:
    """What follows from a card's numbers."""

    question: Question | None
    numbers: Mapping[str, float]
    """By encoder, the one number the card is about."""
    sentences: Sequence[str]
    checks: Sequence[Check]


@dataclass(frozen=True)
class Results:
    """What one probe found, and what it was: card, encoders, images, seed, versions."""

    manifest: Mapping[str, Any]
    rows: Sequence[Result]
    scores: Sequence[Scores]
    conclusions: Conclusions
    left_out: Sequence[str] = ()
    """What these images could not be asked, and why."""
    claims: Sequence[Mapping[str, Any]] = ()
    """Of a study: every claim, as JSON, with its verdict."""

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of a hash over the manifest: what was measured, on what, with which seed."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:8]

    def as_json(self) -> dict[str, Any]:
        """What is saved as JSON: the manifest and the rows. It holds no times, so the same run gives the same bytes."""
        return {
            "version": VERSION,
            **self.manifest,
            "conclusions": asdict(self.conclusions),
            "left_out": list(self.left_out),
            **({"claims": list(self.claims)} if self.claims else {}),
            "results": [asdict(row) for row in self.rows],
        }

    def save(self, folder: Path) -> None:
        """``results.json`` and ``scores.parquet`` in a folder."""
        parts = []
        for score in self.scores:
            n = len(score.keys)
            columns = {
                "key": pa.array([printable(key) for key in score.keys], pa.string()),
                "group": pa.array([printable(group) for group in score.groups], pa.string()),
                "encoder": pa.array([score.encoder] * n),
                "measure": pa.array([score.measure] * n),
                "intervention": pa.array([score.intervention] * n, pa.string()),
                "strength": pa.array([score.strength] * n, pa.float64()),
                "score": pa.array(list(score.values), pa.float64()),
            }
            parts.append(pa.table(columns))
        with replacing(folder / "scores.parquet") as path:
            pq.write_table(pa.concat_tables(parts), path)
        write_json(folder / "results.json", self.as_json())


def spanned(sizes: Sequence[int]) -> str:
    """The smallest and the largest.

    >>> spanned([1255, 60, 200]), spanned([60, 60])
    ('60 to 1,255', '60')
    """
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def is_subject(encoder: str) -> bool:
    """Whether it is an encoder, ``family/model`` or ``python:module:function``, and none of the references."""
    return ("/" in encoder or ":" in encoder) and not encoder.startswith("reference/")


def p_told(p: float) -> str:
    """Three digits, and never zero.

    >>> p_told(0.0302), p_told(0.00021)
    ('p = 0.030', 'p < 0.001')
    """
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def load_results(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """The manifest and the rows of a ``results.json``.

    Raises :class:`EmbprobeError` if it is of another version or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("version")
        if found != VERSION:
            raise EmbprobeError(f"'{path}' is of result version {found}; this embprobe reads version {VERSION}.")
        rows = [Result(**row) for row in content.pop("results")]
        if not rows:
            raise KeyError("results")
        return content, rows
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run the probe again.") from None
