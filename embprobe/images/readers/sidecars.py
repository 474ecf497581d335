"""Read the sidecars of a folder's images: a caption, named values or a class in a file of the image's name."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from embprobe.images.labels import MAX_SIDECAR_BYTES, SIDECARS, Boxes, note_of, read_sidecar
from embprobe.images.readers.pairing import lacking, pair

STORE = "embprobe.json"
"""A folder that holds this file is embprobe's own output."""
_ORDER = ("json", "txt", "cls")
"""Of sidecars of one image; the later wins where two name the same label."""


def add_sidecars(folder: Path, paths: Sequence[Path], labels: Sequence[dict[str, str]]) -> list[str]:
    """Add the labels in sidecars to ``labels``, and return notes about sidecars and images that have no partner.

    Args:
        folder: The folder of images.
        paths: The paths of the images, below ``folder``.
        labels: The labels of each image; they are changed.
    """
    keys = [path.relative_to(folder).as_posix() for path in paths]
    sidecars = sorted(_sidecars(folder, paths), key=lambda key: (_ORDER.index(_kind(key)), key))
    pairs = pair(keys, sidecars, by_key=False)
    having: dict[str, set[int]] = defaultdict(set)
    broken: list[str] = []
    boxes: list[str] = []
    for sidecar, images in zip(sidecars, pairs.images, strict=True):
        path = folder / sidecar
        if not images or not path.is_file():  # a pipe would be waited for
            continue
        having[_kind(sidecar)].update(images)
        try:
            with path.open("rb") as file:
                found = read_sidecar(_kind(sidecar), file.read(MAX_SIDECAR_BYTES + 1))
        except Boxes:
            boxes.append(sidecar)
        except (OSError, ValueError):
            broken.append(sidecar)
        else:
            for image in images:
                labels[image] |= found
    return [
        *note_of("sidecar{s} that could not be understood", sorted(broken)),
        *note_of("text{s} with boxes of objects, no caption", boxes),
        *pairs.notes(),
        *(note for kind in _ORDER for note in lacking(keys, having[kind], kind)),
    ]


def listings(folder: Path, paths: Sequence[Path]) -> Iterator[tuple[Path, list[str]]]:
    """List the names in every folder below ``folder``, and in those of the images, which links may lead to.

    Hidden names, folders that may not be listed and embprobe's own output are left out.
    """
    seen: set[str] = set()
    for root in [folder, *dict.fromkeys(path.parent for path in paths)]:
        if str(root) in seen:
            continue
        for parent, subfolders, names in os.walk(root):
            seen.add(str(Path(parent)))
            if STORE in names:
                subfolders.clear()
                continue
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            yield Path(parent), [name for name in names if not name.startswith(".")]


def _sidecars(folder: Path, paths: Sequence[Path]) -> Iterator[str]:
    for parent, names in listings(folder, paths):
        below = parent.relative_to(folder).as_posix()
        for name in names:
            if _kind(name) in SIDECARS:
                yield name if below == "." else f"{below}/{name}"


def _kind(name: str) -> str:
    return PurePath(name).suffix.lower().removeprefix(".")
