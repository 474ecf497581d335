"""Read vectors from files that another program wrote: ``vectors:FILE`` computes nothing.

- ``.npy``: a matrix; its keys and labels are in a table beside it (the same name with ``.parquet`` or ``.csv``), or in
  the one that ``keys=`` names.
- ``.npz``: the matrix ``vectors`` (or the only matrix), ``keys``, and other arrays of as many values as labels.
- ``.parquet``: a column of lists of numbers, other columns as labels; embedding-atlas's files are of this form.
- a folder: ``img_emb/*.npy`` with ``metadata/*.parquet`` beside it, as clip-retrieval and embprobe's stores have it.

Nothing is unpickled: arrays of Python objects are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embprobe.encoders.given import GivenVectors, given_vectors
from embprobe.encoders.spec import Listing
from embprobe.errors import EmbprobeError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = ("key", "__key__", "id", "image_path", "path", "filename", "file_name", "url")
"""Usual names of columns of image keys, the likelier ones first."""
_VECTORS = ("vectors", "embeddings", "embedding", "vector", "features")
"""Usual names of columns and arrays of vectors, the likelier ones first."""
_TABLES = (".parquet", ".csv", ".tsv")
Labels = Mapping[str, Sequence[str | None]]
"""By label name, a value for each row, None where it has none."""


def names() -> list[str]:
    """Return an empty list, because files of the user cannot be listed."""
    return []


def describe(name: str) -> Listing:
    """Describe the family: a file that a user names."""
    return Listing(name, "a file of vectors: vectors:FILE")


def load(
    model: str, weights: str, *, device: str, keys: str = "", key: str = "", column: str = "", match: str = ""
) -> GivenVectors:
    """Return the vectors of ``vectors:FILE``.

    Args:
        model: The file or folder.
        weights: The part of the file's name behind a colon in it; "" if it has none.
        device: Not used.
        keys: A table with the keys and labels of an ``.npy``'s rows, in their order.
        key: The column that holds the keys, where that is not one of the usual names.
        column: The column (parquet) or array (npz) that holds the vectors, where several could.
        match: ``position`` matches rows with images by their order; otherwise keys decide.

    Raises:
        UsageError: There is no such file, it is of no form above, or an option does not suit it.
        EmbprobeError: The file is damaged or holds no vectors.
    """
    name = f"{model}:{weights}" if weights else model
    path = Path(name)
    if match not in ("", "position"):
        raise UsageError(f"match of 'vectors:{name}' may be 'position', not '{match}'; without it keys decide.")
    if not name or not path.exists():
        raise UsageError(f"There is no file or folder of vectors '{name}'.")
    by_position = match == "position"
    vectors, row_keys, labels = _read(path, keys=keys, key=key, column=column, by_position=by_position)
    return given_vectors(name, vectors, row_keys, labels=labels, family="vectors", by_position=by_position)


def _read(
    path: Path, *, keys: str, key: str, column: str, by_position: bool
) -> tuple[Any, Sequence[str] | None, Labels]:
    """Return vectors, keys (None without a table of them) and labels, from a file or folder of any of the forms."""
    if path.is_dir():
        return _folder(path, key)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet(path, key, column)
    if suffix == ".npz":
        return _npz(path, key, column)
    if suffix != ".npy":
        raise UsageError(f"'{path}' holds no vectors that can be read: give .npy, .npz, .parquet or a folder of them.")
    table = Path(keys) if keys else next((t for s in _TABLES if (t := path.with_suffix(s)).exists()), None)
    vectors = _array(path)
    if table is None:
        if by_position:
            return vectors, None, {}
        raise UsageError(
            f"'{path}' has no keys: put a table beside it ({path.with_suffix('.csv').name} with a column 'key', a line "
            "a vector), name one with ,keys=FILE, or match vectors and images in their order with ,match=position."
        )
    return vectors, *_keys_and_labels(_table(table), table, key, needed=not by_position)


def _array(path: Path) -> Any:
    """Read the one array of an ``.npy``; EmbprobeError if it cannot be read."""
    try:
        array = np.load(path, allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        reason = "it holds several"
    except Exception as error:  # numpy and zipfile raise many kinds
        reason = _reason(error)
    raise EmbprobeError(f"'{path}' cannot be read as an array of numbers: {reason}.")


def _npz(path: Path, key: str, column: str) -> tuple[Any, Sequence[str] | None, Labels]:
    """Return vectors, keys (None if it holds none) and labels from the arrays of an ``.npz``."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile and numpy raise many kinds
        raise EmbprobeError(f"'{path}' cannot be read as arrays of numbers: {_reason(error)}.") from None
    matrices = [name for name, array in arrays.items() if array.ndim == 2]
    chosen = _choose(path, "array", matrices, column, _VECTORS)
    n = len(arrays[chosen])
    columns = {name: array.tolist() for name, array in arrays.items() if array.ndim == 1 and len(array) == n}
    key = key or next((name for name in ("keys", *_KEYS) if name in columns), "")
    labels = {name: _texts(values) for name, values in columns.items() if name != key}
    if key and key not in columns:
        raise UsageError(f"'{path}' has no array '{key}' of {n:,} keys. It has {', '.join(arrays) or 'none'}.")
    return arrays[chosen], [str(value) for value in columns[key]] if key else None, labels


