"""Cells: a data set, a split, an encoder and a task, with a score per test image and the numbers that come of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from embprobe.benchmarking.split import Kind
from embprobe.embeddings.workspace import Workspace, distinct_slug
from embprobe.errors import EmbprobeError
from embprobe.measures.vectors import ScoreArray
from embprobe.system.files import replacing, write_json
from embprobe.system.models import Count, DamagedFile, Number, Record, check_json, parse_json, read_json_file
from embprobe.system.text import printable

SCHEMA = 1
FOLDER = "benchmark"
"""The folder of a workspace that holds cells."""
_COLUMNS = pa.schema({"key": pa.string(), "group": pa.string(), "class": pa.string(), "score": pa.float64()})


class Value(Record):
    """A number with its 95 % interval."""

    estimate: Number
    low: Number
    high: Number


class ClassValue(Value):
    """The number of one class, from so many test images."""

    images: Count


class DatasetFacts(Record):
    """The data set of a cell."""

    name: str
    card: str = ""
    fingerprint: str
    """Of all its rows: another one if an image or the order changes."""
    images: Count
    label: str
    classes: Count
    """All that a prediction may be."""


class SplitFacts(Record):
    """The split of a cell."""

    name: str
    kind: Kind
    fitted: Count
    tested: Count
    groups: Count
    resampled: str
    fitted_on: str = ""
    """The other data set whose images were fitted on; "" for its own."""


class EncoderFacts(Record):
    """The encoder of a cell."""

    name: str
    fingerprint: str
    weights: str = ""
    weights_sha256: str = ""
    dimension: Count
    precision: str = "float32"


class Cell(Record):
    """What one encoder scores at one task on one split of a data set."""

    schema_: int = Field(default=SCHEMA, alias="schema")
    fingerprint: str
    """A hash over all that decides the scores."""
    dataset: DatasetFacts
    split: SplitFacts
    encoder: EncoderFacts
    task: str
    unit: str
    main: str
    """The name of the main number."""
    numbers: Mapping[str, Value]
    chance: Number | None = None
    """The main number of the best constant answer; None for retrieval."""
    per_class: Mapping[str, ClassValue] = {}
    seed: Count
    seconds: Number
    device: str
    versions: Mapping[str, str]
    notes: tuple[str, ...] = ()

    @property
    def value(self) -> Value:
        """The main number."""
        return self.numbers[self.main]


@dataclass(frozen=True)
class Scored:
    """The scores of a cell's test images."""

    keys: Sequence[str]
    groups: Sequence[str]
    classes: Sequence[str]
    values: ScoreArray


def fingerprint_of(facts: Mapping[str, object]) -> str:
    """Return sixteen hex digits of a hash over facts that decide scores."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def cell_path(workspace: Workspace, dataset: str, split: str, task: str, encoder: str, fingerprint: str) -> Path:
    """Return the path of a cell's record; its scores lie beside it, as parquet."""
    name = f"{distinct_slug(encoder)}-{fingerprint[:8]}.json"
    return workspace.root / FOLDER / distinct_slug(dataset) / distinct_slug(split) / distinct_slug(task) / name


def save_cell(path: Path, cell: Cell, scored: Scored) -> None:
    """Write scores and then the record, each whole or not at all: a record stands for scores that are there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [scored.keys, scored.groups, scored.classes]
    texts = [pa.array([printable(text) for text in column], pa.string()) for column in columns]
    with replacing(path.with_suffix(".parquet")) as temporary:
        pq.write_table(pa.table([*texts, pa.array(scored.values)], schema=_COLUMNS), temporary)
    write_json(path, cell.model_dump(mode="json", by_alias=True))


def load_cell(path: Path) -> Cell:
    """Return the record of a cell.

    Raises:
        EmbprobeError: It is damaged, or of a newer version.
    """
    try:
        cell = read_json_file(Cell, path)
    except FileNotFoundError:
        raise EmbprobeError(f"There is no record at '{path}'.") from None
    except DamagedFile as damage:
        raise EmbprobeError(f"{damage} Remove it, and run the benchmark again.") from None
    return _checked(cell, path)


def load_cells(path: Path) -> Iterator[Cell | EmbprobeError]:
    """Yield the cell of each line of a file of records (``.jsonl``), or why a line cannot be read."""
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            yield _checked(check_json(Cell, parse_json(line, path), path), path)
        except EmbprobeError as reason:
            yield EmbprobeError(f"line {number}: {reason}")


def _checked(cell: Cell, path: Path) -> Cell:
    """Return a record that this version reads; EmbprobeError for one that it does not."""
    if cell.schema_ > SCHEMA or cell.main not in cell.numbers:
        raise EmbprobeError(f"'{path}' is of schema {cell.schema_}; this embprobe reads up to {SCHEMA}.")
    return cell


def load_scores(path: Path) -> Scored:
    """Return the scores beside a record.

    Raises:
        EmbprobeError: They are not there, damaged, or have a score that is not finite.
    """
    file = path.with_suffix(".parquet")
    try:
        table = pq.read_table(file).cast(_COLUMNS)
    except (OSError, ValueError, KeyError) as error:  # Arrow's are ValueErrors
        raise EmbprobeError(
            f"'{file}' cannot be read. Remove it and its record, and run the benchmark again."
        ) from error
    values = table["score"].to_numpy()
    if not len(values) or not np.isfinite(values).all():
        raise EmbprobeError(f"'{file}' is damaged. Remove it and its record, and run the benchmark again.")
    return Scored(table["key"].to_pylist(), table["group"].to_pylist(), table["class"].to_pylist(), values)


def kept(path: Path, fingerprint: str) -> Cell | None:
    """Return the record of a cell that was scored before, with the same facts; None if it must be scored."""
    try:
        cell = load_cell(path)
    except (EmbprobeError, OSError):
        return None
    there = path.with_suffix(".parquet").is_file()
    return cell if there and cell.fingerprint == fingerprint and cell.schema_ == SCHEMA else None
