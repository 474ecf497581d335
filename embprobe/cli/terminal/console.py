"""Notes for people on standard error, and JSON for machines on standard output."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.markup import escape

from embprobe.system.files import json_text

notes = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)  # ':train:' is no locomotive


def note(text: str) -> None:
    """One line for people."""
    notes.print(escape(text))


def print_json(content: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json_text(content))
