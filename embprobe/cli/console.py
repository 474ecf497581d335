"""Tables for people and JSON for machines on standard output; notes for people on standard error."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from embprobe.system.files import json_text

notes = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ':train:' is no locomotive


def note(text: str) -> None:
    """Print a line for people, on standard error, so that --json stays clean."""
    notes.print(escape(text))


def output(*, width: int | None = None, soft_wrap: bool = False) -> Console:
    """Return a console on standard output; where that is no terminal, it is ``width`` letters wide."""
    return Console(highlight=False, emoji=False, soft_wrap=soft_wrap, width=None if sys.stdout.isatty() else width)


def print_json(content: Any) -> None:
    """Print one JSON document on standard output."""
    sys.stdout.write(json_text(content))
