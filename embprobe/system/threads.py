"""Threads for sums: small products on one thread each, work that is independent side by side, large products on all.

The threads of one product wait for each other at its end, and OpenMP's spin meanwhile. Where another program has one
of the cores, the thread on that core comes late by as long as the system lets a program run, some milliseconds, and a
fit of ten thousand products of a tenth of a millisecond takes ten times as long. Work on one thread waits for nobody.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock, local
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item")
Answer = TypeVar("Answer")

LARGE = 2**30
"""Multiplications of a product from which it uses all cores: 13 to 65 ms of one core by shape and precision, beside
which the few that a thread may come late, and the microseconds that starting threads costs, are little."""
CALL = 2**27
"""Bytes that one of several calls side by side may hold. Larger ones come one after another."""
TOGETHER = 2**32
"""Bytes that calls side by side may hold together."""


def allowed_threads() -> int:
    """Return the number of threads that the user allows: torch's, else ``OMP_NUM_THREADS``, else a thread per core."""
    return _process.allowed or _allowed_now()


@contextmanager
def one_thread() -> Iterator[None]:
    """Let products of NumPy, SciPy, torch and FAISS use one thread while the context lasts.

    OpenBLAS has one setting for the whole process, so NumPy's products of other threads do, too; it is restored when
    the last context ends. Extraction and :func:`side_by_side` still use the allowed threads.

    ``@one_thread()`` does so for a whole function.
    """
    with _threads(few=True):
        yield


def threads_for(multiplications: float) -> AbstractContextManager[None]:
    """Let the products in this context use one thread, or all allowed ones if they are :data:`LARGE`.

    One thread always inside :func:`side_by_side`, whose calls keep all cores busy already.

    Args:
        multiplications: Of the largest product: n d c of ``[n, d] @ [d, c]``.
    """
    return _threads(few=multiplications < LARGE or _here.aside)


def matrix_product(a: NDArray[np.floating], b: NDArray[np.floating]) -> NDArray[Any]:
    """Multiply ``[n, d]`` by ``[d, c]``, on all allowed threads if the product is :data:`LARGE`."""
    with threads_for(a.size * b.shape[1]):
        return np.asarray(a @ b)


def side_by_side(
    function: Callable[[Item], Answer],
    items: Iterable[Item],
    *,
    memory: int = 0,
    device: str = "cpu",
    stop: Callable[[], None] | None = None,
) -> list[Answer]:
    """Call a function with every item, on as many threads as the user allows, and return the answers in order.

    Every call computes on one thread, so answers are the same bit by bit however many run at once. Calls that hold
    more than :data:`CALL` come one after another instead, and their large products use all cores: that depends on
    their size alone. So do calls on a GPU, whose memory they would share, and calls inside of calls.

    Args:
        function: It must not depend on the order of calls.
        items: What it is called with.
        memory: Bytes that one call holds.
        device: Where calls compute.
        stop: Called after a call raises or the user interrupts, before running calls are awaited: lets long calls end.

    Raises:
        Exception: That of the first item, in their order, whose call raises; calls that have not begun are left out.

    Example:
        >>> side_by_side(lambda x: x * x, [1, 2, 3])
        [1, 4, 9]
    """
    every = list(items)
    if _here.aside or len(every) < 2 or memory > CALL or device != "cpu":
        return [function(item) for item in every]

    def alone(item: Item) -> Answer:
        before, _here.aside = _here.aside, True
        try:
            with one_thread():
                return function(item)
        finally:
            _here.aside = before

    workers = min(len(every), TOGETHER // max(memory, 1), allowed_threads(), cores())
    with one_thread():
        if workers < 2:
            return [alone(item) for item in every]
        with ThreadPoolExecutor(workers) as pool:
            calls = [pool.submit(copy_context().run, alone, item) for item in every]
            try:
                return [call.result() for call in calls]
            except BaseException:
                if stop is not None:
                    stop()
                raise
            finally:
                pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# --- settings of libraries --------------------------------------------------------------------------------------------


@dataclass
class _Here(local):
    """The state of one thread: whether :func:`side_by_side` called it, and whether its products use one thread."""

    aside: bool = False
    few: bool = False


@dataclass
class _Process:
    """The threads that want one thread for products, and the settings from before the first of them did."""

    lock: Lock = field(default_factory=Lock)
    wanting: int = 0
    allowed: int = 0
    """0 while nobody wants one thread."""
    before: dict[str, int] = field(default_factory=dict)
    """By path of a library its number of threads."""


_here, _process = _Here(), _Process()


@contextmanager
def _threads(*, few: bool) -> Iterator[None]:
    """Change whether this thread's products use one thread, and change it back."""
    before = _here.few
    _want(few)
    try:
        yield
    finally:
        _want(before)


def _want(few: bool) -> None:
    """Set the number of threads of this thread's products, also in libraries that were imported since."""
    with _process.lock:
        if few and not _process.wanting:
            _process.allowed = _allowed_now()
        _process.wanting += few - _here.few
        _here.few = few
        if not _process.allowed:
            return  # nothing is changed, and nothing was
        pools = _pools(len(sys.modules))
        if few:
            for pool in pools:  # all of them first: OpenBLAS may set OpenMP's number, too
                _process.before.setdefault(pool.filepath, pool.num_threads)
        for pool in pools:
            if pool.user_api == "openmp" or bool(_process.wanting) == few:  # OpenMP's setting is this thread's own
                _set(pool, 1 if few else _process.before.get(pool.filepath, _process.allowed))
        if "torch" in sys.modules:  # its MKL has a setting of this thread beside OpenMP's
            torch = sys.modules["torch"]
            torch.get_num_threads()  # the first call in a thread takes over the number that another thread has set
            torch.set_num_threads(1 if few else _process.allowed)
        if not _process.wanting:
            _process.allowed = 0
            _process.before.clear()


def _set(pool: Any, threads: int) -> None:
    """Set a pool's number of threads; threadpoolctl's own setter leaves OpenBLAS to the first thread that called it."""
    getattr(pool, "_real_set_num_threads", pool.set_num_threads)(threads)


def _allowed_now() -> int:
    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    said = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(said) if said.isdecimal() and int(said) else cores()


@lru_cache(maxsize=1)
def _pools(modules: int) -> list[Any]:
    """Return the pools of threads of all loaded libraries; looking for them takes a millisecond.

    Args:
        modules: The number of modules that have been imported: any of them may have brought a library.
    """
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return list(ThreadpoolController().lib_controllers)
