"""What is exported, and the columns of it that every table has: names that do not collide, text, points, vectors."""

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
class Content:
    """Rows, by encoder their vectors ``[n, d]``, and where they are on its map, ``[n, 2]``, if there is one."""

    rows: Images
    vectors: Mapping[str, Floats]
    layouts: Mapping[str, Floats] = field(default_factory=dict)
    neighbors: int = 15
    """How many of each row's nearest others go along, where a target has a place for them; 0 for none."""
    device: str = "cpu"
    """On what they are searched."""
    progress: Callable[[int], None] = lambda rows: None
    """Called with the number of rows just written."""

    @cached_property
    def names(self) -> dict[str, str]:
        """What each encoder is called in columns and files."""
        return identifiers(self.vectors)

    @cached_property
    def labels(self) -> list[str]:
        """The labels that some row has, in the order of the alphabet."""
        return sorted({label for row in self.rows.rows for label in row.labels})

    def blocks(self, size: int) -> Iterator[slice]:
        """All rows, so many at a time."""
        for start in range(0, len(self.rows), size):
            at = slice(start, min(start + size, len(self.rows)))
            yield at
            self.progress(at.stop - at.start)

    def text(self, at: slice, columns: Mapping[str, str]) -> dict[str, pa.Array]:
        """The key, and the labels under the names that ``columns`` has for them; null where a row has no such label."""
        rows = self.rows.rows[at]
        found = {KEY: pa.array([printable(row.key) for row in rows], pa.string())}
        for label, name in columns.items():
            values = [None if (value := row.labels.get(label)) is None else printable(value) for row in rows]
            found[name] = pa.array(values, pa.string())
        return found

    def points(self, encoder: str, at: slice) -> dict[str, pa.Array]:
        """Where rows are on this encoder's map; nothing if there is none."""
        if encoder not in self.layouts:
            return {}
        places = self.layouts[encoder][at].astype(np.float32)
        return {f"{self.names[encoder]}_{axis}": pa.array(places[:, i]) for i, axis in enumerate("xy")}

    def vector(self, encoder: str, at: slice) -> dict[str, pa.Array]:
        """This encoder's vectors, as lists of one size."""
        each = np.ascontiguousarray(self.vectors[encoder][at], np.float32)
        flat = pa.array(each.ravel(), pa.float32())
        return {f"{self.names[encoder]}_vector": pa.FixedSizeListArray.from_arrays(flat, each.shape[1])}

    def taken(self) -> list[str]:
        """Names of columns that no label can have."""
        return [
            KEY,
            IMAGE,
            *(f"{name}_{what}" for name in self.names.values() for what in ("vector", "x", "y", "neighbors")),
        ]


def identifiers(encoders: Iterable[str]) -> dict[str, str]:
    """By encoder, a name of letters, digits and underscores, good for columns and for files on any system.

    >>> identifiers(["bundled/clip", "timm/vit.dino,size=224", "timm/vit_dino,size:224"])
    {'bundled/clip': 'bundled_clip', 'timm/vit.dino,size=224': 'timm_vit_dino_size_224', \
'timm/vit_dino,size:224': 'timm_vit_dino_size_224_2'}
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    for encoder in encoders:
        stem = name = re.sub(r"[^A-Za-z0-9]+", "_", encoder)[:80].strip("_") or "encoder"
        count = 1
        while name.casefold() in used:
            count += 1
            name = f"{stem}_{count}"
        used.add(name.casefold())
        found[encoder] = name
    return found


def named(labels: Iterable[str], taken: Iterable[str], clean: Callable[[str], str] = printable) -> dict[str, str]:
    """By label, the name of its column: ``clean`` of it, with ``label_`` before it if that is empty or taken.

    Names that differ only in case count as the same, because to DuckDB they are.

    >>> named(["style", "KEY", "Style"], taken=["key"])
    {'style': 'style', 'KEY': 'label_KEY', 'Style': 'label_Style'}
    """
    used = {"", *(name.casefold() for name in taken)}
    found: dict[str, str] = {}
    for label in labels:
        name = clean(label)
        while name.casefold() in used:
            name = f"label_{name}"
        used.add(name.casefold())
        found[label] = name
    return found


def image_type() -> Any:
    """The Arrow type of images, as Hugging Face's libraries and embedding-atlas read it."""
    return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
