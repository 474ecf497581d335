"""Writing files so that a reader sees either the old one or the whole new one, never a part."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path in the same folder that takes the place of ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")  # as sweep() expects
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path, stem: str = "*") -> None:
    """Remove what killed processes left of files they were replacing; only for who alone writes there."""
    for leftover in folder.glob(f".{stem}.*.tmp*"):
        leftover.unlink(missing_ok=True)


def write_json(path: Path, content: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Indented, keys in the order given, a newline at the end; NaN is refused because JSON has none."""
    with replacing(path) as temporary:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False, default=default)
        temporary.write_text(text + "\n", encoding="utf-8")
