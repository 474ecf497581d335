"""Read the labels that lie beside a folder's images: sidecars, and metadata files with a line for each image."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError
from embprobe.images.labels import MAX_SIDECAR_BYTES, labels_of, read_sidecar, repeated

METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SIDECARS = ("json", "txt")


def add_sidecars(paths: Iterable[Path], labels: Iterable[dict[str, str]]) -> list[Path]:
    """Add the labels in sidecars to ``labels``; return the sidecars that could not be understood."""
    broken = []
    folder: Path | None = None
    names: frozenset[str] = frozenset()
    for path, row_labels in zip(paths, labels, strict=True):
        if path.parent != folder:
            folder, names = path.parent, frozenset(file.name for file in path.parent.iterdir())
        for extension in _SIDECARS:
            sidecar = path.with_suffix(f".{extension}")
            if sidecar.name in names and sidecar.is_file():
                try:
                    with sidecar.open("rb") as file:
                        row_labels |= read_sidecar(extension, file.read(MAX_SIDECAR_BYTES + 1))
                except (OSError, ValueError):
                    broken.append(sidecar)
    return broken


def add_metadata(
    folder: Path, files: Iterable[Path], keys: list[str], labels: list[dict[str, str]]
) -> tuple[list[str], list[str]]:
    """Add the labels in metadata files to ``labels``; return the keys without a line, and the names without an image.

    A name in a metadata file is looked up among the images of the folder, never opened.
    """
    position = {key: i for i, key in enumerate(keys)}
    labelled: set[str] = set()
    unmatched: list[str] = []
    for file in files:
        parent = file.parent.relative_to(folder).as_posix()
        for name, values in _metadata(file):
            key = os.path.normpath(f"{parent}/{name}")
            if key in position and not name.startswith("/"):
                labels[position[key]] |= values
                labelled.add(key)
            else:
                unmatched.append(name)
    return [key for key in keys if key not in labelled] if labelled else [], unmatched


def _metadata(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a metadata file: the name of an image and its labels, line by line."""
    try:
        if not file.is_file():
            raise OSError("not a file")
        for line in _lines(file):
            name = line.pop("file_name", None) or line.pop("image_file_name", None)
            if not isinstance(name, str):
                raise EmbprobeError(f"'{file}' is not right: it needs a column 'file_name' with a name in every line.")
            yield name, labels_of(line)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise EmbprobeError(f"'{file}' cannot be read as metadata: {error}.") from None


def _lines(file: Path) -> Iterator[dict[str, object]]:
    if file.suffix == ".parquet":
        table = pq.ParquetFile(file)
        _refuse_repeated(table.schema_arrow.names)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
        return
    text = io.StringIO(file.read_text(encoding="utf-8-sig"))
    if file.suffix == ".csv":
        records = csv.DictReader(text)
        _refuse_repeated([name for name in records.fieldnames or [] if name])
        for record in records:
            yield {name: value for name, value in record.items() if isinstance(name, str)}
        return
    for line in text:
        if line.strip():
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("every line must be an object of named values")
            yield values


def _refuse_repeated(columns: Iterable[str]) -> None:
    twice = repeated(columns)
    if twice is not None:
        raise ValueError(f"there is more than one column '{twice}'")
