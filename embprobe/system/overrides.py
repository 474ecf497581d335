"""Settings of other libraries, changed for as long as they are needed and then given back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

Setting = tuple[Any, str, Any]
"""An object, the name of one of its attributes, and the value that it is to have."""


@dataclass
class Override:
    """Give an attribute another value while any thread is inside; the last thread to leave restores the old one.

    ``setting`` names the attribute when the first thread enters. A plain save and restore in every thread would not do:
    the first to leave would take the value from the others, the last one leave it changed for good.

    >>> import math
    >>> with Override(lambda: (math, "tau", 6)):
    ...     math.tau
    6
    >>> round(math.tau, 2)
    6.28
    """

    setting: Callable[[], Setting]
    _inside: int = 0
    _before: Setting | None = None
    _lock: Lock = field(default_factory=Lock)

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                owner, name, value = self.setting()
                self._before = (owner, name, getattr(owner, name))
                setattr(owner, name, value)
            self._inside += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._before is not None:
                setattr(*self._before)
                self._before = None
