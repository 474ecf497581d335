"""A data set folder as the Hugging Face hub has them: parquet shards and a card."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.export.content import IMAGE, Content, image_type, named
from embprobe.export.pictures import original
from embprobe.system.files import making
from embprobe.system.text import printable, visible

_ROWS = 100
"""Rows of a row group: few, because a reader holds one, and images may be large."""
GROUP_BYTES, SHARD_BYTES = 256 << 20, 500 << 20
"""A row group, and a shard, are full when their images, or it, have so many bytes."""


def write_huggingface(content: Content, folder: Path) -> None:
    """Write ``data/train-00000.parquet`` and so on, and ``README.md``.

    The images are as they were, labels are strings, vectors lists of float32. Raises :class:`EmbprobeError` if an image
    cannot be read any more.
    """
    columns = named(content.labels, content.taken())
    with making(folder) as temporary:
        (temporary / "data").mkdir()
        (temporary / "README.md").write_text(_card(content, columns), encoding="utf-8")
        writer: Any = None
        shard = 0
        try:
            for at, images in _groups(content):
                table = _table(content, at, images, columns)
                if writer is None:
                    path = temporary / "data" / f"train-{shard:05}.parquet"
                    writer, shard = pq.ParquetWriter(path, table.schema), shard + 1
                writer.write_table(table)
                if path.stat().st_size >= SHARD_BYTES:
                    writer.close()
                    writer = None
        finally:
            if writer is not None:
                writer.close()


def open_huggingface(content: Content, folder: Path) -> Iterator[str]:
    """How to load it, in Python."""
    yield f"datasets.load_dataset({str(folder)!r}, split='train')"


def _groups(content: Content) -> Iterator[tuple[slice, list[dict[str, Any]]]]:
    """Which rows a row group holds, and their images."""
    for at in content.blocks(_ROWS):
        start, size = at.start, 0
        images: list[dict[str, Any]] = []
        for i in range(at.start, at.stop):
            encoded, suffix = original(content.rows.rows[i])
            images.append({"bytes": encoded, "path": f"{i:07}{suffix}"})
            size += len(encoded)
            if size >= GROUP_BYTES or i + 1 == at.stop:
                yield slice(start, i + 1), images
                start, size, images = i + 1, 0, []


def _table(content: Content, at: slice, images: list[dict[str, Any]], columns: Mapping[str, str]) -> pa.Table:
    table = {IMAGE: pa.array(images, image_type()), **content.text(at, columns)}
    for encoder in content.vectors:
        table |= content.points(encoder, at) | content.vector(encoder, at)
    made = pa.table(table)
    features = {name: _feature(name, made.schema.field(name).type) for name in made.schema.names}
    return made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _feature(name: str, kind: Any) -> dict[str, Any]:
    """What the library ``datasets`` calls a column's type; ``Sequence`` is the name that old versions know, too."""
    if name == IMAGE:
        return {"_type": "Image"}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature("", kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    return {"dtype": {"float": "float32"}.get(str(kind), str(kind)), "_type": "Value"}


def _card(content: Content, columns: Mapping[str, str]) -> str:
    """The data card. Its front matter is JSON, which is YAML, so that no name can add a key to it.

    It says nothing of where the shards are, which is clear from their names: a folder whose card does, the library
    keeps under its name, and gives what it kept when another is written there.
    """
    front = {"pretty_name": printable(content.rows.name), "tags": ["image-embeddings"]}
    lines = [
        *("---", json.dumps(front, indent=1), "---", ""),
        f"# {_code(content.rows.name)}",
        "",
        f"{len(content.rows):,} images with embeddings, exported by embprobe.",
        "",
        "| column | what it is |",
        "|---|---|",
        "| `key` | the image's name |",
        "| `image` | the image, as it was read |",
        *(f"| {_code(name)} | the label {_code(label)} |" for label, name in columns.items()),
    ]
    for encoder, vectors in content.vectors.items():
        name = content.names[encoder]
        lines.append(f"| `{name}_vector` | the embedding by {_code(encoder)}, {vectors.shape[1]} dimensions |")
        if encoder in content.layouts:
            lines.append(f"| `{name}_x`, `{name}_y` | where it is on a map of them |")
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    """Anybody's text as code in Markdown: it marks up nothing and ends no cell."""
    escaped = html.escape(visible(text)).replace("|", "&#124;").replace("`", "&#96;")
    return f"<code>{escaped}</code>"
