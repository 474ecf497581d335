"""Describe where a run computes: its machine, and this process among those that ``torchrun`` started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, cast, get_args

import torch
from torch import Tensor, distributed

from embprobe.errors import UsageError

Precision = Literal["float32", "bfloat16"]
_WORKERS = 8
_PATIENCE = timedelta(days=2)
"""The longest that processes wait for another, such as the first while it encodes images."""


@dataclass(frozen=True)
class Machine:
    """The device of a run and its settings; they decide rounding and speed, nothing else."""

    device: str = "cpu"
    precision: Precision = "float32"
    accumulate: int = 1
    """The number of parts in which a batch goes through the networks; one part must fit into memory."""
    workers: int = 0
    """Processes that prepare images ahead; with 0, images are prepared between the steps."""
    threads: int | None = None
    """Torch's threads on the CPU; the losses of a run repeat exactly for the same number only."""

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context of the networks' forward passes; losses are float32 always."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute with this many threads while it lasts; None leaves it as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def choose_machine(
    device: str, *, precision: str = "", accumulate: int = 1, workers: int | None = None, threads: int | None = None
) -> Machine:
    """Make a machine with defaults that suit its device: on a GPU bfloat16 and up to eight workers.

    Args:
        device: A torch device.
        precision: ``float32`` or ``bfloat16``; "" for the default.
        accumulate: The number of parts of a batch.
        workers: Processes that prepare images; None for the default.
        threads: Torch's threads on the CPU; None leaves them as they are.

    Raises:
        UsageError: There is no such precision.
    """
    gpu = device.startswith("cuda")
    if precision not in ("", *get_args(Precision)):
        raise UsageError(
            f"There is no precision '{precision}' to train in. There are: {', '.join(get_args(Precision))}."
        )
    return Machine(
        device=device,
        precision=cast(Precision, precision or ("bfloat16" if gpu else "float32")),
        accumulate=accumulate,
        workers=(min(_WORKERS, os.cpu_count() or 1) if gpu else 0) if workers is None else workers,
        threads=threads,
    )


class Processes:
    """This process among ``world`` processes; if there is more than one, their group is opened here.

    ``device`` becomes this process's own: ``cuda:1`` of ``cuda``.
    """

    def __init__(self, device: str) -> None:
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.device = device
        if self.world > 1:
            if device == "cuda":
                self.device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
                torch.cuda.set_device(self.device)
            if not distributed.is_initialized():
                distributed.init_process_group("nccl" if device == "cuda" else "gloo", timeout=_PATIENCE)

    @property
    def first(self) -> bool:
        """Return whether this is the first process, which alone writes files."""
        return self.rank == 0

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.world > 1:
            distributed.barrier()

    def parts(self, batch_size: int, accumulate: int) -> list[slice]:
        """Cut this process's share of a batch into ``accumulate`` parts.

        Raises:
            UsageError: The batch cannot be cut into equal parts.
        """
        size, left = divmod(batch_size, self.world * accumulate)
        if left:
            raise UsageError(
                f"A batch of {batch_size} cannot be cut into {self.world} x {accumulate} equal parts "
                "(processes x parts): choose another batch size."
            )
        start = self.rank * accumulate * size
        return [slice(start + i * size, start + (i + 1) * size) for i in range(accumulate)]

    def gathered(self, features: Tensor) -> Tensor:
        """Collect the features of all processes in order, ``[n, d] -> [world n, d]``."""
        if self.world == 1:
            return features
        parts = [torch.empty_like(features) for _ in range(self.world)]
        distributed.all_gather(parts, features.contiguous())
        return torch.cat(parts)

    def own(self, features: Tensor) -> Tensor:
        """Pick the rows of this process, ``[world n, d] -> [n, d]``."""
        return features.chunk(self.world)[self.rank]
