"""Read a folder of images, or one image."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from embprobe.errors import EmbprobeError
from embprobe.images.columns import Columns, References, Sources, labels_of, text_at, texts_of
from embprobe.images.decoding import SUFFIXES, UnreadableImage, refuse_large
from embprobe.images.paths import path_labels
from embprobe.images.readers.metadata import METADATA, add_metadata
from embprobe.images.readers.passed import PassedOver
from embprobe.images.readers.sidecars import add_sidecars, is_sidecar
from embprobe.images.readers.walk import Walk, is_image
from embprobe.images.reading import GUESSED, Reading
from embprobe.images.rows import Images
from embprobe.system.text import printable

_SHARD_FILE = re.compile(r"(\d+)(?:\.parquet|_stats\.json)")
"""The files that img2dataset writes beside the folder of each shard."""


class NoImages(EmbprobeError):
    """The folder has no image in it."""


def load_folder(folder: Path, reading: Reading = GUESSED) -> Images:
    """Read every image file below ``folder``, sorted by path; keys are relative paths with forward slashes.

    Folders become the labels ``category`` and ``split`` (:func:`~embprobe.images.paths.path_labels`). Beside
    ``cat.jpg``, ``cat.txt`` is its caption and ``cat.json`` its labels; a ``metadata.csv``, ``.jsonl`` or ``.parquet``
    with a column ``file_name`` labels the files around it, as in Hugging Face's ImageFolder.

    Hidden files and folders and embprobe's own output are passed over, links are followed
    (:class:`~embprobe.images.readers.walk.Walk`).

    Raises:
        NoImages: There is no image at any depth.
        UsageError: The folder is a workspace, or ``reading`` names levels of folders that are not there.
        EmbprobeError: A metadata file is damaged, or has no column ``file_name``.
    """
    walk, passed = Walk(folder), PassedOver(folder)
    keys: list[str] = []
    metadata: list[Path] = []
    sidecars: list[str] = []
    shards: set[str] = set()
    root = os.fspath(folder)
    for parent, name in walk.files():
        if name in METADATA:
            metadata.append(Path(parent, name))
        elif is_image(name):
            keys.append(_key(root, parent, name))
        else:
            passed.add(parent, name)
            if (shard := _SHARD_FILE.fullmatch(name)) is not None:
                shards.add(_key(root, parent, shard[1]))
            elif is_sidecar(name):
                sidecars.append(_key(root, parent, name))
    left_out = (*passed.notes(), *walk.notes())
    if not keys:
        known = ", ".join(sorted(SUFFIXES))
        found = "".join(f" {note[:1].upper()}{note[1:]}." for note in left_out)
        raise NoImages(f"There are no images in '{folder}'. Looked for files ending in {known}, at any depth.{found}")
    keys.sort(key=_in_order)
    shared: dict[str, list[str]] = {}  # a list for each folder, not for each image
    folders = [shared.setdefault(above, above.split("/") if above else []) for above in map(_above, keys)]
    guess = path_labels(folders, levels=reading.folders, shards=shards)
    labels = guess.labels
    notes = (
        *add_sidecars(folder, keys, sidecars, labels),
        *add_metadata(folder, sorted(metadata), keys, labels, reading),
        *left_out,
        *([guess.note] if guess.note else []),
    )
    return Images(printable(folder.resolve().name), file_rows(folder, keys, labels), notes)


def load_file(path: Path) -> Images:
    """Read a single image file as a set of one row."""
    return Images(printable(path.name), file_rows(path.parent, [path.name], [{}]))


def file_rows(folder: Path, keys: Sequence[str], labels: Iterable[Mapping[str, str]]) -> Columns:
    """Return the rows of image files by their paths below a folder, one set of labels for each."""
    names, root = texts_of(keys), os.fspath(folder)

    def read(number: int) -> bytes:
        return _read(folder / text_at(names, number))

    return Columns(
        keys=names,
        content=(texts_of(_content(f"{root}/{key}") for key in keys),),
        labels=labels_of(labels),
        sources=References((Sources(read),), np.arange(len(keys))),
    )


def _content(path: str) -> str:
    try:
        status = os.stat(path)  # noqa: PTH116  # pathlib keeps every name
    except OSError:  # a link that leads nowhere, or in a circle; reading it says so
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("not a file (a pipe, a socket or a device)")
    refuse_large(status.st_size)
    return path.read_bytes()


def _key(root: str, parent: str, name: str) -> str:
    """Return the path below ``root`` of a file in ``parent``, with forward slashes."""
    below = parent[len(root) :].replace(os.sep, "/").lstrip("/")
    return f"{below}/{name}" if below else name


def _above(key: str) -> str:
    return key.rpartition("/")[0]


def _in_order(key: str) -> str:
    """Return what keys are sorted by: files of a folder, and folders, by their names."""
    return key.replace("/", "\0")
