"""Read a folder of images, or one image."""

from __future__ import annotations

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
    paths: list[Path] = []
    metadata: list[Path] = []
    sidecars: list[Path] = []
    shards: set[str] = set()
    for parent, name in walk.files():
        if name in METADATA:
            metadata.append(Path(parent, name))
        elif is_image(name):
            paths.append(Path(parent, name))
        else:
            passed.add(parent, name)
            if (shard := _SHARD_FILE.fullmatch(name)) is not None:
                shards.add(_below(folder, Path(parent, shard[1])))
            elif is_sidecar(name):
                sidecars.append(Path(parent, name))
    left_out = (*passed.notes(), *walk.notes())
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        found = "".join(f" {note[:1].upper()}{note[1:]}." for note in left_out)
        raise NoImages(f"There are no images in '{folder}'. Looked for files ending in {known}, at any depth.{found}")
    paths.sort()
    keys = [path.relative_to(folder).as_posix() for path in paths]
    guess = path_labels([key.split("/")[:-1] for key in keys], levels=reading.folders, shards=shards)
    labels = guess.labels
    notes = (
        *add_sidecars(folder, paths, sidecars, labels),
        *add_metadata(folder, sorted(metadata), keys, labels, reading),
        *left_out,
        *([guess.note] if guess.note else []),
    )
    return Images(printable(folder.resolve().name), _rows(folder, keys, labels), notes)


def load_file(path: Path) -> Images:
    """Read a single image file as a set of one row."""
    return Images(printable(path.name), _rows(path.parent, [path.name], [{}]))


def _rows(folder: Path, keys: Sequence[str], labels: Iterable[Mapping[str, str]]) -> Columns:
    names = texts_of(keys)

    def read(number: int) -> bytes:
        return _read(folder / text_at(names, number))

    return Columns(
        keys=names,
        content=(texts_of(_content(folder / key) for key in keys),),
        labels=labels_of(labels),
        sources=References((Sources(read),), np.arange(len(keys))),
    )


def _content(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:  # a link that leads nowhere, or in a circle; reading it says so
        return "missing"
    return f"{status.st_size}:{status.st_mtime_ns}"


def _read(path: Path) -> bytes:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise UnreadableImage("not a file (a pipe, a socket or a device)")
    refuse_large(status.st_size)
    return path.read_bytes()


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
