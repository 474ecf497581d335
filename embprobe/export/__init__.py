"""Export of embeddings with their images and labels to other tools: one file a target, to write and to open it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from embprobe.errors import UsageError
from embprobe.export.atlas import atlas_arguments, atlas_path, open_atlas, write_atlas
from embprobe.export.collect import collect_content
from embprobe.export.fiftyone import open_fiftyone, write_fiftyone
from embprobe.export.huggingface import open_huggingface, write_huggingface
from embprobe.export.plain import open_csv, open_npy, write_csv, write_npy
from embprobe.export.table import ExportTable

__all__ = [
    "TARGETS",
    "ExportTable",
    "Target",
    "atlas_arguments",
    "atlas_path",
    "check_target",
    "collect_content",
    "needs_directions",
    "write_atlas",
]


@dataclass(frozen=True)
class Target:
    """A form that another tool reads. Both functions take the table and the path of the file or folder."""

    write: Callable[[ExportTable, Path], None]
    """Writes the file or folder whole or not at all."""
    opens: Callable[[ExportTable, Path], Iterator[str]]
    """Yields lines, of a shell or of Python, that open the written file or folder."""
    suffix: str = ""
    """The suffix of the file; empty for a folder."""


TARGETS = {
    "atlas": Target(write_atlas, open_atlas, ".parquet"),
    "fiftyone": Target(write_fiftyone, open_fiftyone),
    "huggingface": Target(write_huggingface, open_huggingface),
    "npy": Target(write_npy, open_npy),
    "csv": Target(write_csv, open_csv),
}


def needs_directions(name: str, method: str) -> bool:
    """Return whether an export holds cosines, which vectors of zeros have not: a map's or those of neighbours."""
    return name == "atlas" or method != "none"


def check_target(name: str, path: Path) -> Target:
    """Return the target of this name, and refuse a path that cannot be written before anything slow is done.

    Raises:
        UsageError: If there is no such target, if something other than an empty folder lies at ``path``, or if the path
            of a file has another suffix than the tool expects.
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
