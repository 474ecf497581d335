"""Plain files that everything reads: npy and csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from embprobe.export.content import Content, named
from embprobe.system.files import making

_ROWS = 4096


def write_npy(content: Content, folder: Path) -> None:
    """Write ``vectors-ENCODER.npy``, ``[n, d]`` float32, for each encoder, and ``rows.csv`` with keys and labels."""
    columns = named(content.labels, content.taken())
    with making(folder) as temporary:
        for encoder, vectors in content.vectors.items():
            np.save(temporary / f"vectors-{content.names[encoder]}.npy", np.asarray(vectors, np.float32))
        with _Writer(temporary / "rows.csv") as rows:
            for at in content.blocks(_ROWS):
                points = [content.points(encoder, at) for encoder in content.vectors]
                rows.write(content.text(at, columns), *points)


def open_npy(content: Content, folder: Path) -> Iterator[str]:
    """How to load the first encoder's vectors, in Python."""
    yield f"numpy.load({str(folder / f'vectors-{next(iter(content.names.values()))}.npy')!r})"
    yield f"pandas.read_csv({str(folder / 'rows.csv')!r})"


def write_csv(content: Content, folder: Path) -> None:
    """Write ``ENCODER.csv`` for each encoder: key, labels, and the vector as v0, v1 and so on.

    Numbers have as many digits as it takes to read the same float32 back. Text is quoted, a label that a row does not
    have is empty without quotes.
    """
    widest = max(vectors.shape[1] for vectors in content.vectors.values())
    numbers = [f"v{i}" for i in range(widest)]
    columns = named(content.labels, [*content.taken(), *numbers])
    with making(folder) as temporary, ExitStack() as files:
        writers = {
            encoder: files.enter_context(_Writer(temporary / f"{name}.csv")) for encoder, name in content.names.items()
        }
        for at in content.blocks(_ROWS):
            text = content.text(at, columns)
            for encoder, vectors in content.vectors.items():
                values = zip(numbers, np.asarray(vectors[at], np.float32).T, strict=False)
                vector = {name: pa.array(each) for name, each in values}
                writers[encoder].write(text, content.points(encoder, at), vector)


def open_csv(content: Content, folder: Path) -> Iterator[str]:
    """How to load each encoder's file, in Python."""
    for name in content.names.values():
        yield f"pandas.read_csv({str(folder / f'{name}.csv')!r})"


class _Writer:
    """A CSV file, whose columns are those of the first block."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.close()

    def write(self, *columns: Mapping[str, pa.Array]) -> None:
        """One block, its columns in several parts."""
        table = pa.table({name: each for part in columns for name, each in part.items()})
        self._writer = self._writer or csv.CSVWriter(self._path, table.schema)
        self._writer.write_table(table)
