"""Results: a tidy table, one estimate a row, with everything needed to know what was measured; saved and loaded."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError
from embprobe.probing.key import Key
from embprobe.probing.scores import Role, Scores
from embprobe.statistics import least_detectable_difference
from embprobe.system.files import replacing, write_json
from embprobe.system.frames import data_frame
from embprobe.system.models import DamagedFile, Record, check_json, read_json
from embprobe.system.text import printable

if TYPE_CHECKING:
    import pandas as pd

    from embprobe.embeddings.workspace import Workspace

VERSION = 4
"""Results are comparable, and can be loaded, only within one version."""
_RESULTS, _SCORES = "results.json", "scores.parquet"
_KEY_COLUMNS = {
    "kind": pa.string(),
    "target": pa.string(),
    "test": pa.string(),
    "variant": pa.string(),
    "condition": pa.string(),
    "strength": pa.float64(),
    "dataset": pa.string(),
    "layer": pa.int64(),
}
_COLUMNS = pa.schema(
    {"key": pa.string(), "group": pa.string(), "encoder": pa.string(), **_KEY_COLUMNS, "score": pa.float64()}
)
"""Of ``scores.parquet``."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One estimate of an ``encoder``, or of its difference from another (``against``), with its 95 % interval."""

    attribute: str
    """Of the card."""
    key: Key
    encoder: str
    role: Role
    against: str | None = None
    resampled: str
    """The label whose values were resampled."""
    groups: int
    images: int
    estimate: float
    low: float
    high: float
    p: float | None = None
    """Of no difference; of an estimate, where it was tested against nothing being there."""
    p_adjusted: float | None = None
    """Holm-corrected: differences of the headline over the headline, all others over the rest of the card."""
    unit: str
    floor: float | None = None
    """The estimate of an encoder that is blind to what is measured: 0, guessing or even odds; None if there is none."""

    @property
    def is_difference(self) -> bool:
        """Whether this row compares two encoders."""
        return self.against is not None

    @property
    def label(self) -> str:
        """The encoder, or ``a - b``."""
        return self.encoder if self.against is None else f"{self.encoder} - {self.against}"

    @property
    def detectable(self) -> float | None:
        """The least true difference that these images would have shown with a probability of 0.8; None of an estimate.

        It is for p < 0.05 before it is corrected: :func:`embprobe.statistics.least_detectable_difference`.
        """
        return least_detectable_difference(self.low, self.high) if self.is_difference else None

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON; the sentence of the key and what could be detected are not read again."""
        return {"measure": str(self.key), **asdict(self), "detectable": self.detectable}


COLUMNS = (
    "measure",
    *(field.name for field in fields(Key)),
    *(field.name for field in fields(Result) if field.name != "key"),
    "detectable",
)
"""Of a table of results."""


def as_columns(row: Result) -> dict[str, Any]:
    """Return a result as a line of a table: the measure in words, then the fields of its key and the others."""
    values = row.as_json() | asdict(row.key)
    return {name: values[name] for name in COLUMNS}


@dataclass(frozen=True, kw_only=True)
class Check:
    """Whether a reference that must fail did; if it did not, the measure sees something else."""

    encoder: str | None
    """The reference; None where all encoders are checked, or nothing is."""
    key: Key
    passed: bool | None
    """None where the headline is unchecked: of these images no reference is known to fail."""
    text: str

    @property
    def verdict(self) -> str:
        """``Check passed``, ``CHECK FAILED`` or ``Unchecked here``, before the text."""
        return "Unchecked here" if self.passed is None else "Check passed" if self.passed else "CHECK FAILED"


@dataclass(frozen=True, kw_only=True)
class Conclusions:
    """What follows from a card's numbers."""

    key: Key | None
    """Of the headline; None where the card has none or these images do not allow it."""
    numbers: Mapping[str, float]
    """By encoder, the one number the card is about."""
    sentences: Sequence[str]
    checks: Sequence[Check]


