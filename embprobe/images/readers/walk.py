"""Walk through the files below a folder: past hidden ones and embprobe's own output, along links, into no circle."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from embprobe.errors import UsageError
from embprobe.images.decoding import SUFFIXES
from embprobe.images.labels import SIDECARS, note_of
from embprobe.system.folders import is_hidden, is_output, workspace_around


class Walk:
    """One walk through a folder; every reader of a folder finds its files by it.

    Links to folders are followed. A folder is read once, however many names lead to it: under its own name if it lies
    below the root, else under the first link to it. A link to a folder that holds the link is not followed. So no
    image is read twice, and links in a circle cost no time.
    """

    def __init__(self, folder: Path) -> None:
        self._root = os.fspath(folder)
        self._seen: set[object] = set()
        self._own: list[str] = []
        self._again: list[str] = []
        self._upwards: list[str] = []
        self._astray: list[str] = []
        self._closed: list[str] = []

    def files(self) -> Iterator[tuple[str, str]]:
        """Yield the folder and the name of everything that is no folder, in no particular order.

        Raises:
            UsageError: The root is a workspace, or lies among the files of one.
        """
        workspace = workspace_around(Path(self._root))
        if workspace is not None:
            raise UsageError(
                f"'{self._root}' is {'' if _real(self._root) == str(workspace) else 'in '}a workspace of embprobe: it "
                "holds results, not images to embed. Give the folder of the images; if they lie in the workspace "
                "itself, move them into a folder of their own."
            )
        yield from self._tree(self._root, links := deque[str]())
        while links:
            link = links.popleft()
            if self._follows(link):
                yield from self._tree(link, links)

    def notes(self) -> tuple[str, ...]:
        """Return notes about folders that were passed over; call it after :meth:`files`."""
        return (
            *note_of("folder{s} passed over, with output of embprobe", self._below(self._own)),
            *note_of("folder{s} or link{s} passed over, because a folder is read once", self._below(self._again)),
            *note_of("link{s} back to a folder above, passed over", self._below(self._upwards)),
            *note_of("link{s} to nowhere", self._below(self._astray)),
            *note_of("folder{s} that may not be listed", self._below(self._closed)),
        )

    def _tree(self, top: str, links: deque[str]) -> Iterator[tuple[str, str]]:
        """Yield the files below ``top`` without going along links; add the links to folders to ``links``."""
        stack, found = [top], []
        while stack:
            folder = stack.pop()
            try:
                identity = _identity(folder)
                with os.scandir(folder) as listing:
                    entries = list(listing)
            except OSError:
                self._closed.append(folder)
                continue
            if identity in self._seen:
                self._again.append(folder)
                continue
            self._seen.add(identity)
            names = {entry.name for entry in entries}
            if is_output(names) and folder != self._root:  # an export may be what a user wants to read
                self._own.append(folder)
                continue
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if not _is_folder(entry):
                    if entry.is_symlink() and _may_be_class(entry.name) and not Path(entry.path).exists():
                        self._astray.append(entry.path)
                    yield folder, entry.name
                elif entry.is_symlink():
                    found.append(entry.path)
                else:
                    stack.append(entry.path)
        links.extend(sorted(found))

    def _follows(self, link: str) -> bool:
        target = _real(link)
        if any(_holds(target, place) for place in (_real(self._root), _real(os.fspath(Path(link).parent)))):
            self._upwards.append(link)
        elif workspace_around(Path(target)) is not None:
            self._own.append(link)
        else:
            return True
        return False

    def _below(self, paths: list[str]) -> list[str]:
        return sorted(Path(path).relative_to(self._root).as_posix() for path in paths)


def ending(name: str) -> str:
    """Return the ending of a file's name in small letters, with its dot; "" if there is none.

    >>> ending("cat.JPG"), ending("cat")
    ('.jpg', '')
    """
    stem, _, end = name.rpartition(".")
    return f".{end.lower()}" if stem else ""


def is_image(name: str) -> bool:
    """Return whether a file's name has the ending of a format that is read."""
    return ending(name) in SUFFIXES


def _may_be_class(name: str) -> bool:
    """Return whether a broken link of this name may have led to a folder; an image's becomes a row that is rejected."""
    return not is_image(name) and ending(name)[1:] not in SIDECARS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _identity(folder: str) -> object:
    """Return what is the same for all names of a folder; some network file systems number nothing."""
    status = Path(folder).stat()
    return (status.st_dev, status.st_ino) if status.st_ino else _real(folder)


def _real(path: str) -> str:
    return os.path.realpath(path)


def _holds(folder: str, place: str) -> bool:
    """Return whether ``place`` is ``folder`` or lies in it; both without links."""
    return place == folder or place.startswith(folder.rstrip(os.sep) + os.sep)
