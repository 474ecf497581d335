"""Locks: one process at a time writes a store, and an error names it to the next one."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from embprobe.errors import EmbprobeError
from embprobe.system.files import sweep, write_json
from embprobe.system.models import DamagedFile, Record, read_json_file


class _Holder(Record):
    """The process that holds a lock, as it wrote itself down."""

    pid: int
    host: str
    since: datetime


@contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file while the block runs; the system releases it when the process ends, however it ends.

    ``what`` is written, in the words of an error. Raises :class:`EmbprobeError` that names the process that holds the
    lock, and since when, if another one does.
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
            path.unlink()  # while it is held: the next holder looks whether it still lies there
        lock.release()


def _holder(note: Path) -> str:
    """The process that holds a lock, in words."""
    try:
        holder = read_json_file(_Holder, note)
        return f"process {holder.pid} on {holder.host} since {holder.since.astimezone():%H:%M:%S on %Y-%m-%d}"
    except (DamagedFile, OSError, ValueError, ArithmeticError):  # the last two: times that no clock here can show
        return "another process"  # it has not written itself down yet
