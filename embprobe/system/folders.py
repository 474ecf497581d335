"""Names by which embprobe knows its own folders, and those that systems leave everywhere."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from embprobe.system.files import write_json

WORKSPACE_MARK = "embprobe.json"
"""The file by which a workspace is known."""
WORKSPACE_FOLDERS = ("stores", "results", "pretrained", "figures")
"""The folders that embprobe makes in a workspace."""
OUTPUT_MARK = ".embprobe.json"
"""The file by which an export is known, a folder that embprobe has written where a user wanted it."""
_RUN = frozenset({"recipe.json", "losses.csv"})
"""The files by which a training run is known."""
OUTPUT_KEY = b"embprobe"
"""The key in a parquet file's metadata by which an export is known."""
_SYSTEM = frozenset(
    {
        *("lost+found", "system volume information", "$recycle.bin", "recycler", "found.000", "lost.dir"),
        *("@eadir", "#recycle", "#snapshot", "@recycle", "@recently-snapshot", "@__thumb"),
        *("__macosx", "icon\r", "network trash folder", "temporary items"),
        *("thumbs.db", "ehthumbs.db", "desktop.ini", "aquota.user", "aquota.group"),
    }
)
"""What Linux, Windows, Synology, QNAP, macOS and Android put into folders of people; some hold copies of images."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder of this name is hidden (it begins with a dot), or a system's own.

    >>> is_hidden(".git"), is_hidden("@eaDir"), is_hidden("Thumbs.db"), is_hidden("cats")
    (True, True, True, False)
    """
    return name.startswith(".") or name.lower() in _SYSTEM


def workspace_around(path: Path) -> Path | None:
    """Return the workspace that ``path`` is, or in whose stores, results, runs or figures it lies; None otherwise."""
    path = Path(os.path.realpath(path))
    for folder in (path, *path.parents):
        if os.path.lexists(folder / WORKSPACE_MARK):
            below = path.relative_to(folder).parts
            if not below or below[0] in WORKSPACE_FOLDERS:
                return folder
    return None


def is_output(names: Collection[str]) -> bool:
    """Return whether embprobe wrote a folder that has these names: a workspace, an export, a training run."""
    return WORKSPACE_MARK in names or OUTPUT_MARK in names or _RUN.issubset(names)


def mark_output(folder: Path) -> None:
    """Mark a folder as written by embprobe, so that images in it are not read with those that lie around it."""
    write_json(folder / OUTPUT_MARK, {"written_by": "embprobe"})
