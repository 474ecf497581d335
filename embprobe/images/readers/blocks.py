"""Read many rows at once where one by one would be slow: a row group of a parquet file, a stretch of a tar."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

Content = TypeVar("Content")


class Blocks(Generic[Content]):
    """Blocks by number, loaded at first use. Each thread keeps the block it used last; threads share a loaded block.

    So memory holds at most one block per thread however many blocks there are, and threads that go through their rows
    in order load no block twice in a row.
    """

    def __init__(self, load: Callable[[int], Content]) -> None:
        self._load = load
        self._alive: WeakValueDictionary[int, _Held[Content]] = WeakValueDictionary()
        self._mine = threading.local()
        self._lock = threading.Lock()
        self._loading: dict[int, threading.Lock] = {}

    def __getitem__(self, number: int) -> Content:
        held: _Held[Content] | None = getattr(self._mine, "held", None)
        if held is None or held.number != number:
            self._mine.held = held = None  # let go of the old one before the new one is loaded
            self._mine.held = held = self._shared(number)
        return held.content

    def _shared(self, number: int) -> _Held[Content]:
        with self._lock:
            loading = self._loading.setdefault(number, threading.Lock())
        with loading:  # the second thread waits for the first, then finds the block loaded
            held = self._alive.get(number)
            if held is None:
                held = _Held(number, self._load(number))
                self._alive[number] = held
        return held


class _Held(Generic[Content]):
    """A block that threads hold; a class, because bytes themselves cannot be referred to weakly."""

    def __init__(self, number: int, content: Content) -> None:
        self.number, self.content = number, content
