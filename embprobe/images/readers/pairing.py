"""Pair sidecars with images by their names: ``cat.txt``, ``cat.jpg.txt`` and ``cat.jpg.supplemental-metadata.json``
belong to ``cat.jpg``.

A name is all up to the last dot, so ``img 2.0 (clean).txt`` belongs to ``img 2.0 (clean).jpg``. Names count as equal if
they differ only in the form of an accented letter (macOS writes ``é`` as two characters), or, where no other image
could be meant, in capitals.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from embprobe.images.labels import note_of

_TAKEOUT = re.compile(r"(?P<image>.+)\.(?P<word>s[a-z-]*)(?P<number>\(\d+\))?", re.IGNORECASE)
_TAKEOUT_WORD = "supplemental-metadata"
"""Google Takeout puts it behind the image's name, and cuts it where the whole name would be too long."""
_DOCUMENTS = frozenset({"readme", "license", "licence", "copying", "notice", "attribution", "citation", "changelog"})
"""Names of texts that belong to a whole set of images, not to one."""


@dataclass(frozen=True)
class Pairs:
    """The images of each sidecar, and the sidecars that have none."""

    images: list[list[int]]
    """For each sidecar the positions of its images."""
    by_case: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    dotted: list[str] = field(default_factory=list)
    alone: list[str] = field(default_factory=list)

    def notes(self, where: str = "") -> list[str]:
        """Write notes about sidecars without an image, with the likely reason, and about a guess."""
        return [
            *note_of(f"sidecar{{s}}{where} read though the image's name has other capitals", self.by_case),
            *note_of(f"sidecar{{s}}{where} not read: an image of that name lies in another folder", self.elsewhere),
            *note_of(
                f"sidecar{{s}}{where} not read: no image has the same name up to the last dot, though one has it up "
                "to the first",
                self.dotted,
            ),
            *note_of(f"sidecar{{s}}{where} without an image of that name", self.alone),
        ]


def pair(images: Sequence[str], sidecars: Sequence[str], *, by_key: bool) -> Pairs:
    """Pair sidecars with images; all are paths with forward slashes.

    Args:
        images: The paths of the images.
        sidecars: The paths of the sidecars.
        by_key: Follow WebDataset first: ``000.txt`` belongs to all images of the key ``000``, which is the path up to
            the first dot of the name (``000.left.jpg``, ``000.right.jpg``).

    Returns:
        For each sidecar its images; none for a sidecar whose image is not there.
    """
    if not sidecars:
        return Pairs([])
    exact = _Names(images, _composed)
    folded: _Names | None = None  # most images have exact names, and these need time
    pairs = Pairs([])
    for sidecar in sidecars:
        found = exact.of(sidecar, by_key=by_key)
        if not found:
            folded = folded or _Names(images, _folded)
            likely = folded.of(sidecar, by_key=by_key)
            part = _key if by_key else _stem
            if len({_composed(part(images[i])) for i in likely}) == 1:
                found = likely
                pairs.by_case.append(sidecar)
        if not found:
            _blame(sidecar, exact, pairs)
        pairs.images.append(found)
    return pairs


def lacking(images: Sequence[str], having: Iterable[int], extension: str) -> tuple[str, ...]:
    """Write a note about the images that have no sidecar of a kind that more than half of the images have."""
    there = set(having)
    if len(there) * 2 <= len(images):
        return ()
    without = [name for i, name in enumerate(images) if i not in there]
    return note_of(f"image{{s}} without a .{extension}, though most have one", without)


class _Names:
    """The images by their names, in a form in which names that mean the same are equal."""

    def __init__(self, images: Sequence[str], form: Callable[[str], str]) -> None:
        self._form = form
        self._names: dict[str, list[int]] = defaultdict(list)
        self._stems: dict[str, list[int]] = defaultdict(list)
        self._keys: dict[str, list[int]] = defaultdict(list)
        self._bases: set[str] = set()
        for i, image in enumerate(images):
            name = form(image)
            self._names[name].append(i)
            self._stems[_stem(name)].append(i)
            self._keys[_key(name)].append(i)
            self._bases.update((_base(_stem(name)), _base(name)))

    def of(self, sidecar: str, *, by_key: bool) -> list[int]:
        name = _stem(self._form(sidecar))
        if by_key and "." not in _base(name) and (found := self._keys.get(name)):
            return found
        return self._stems.get(name) or self._names.get(name) or self._of_takeout(name)

    def _of_takeout(self, name: str) -> list[int]:
        match = _TAKEOUT.fullmatch(name)
        number = match["number"] or "" if match else ""
        if match and _TAKEOUT_WORD.startswith(match["word"].lower()):
            name = match["image"]
        else:  # its older form: cat.jpg(1).json belongs to cat(1).jpg
            older = re.fullmatch(r"(.+)(\(\d+\))", name)
            if older is None:
                return []
            name, number = older[1], older[2]
        if number:
            name = f"{_stem(name)}{number}{name[len(_stem(name)) :]}"
        return self._names.get(name, [])

    def lies_elsewhere(self, sidecar: str) -> bool:
        return _base(_stem(self._form(sidecar))) in self._bases

    def has_key_of(self, sidecar: str) -> bool:
        return _key(self._form(sidecar)) in self._keys


def _blame(sidecar: str, names: _Names, pairs: Pairs) -> None:
    """File a sidecar without an image under the likely reason."""
    if names.lies_elsewhere(sidecar):
        pairs.elsewhere.append(sidecar)
    elif names.has_key_of(sidecar):
        pairs.dotted.append(sidecar)
    elif _base(_key(sidecar)).lower() not in _DOCUMENTS:
        pairs.alone.append(sidecar)


def _composed(name: str) -> str:
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _composed(name).casefold()


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _stem(path: str) -> str:
    """Return the path up to the last dot of its last part; all of it if there is none."""
    folder, slash, base = path.rpartition("/")
    return f"{folder}{slash}{base.rpartition('.')[0] or base}"


def _key(path: str) -> str:
    """Return the path up to the first dot of its last part."""
    folder, slash, base = path.rpartition("/")
    return f"{folder}{slash}{base.partition('.')[0]}"
