"""Read the sidecars of a folder's images: a caption, named values or a class in a file of the image's name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePath

from embprobe.images.labels import MAX_SIDECAR_BYTES, SIDECARS, Boxes, note_of, read_sidecar
from embprobe.images.readers.pairing import lacking, pair

STORE = "embprobe.json"
"""A folder that holds this file is embprobe's own output."""
_ORDER = ("json", "txt", "cls")
"""Of sidecars of one image; the later wins where two name the same label."""


def add_sidecars(
    folder: Path, keys: Sequence[str], files: Sequence[str], labels: Sequence[dict[str, str]]
) -> list[str]:
    """Add the labels in sidecars to ``labels``, and return notes about sidecars and images that have no partner.

    Args:
        folder: The folder of images.
        keys: The paths of the images relative to ``folder``, with forward slashes.
        files: Those of the sidecars.
        labels: The labels of each image; they are changed.
    """
    sidecars = sorted(files, key=lambda key: (_ORDER.index(_kind(key)), key))
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


def is_sidecar(name: str) -> bool:
    """Return whether a file's name has the ending of a sidecar."""
    return _kind(name) in SIDECARS


def _kind(name: str) -> str:
    return PurePath(name).suffix.lower().removeprefix(".")
