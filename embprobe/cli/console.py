"""Tables for people and JSON for machines on standard output; notes for people on standard error."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from embprobe.system.files import json_text

notes = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ':train:' is no locomotive


class _ClosedOutput(io.TextIOBase):
    """Stands for a standard output that was closed before the program began: writing to it is an error."""

    def write(self, text: str) -> int:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF), "standard output")


@contextmanager
def any_letters() -> Iterator[None]:
    """While it lasts, standard output and error take any text: letters that their encoding lacks become escapes.

    So do lone surrogates, the bytes of file names that are not UTF-8. A stream that was closed before the program began
    is None; then what is written to standard error goes nowhere, and an answer on standard output is an ``OSError``.
    """
    before = sys.stdout, sys.stderr
    if None in before:
        _claim_descriptors()
        sys.stdout = sys.stdout or _ClosedOutput()
        sys.stderr = sys.stderr or io.StringIO()
    strict = [
        (stream, stream.errors)
        for stream in (sys.stdout, sys.stderr)
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape")
    ]  # another choice is the user's, by PYTHONIOENCODING
    for stream, _ in strict:
        stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        for stream, errors in strict:
            with suppress(OSError, ValueError):  # closed meanwhile, or full
                stream.reconfigure(errors=errors)
        sys.stdout, sys.stderr = before


def _claim_descriptors() -> None:
    """Open the null device where 0, 1 or 2 is closed: a file that got the number would take what libraries print."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number: this one


def note(text: str) -> None:
    """Print a line for people, on standard error, so that --json stays clean."""
    notes.print(escape(text))


def note_files(figures: Sequence[Path], numbers: Path) -> None:
    """Print where figures and numbers lie, but for those that could not be written, of which a warning was printed."""
    for name, path in [*(("Figure", figure) for figure in figures), ("Numbers", numbers)]:
        if path.is_file():
            note(f"{name}: {path}")


def output(*, width: int | None = None, soft_wrap: bool = False) -> Console:
    """Return a console on standard output; where that is no terminal, it is ``width`` letters wide."""
    return Console(highlight=False, emoji=False, soft_wrap=soft_wrap, width=None if sys.stdout.isatty() else width)


def print_json(content: Any) -> None:
    """Print one JSON document on standard output; letters that its encoding lacks become JSON's own escapes."""
    text = json_text(content)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json_text(content, ascii_only=True)
    sys.stdout.write(text)
