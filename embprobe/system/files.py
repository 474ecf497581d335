"""Writing files so that a reader sees either the old one or the whole new one, never a part."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path in the same folder; it takes the place of ``path`` when the block ends without an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")  # as sweep() expects
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):  # the error that brought us here says more
            temporary.unlink(missing_ok=True)


@contextmanager
def making(folder: Path) -> Iterator[Path]:
    """Give a temporary folder beside ``folder``; it takes its place when the block ends without an error.

    ``folder`` must not be there, or be empty; ``OSError`` otherwise. A process that is killed leaves a folder whose
    name begins with a dot and ends in ``.tmp``.
    """
    folder = folder.resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # left by a killed process that had the same number
    try:
        temporary.mkdir()
        yield temporary
        with suppress(FileNotFoundError):
            folder.rmdir()  # Windows would not put it in the place of an empty one
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def most_open_files() -> int:
    """Return the number of files that this process may have open at the same time."""
    try:
        import resource
    except ImportError:  # Windows: the limit of its C library
        return 512
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**20 if most == resource.RLIM_INFINITY else most


def sweep(folder: Path, stem: str = "*", *, older_than: float = 0.0) -> None:
    """Remove the temporary files of killed processes that nothing has written to for ``older_than`` seconds.

    With 0 seconds, the caller must be the only one that writes there.
    """
    for leftover in folder.glob(f".{stem}.*.tmp*"):
        with suppress(FileNotFoundError):
            if time.time() - leftover.stat().st_mtime >= older_than:
                leftover.unlink()


def json_text(content: Any, *, default: Callable[[Any], Any] | None = None, ascii_only: bool = False) -> str:
    """Return content as JSON: indented, keys in the order given, a newline at the end.

    NaN is a ``ValueError``, for JSON has none. Half a surrogate pair, as a file name may hold, becomes an escape and is
    read back as it was; with ``ascii_only`` so does every letter beyond ASCII.
    """
    text = json.dumps(content, indent=2, ensure_ascii=ascii_only, allow_nan=False, default=default)
    return _SURROGATES.sub(lambda match: f"\\u{ord(match[0]):04x}", text) + "\n"


def write_json(path: Path, content: Any, *, default: Callable[[Any], Any] | None = None) -> None:
    """Replace a file by content as JSON (:func:`json_text`), whole or not at all."""
    text = json_text(content, default=default)
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
