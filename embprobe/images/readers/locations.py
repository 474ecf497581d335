"""Find files by local paths, fsspec URLs and patterns (``{000..010}``, ``*``), and read them."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import fsspec.core
from braceexpand import braceexpand
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.decoding import UnreadableImage
from embprobe.images.labels import note_of
from embprobe.images.readers.walk import Walk
from embprobe.system.folders import is_hidden, workspace_around

_WILD = "*?["
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Location:
    """One file, on this machine or on another."""

    name: str
    """Its path below the folder that all files of a pattern share, without the extension."""
    path: str
    size: int
    mark: str
    """Changes when the file is written anew."""
    system: Any = field(repr=False, compare=False)

    @property
    def local(self) -> bool:
        """Return whether the file lies on this machine."""
        return isinstance(self.system, LocalFileSystem)

    def open(self) -> BinaryIO:
        """Open the file for reading at any position; the caller closes it."""
        try:
            file: BinaryIO = self.system.open(self.path, "rb")
        except Exception as error:
            raise self.failure(error) from None
        return file

    def read(self, start: int, end: int) -> bytes:
        """Read the bytes from ``start`` up to ``end``; fewer if the file ends before."""
        try:
            content: bytes = self.system.cat_file(self.path, start=start, end=end)
        except Exception as error:
            raise self.failure(error) from None
        return content

    def failure(self, error: Exception) -> Exception:
        """Make the exception to raise for a failed read.

        On this machine, the rows in the file are unreadable; on another it may be the network, so the run must stop.
        """
        if self.local:
            return UnreadableImage(f"'{self.path}': {why(error)}")
        return EmbprobeError(
            f"'{self.path}' could not be read: {why(error)}. Run again to go on from where it stopped."
        )


def why(error: Exception) -> str:
    """Return the reason that an error gives, on one line; its type if it gives none."""
    text = (getattr(error, "strerror", None) or str(error)).strip()
    return text.splitlines()[0].rstrip(".") if text else type(error).__name__


@dataclass(frozen=True)
class Found:
    """The files that a pattern stands for, in order, and notes on those that were passed over."""

    files: list[Location]
    notes: tuple[str, ...]


def find_files(pattern: str) -> Found:
    """Find the files that a path, a URL or a pattern stands for.

    Wildcards stand for no hidden file, and on this machine for none of a workspace of embprobe; ``**`` goes along links
    as :class:`~embprobe.images.readers.walk.Walk` does.

    Raises:
        UsageError: The pattern's braces do not match, or its protocol is not known.
        EmbprobeError: There is no such file.
    """
    try:
        places = list(braceexpand(pattern))
    except ValueError as error:
        raise UsageError(f"The braces in '{pattern}' do not match: {error}.") from None
    files: list[tuple[Any, str]] = []
    notes: list[str] = []
    own: list[str] = []
    for place in places:
        try:
            system, path = fsspec.core.url_to_fs(place)
            if not any(sign in path for sign in _WILD):
                paths = [path]
            elif "**" in path and isinstance(system, LocalFileSystem):
                paths, remarks = _walked(path)
                notes += remarks
            else:
                paths, workspace = _matches(system, path)
                own += workspace
        except UsageError:
            raise
        except (ValueError, ImportError) as error:
            raise UsageError(f"'{place}' cannot be opened: {error}.") from None
        except Exception as error:  # each file system has errors of its own
            raise EmbprobeError(f"'{place}' cannot be opened: {why(error)}.") from None
        files += [(system, path) for path in paths]
    notes += note_of("file{s} passed over, in a workspace of embprobe", own)
    if not files:
        passed = "".join(f" {note}." for note in notes)
        raise EmbprobeError(f"No file matches '{pattern}'.{passed}")
    names = _names([path for _, path in files])
    located = [_location(system, path, name) for (system, path), name in zip(files, names, strict=True)]
    return Found(located, tuple(notes))


def local_file(path: Path, root: Path | None = None) -> Location:
    """Locate a file on this machine, named by its path below ``root``, or by its own name."""
    name = path.relative_to(root) if root else Path(path.name)
    return _location(LocalFileSystem(), str(path.absolute()), name.with_suffix("").as_posix())


def _walked(pattern: str) -> tuple[list[str], tuple[str, ...]]:
    """Find the files below the part of a pattern that has no wildcard, along links; return notes, too."""
    walk = Walk(Path(*_parts_before_wildcard(pattern)))
    matches = re.compile(glob_translate(pattern)).match
    paths = (Path(folder, name) for folder, name in walk.files())
    return sorted(path.as_posix() for path in paths if matches(path.as_posix()) and path.is_file()), walk.notes()


def _matches(system: Any, pattern: str) -> tuple[list[str], list[str]]:
    """Find the files that a pattern matches; return those of a workspace apart."""
    fixed = len(_parts_before_wildcard(pattern))
    hidden_wanted = any(part.startswith(".") for part in PurePosixPath(pattern).parts[fixed:])
    paths = [
        path
        for path in sorted(system.glob(pattern))
        if hidden_wanted or not any(map(is_hidden, PurePosixPath(path).parts[fixed:]))
    ]
    if not isinstance(system, LocalFileSystem):
        return paths, []
    inside = {folder: workspace_around(folder) is not None for folder in {Path(path).parent for path in paths}}
    return [path for path in paths if not inside[Path(path).parent]], [
        path for path in paths if inside[Path(path).parent]
    ]


def _parts_before_wildcard(pattern: str) -> list[str]:
    parts = PurePosixPath(pattern).parts
    return list(itertools.takewhile(lambda part: not any(sign in part for sign in _WILD), parts))


def _location(system: Any, path: str, name: str) -> Location:
    try:
        info = system.info(path)
    except Exception as error:  # each file system has errors of its own
        raise EmbprobeError(f"'{path}' cannot be found: {why(error)}.") from None
    if info.get("type") != "file":
        raise EmbprobeError(f"'{path}' is not a file.")
    version = next((info[key] for key in _VERSIONS if info.get(key)), "")
    return Location(name, path, int(info.get("size") or 0), f"{info.get('size')}:{version}", system)


def _names(paths: Sequence[str]) -> list[str]:
    """Name each file by its path below the folder they share, without the extension."""
    try:
        shared = os.path.commonpath([str(PurePosixPath(path).parent) for path in paths])
    except ValueError:  # some are absolute, some are not: they share no folder
        return [PurePosixPath(path).stem for path in paths]
    return [str(PurePosixPath(path).relative_to(shared).with_suffix("")) for path in paths]
