"""One process at a time writes a store; the next one is told who does."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from embprobe.errors import EmbprobeError
from embprobe.system.files import sweep, write_json


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the system releases it when the process ends, however it ends.

    Raises :class:`EmbprobeError` that says who holds it, and since when, if somebody else does.
    """
    note = path.with_suffix(".json")
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise EmbprobeError(f"{what} is being written by {_holder(note)}. Run this again when that is done.") from None
    try:
        sweep(note.parent, note.stem)
        write_json(note, {"pid": os.getpid(), "host": socket.gethostname(), "since": datetime.now(UTC).isoformat()})
        yield
    finally:
        with suppress(OSError):
            note.unlink()
        with suppress(OSError):  # Windows keeps an open file
            path.unlink()  # while it is held: who gets it next looks whether it still lies there
        lock.release()


def _holder(note: Path) -> str:
    """In words, as the holder wrote it down."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        since = datetime.fromisoformat(found["since"]).astimezone()
        return f"process {int(found['pid'])} on {found['host']} since {since:%H:%M:%S on %Y-%m-%d}"
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError):
        return "another process"  # it has not written it down yet
