"""Read pictures in processes of their own: of threads, Python's lock lets one at a time draw words or count colours.

The processes are forks, which have the job without its being sent: changes to images are functions that no process
could be told by name. Forks are made before the threads that encode. They are safe for files of this machine and for
our own interventions; connections, devices and what packages bring are left to threads, and so is all on systems whose
libraries do not bear a fork.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial

from embprobe.embeddings.engines.reading import ReadRow, read_rows
from embprobe.embeddings.engines.schedule import Pictures
from embprobe.embeddings.job import Job
from embprobe.errors import EmbprobeError

FEW = 200
"""Changed rows for which processes are not worth their start, a tenth of a second."""
_PARENT_DEATH = 1
"""Linux's ``PR_SET_PDEATHSIG``: the signal that a process gets when the one that made it dies."""

Read = Callable[[Pictures], list[ReadRow]]
"""Reads the rows that show some pictures; several threads may call it at the same time."""


@contextmanager
def reader(job: Job, workers: int) -> Iterator[Read]:
    """Give a function that reads rows of a job: in as many processes as there are workers if that pays, else at once.

    Raises:
        EmbprobeError: The function raises it when a process was killed.
    """
    if workers < 2 or not _pays(job):
        yield partial(read_rows, job)
        return
    forks, others = multiprocessing.get_context("fork"), set(multiprocessing.active_children())
    with ProcessPoolExecutor(workers, forks, initializer=_begin, initargs=(job, os.getpid())) as pool:
        pool.submit(int).result()  # all of them start now, while no thread of ours holds a lock
        ours = set(multiprocessing.active_children()) - others

        def read(pictures: Pictures) -> list[ReadRow]:
            try:
                return pool.submit(_read, pictures).result()
            except BrokenProcessPool:
                raise EmbprobeError(
                    "A process that reads images was killed, perhaps because the memory is full. Run again to go on "
                    "from where it stopped; with OMP_NUM_THREADS=1 all is read in one process."
                ) from None

        try:
            yield read
        except BaseException:
            for process in ours:  # nobody waits for what they read, and they write nothing
                process.kill()
            raise


def _pays(job: Job) -> bool:
    changed = job.images.columns.changes is not None
    return sys.platform == "linux" and job.forkable and changed and sum(len(shard.rows) for shard in job.shards) >= FEW


_job: Job | None = None
"""In a process that reads: the job."""


def _begin(job: Job, parent: int) -> None:
    """Prepare a process that reads: it ends with the one that made it, which alone answers to the keyboard."""
    global _job
    _job = job
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent:  # which died before that
        os._exit(1)


def _read(pictures: Pictures) -> list[ReadRow]:
    assert _job is not None
    return read_rows(_job, pictures)
