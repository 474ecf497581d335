"""Read a folder of images: the walk through it, and its rows."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import SUFFIXES, UnreadableImage, refuse_large
from embprobe.images.labels import note_of
from embprobe.images.paths import path_labels
from embprobe.images.readers.metadata import METADATA, add_metadata
from embprobe.images.readers.sidecars import add_sidecars
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images, Row
from embprobe.system.text import printable

_OTHER_IMAGES = frozenset({".heic", ".heif", ".avif", ".jp2", ".svg", ".ico", ".psd", ".dng", ".cr2", ".nef", ".arw"})


class NoImages(EmbprobeError):
    """The folder has no image in it."""


def load_folder(folder: Path, reading: Reading = GUESSED) -> Images:
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
    notes = (
        *add_sidecars(folder, paths, labels),
        *add_metadata(folder, metadata, keys, labels, reading),
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
            if name in METADATA:
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


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
