"""A data set folder in the form of the Hugging Face hub: parquet shards and a card."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.export.pictures import original_file
from embprobe.export.table import IMAGE, ExportTable, image_type, label_columns
from embprobe.system.files import making
from embprobe.system.folders import OUTPUT_KEY, mark_output
from embprobe.system.text import printable, visible

_ROWS = 100
"""Rows of a row group: few, because a reader holds one, and images may be large."""
GROUP_BYTES, SHARD_BYTES = 256 << 20, 500 << 20
"""A row group is full at this size of its images, a shard at this size of its file."""


def write_huggingface(table: ExportTable, folder: Path) -> None:
    """Write ``data/train-00000.parquet`` and so on, and ``README.md``.

    The images are as they were, labels are strings, vectors lists of float32. Raises :class:`EmbprobeError` if an image
    cannot be read any more.
    """
    labels = label_columns(table.labels, table.reserved())
    with making(folder) as temporary:
        (temporary / "data").mkdir()
        mark_output(temporary)
        (temporary / "README.md").write_text(_card(table, labels), encoding="utf-8")
        writer: Any = None
        shard = 0
        try:
            for block, images in _groups(table):
                group = _row_group(table, block, images, labels)
                if writer is None:
                    path = temporary / "data" / f"train-{shard:05}.parquet"
                    writer, shard = pq.ParquetWriter(path, group.schema), shard + 1
                writer.write_table(group)
                if path.stat().st_size >= SHARD_BYTES:
                    writer.close()
                    writer = None
        finally:
            if writer is not None:
                writer.close()


def open_huggingface(table: ExportTable, folder: Path) -> Iterator[str]:
    """Yield a line of Python that loads it."""
    yield f"datasets.load_dataset({str(folder)!r}, split='train')"


def _groups(table: ExportTable) -> Iterator[tuple[slice, list[dict[str, Any]]]]:
    """Yield the rows of each row group and their images, which are none for rows without pictures."""
    for block in table.blocks(_ROWS):
        if not table.rows.has_pictures:
            yield block, []
            continue
        start, size = block.start, 0
        images: list[dict[str, Any]] = []
        for i in range(block.start, block.stop):
            encoded, suffix = original_file(table.rows.rows[i])
            images.append({"bytes": encoded, "path": f"{i:07}{suffix}"})
            size += len(encoded)
            if size >= GROUP_BYTES or i + 1 == block.stop:
                yield slice(start, i + 1), images
                start, size, images = i + 1, 0, []


def _row_group(table: ExportTable, block: slice, images: list[dict[str, Any]], labels: Mapping[str, str]) -> pa.Table:
    """Put the columns of some rows together, with the features that the library ``datasets`` reads."""
    pictures = {IMAGE: pa.array(images, image_type())} if table.rows.has_pictures else {}
    columns = {**pictures, **table.text_columns(block, labels)}
    for encoder in table.vectors:
        columns |= table.map_columns(encoder, block) | table.vector_column(encoder, block)
    group = pa.table(columns)
    features = {name: _feature(name, group.schema.field(name).type) for name in group.schema.names}
    return group.replace_schema_metadata(
        {OUTPUT_KEY: "huggingface", "huggingface": json.dumps({"info": {"features": features}})}
    )


def _feature(name: str, kind: Any) -> dict[str, Any]:
    """Describe a column's type in the words of the library ``datasets``; old versions know ``Sequence``, too."""
    if name == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature("", kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    return {"dtype": {"float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}


def _card(table: ExportTable, labels: Mapping[str, str]) -> str:
    """Write the data card. Its front matter is JSON, which is YAML, so that no name can add a key to it.

    It does not list the shards, whose names say enough: the library caches a folder whose card does under the folder's
    name, and returns the cached data when another export is written there.
    """
    pictures = table.rows.has_pictures
    front = {"pretty_name": printable(table.rows.name), "tags": ["image-embeddings"]}
    lines = [
        *("---", json.dumps(front, indent=1), "---", ""),
        f"# {_code(table.rows.name)}",
        "",
        f"{len(table.rows):,} {'images' if pictures else 'rows'} with embeddings, exported by embprobe.",
        "",
        "| column | what it is |",
        "|---|---|",
        f"| `key` | the {'image' if pictures else 'row'}'s name |",
        *(["| `image` | the image, as it was read |"] if pictures else []),
        *(f"| {_code(name)} | the label {_code(label)} |" for label, name in labels.items()),
    ]
    for encoder, vectors in table.vectors.items():
        name = table.names[encoder]
        lines.append(f"| `{name}_vector` | the embedding by {_code(encoder)}, {vectors.shape[1]} dimensions |")
        if encoder in table.layouts:
            lines.append(f"| `{name}_x`, `{name}_y` | where it is on a map of them |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Quote any text as code in Markdown, so that it marks up nothing and ends no cell."""
    escaped = html.escape(visible(text)).replace("|", "&#124;").replace("`", "&#96;")
    return f"<code>{escaped}</code>"
