"""Maps of the same images by several encoders, computed once and kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder, EncoderSpec, Floats
from embprobe.images.rows import Images
from embprobe.images.unlabelled import MAX_UNLABELLED, lacking_keys, may_lack, without_unlabelled
from embprobe.search.projection import layouts
from embprobe.system.files import replacing
from embprobe.system.text import printable


@dataclass(frozen=True)
class Maps:
    """The places ``[n, 2]`` of the same rows in the plane, by encoder; ``folder`` holds them as a table."""

    folder: Path
    rows: Images
    method: str
    seed: int
    layouts: Mapping[str, Floats]
    figure: Path | None = None
    """The picture of the maps, if it was drawn."""

    @property
    def table(self) -> Path:
        """A parquet file with columns key, encoder, x, y."""
        return self.folder / "map.parquet"

    def at(self, keys: Iterable[str]) -> Maps:
        """Return the places of the rows with these keys, in the order of the rows."""
        wanted = set(keys)
        kept = [i for i, row in enumerate(self.rows.rows) if row.key in wanted]
        layouts = {name: places[kept] for name, places in self.layouts.items()}
        return replace(self, rows=self.rows.take(kept), layouts=layouts)

    def as_json(self) -> dict[str, Any]:
        """Images, encoders, method and the table's path, for ``--json``; the points are in the table."""
        return {
            "images": {"name": self.rows.name, "count": len(self.rows)},
            "encoders": list(self.layouts),
            "method": self.method,
            "seed": self.seed,
            "points": str(self.table),
        }


def choose_label(
    images: Images, label: str | None = None, *, max_unlabelled: float = MAX_UNLABELLED
) -> tuple[str, Images, tuple[str, ...]]:
    """Choose the label that colours a map: the one that is named, or ``category`` where rows have it; else ``""``.

    Returns:
        The label, the rows that have it, and notes on the others: up to a share of ``max_unlabelled`` may lack it.

    Raises:
        MissingLabel: More rows lack the label that is named, or all.
    """
    if label is None:
        lacking = len(lacking_keys(images, "category"))
        known = lacking < len(images) and may_lack(lacking, len(images), max_unlabelled)
        label = "category" if known else ""
    if label and images.lacks(label):
        images.label(label)
    return label, *without_unlabelled(images, [label] if label else [], most=max_unlabelled)


def make_maps(
    embedded: EmbeddingSet,
    encoders: Sequence[Encoder],
    session: Session,
    *,
    method: str = "umap",
    notify: Callable[[str], None] = lambda now: None,
) -> Maps:
    """Return the maps of an embedding set, from the workspace if they were made before; raises as :func:`layouts` does.

    ``encoders`` are those that gave the vectors, in their order. ``notify`` is called with the method and encoder of
    each map as it is begun.
    """
    maps = saved_maps(embedded, [encoder.spec for encoder in encoders], session.workspace, method, session.seed)
    if maps.layouts:
        return maps
    made = layouts(embedded.vectors, method=method, seed=session.seed, notify=notify)
    _write(maps.table, embedded.keys(), made)
    return replace(maps, layouts=made)


def saved_maps(
    embedded: EmbeddingSet, specs: Sequence[EncoderSpec], workspace: Workspace, method: str, seed: int
) -> Maps:
    """Return the maps of these vectors that the workspace holds; without layouts if there are none or they are damaged.

    ``specs`` are those of the encoders that gave the vectors, in their order.
    """
    inputs = [embedded.rows.fingerprint, [spec.fingerprint for spec in specs], method, seed]
    mark = hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:8]
    maps = Maps(workspace.results(f"map-{mark}"), embedded.rows, method, seed, {})
    return replace(maps, layouts=_read(maps.table, embedded.keys(), list(embedded.vectors)) or {})


def _write(path: Path, keys: Sequence[str], layouts: Mapping[str, Floats]) -> None:
    printed = [printable(key) for key in keys]
    parts = [
        pa.table({"key": printed, "encoder": [name] * len(printed), "x": points[:, 0], "y": points[:, 1]})
        for name, points in layouts.items()
    ]
    with replacing(path) as temporary:
        pq.write_table(pa.concat_tables(parts), temporary)


def _read(path: Path, keys: Sequence[str], encoders: Sequence[str]) -> dict[str, Floats] | None:
    """The layouts that were written for these keys and encoders, or None if there are none or they are damaged."""
    try:
        with pq.ParquetFile(path) as file:  # read_table and to_numpy would import pandas, half a second
            table = file.read()
        points = np.stack([np.from_dlpack(table[axis].combine_chunks()) for axis in "xy"], axis=1).astype(np.float32)
        columns = table["key"].to_pylist(), table["encoder"].to_pylist()
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    n = len(keys)
    if columns != ([printable(key) for key in keys] * len(encoders), [name for name in encoders for _ in range(n)]):
        return None
    return {name: points[i * n : (i + 1) * n] for i, name in enumerate(encoders)} if np.isfinite(points).all() else None