@dataclass(frozen=True, kw_only=True, eq=False)
class Results:
    """What one probe measured, and what it was: card, encoders, images, seed, versions."""

    manifest: Mapping[str, Any]
    rows: Sequence[Result]
    scores: Sequence[Scores]
    conclusions: Conclusions
    left_out: Sequence[str] = ()
    """What could not be measured on these images, and why."""
    claims: Sequence[Mapping[str, Any]] = ()
    """Of a study: every claim, as JSON, with its verdict."""

    @property
    def fingerprint(self) -> str:
        """Eight hex digits of a hash over the manifest: what was measured, on what, with which seed."""
        return hashlib.sha256(json.dumps(self.manifest, sort_keys=True).encode()).hexdigest()[:8]

    def folder(self, workspace: Workspace) -> Path:
        """Return the folder of the workspace that these results belong into."""
        return workspace.results(f"{self.manifest['card']['attribute']}-{self.fingerprint}")

    def headline(self) -> str:
        """Return what follows, a sentence for every two encoders; of a single encoder, its number."""
        return "\n".join(self.conclusions.sentences or self._numbers())

    def _numbers(self) -> list[str]:
        key = self.conclusions.key
        return [
            f"{row.encoder}: {row.estimate:.3f} ({row.low:.3f} to {row.high:.3f}) at '{key}', {row.unit}."
            for row in self.rows
            if key is not None and row.key == key and row.role == "subject" and not row.is_difference
        ]

    def to_frame(self) -> pd.DataFrame:
        """Return the rows as a pandas data frame, the fields of the key as columns, its sentence as ``measure``.

        Raises:
            EmbprobeError: pandas is not installed.
        """
        return data_frame([as_columns(row) for row in self.rows], COLUMNS)

    def plot(self, out: Path | str | None = None) -> Path | Any:
        """Draw the figure of the probe: write it to ``out`` (PNG, with an SVG beside it), or return it."""
        from embprobe.plots.probe import draw_probe, plot_probe  # the one way back up, said in docs/architecture.md

        question, first = str(self.manifest["card"]["question"]), self.conclusions.key
        if out is None:
            return draw_probe(self.rows, question=question, first=first)
        plot_probe(self.rows, Path(out), question=question, first=first)
        return Path(out)

    def as_json(self) -> dict[str, Any]:
        """Return what is saved as JSON. It holds no times, so the same run gives the same bytes."""
        return {
            "version": VERSION,
            **self.manifest,
            "conclusions": asdict(self.conclusions),
            "left_out": list(self.left_out),
            **({"claims": list(self.claims)} if self.claims else {}),
            "results": [row.as_json() for row in self.rows],
        }

    def save(self, folder: Path) -> None:
        """Write ``results.json`` and ``scores.parquet`` into a folder, each whole or not at all."""
        with replacing(folder / _SCORES) as path:
            pq.write_table(pa.concat_tables([_COLUMNS.empty_table(), *map(_table, self.scores)]), path)
        write_json(folder / _RESULTS, self.as_json())

    @classmethod
    def load(cls, folder: Path | str, *, scores: bool = True) -> Results:
        """Return what :meth:`save` wrote: rows, scores, conclusions, claims.

        Args:
            folder: The folder that holds ``results.json`` and ``scores.parquet``.
            scores: Whether the per-image scores are read, too; without them a page of many results is read faster.

        Raises:
            EmbprobeError: There are no results, they are damaged, or of another version.
        """
        content, file = _read(Path(folder) / _RESULTS)
        return cls(
            manifest={name: value for name, value in content.items() if name not in _OF_FILE},
            rows=file.results,
            scores=_read_scores(Path(folder) / _SCORES, file.results) if scores else [],
            conclusions=file.conclusions,
            left_out=file.left_out,
            claims=file.claims,
        )

    def _repr_html_(self) -> str:
        """Return a table for notebooks: a line a key, a column an encoder, the interval beside each estimate."""
        rows = [row for row in self.rows if not row.is_difference]
        encoders = list(dict.fromkeys(row.encoder for row in rows))
        cells = {(row.key, row.encoder): f"{row.estimate:.3f} ({row.low:.3f} to {row.high:.3f})" for row in rows}
        head = "".join(f"<th>{html.escape(name)}</th>" for name in ["measure", *encoders])
        lines = [
            f"<tr><td>{html.escape(str(key))}</td>"
            + "".join(f"<td>{cells.get((key, encoder), '')}</td>" for encoder in encoders)
            + "</tr>"
            for key in dict.fromkeys(row.key for row in rows)
        ]
        sentences = "".join(f"<p><b>{html.escape(line)}</b></p>" for line in self.headline().splitlines())
        return f"{sentences}<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


class _File(Record):
    """``results.json``; the keys that are no fields of it belong to the manifest."""

    conclusions: Conclusions
    left_out: list[str]
    claims: list[dict[str, Any]] = []
    results: list[Result]


_OF_FILE = {"version", *_File.model_fields}


