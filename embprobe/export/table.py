"""The table that is exported, and the columns that all targets share: text, maps and vectors under distinct names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from embprobe.encoders.spec import Floats
from embprobe.images.rows import Images
from embprobe.system.text import printable

KEY, IMAGE = "key", "image"


@dataclass(frozen=True)
class ExportTable:
    """Rows with their vectors by encoder, and the rows' positions on the maps of these vectors.

    Rows without pictures (:attr:`embprobe.images.rows.Images.has_pictures`) are exported without image columns.

    Example:
        >>> table = ExportTable(Images("two", ()), {"bundled/clip": np.empty((0, 384), np.float32)})
        >>> table.names
        {'bundled/clip': 'bundled_clip'}
    """

    rows: Images
    vectors: Mapping[str, Floats]
    """By encoder, ``[n, d]``."""
    layouts: Mapping[str, Floats] = field(default_factory=dict)
    """By encoder, positions on its map ``[n, 2]``, for the encoders that have one."""
    neighbors: int = 15
    """The number of nearest other rows to write for each row, by targets with a column for them; 0 for none."""
    device: str = "cpu"
    """Where neighbours are searched: "cpu", or a device of torch."""
    progress: Callable[[int], None] = lambda rows: None
    """Called with the number of rows just written."""

    @cached_property
    def names(self) -> dict[str, str]:
        """Each encoder's name in columns and files."""
        return identifiers(self.vectors)

    @cached_property
    def labels(self) -> list[str]:
        """The names of the labels that some row has, in the order of the alphabet."""
        return sorted({label for row in self.rows.rows for label in row.labels})

    def blocks(self, size: int) -> Iterator[slice]:
        """Yield slices of up to ``size`` rows, and report each to ``progress`` once the caller asks for the next."""
        for start in range(0, len(self.rows), size):
            block = slice(start, min(start + size, len(self.rows)))
            yield block
            self.progress(block.stop - block.start)

    def text_columns(self, block: slice, label_columns: Mapping[str, str]) -> dict[str, pa.Array]:
        """Return keys, and labels under the names of ``label_columns``; null where a row lacks the label."""
        rows = self.rows.rows[block]
        columns = {KEY: pa.array([printable(row.key) for row in rows], pa.string())}
        for label, name in label_columns.items():
            values = [None if (value := row.labels.get(label)) is None else printable(value) for row in rows]
            columns[name] = pa.array(values, pa.string())
        return columns

    def map_columns(self, encoder: str, block: slice) -> dict[str, pa.Array]:
        """Return the rows' positions on this encoder's map, x and y; no columns if it has no map."""
        if encoder not in self.layouts:
            return {}
        positions = self.layouts[encoder][block].astype(np.float32)
        return {f"{self.names[encoder]}_{axis}": pa.array(positions[:, i]) for i, axis in enumerate("xy")}

    def vector_column(self, encoder: str, block: slice) -> dict[str, pa.Array]:
        """Return this encoder's vectors as one column of lists of fixed size."""
        vectors = np.ascontiguousarray(self.vectors[encoder][block], np.float32)
        flat = pa.array(vectors.ravel(), pa.float32())
        return {f"{self.names[encoder]}_vector": pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])}

    def reserved(self) -> list[str]:
        """List the names of columns that no label can have."""
        suffixes = ("vector", "x", "y", "neighbors")
        return [KEY, IMAGE, *(f"{name}_{suffix}" for name in self.names.values() for suffix in suffixes)]


def identifiers(encoders: Iterable[str]) -> dict[str, str]:
    """Give each encoder a name of letters, digits and underscores, good for columns and for files on any system.

    >>> identifiers(["bundled/clip", "timm/vit.dino,size=224", "timm/vit_dino,size:224"])
    {'bundled/clip': 'bundled_clip', 'timm/vit.dino,size=224': 'timm_vit_dino_size_224', \
'timm/vit_dino,size:224': 'timm_vit_dino_size_224_2'}
    """
    names: dict[str, str] = {}
    used: set[str] = set()
    for encoder in encoders:
        stem = name = re.sub(r"[^A-Za-z0-9]+", "_", encoder)[:80].strip("_") or "encoder"
        count = 1
        while name.casefold() in used:
            count += 1
            name = f"{stem}_{count}"
        used.add(name.casefold())
        names[encoder] = name
    return names


def label_columns(
    labels: Iterable[str], reserved: Iterable[str], clean: Callable[[str], str] = printable
) -> dict[str, str]:
    """Give each label the name of its column: ``clean`` of it, after ``label_`` if that is empty or reserved.

    Names that differ only in case count as the same, because to DuckDB they are.

    >>> label_columns(["style", "KEY", "Style"], reserved=["key"])
    {'style': 'style', 'KEY': 'label_KEY', 'Style': 'label_Style'}
    """
    used = {"", *(name.casefold() for name in reserved)}
    names: dict[str, str] = {}
    for label in labels:
        name = clean(label)
        while name.casefold() in used:
            name = f"label_{name}"
        used.add(name.casefold())
        names[label] = name
    return names


def image_type() -> Any:
    """Return the Arrow type of images, as Hugging Face's libraries and embedding-atlas read it."""
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
