"""Find the images that a table of labels means by their names: paths, ends of paths, names without an ending."""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from embprobe.images.decoding import SUFFIXES
from embprobe.images.labels import note_of


class ImageNames:
    """The images of a folder by the names that a metadata file may give them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.keys = keys
        self._exact = {key: i for i, key in enumerate(keys)}
        self._composed = {_composed(key): i for i, key in enumerate(keys)}
        self._folded: dict[str, list[int]] = defaultdict(list)
        self._by_base: dict[str, list[int]] = defaultdict(list)
        self._by_stem: dict[str, list[int]] = defaultdict(list)
        for i, key in enumerate(keys):
            self._folded[_composed(key).casefold()].append(i)
            base = PurePosixPath(_composed(key)).name
            self._by_base[base].append(i)
            self._by_stem[PurePosixPath(base).stem].append(i)

    def find(self, parent: str, name: str) -> int | None:
        """Find the image at the path ``name`` below ``parent``, with slashes of Windows or accents of macOS."""
        for key in _paths(parent, name):
            found = self._exact.get(key, self._composed.get(_composed(key)))
            if found is not None:
                return found
        return None

    def find_in_capitals(self, parent: str, name: str) -> int | None:
        """Find the one image whose path differs from ``name`` only in capitals."""
        for key in _paths(parent, name):
            found = self._folded.get(_composed(key).casefold(), [])
            if len(found) == 1:
                return found[0]
        return None

    def find_by_end(self, parent: str, name: str) -> int | None:
        """Find the one image whose path ends as ``name`` does, where either may have folders that the other lacks."""
        parts = _parts(name)
        ends: list[tuple[int, int]] = []
        for i in self._by_base.get(parts[-1], ()) if parts else ():
            own = _parts(self.keys[i])
            shared = min(len(own), len(parts))
            if own[-shared:] == parts[-shared:] and _lies_in(parent, self.keys[i]):
                ends.append((shared, i))
        longest = [i for shared, i in ends if shared == max(ends)[0]]
        return longest[0] if len(longest) == 1 else None

    def find_by_id(self, parent: str, name: str) -> int | None:
        """Find the one image of this file name without its ending."""
        parts = _parts(name)
        found = [i for i in self._by_stem.get(parts[-1], ()) if _lies_in(parent, self.keys[i])] if parts else []
        return found[0] if len(found) == 1 and PurePosixPath(parts[-1]).suffix.lower() not in SUFFIXES else None

    def has_base_of(self, name: str) -> bool:
        """Return whether an image in any folder has this file name."""
        return any(part in self._by_base for part in _parts(name)[-1:])

    def has_stem_of(self, name: str) -> bool:
        """Return whether an image in any folder has this file name but for its ending."""
        return any(PurePosixPath(part).stem in self._by_stem for part in _parts(name)[-1:])


@dataclass(frozen=True)
class Matches:
    """The images of a column's values, and remarks on how they were matched."""

    images: list[int | None]
    remarks: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """Return how many values name an image."""
        return sum(image is not None for image in self.images)


def match_names(values: Sequence[str | None], parent: str, names: ImageNames) -> Matches:
    """Look up the values of a column of a table in the folder ``parent``.

    They are paths of images, relative to the table. Where no value is, they are paths whose ends are those of images
    (``/home/me/photos/cat.jpg``, or ``cat.jpg`` for ``cats/cat.jpg``), or names without an ending. A value that may
    mean two images is not matched.
    """
    exact = [None if value is None else names.find(parent, value) for value in values]
    capitals: list[str] = []
    for i, value in enumerate(values):
        if exact[i] is None and value is not None and (found := names.find_in_capitals(parent, value)) is not None:
            exact[i] = found
            capitals.append(value)
    best = Matches(exact, note_of("line{s} of metadata read though the image's name has other capitals", capitals))
    ways: tuple[tuple[Callable[[str, str], int | None], str], ...] = (
        (names.find_by_end, "the ends of their paths"),
        (names.find_by_id, "their names without an ending"),
    )
    for find, manner in ways:
        if best.count:
            break
        images = [None if value is None else find(parent, value) for value in values]
        first = next((i for i, image in enumerate(images) if image is not None), None)
        if first is not None:
            meant = names.keys[images[first] or 0]
            best = Matches(images, (f"images matched with metadata by {manner}: '{values[first]}' is '{meant}'",))
    return best


def _paths(parent: str, name: str) -> list[str]:
    """Return the keys that a relative path may mean, as it stands and with Windows' slashes turned."""
    paths = dict.fromkeys((name, name.replace("\\", "/")))
    return [os.path.normpath(f"{parent}/{path}") for path in paths if "\0" not in path and not path.startswith("/")]


def _lies_in(parent: str, key: str) -> bool:
    return parent == "." or key.startswith(f"{parent}/")


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in _composed(name).replace("\\", "/").split("/") if part not in ("", "."))


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)