def _read(path: Path) -> tuple[dict[str, Any], _File]:
    """Return the content of a ``results.json``, as JSON and as its fields."""
    try:
        content = read_json(path)
        if "version" in content and content["version"] != VERSION:
            raise EmbprobeError(
                f"'{path}' is of result version {content['version']}; this embprobe reads version {VERSION}. "
                "Run the probe again."
            )
        required = ["version", *(name for name, field in _File.model_fields.items() if field.is_required())]
        if lacking := [name for name in required if name not in content]:
            raise DamagedFile(f"'{path}' is damaged: it lacks {', '.join(lacking)}.")
        file = check_json(_File, content, path)
        if not file.results or not _as_written(content, file):
            raise DamagedFile(f"'{path}' is damaged.")
    except (FileNotFoundError, NotADirectoryError):
        raise EmbprobeError(f"There are no results at '{path}'.") from None
    except DamagedFile as damage:
        raise EmbprobeError(f"{damage} Remove it, and run the probe again.") from None
    return content, file


def _as_written(content: Mapping[str, Any], file: _File) -> bool:
    """Return whether saving the fields gives the content: pydantic takes ``"0"`` for 0, and ignores unknown keys."""
    rows = [{**row, "measure": None, "detectable": None} for row in content["results"]]
    saved = [{**row.as_json(), "measure": None, "detectable": None} for row in file.results]
    return _exact([content["conclusions"], rows]) == _exact([asdict(file.conclusions), saved])


def _exact(part: object) -> object:
    """Return a part of a JSON such that ``true``, 1 and ``"true"`` are three values."""
    if isinstance(part, dict):
        return {name: _exact(value) for name, value in part.items()}
    if isinstance(part, list):
        return [_exact(value) for value in part]
    return (part,) if isinstance(part, bool) else part


def span(sizes: Sequence[int]) -> str:
    """Return the smallest and the largest of some numbers in words.

    >>> span([1255, 60, 200]), span([60, 60])
    ('60 to 1,255', '60')
    """
    low, high = min(sizes), max(sizes)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def format_p(p: float) -> str:
    """Return a p-value with three digits, and never as zero.

    >>> format_p(0.0302), format_p(0.00021)
    ('p = 0.030', 'p < 0.001')
    """
    return f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"


def _table(scores: Scores) -> pa.Table:
    """Return the scores as a table: the image's key and group, the encoder, the fields of the key, the score."""
    about = _about(scores.encoder, scores.key)
    return pa.table(
        {
            "key": [printable(image) for image in scores.keys],
            "group": [printable(group) for group in scores.groups],
            **{name: [value] * len(scores.keys) for name, value in about.items()},
            "score": scores.values,
        },
        schema=_COLUMNS,
    )


def _about(encoder: str, key: Key) -> dict[str, Any]:
    """Return the columns that are the same for all scores of an encoder and a key, as a file can hold them."""
    columns = {"encoder": encoder, **asdict(key)}
    return {name: printable(value) if isinstance(value, str) else value for name, value in columns.items()}


def _read_scores(path: Path, rows: Sequence[Result]) -> list[Scores]:
    """Return the scores in the order in which they were written; unit, role and p are those of their rows."""
    estimates = [row for row in rows if not row.is_difference]
    waiting: dict[tuple[Any, ...], list[Result]] = {}  # two cards of a study may measure the same
    for row in estimates:
        waiting.setdefault(tuple(_about(row.encoder, row.key).values()), []).append(row)
    names = ["encoder", *_KEY_COLUMNS]
    scores: list[Scores] = []
    try:
        table = pq.read_table(path)
        if not table.schema.equals(_COLUMNS):
            raise ValueError("other columns")
        if not table.num_rows:  # saved without them
            return []
        codes = np.stack([_codes(table[name]) for name in names])
        start = 0
        while start < table.num_rows:
            row = waiting[tuple(table[name][start].as_py() for name in names)].pop(0)
            part, same = table.slice(start, row.images), codes[:, start : start + row.images] == codes[:, [start]]
            values = np.asarray(part["score"].to_numpy(), np.float64)
            if not 0 < row.images == len(values) or not same.all() or not np.isfinite(values).all():
                raise ValueError("not the scores of this row")
            scores.append(
                Scores(
                    key=row.key,
                    encoder=row.encoder,
                    role=row.role,
                    unit=row.unit,
                    keys=part["key"].to_pylist(),
                    groups=part["group"].to_pylist(),
                    values=values,
                    floor=row.floor,
                    p=row.p,
                )
            )
            start += row.images
        if len(scores) < len(estimates):
            raise ValueError("scores of some rows are lost")
    except (OSError, pa.ArrowException, KeyError, IndexError, ValueError):
        raise EmbprobeError(f"'{path}' is damaged or gone. Run the probe again.") from None
    return scores


def _codes(column: pa.ChunkedArray) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return a whole number for each value of a column, the same for the same value, -1 for none."""
    encoded = column.combine_chunks().dictionary_encode()
    indices = encoded.indices.fill_null(-1)
    return np.asarray(indices.to_numpy(zero_copy_only=False), np.int64)
