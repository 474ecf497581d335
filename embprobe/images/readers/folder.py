"""Read a folder of images; subfolders, sidecars and metadata files give the labels."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import SUFFIXES, UnreadableImage, refuse_large
from embprobe.images.labels import MAX_SIDECAR_BYTES, labels_of, note_of, path_labels, read_sidecar, repeated
from embprobe.images.rows import Images, Row
from embprobe.system.text import printable

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
_SIDECARS = ("json", "txt")
_OTHER_IMAGES = frozenset({".heic", ".heif", ".avif", ".jp2", ".svg", ".ico", ".psd", ".dng", ".cr2", ".nef", ".arw"})


class NoImages(EmbprobeError):
    """The folder has no image in it."""


def load_folder(folder: Path) -> Images:
    """Read every image file below ``folder``, sorted by path; keys are relative paths with forward slashes.

    The outermost subfolder becomes the label ``category`` (below folders named ``train``, ``test`` and so on, which
    become ``split``). Beside ``cat.jpg``, ``cat.txt`` is its caption and ``cat.json`` its labels; a ``metadata.csv``,
    ``.jsonl`` or ``.parquet`` with a column ``file_name`` labels the files around it, as in Hugging Face's ImageFolder.

    Hidden files and folders are passed over. Links to files are followed, links to folders are not, so a loop of links
    cannot trap the walk.

    Raises:
        NoImages: There is no image at any depth.
        EmbprobeError: A metadata file is damaged, or has no column ``file_name``.
    """
    paths, metadata, passed, closed = _walk(folder)
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        raise NoImages(f"There are no images in '{folder}'. Looked for files ending in {known}, at any depth.")
    keys = [path.relative_to(folder).as_posix() for path in paths]
    labels = path_labels([key.split("/")[:-1] for key in keys])
    broken = _add_sidecars(paths, labels)
    unlabelled, unmatched = _add_metadata(folder, metadata, keys, labels)
    notes = (
        *note_of("sidecar{s} that could not be understood", [_below(folder, path) for path in broken]),
        *note_of("image{s} without a line of metadata", unlabelled),
        *note_of("line{s} of metadata for an image that is not there", unmatched),
        *note_of("file{s} passed over, of a format that is not read", [_below(folder, path) for path in passed]),
        *note_of("folder{s} that may not be listed", [_below(folder, path) for path in closed]),
    )
    rows = (_row(path, key, row_labels) for path, key, row_labels in zip(paths, keys, labels, strict=True))
    return Images(printable(folder.resolve().name), tuple(rows), notes)


def load_file(path: Path) -> Images:
    """Read a single image file as a set of one row."""
    return Images(printable(path.name), (_row(path, path.name, {}),))


def _walk(folder: Path) -> tuple[list[Path], list[Path], list[Path], list[Path]]:
    """List the paths of images (by extension), metadata files, images in formats that are not read, closed folders."""
    closed: list[Path] = []
    images: list[Path] = []
    metadata: list[Path] = []
    others: list[Path] = []
    for parent, subfolders, names in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            suffix = Path(name).suffix.lower()
            if name.startswith("."):
                continue
            if name in _METADATA:
                metadata.append(Path(parent, name))
            elif suffix in SUFFIXES:
                images.append(Path(parent, name))
            elif suffix in _OTHER_IMAGES:
                others.append(Path(parent, name))
    return sorted(images), sorted(metadata), sorted(others), sorted(closed)


def _row(path: Path, key: str, labels: Mapping[str, str]) -> Row:
    try:
        status = path.stat()
        content = f"{status.st_size}:{status.st_mtime_ns}"
    except OSError:  # a link that leads nowhere, or in a circle; reading it says so
        content = "missing"
    return Row(key=key, labels=labels, content=content, source=partial(_read, path))


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("not a file (a pipe, a socket or a device)")
    refuse_large(status.st_size)
    return path.read_bytes()


def _add_sidecars(paths: Iterable[Path], labels: Iterable[dict[str, str]]) -> list[Path]:
    """Add the labels in sidecars to ``labels``; return the sidecars that could not be understood."""
    broken = []
    folder: Path | None = None
    names: frozenset[str] = frozenset()
    for path, row_labels in zip(paths, labels, strict=True):
        if path.parent != folder:
            folder, names = path.parent, frozenset(file.name for file in path.parent.iterdir())
        for extension in _SIDECARS:
            sidecar = path.with_suffix(f".{extension}")
            if sidecar.name in names and sidecar.is_file():
                try:
                    with sidecar.open("rb") as file:
                        row_labels |= read_sidecar(extension, file.read(MAX_SIDECAR_BYTES + 1))
                except (OSError, ValueError):
                    broken.append(sidecar)
    return broken


def _add_metadata(
    folder: Path, files: Iterable[Path], keys: list[str], labels: list[dict[str, str]]
) -> tuple[list[str], list[str]]:
    """Add the labels in metadata files to ``labels``; return the keys without a line, and the names without an image.

    A name in a metadata file is looked up among the images of the folder, never opened.
    """
    position = {key: i for i, key in enumerate(keys)}
    labelled: set[str] = set()
    unmatched: list[str] = []
    for file in files:
        parent = _below(folder, file.parent)
        for name, values in _metadata(file):
            key = os.path.normpath(f"{parent}/{name}")
            if key in position and not name.startswith("/"):
                labels[position[key]] |= values
                labelled.add(key)
            else:
                unmatched.append(name)
    return [key for key in keys if key not in labelled] if labelled else [], unmatched


def _metadata(file: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Read a metadata file: the name of an image and its labels, line by line."""
    try:
        if not file.is_file():
            raise OSError("not a file")
        for line in _lines(file):
            name = line.pop("file_name", None) or line.pop("image_file_name", None)
            if not isinstance(name, str):
                raise EmbprobeError(f"'{file}' is not right: it needs a column 'file_name' with a name in every line.")
            yield name, labels_of(line)
    except (OSError, ValueError, RecursionError, csv.Error, pa.ArrowException) as error:
        raise EmbprobeError(f"'{file}' cannot be read as metadata: {error}.") from None


def _lines(file: Path) -> Iterator[dict[str, object]]:
    if file.suffix == ".parquet":
        table = pq.ParquetFile(file)
        _refuse_repeated(table.schema_arrow.names)
        for batch in table.iter_batches():
            yield from batch.to_pylist()
        return
    text = io.StringIO(file.read_text(encoding="utf-8-sig"))
    if file.suffix == ".csv":
        records = csv.DictReader(text)
        _refuse_repeated([name for name in records.fieldnames or [] if name])
        for record in records:
            yield {name: value for name, value in record.items() if isinstance(name, str)}
        return
    for line in text:
        if line.strip():
            values = json.loads(line)
            if not isinstance(values, dict):
                raise ValueError("every line must be an object of named values")
            yield values


def _refuse_repeated(columns: Iterable[str]) -> None:
    twice = repeated(columns)
    if twice is not None:
        raise ValueError(f"there is more than one column '{twice}'")


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
