"""Read the bundled images: emoji drawn by several houses, a true concept x style factorial."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import UsageError
from embprobe.images.rows import Images, Row

SPLITS = ("train", "unseen-drawing", "unseen-concept", "related")
_LABELS = ("concept", "name", "category", "style", "family", "split", "motif")


def load_bundled(name: str) -> Images:
    """Open ``bundled/emoji``, or one of its splits: ``:train``, ``:unseen-drawing``, ``:unseen-concept``, ``:related``.

    Raises:
        UsageError: There are no bundled images of this name.
    """
    base, _, split = name.partition(":")
    if base != "bundled/emoji" or (split and split not in SPLITS):
        raise UsageError(f"There are no bundled images '{name}'. There are: bundled/emoji, " + _split_names() + ".")
    images = _emoji()
    return Images(name, images.where(split=split).rows) if split else images


@lru_cache(maxsize=1)
def _emoji() -> Images:
    folder = files("embprobe.datasets") / "emoji"
    keywords = json.loads((folder / "keywords.json").read_text(encoding="utf-8"))
    rows: list[Row] = []
    for resource in folder.iterdir():
        if resource.name.endswith(".parquet"):
            with as_file(resource) as path:
                rows += [_row(record, keywords) for record in _table(path).to_pylist()]
    return Images("bundled/emoji", tuple(sorted(rows, key=lambda row: row.key)))


def _table(path: Path) -> pa.Table:
    """Read one parquet file; ``read_table`` would import pyarrow.dataset and with it pandas, half a second."""
    with pq.ParquetFile(path) as file:
        table: pa.Table = file.read()
    return table


def _row(record: dict[str, object], keywords: dict[str, list[str]]) -> Row:
    image = record["image"]
    assert isinstance(image, dict)
    encoded: bytes = image["bytes"]
    labels = {name: str(record[name]) for name in _LABELS}
    labels["keywords"] = ", ".join(keywords[labels["concept"]])
    content = hashlib.sha256(encoded).hexdigest()[:16]
    return Row(key=str(record["key"]), labels=labels, content=content, source=lambda: encoded)


def _split_names() -> str:
    return ", ".join(f"bundled/emoji:{split}" for split in SPLITS)
