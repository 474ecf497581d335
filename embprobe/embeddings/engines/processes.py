"""Read pictures in processes of their own: of threads, Python's lock lets one at a time draw words or count colours.

The processes are forks, which have the job without its being sent: changes to images are functions that no process
could be told by name. Forks are made before the threads that encode. They are safe for files of this machine and for
our own interventions; connections, devices and what packages bring are left to threads, and so is all on systems whose
libraries do not bear a fork.

Each process has a pipe of its own, whose other end nobody else holds: if it dies, even while it sends, that is seen.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from queue import SimpleQueue
from typing import Any

from embprobe.embeddings.engines.reading import ReadRow, read_rows
from embprobe.embeddings.engines.schedule import Pictures
from embprobe.embeddings.job import Job
from embprobe.errors import EmbprobeError

FEW = 200
"""Changed rows for which processes are not worth their start, a tenth of a second."""
_PARENT_DEATH = 1
"""Linux's ``PR_SET_PDEATHSIG``: the signal that a process gets when the one that made it dies."""

Read = Callable[[Pictures], list[ReadRow]]
"""Reads the rows that show some pictures; as many threads as there are workers may call it at the same time."""


@contextmanager
def reader(job: Job, workers: int) -> Iterator[Read]:
    """Give a function that reads rows of a job: in as many processes as there are workers if that pays, else at once.

    Raises:
        EmbprobeError: The function raises it when a process was killed.
    """
    if workers < 2 or not _pays(job):
        yield partial(read_rows, job)
        return
    forks, processes, free = multiprocessing.get_context("fork"), [], SimpleQueue[Connection]()
    for _ in range(workers):
        ours, theirs = forks.Pipe()
        process = forks.Process(target=_serve, args=(job, theirs, os.getpid()), daemon=True)
        process.start()
        theirs.close()  # here and so in the processes to come: when this one dies, the pipe ends
        processes.append((process, ours))
        free.put(ours)

    def read(pictures: Pictures) -> list[ReadRow]:
        pipe = free.get()
        try:
            pipe.send(pictures)
            answer: list[ReadRow] | Exception = pipe.recv()
        except (EOFError, OSError):
            raise EmbprobeError(
                "A process that reads images was killed, perhaps because the memory is full. Run again to go on "
                "from where it stopped; with OMP_NUM_THREADS=1 all is read in one process."
            ) from None
        finally:
            free.put(pipe)
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        yield read
    finally:
        for process, _ in processes:
            process.kill()  # it writes nothing, and nobody waits for what it reads
        for process, pipe in processes:
            process.join()
            pipe.close()


def _pays(job: Job) -> bool:
    changed = job.images.columns.changes is not None
    return sys.platform == "linux" and job.forkable and changed and sum(len(shard.rows) for shard in job.shards) >= FEW


def _serve(job: Job, pipe: Connection, parent: int) -> None:
    """Read what is asked for until the end of the run: it ends this process, and alone answers to the keyboard."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PARENT_DEATH, signal.SIGKILL)
    if os.getppid() != parent:  # which died before that
        os._exit(1)
    while True:
        try:
            answer: Any = read_rows(job, pipe.recv())
        except EOFError:
            return
        except Exception as error:
            answer = error if _can_be_sent(error) else EmbprobeError(f"An image could not be read: {error!r}.")
        _send(pipe, answer)


def _send(pipe: Connection, answer: list[ReadRow] | Exception) -> None:
    pipe.send(answer)


def _can_be_sent(error: Exception) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:  # whatever its own methods raise
        return False
