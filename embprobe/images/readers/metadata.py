"""Label a folder's images by metadata files, which have a line for each image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.labels import note_of
from embprobe.images.readers.metadata_files import KEY_COLUMNS, Metadata, plain, read_metadata
from embprobe.images.readers.metadata_names import ImageNames, Matches, match_names
from embprobe.images.reading import Reading
from embprobe.system.suggestions import did_you_mean
from embprobe.system.text import visible

METADATA = ("metadata.csv", "metadata.tsv", "metadata.jsonl", "metadata.parquet")
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet")
_OTHER_TABLES = (".xlsx", ".xls", ".ods")
_DELIMITERS = {",": "a comma", ";": "a semicolon", "\t": "a tab", "|": "a bar"}
_EXACT = ("file_name", "image_file_name")
"""Columns that name images by definition, whether the images are there or not."""


def add_metadata(
    folder: Path, files: Sequence[Path], keys: Sequence[str], labels: Sequence[dict[str, str]], reading: Reading
) -> list[str]:
    """Add the labels in metadata files to ``labels``, and return notes about lines and images without a partner.

    A name in a metadata file is looked up among the images of the folder, never opened.

    Args:
        folder: The folder of images.
        files: The metadata files in it.
        keys: The paths of the images, relative to ``folder``.
        labels: The labels of each image; they are changed.
        reading: Its ``key_column`` is the column that names the images.

    Raises:
        UsageError: No table has the column that the user names.
        EmbprobeError: A file is damaged, or has no column that names images.
    """
    others = _other_tables(folder, files)
    if reading.key_column is not None and not files:
        files, others = [_only_table(folder, others, reading.key_column)], []
    names = ImageNames(keys)
    notes: list[str] = []
    labelled: set[int] = set()
    unmatched: list[str] = []
    for file in files:
        table = read_metadata(file, reading.key_column)
        parent = file.parent.relative_to(folder).as_posix()
        column, matches = _key_column(table, parent, names, reading.key_column)
        notes += [*table.notes, *matches.remarks, *_odd_lines(table, column, matches, parent, names)]
        for i, (name, image) in enumerate(zip(table.values[column], matches.images, strict=True)):
            if image is None:
                unmatched += [name] if name is not None else []
                continue
            labelled.add(image)
            if i not in table.surplus:
                found = {other: values[i] for other, values in table.values.items() if other != column}
                labels[image] |= {other: value for other, value in found.items() if value is not None}
    without = [key for i, key in enumerate(keys) if i not in labelled] if labelled else []
    notes += note_of("image{s} without a line of metadata", without)
    notes += _unmatched(unmatched, names)
    first = "" if reading.key_column else ", or name its column of file names with --key-column"
    hint = f"table{{s}} not read (call it metadata.csv{first})"
    notes += note_of(hint, [path.name for path in others if path.suffix.lower() != ".parquet"])  # noted by the walk
    return notes


def _key_column(table: Metadata, parent: str, names: ImageNames, named: str | None) -> tuple[str, Matches]:
    """Choose the column that names the images: the one that the user names, or the likeliest that does name them.

    Returns its name and the images of its values.
    """
    where = visible(str(table.path))
    if named is not None:
        if named not in table.values:
            near = visible(did_you_mean(named, table.columns, quoted=True))
            raise UsageError(f"'{where}' has no column '{visible(named)}'.{near} Its columns: {_listed(table)}.")
        return named, match_names(table.values[named], parent, names)
    exact = next((name for name in _EXACT if name in table.values), None)
    if exact is not None:
        if exact in table.not_text or None in table.values[exact]:
            row = next((i for i, value in enumerate(table.values[exact]) if value is None), 0)
            problem = f"it needs a column '{exact}' with a name in every row; row {row + 1:,} has none"
            raise EmbprobeError(f"'{where}' is not right: {problem}.")
        return exact, match_names(table.values[exact], parent, names)
    known = {plain(name): rank for rank, name in enumerate(KEY_COLUMNS)}
    candidates = sorted((name for name in table.values if plain(name) in known), key=lambda name: known[plain(name)])
    for column in candidates:
        match = match_names(table.values[column], parent, names)
        if match.count * 2 > len(table):
            remark = f"the column '{column}' of {table.path.name} names the images (--key-column names another)"
            return column, Matches(match.images, (remark, *match.remarks))
    raise EmbprobeError(f"'{where}' is not right: {_unclear(table, candidates, parent, names)}")


def _unclear(table: Metadata, candidates: Sequence[str], parent: str, names: ImageNames) -> str:
    """Explain that no column is known to name images, and how to name one."""
    columns = f"Its columns: {_listed(table)}."
    if not len(table):
        return f"it has no line with values. {columns}"
    matches = {name: match_names(table.values[name], parent, names).count for name in table.values}
    likeliest = max(matches, key=lambda name: matches[name], default=None)
    if likeliest is not None and matches[likeliest]:
        name, count = visible(likeliest), matches[likeliest]
        advice = f"'{name}' holds names of {count:,} image{'' if count == 1 else 's'} here: --key-column '{name}'."
    elif candidates:
        example = next((value for value in table.values[candidates[0]] if value is not None), "")
        advice = f"'{visible(candidates[0])}' might, but its values are no images here, first '{visible(example)}'."
    else:
        near = next((name for name in table.columns if did_you_mean(plain(name), map(plain, KEY_COLUMNS))), None)
        like = did_you_mean(near, KEY_COLUMNS, quoted=True, cutoff=0.5).strip() if near else ""
        like = f" '{visible(near)}' is most like it. {like}" if near else ""
        advice = f"--key-column COLUMN names the one that does.{like}".rstrip()
    return f"it needs a column 'file_name' that names the images. {columns} {advice}"


def _listed(table: Metadata) -> str:
    return ", ".join(f"'{visible(name)}'" for name in table.columns) or "none"


def _odd_lines(table: Metadata, column: str, matches: Matches, parent: str, names: ImageNames) -> list[str]:
    """Write notes about lines whose labels may be lost: several for one image, too many values, swallowed lines."""
    where, values = visible(table.path.name), table.values[column]
    times = Counter(image for image in matches.images if image is not None)
    delimiter = _DELIMITERS.get(table.delimiter, visible(table.delimiter))
    swallowing = [
        values[i] or ""
        for cells in table.values.values()
        for i, cell in enumerate(cells)
        if cell is not None and "\n" in cell and _holds_lines(cell, table.delimiter, parent, names)
    ]
    return [
        *note_of(
            f"image{{s}} with more than one line in {where}, of which the last counts",
            [names.keys[image] for image, count in times.items() if count > 1],
        ),
        *note_of(
            f"line{{s}} of {where} with more values than columns, whose labels are left out (a text that holds "
            f"{delimiter} needs quotation marks)",
            [values[i] or "" for i in sorted(table.surplus)],
        ),
        *note_of(f"value{{s}} of {where} with lines of other images inside: is a quotation mark missing", swallowing),
        *note_of(
            f"line{{s}} of {where} without a name in '{visible(column)}'",
            [f"row {i + 1:,}" for i, value in enumerate(values) if value is None],
        ),
    ]


def _holds_lines(value: str, delimiter: str, parent: str, names: ImageNames) -> bool:
    """Return whether a value goes over several lines, and a later one names an image beside a delimiter."""
    cells = (cell.strip('" ') for line in value.split("\n")[1:] for cell in line.split(delimiter))
    return any(names.find(parent, cell) is not None for cell in cells if cell)


def _unmatched(unmatched: Sequence[str], names: ImageNames) -> list[str]:
    """Write a note about the lines whose image is not there, with the likely reasons."""
    elsewhere = sum(names.has_base_of(name) for name in unmatched)
    otherwise = sum(names.has_stem_of(name) and not names.has_base_of(name) for name in unmatched)
    reasons = [
        f"{count:,} {reason}"
        for count, reason in (
            (elsewhere, "with the name of an image in another folder"),
            (otherwise, "with the name of an image that has another ending"),
        )
        if count
    ]
    notes = note_of("line{s} of metadata for an image that is not there", unmatched)
    return [f"{note} ({'; '.join(reasons)})" if reasons else note for note in notes]


def _other_tables(folder: Path, files: Iterable[Path]) -> list[Path]:
    """List the tables at the top of the folder that are no metadata files."""
    read = set(files)
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in (*_TABLES, *_OTHER_TABLES))
    except OSError:
        return []
    return [path for path in paths if path not in read and not path.name.startswith(".") and path.is_file()]


def _only_table(folder: Path, tables: Sequence[Path], key_column: str) -> Path:
    """Return the one table at the top of the folder; raises :class:`UsageError` if there is none or more than one."""
    readable = [path for path in tables if path.suffix.lower() in _TABLES]
    if len(readable) == 1:
        return readable[0]
    column = visible(key_column)
    if not readable:
        raise UsageError(
            f"'{visible(str(folder))}' has no table of labels with a column '{column}': no metadata.csv, .tsv, .jsonl "
            "or .parquet, and no other .csv."
        )
    listed = ", ".join(f"'{visible(path.name)}'" for path in readable)
    raise UsageError(
        f"'{visible(str(folder))}' has more than one table that could have the column '{column}': {listed}. "
        "Call the right one metadata.csv."
    )
