"""One parquet file for embedding-atlas: labels, small images, and by encoder vectors, a map and nearest neighbours."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.embeddings.workspace import Workspace
from embprobe.encoders.spec import Encoder, Floats
from embprobe.export.content import IMAGE, Content, image_type, named
from embprobe.export.pictures import small
from embprobe.images.rows import Images
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import ranked_others
from embprobe.system.files import replacing

_ROWS = 512
_ADDED = ("FILE_NAME", "__row_index__", "pagerank")
"""Columns that embedding-atlas adds."""


def write_atlas(content: Content, path: Path) -> None:
    """Write the file; raises :class:`EmbprobeError` if an image cannot be read any more, or a vector is zero.

    Neighbours are exact, by cosine; a row is none of its own. Their ids are row numbers from 0, distances 1 − cosine.
    """
    columns = named(content.labels, [*content.taken(), *_ADDED])
    near = {}
    if content.neighbors:
        near = {encoder: _neighbors(vectors, content) for encoder, vectors in content.vectors.items()}
    with replacing(path) as temporary:
        writer: Any = None
        try:
            for at in content.blocks(_ROWS):
                images = [{"bytes": small(row), "path": None} for row in content.rows.rows[at]]
                table = {**content.text(at, columns), IMAGE: pa.array(images, image_type())}
                for encoder in content.vectors:
                    table |= content.points(encoder, at) | content.vector(encoder, at)
                    if encoder in near:
                        table[f"{content.names[encoder]}_neighbors"] = _structs(*near[encoder], at)
                block = pa.table(table)
                writer = writer or pq.ParquetWriter(temporary, block.schema)
                writer.write_table(block)
        finally:
            if writer:
                writer.close()


def atlas_path(rows: Images, encoders: Sequence[Encoder], workspace: Workspace) -> Path:
    """Return where a workspace keeps the file of these rows and encoders."""
    fingerprints = [rows.fingerprint, *(encoder.spec.fingerprint for encoder in encoders)]
    mark = hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:8]
    return workspace.results(f"atlas-{mark}") / "atlas.parquet"


def atlas_arguments(content: Content, path: Path, encoder: str) -> list[str]:
    """What to give to ``embedding-atlas`` to see this encoder's map; it makes one itself where the file has none."""
    name = content.names[encoder]
    on_map = ["--x", f"{name}_x", "--y", f"{name}_y"] if encoder in content.layouts else ["--vector", f"{name}_vector"]
    near = ["--neighbors", f"{name}_neighbors"] if content.neighbors else []
    return [str(path), *on_map, *near, "--image", IMAGE]


def open_atlas(content: Content, path: Path) -> Iterator[str]:
    """A command line for each encoder."""
    for encoder in content.vectors:
        yield shlex.join(["embedding-atlas", *atlas_arguments(content, path, encoder)])


def _neighbors(vectors: Floats, content: Content) -> tuple[Positions, Floats]:
    """Positions and distances of the nearest others, ``[n, k]`` each; all others where there are no more than k."""
    k = min(content.neighbors, len(vectors) - 1)
    similarity, position = ranked_others(vectors, k, device=content.device)
    return position, np.maximum(0, 1 - similarity)


def _structs(position: Positions, distance: Floats, at: slice) -> pa.Array:
    offsets = pa.array(np.arange(at.stop - at.start + 1) * position.shape[1], pa.int32())
    ids = pa.ListArray.from_arrays(offsets, pa.array(position[at].ravel(), pa.int32()))
    distances = pa.ListArray.from_arrays(offsets, pa.array(distance[at].ravel(), pa.float32()))
    return pa.StructArray.from_arrays([ids, distances], ["ids", "distances"])