def _parquet(path: Path, key: str, column: str) -> tuple[Any, Sequence[str] | None, Labels]:
    """Return vectors, keys and labels from a parquet table with a column of lists; what is missing is NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table = _table(path)
    columns = [field.name for field in table.schema if _is_vector(field.type)]
    chosen = _choose(path, "column", columns, column, _VECTORS)
    lists = table[chosen].combine_chunks()
    lengths = pc.unique(pc.list_value_length(lists.drop_null())).to_pylist()
    if len(lengths) != 1:
        raise EmbprobeError(f"The vectors in the column '{chosen}' of '{path}' have different lengths, or are missing.")
    there = lists.is_valid().to_numpy(zero_copy_only=False)
    numbers = lists.drop_null().flatten().to_numpy(zero_copy_only=False)  # of a missing number NaN
    vectors = numbers.reshape(-1, lengths[0])
    if not there.all():
        vectors = np.full((table.num_rows, lengths[0]), np.nan, np.result_type(vectors.dtype, np.float32))
        vectors[there] = numbers.reshape(-1, lengths[0])
    rest = table.drop_columns([name for name in table.column_names if pa.types.is_nested(table[name].type)])
    return vectors, *_keys_and_labels(rest, path, key, needed=True)


def _folder(path: Path, key: str) -> tuple[Any, Sequence[str] | None, Labels]:
    """Return vectors, keys and labels from ``img_emb/*.npy`` and ``metadata/*.parquet``, joined in name order."""
    import pyarrow as pa

    parts = sorted((path / "img_emb").glob("*.npy"))
    tables = sorted((path / "metadata").glob("*.parquet"))
    if not parts or len(parts) != len(tables):
        raise UsageError(
            f"'{path}' is no folder of vectors: it has {len(parts)} files img_emb/*.npy and {len(tables)} "
            "metadata/*.parquet, and needs as many of each."
        )
    vectors = [_array(part) for part in parts]
    if len({array.shape[1:] for array in vectors}) != 1:
        raise EmbprobeError(f"The arrays in '{path / 'img_emb'}' have different widths.")
    metadata = pa.concat_tables([_table(table) for table in tables], promote_options="default")
    return np.concatenate(vectors), *_keys_and_labels(metadata, path / "metadata", key, needed=True)


def _table(path: Path) -> pa.Table:
    """Read a table from parquet, CSV or TSV; the values of CSV are texts, so that 007 does not become 7."""
    import pyarrow as pa
    import pyarrow.csv as csv
    import pyarrow.parquet as pq

    try:
        if path.suffix.lower() == ".parquet":
            return pq.read_table(path)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        with path.open(encoding="utf-8-sig") as file:
            columns = file.readline().rstrip("\r\n").split(delimiter)
        texts = {name.strip('"'): pa.string() for name in columns}
        options = csv.ConvertOptions(column_types=texts, strings_can_be_null=True, null_values=[""])
        return csv.read_csv(path, parse_options=csv.ParseOptions(delimiter=delimiter), convert_options=options)
    except FileNotFoundError:
        raise UsageError(f"There is no table of keys '{path}'.") from None
    except (OSError, ValueError, pa.ArrowException) as error:
        raise EmbprobeError(f"The table '{path}' cannot be read: {_reason(error)}.") from None


def _keys_and_labels(table: pa.Table, path: Path, key: str, *, needed: bool) -> tuple[Sequence[str] | None, Labels]:
    """Return the keys in a table's column ``key``, or in one of a usual name, and the other columns as labels.

    Without such a column, keys are None unless they are ``needed``, which is a UsageError.
    """
    import pyarrow as pa

    columns = {name: table[name] for name in table.column_names if not pa.types.is_nested(table[name].type)}
    columns = {name: column for name, column in columns.items() if not _is_bytes(column.type)}
    chosen = key or next((name for name in _KEYS if name in columns), "")
    if chosen not in columns:
        if not needed and not key:
            return None, {name: _texts(column.to_pylist()) for name, column in columns.items()}
        lacking = f"column '{key}'" if key else "column of keys (" + ", ".join(_KEYS) + ")"
        raise UsageError(
            f"'{path}' has no {lacking}. Its columns: {', '.join(table.column_names)}. Name it: ,key=COLUMN."
        )
    keys = columns[chosen].to_pylist()
    if missing := sum(value is None for value in keys):
        raise EmbprobeError(f"{missing:,} of {len(keys):,} keys in the column '{chosen}' of '{path}' are missing.")
    labels = {name: _texts(column.to_pylist()) for name, column in columns.items() if name != chosen}
    return [str(value) for value in keys], labels


def _choose(path: Path, noun: str, candidates: Sequence[str], column: str, usual: Sequence[str]) -> str:
    """Return the name of the column or array of vectors: ``column``, or the only one, or one of a usual name.

    ``noun`` is the word for it in messages, ``column`` or ``array``.
    """
    if column:
        if column not in candidates:
            known = ", ".join(candidates) or "none"
            raise UsageError(f"'{path}' has no {noun} of vectors '{column}'. It has {known}.")
        return column
    chosen = list(candidates) if len(candidates) == 1 else [name for name in usual if name in candidates][:1]
    if not chosen:
        known = f"several: {', '.join(candidates)}. Name one: ,column=NAME" if candidates else "none"
        raise UsageError(f"'{path}' must have one {noun} of vectors; it has {known}.")
    return chosen[0]


def _is_vector(kind: pa.DataType) -> bool:
    """Return whether values of this type are lists of numbers."""
    import pyarrow as pa

    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(is_list and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _texts(values: Sequence[Any]) -> list[str | None]:
    """Return values as texts, None for a missing one or NaN."""
    return [None if value is None or value != value else str(value) for value in values]


def _reason(error: Exception) -> str:
    """Return the first line of an exception's message, or its kind where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
