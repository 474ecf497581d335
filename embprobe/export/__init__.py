"""Embeddings with their images and labels, for other tools. One file a target: what it writes, and what opens it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embprobe.errors import UsageError
from embprobe.export.atlas import atlas_arguments, atlas_path, open_atlas, write_atlas
from embprobe.export.collect import collect_content
from embprobe.export.content import Content
from embprobe.export.fiftyone import open_fiftyone, write_fiftyone
from embprobe.export.huggingface import open_huggingface, write_huggingface
from embprobe.export.plain import open_csv, open_npy, write_csv, write_npy

__all__ = [
    "TARGETS",
    "Content",
    "Target",
    "atlas_arguments",
    "atlas_path",
    "check_target",
    "collect_content",
    "write_atlas",
]


@dataclass(frozen=True)
class Target:
    """What another tool reads. Both functions take what is exported and the path of the file or folder."""

    write: Callable[[Content, Path], None]
    """Writes it whole or not at all."""
    opens: Callable[[Content, Path], Iterator[str]]
    """Lines, of a shell or of Python, that open what was written."""
    suffix: str = ""
    """Of the file; empty for a folder."""


TARGETS = {
    "atlas": Target(write_atlas, open_atlas, ".parquet"),
    "fiftyone": Target(write_fiftyone, open_fiftyone),
    "huggingface": Target(write_huggingface, open_huggingface),
    "npy": Target(write_npy, open_npy),
    "csv": Target(write_csv, open_csv),
}


def check_target(name: str, path: Path) -> Target:
    """The target of this name.

    Raises :class:`UsageError` if there is none, if something lies at ``path`` that is no empty folder, or if the path
    of a file has another suffix than the tool knows the format by.
    """
    if name not in TARGETS:
        raise UsageError(f"There is no export to '{name}'. There are: {', '.join(TARGETS)}.")
    target = TARGETS[name]
    if target.suffix and path.suffix.lower() != target.suffix:
        raise UsageError(f"'{path}' must end in {target.suffix}: {name} is one file of that kind.")
    empty = not target.suffix and path.is_dir() and not any(path.iterdir())
    if os.path.lexists(path) and not empty:
        raise UsageError(f"'{path}' is there already and is not overwritten. Remove it, or give another --out.")
    return target
