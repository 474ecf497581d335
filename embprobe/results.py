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
from embprobe.files import replacing, write_json
from embprobe.images.rows import printable

VERSION = 1
"""Results are comparable only within one version."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One estimate. ``encoder`` is a name, or for a difference two names joined by `` - ``."""

    attribute: str
    measure: str
    intervention: str | None
    strength: float | None
    encoder: str
    resampled: str
    groups: int
    images: int
    estimate: float
    low: float
    high: float
    p: float | None = None
    p_adjusted: float | None = None
    unit: str

    @property
    def is_difference(self) -> bool:
        """Whether this row compares two encoders."""
        return self.p is not None


@dataclass(frozen=True)
class Scores:
    """The per-image scores behind one :class:`Result`, so that anyone can compute it again."""

    measure: str
    intervention: str | None
    strength: float | None
    encoder: str
    keys: Sequence[str]
    groups: Sequence[str]
    values: Sequence[float]


@dataclass(frozen=True)
class Results:
    """What one probe found, and what it was: card, encoders, images, seed, versions."""

    manifest: Mapping[str, Any]
    rows: Sequence[Result]
    scores: Sequence[Scores]

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of a hash over the manifest: what was measured, on what, with which seed."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:8]

    def as_json(self) -> dict[str, Any]:
        """What is saved as JSON: the manifest and the rows. It holds no times, so the same run gives the same bytes."""
        return {"version": VERSION, **self.manifest, "results": [asdict(row) for row in self.rows]}

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


def load_results(path: Path) -> tuple[dict[str, Any], list[Result]]:
    """The manifest and the rows of a ``results.json``.

    Raises :class:`EmbprobeError` if it is of another version or damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        found = content.pop("version")
        if found != VERSION:
            raise EmbprobeError(f"'{path}' is of result version {found}; this embprobe reads version {VERSION}.")
        return content, [Result(**row) for row in content.pop("results")]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EmbprobeError(f"'{path}' is damaged. Remove it, and run the probe again.") from None
