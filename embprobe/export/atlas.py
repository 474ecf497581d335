"""One parquet file for embedding-atlas: labels, thumbnails, and each encoder's vectors, map and nearest neighbours."""

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
from embprobe.export.pictures import thumbnail
from embprobe.export.table import IMAGE, ExportTable, image_type, label_columns
from embprobe.images.rows import Images
from embprobe.measures.knn import Positions
from embprobe.measures.mutual_knn import ranked_others
from embprobe.system.files import replacing
from embprobe.system.folders import OUTPUT_KEY

_ROWS = 512
_ADDED = ("FILE_NAME", "__row_index__", "pagerank")
"""Columns that embedding-atlas adds."""


def write_atlas(table: ExportTable, path: Path) -> None:
    """Write the file; raise :class:`EmbprobeError` if an image cannot be read any more, or a vector is zero.

    Neighbours are exact, by cosine; a row is none of its own. Their ids are row numbers from 0, distances 1 − cosine.
    """
    labels = label_columns(table.labels, [*table.reserved(), *_ADDED])
    near = {}
    if table.neighbors:
        near = {encoder: _neighbors(vectors, table) for encoder, vectors in table.vectors.items()}
    with replacing(path) as temporary:
        writer: Any = None
        try:
            for block in table.blocks(_ROWS):
                columns = table.text_columns(block, labels)
                if table.rows.has_pictures:
                    images = [{"bytes": thumbnail(row), "path": None} for row in table.rows.rows[block]]
                    columns[IMAGE] = pa.array(images, image_type())
                for encoder in table.vectors:
                    columns |= table.map_columns(encoder, block) | table.vector_column(encoder, block)
                    if encoder in near:
                        columns[f"{table.names[encoder]}_neighbors"] = _neighbor_column(*near[encoder], block)
                written = pa.table(columns, metadata={OUTPUT_KEY: "atlas"})
                writer = writer or pq.ParquetWriter(temporary, written.schema)
                writer.write_table(written)
        finally:
            if writer:
                writer.close()


def atlas_path(rows: Images, encoders: Sequence[Encoder], workspace: Workspace) -> Path:
    """Return where a workspace keeps the file of these rows and encoders."""
    fingerprints = [rows.fingerprint, *(encoder.spec.fingerprint for encoder in encoders)]
    mark = hashlib.sha256(" ".join(fingerprints).encode()).hexdigest()[:8]
    return workspace.results(f"atlas-{mark}") / "atlas.parquet"


def atlas_arguments(table: ExportTable, path: Path, encoder: str) -> list[str]:
    """Return the arguments of ``embedding-atlas`` that show this encoder's map, or let it make one from the vectors."""
    name = table.names[encoder]
    on_map = ["--x", f"{name}_x", "--y", f"{name}_y"] if encoder in table.layouts else ["--vector", f"{name}_vector"]
    near = ["--neighbors", f"{name}_neighbors"] if table.neighbors else []
    image = ["--image", IMAGE] if table.rows.has_pictures else []
    return [str(path), *on_map, *near, *image]


def open_atlas(table: ExportTable, path: Path) -> Iterator[str]:
    """Yield a command line for each encoder."""
    for encoder in table.vectors:
        yield shlex.join(["embedding-atlas", *atlas_arguments(table, path, encoder)])


def _neighbors(vectors: Floats, table: ExportTable) -> tuple[Positions, Floats]:
    """Find the nearest other rows of each row: positions and distances ``[n, k]``; all others if k is more."""
    k = min(table.neighbors, len(vectors) - 1)
    similarity, position = ranked_others(vectors, k, device=table.device)
    return position, np.maximum(0, 1 - similarity)


def _neighbor_column(position: Positions, distance: Floats, block: slice) -> pa.Array:
    """Make the column of neighbours that embedding-atlas reads: a struct of ids and distances for each row."""
    offsets = pa.array(np.arange(block.stop - block.start + 1) * position.shape[1], pa.int32())
    ids = pa.ListArray.from_arrays(offsets, pa.array(position[block].ravel(), pa.int32()))
    distances = pa.ListArray.from_arrays(offsets, pa.array(distance[block].ravel(), pa.float32()))
    return pa.StructArray.from_arrays([ids, distances], ["ids", "distances"])
