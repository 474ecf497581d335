"""Memory: sizes as people write them, and what this machine has left."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from embprobe.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?)?b\s*", re.IGNORECASE)
_LIMIT, _USED = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
"""The most that a container may use, and what it uses."""
_UNKNOWN = 2 * 2**30
"""What is taken for available where the system does not say."""


def parse_memory(size: str) -> int:
    """Return the bytes of a size with a unit: ``2GB``, ``1.5 GiB``, ``800mb``.

    Raises:
        UsageError: There is no unit, or the size is none or 0.

    Example:
        >>> parse_memory("2GB"), parse_memory("0.5 KiB")
        (2000000000, 512)
    """
    match = _SIZE.fullmatch(size)
    value = int(float(match[1]) * _UNITS[(match[2] or "").lower()]) if match else 0
    if not value:
        raise UsageError(f"'{size}' is no size of memory. Write a number and a unit: 800MB, 2GB or 1.5GiB.")
    return value


def format_memory(size: float) -> str:
    """Write a number of bytes with a unit, rounded up to two digits: what :func:`parse_memory` reads is no less.

    >>> format_memory(123_456_789), format_memory(2 * 10**9), format_memory(999_999)
    ('130MB', '2GB', '1MB')
    """
    number = max(1, -int(-size // 1))
    step = 10 ** max(0, len(str(number)) - 2)
    number = -(-number // step) * step
    for name, unit in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6), ("KB", 10**3)):
        if number >= unit:
            return f"{number / unit:g}{name}"
    return f"{number}B"


def available_memory() -> int:
    """Return the bytes that new work may use: what the system has left, and the container, if it has a limit."""
    available = _UNKNOWN
    with suppress(OSError, ValueError, TypeError):
        available = _meminfo() if Path("/proc/meminfo").exists() else _physical() // 2
    with suppress(OSError, ValueError):  # the second where the limit is "max"
        limit = int(_LIMIT.read_text(encoding="ascii"))
        available = min(available, limit - int(_USED.read_text(encoding="ascii")))
    return max(available, 0)


def _meminfo() -> int:
    match = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
    return int(match[1]) * 1024 if match else _UNKNOWN


def _physical() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2 * _UNKNOWN
