"""Read data sets of the Hugging Face hub, through its own library ``datasets`` (the extra ``hf``)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.readers.locations import why
from embprobe.images.readers.tables import Part, classes_of, columns_of, load_parts
from embprobe.images.reading import Reading
from embprobe.images.rows import Images
from embprobe.system.hub import cache_if_unreachable, unreachable_reason

BLOCK_ROWS = 100


def load_hub(name: str, reading: Reading) -> Images:
    """Open ``owner/name``, ``owner/name/configuration`` or ``owner/name:split``; without a split, all splits.

    The library downloads them into its own cache the first time; instead of ``owner/name`` it takes a folder, too. Each
    row has the label ``split``.

    Raises:
        UsageError: The name is of another form, or the library is not installed.
        EmbprobeError: The library cannot load the data set; the message has its reason.
    """
    path, _, split = name.partition(":")
    here = bool(path) and Path(path).is_dir()
    if not here and path.count("/") not in (1, 2):
        raise UsageError(f"A data set of the hub is hf:OWNER/NAME, with a split hf:OWNER/NAME:SPLIT; not 'hf:{name}'.")
    library, configuration = _library(), None
    if not here and path.count("/") == 2:
        path, _, configuration = path.rpartition("/")
    try:
        with cache_if_unreachable(local=here):
            dataset = library.load_dataset(path, configuration, split=split or None)
    except Exception as error:  # the library and the hub raise many kinds
        unreached = unreachable_reason(error)
        reason = f"{unreached}, and it is not in the cache" if unreached else why(error)
        raise EmbprobeError(f"'hf:{name}' could not be loaded: {reason}.") from None
    splits: dict[str, Any] = {split: dataset} if split else dict(dataset)
    columns = columns_of(next(iter(splits.values())).features.arrow_schema, f"hf:{name}", reading)
    parts = (part for key, rows in splits.items() for part in _parts(library, key, rows, columns.image, reading))
    return load_parts(f"hf:{name}", columns, parts)


def _library() -> Any:
    try:
        import datasets
    except ImportError:
        raise UsageError("Data sets of the Hugging Face hub need the extra 'hf': pip install 'embprobe[hf]'.") from None
    if not hasattr(datasets, "load_dataset"):
        raise UsageError(
            "A folder named 'datasets' hides the library of that name. Run embprobe from another folder, "
            "or install the extra 'hf'."
        )
    return datasets


def _parts(library: Any, split: str, rows: Any, image: str, reading: Reading) -> Iterator[Part]:
    encoded = rows.select_columns([image]).cast_column(image, library.Image(decode=False)).with_format("arrow")
    labels: pa.Table = rows.remove_columns([image]).with_format("arrow")[:] if rows.column_names != [image] else None
    classes = classes_of(rows.features.arrow_schema, reading)
    for first in range(0, len(rows), BLOCK_ROWS):
        size = min(BLOCK_ROWS, len(rows) - first)
        part = pa.table({"": pa.nulls(size)}) if labels is None else labels.slice(first, size)
        read = partial(_images, encoded, first, first + size, image)
        yield Part(split, rows._fingerprint, first, part, read, classes, split)


def _images(encoded: Any, first: int, end: int, column: str) -> pa.ChunkedArray:
    return encoded[first:end][column]
