"""A folder of images: the subfolder is the category."""

from __future__ import annotations

import os
from pathlib import Path

from embprobe.errors import EmbprobeError
from embprobe.images.decoding import SUFFIXES, decode
from embprobe.images.rows import Images, Row, printable


def load_folder(folder: Path) -> Images:
    """Every image file below ``folder``, in the order of their paths; keys are relative paths with forward slashes.

    The name of the first subfolder becomes the label ``category``. Hidden files and folders are passed over. Links to
    files are followed, links to folders are not, so a loop of links cannot trap the walk.
    """
    paths = sorted(_image_files(folder))
    if not paths:
        known = ", ".join(sorted(SUFFIXES))
        raise EmbprobeError(f"There are no images in '{folder}'. Looked for files ending in {known}, at any depth.")
    return Images(printable(folder.resolve().name), tuple(_row(folder, path) for path in paths))


def load_file(path: Path) -> Images:
    """A single image file as a set of one row."""
    return Images(printable(path.name), (_row(path.parent, path),))


def _image_files(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, subfolders, names in os.walk(folder):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        candidates = (Path(parent) / name for name in names if not name.startswith("."))
        found += [path for path in candidates if path.suffix.lower() in SUFFIXES and path.is_file()]
    return found


def _row(root: Path, path: Path) -> Row:
    relative = path.relative_to(root)
    labels = {"category": relative.parts[0]} if len(relative.parts) > 1 else {}
    status = path.stat()
    content = f"{status.st_size}:{status.st_mtime_ns}"
    return Row(key=relative.as_posix(), labels=labels, content=content, read=lambda: decode(path))
