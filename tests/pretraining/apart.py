"""Runs in processes of their own: a server imports everything once and forks a child for each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch

from embprobe.pretraining import trainer
from embprobe.pretraining.recipe import Recipe
from embprobe.system.processes import Machine
from tests.pretraining.conftest import drawings, quickly


@dataclass(frozen=True)
class Order:
    """A run of the drawings that the tests share, and when it is killed."""

    out: str
    objective: str
    images_seen: int
    batch_size: int = 4
    seed: int = 3
    accumulate: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    kill_after: tuple[int, float] | None = None
    """So many steps, and then seconds."""


class Ended(NamedTuple):
    killed: bool
    error: str
    """What the child said if it failed."""


class Server:
    """Gives orders to :func:`serve` in another process."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", "from tests.pretraining.apart import serve; serve()"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )

    def run(self, *orders: Order) -> list[Ended]:
        """All of these at the same time."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([asdict(order) for order in orders]) + "\n")
        self._process.stdin.flush()
        return [Ended(*ended) for ended in json.loads(self._process.stdout.readline())]

    def close(self) -> None:
        self._process.kill()  # it holds nothing
        self._process.communicate()


def serve() -> None:
    """Read orders from standard input, as many a line as are to run at the same time; answer how they ended."""
    torch.set_num_threads(1)
    vars(os)["fsync"] = lambda file: None  # slow; a kill, unlike a power cut, takes nothing that the system was given
    vars(trainer)["SAVED_EVERY"] = 0.0  # after every step
    with quickly():
        for line in sys.stdin:
            assert threading.active_count() == 1  # a child of a process with threads may hang
            started = [(_fork(order), order) for order in (Order(**each) for each in json.loads(line))]
            sys.stdout.write(json.dumps([_ended(*child, order) for child, order in started]) + "\n")
            sys.stdout.flush()


def _fork(order: Order) -> tuple[int, int, int]:
    """The child's number, and the ends of pipes where it says that it made a step and what went wrong."""
    steps, errors = os.pipe(), os.pipe()
    if process := os.fork():
        os.close(steps[1])
        os.close(errors[1])
        return process, steps[0], errors[0]
    try:
        os.environ.update(order.environment)

        def made_a_step(step: int, steps_in_all: int, numbers: dict[str, float]) -> None:
            os.write(steps[1], b".")

        recipe = Recipe(order.objective, images_seen=order.images_seen, batch_size=order.batch_size, seed=order.seed)
        trainer.pretrain(
            drawings(),
            recipe,
            Path(order.out),
            machine=Machine(accumulate=order.accumulate),
            progress=made_a_step,
        )
    except BaseException:
        os.write(errors[1], traceback.format_exc().encode()[-4000:])
    os._exit(0)


def _ended(process: int, steps: int, errors: int, order: Order) -> Ended:
    if order.kill_after is not None:
        wanted, seconds = order.kill_after
        while wanted and (seen := os.read(steps, wanted)):
            wanted -= len(seen)
        time.sleep(seconds)
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    os.close(steps)
    with os.fdopen(errors, "rb") as pipe:
        return Ended(os.WIFSIGNALED(status), pipe.read().decode())
