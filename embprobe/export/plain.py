"""Plain files that every tool reads: npy and csv."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import csv

from embprobe.export.table import ExportTable, label_columns
from embprobe.system.files import making

_ROWS = 4096


def write_npy(table: ExportTable, folder: Path) -> None:
    """Write ``vectors-ENCODER.npy``, ``[n, d]`` float32, for each encoder, and ``rows.csv`` with keys and labels."""
    columns = label_columns(table.labels, table.reserved())
    with making(folder) as temporary:
        for encoder, vectors in table.vectors.items():
            np.save(temporary / f"vectors-{table.names[encoder]}.npy", np.asarray(vectors, np.float32))
        with _Writer(temporary / "rows.csv") as rows:
            for block in table.blocks(_ROWS):
                positions = [table.map_columns(encoder, block) for encoder in table.vectors]
                rows.write(table.text_columns(block, columns), *positions)


def open_npy(table: ExportTable, folder: Path) -> Iterator[str]:
    """Yield lines of Python that load the first encoder's vectors, and the rows."""
    yield f"numpy.load({str(folder / f'vectors-{next(iter(table.names.values()))}.npy')!r})"
    yield f"pandas.read_csv({str(folder / 'rows.csv')!r})"


def write_csv(table: ExportTable, folder: Path) -> None:
    """Write ``ENCODER.csv`` for each encoder: key, labels, and the vector as v0, v1 and so on.

    Numbers have as many digits as it takes to read the same float32 back. Text is quoted, a label that a row does not
    have is empty without quotes.
    """
    widest = max(vectors.shape[1] for vectors in table.vectors.values())
    numbers = [f"v{i}" for i in range(widest)]
    columns = label_columns(table.labels, [*table.reserved(), *numbers])
    with making(folder) as temporary, ExitStack() as files:
        writers = {
            encoder: files.enter_context(_Writer(temporary / f"{name}.csv")) for encoder, name in table.names.items()
        }
        for block in table.blocks(_ROWS):
            text = table.text_columns(block, columns)
            for encoder, vectors in table.vectors.items():
                dimensions = zip(numbers, np.asarray(vectors[block], np.float32).T, strict=False)
                vector = {name: pa.array(values) for name, values in dimensions}
                writers[encoder].write(text, table.map_columns(encoder, block), vector)


def open_csv(table: ExportTable, folder: Path) -> Iterator[str]:
    """Yield a line of Python for each encoder that loads its file."""
    for name in table.names.values():
        yield f"pandas.read_csv({str(folder / f'{name}.csv')!r})"


class _Writer:
    """A CSV file that is written block by block; the first one decides its columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> _Writer:
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer:
            self._writer.close()

    def write(self, *columns: Mapping[str, pa.Array]) -> None:
        """Write one block; its columns come in several mappings."""
        block = pa.table({name: values for part in columns for name, values in part.items()})
        self._writer = self._writer or csv.CSVWriter(self._path, block.schema)
        self._writer.write_table(block)
