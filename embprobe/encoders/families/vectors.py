"""Vectors from files: ``vectors:FILE`` reads what another program wrote and computes nothing.

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
"""Columns that may hold the keys, the likelier ones first."""
_VECTORS = ("vectors", "embeddings", "embedding", "vector", "features")
_TABLES = (".parquet", ".csv", ".tsv")
Labels = Mapping[str, Sequence[str | None]]


def names() -> list[str]:
    """Return nothing: which files there are is the user's business."""
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
        weights: What stands behind a further colon; belongs to the file's name.
        device: Not used.
        keys: A table with the keys and labels of an ``.npy``'s rows, in their order.
        key: The column that holds the keys, where that is not one of the usual names.
        column: The column (parquet) or array (npz) that holds the vectors, where several could.
        match: ``position`` matches rows with images by their order; otherwise keys decide.

    Raises:
        UsageError: There is no such file, or an option is not right.
        EmbprobeError: The file is damaged or holds no vectors.
    """
    name = f"{model}:{weights}" if weights else model
    path = Path(name)
    if match not in ("", "position"):
        raise UsageError(f"match of 'vectors:{name}' may be 'position', not '{match}'; without it keys decide.")
    if not name or not path.exists():
        raise UsageError(f"There is no file or folder of vectors '{name}'.")
    by_position = match == "position"
    vectors, names_of_rows, labels = _read(path, keys=keys, key=key, column=column, by_position=by_position)
    return given_vectors(name, vectors, names_of_rows, labels=labels, family="vectors", by_position=by_position)


def _read(
    path: Path, *, keys: str, key: str, column: str, by_position: bool
) -> tuple[Any, Sequence[str] | None, Labels]:
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
    try:
        array = np.load(path, allow_pickle=False)
        if isinstance(array, np.ndarray):
            return array
        reason = "it holds several"
    except Exception as error:  # numpy's and zipfile's many
        reason = _reason(error)
    raise EmbprobeError(f"'{path}' cannot be read as an array of numbers: {reason}.")


def _npz(path: Path, key: str, column: str) -> tuple[Any, Sequence[str] | None, Labels]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # zipfile's and numpy's many
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
    import pyarrow as pa

    table = _table(path)
    lists = [field.name for field in table.schema if _is_vector(field.type)]
    chosen = _choose(path, "column", lists, column, _VECTORS)
    lengths = {len(row) if row is not None else 0 for row in table[chosen].to_pylist()}
    if len(lengths) != 1:
        raise EmbprobeError(f"The vectors in the column '{chosen}' of '{path}' have different lengths.")
    flat = table[chosen].combine_chunks().flatten()
    if flat.null_count:
        raise EmbprobeError(f"{flat.null_count:,} numbers in the column '{chosen}' of '{path}' are missing.")
    vectors = flat.to_numpy(zero_copy_only=False).reshape(table.num_rows, -1)
    rest = table.drop_columns([name for name in table.column_names if pa.types.is_nested(table[name].type)])
    return vectors, *_keys_and_labels(rest, path, key, needed=True)


def _folder(path: Path, key: str) -> tuple[Any, Sequence[str] | None, Labels]:
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
    """Return a table from parquet, CSV or TSV; the values of CSV are texts, so that 007 stays what it is."""
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
    import pyarrow as pa

    columns = {name: table[name] for name in table.column_names if not pa.types.is_nested(table[name].type)}
    columns = {name: column for name, column in columns.items() if not _is_bytes(column.type)}
    chosen = key or next((name for name in _KEYS if name in columns), "")
    if chosen not in columns:
        if not needed and not key:
            return None, {name: _texts(column.to_pylist()) for name, column in columns.items()}
        what = f"column '{key}'" if key else "column of keys (" + ", ".join(_KEYS) + ")"
        raise UsageError(f"'{path}' has no {what}. Its columns: {', '.join(table.column_names)}. Name it: ,key=COLUMN.")
    keys = columns[chosen].to_pylist()
    if lacking := sum(value is None for value in keys):
        raise EmbprobeError(f"{lacking:,} of {len(keys):,} keys in the column '{chosen}' of '{path}' are missing.")
    labels = {name: _texts(column.to_pylist()) for name, column in columns.items() if name != chosen}
    return [str(value) for value in keys], labels


def _choose(path: Path, what: str, candidates: Sequence[str], wanted: str, usual: Sequence[str]) -> str:
    """Return the column or array of vectors: the one that is wanted, the only one, or the one with a usual name."""
    if wanted:
        if wanted not in candidates:
            known = ", ".join(candidates) or "none"
            raise UsageError(f"'{path}' has no {what} of vectors '{wanted}'. It has {known}.")
        return wanted
    chosen = list(candidates) if len(candidates) == 1 else [name for name in usual if name in candidates][:1]
    if not chosen:
        known = f"several: {', '.join(candidates)}. Name one: ,column=NAME" if candidates else "none"
        raise UsageError(f"'{path}' must have one {what} of vectors; it has {known}.")
    return chosen[0]


def _is_vector(kind: pa.DataType) -> bool:
    import pyarrow as pa

    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)))


def _is_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None or value != value else str(value) for value in values]


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
