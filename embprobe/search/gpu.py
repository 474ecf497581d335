"""FAISS on a GPU, where the device is one: it builds indices and answers many queries. The CPU does what it cannot.

An index leaves the GPU before it is saved, and the cosines of what is found are computed on the CPU, so answers are the
same up to which candidates an approximate index proposes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embprobe.encoders.spec import Floats

Positions = NDArray[np.int64]
Notify = Callable[[str], None]

MANY = 64
"""Queries from which a pass over the vectors should pay on a GPU: for fewer, sending the vectors there takes longer.
An estimate from bandwidths, as the next one; neither is measured."""
LARGE = 2**33
"""Multiplications from which a search should pay there; below, opening the GPU takes longer than the CPU."""
MOST = 2048
"""The most neighbours and cells that FAISS searches on a GPU."""
_SPARE = 16
"""Neighbours asked for beyond k, because cosines in float32 may be in the wrong order."""


def gpu_of(device: str) -> int | None:
    """Return FAISS's number of a device of torch: ``cuda`` is the first GPU; None where FAISS has no such GPU.

    >>> gpu_of("cpu") is None
    True
    """
    kind, _, number = device.partition(":")
    if kind != "cuda":
        return None
    import faiss

    return int(number or 0) if int(number or 0) < faiss.get_num_gpus() else None


def to_gpu(index: Any, gpu: int) -> Any:
    """Copy an index, trained or not, to a GPU. Raises ``RuntimeError`` if it has no room or FAISS cannot."""
    import faiss

    options = faiss.GpuClonerOptions()
    # tables of 96 float32 sums per cell do not fit a GPU's shared memory, of float16 they do; vectors stay float32
    options.useFloat16 = isinstance(index, faiss.IndexIVFPQ)
    options.usePrecomputed = False
    return faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), gpu, index, options)


def to_cpu(index: Any) -> Any:
    """Copy an index from a GPU; raises ``RuntimeError`` if that fails."""
    import faiss

    return faiss.index_gpu_to_cpu(index)


def failure(error: RuntimeError) -> str:
    """Return in a few words why FAISS failed on a GPU."""
    if re.search(r"out of memory|alloc fail|bad_alloc", str(error), re.IGNORECASE):
        return "is out of memory"
    last = str(error).strip().rpartition("Error: ")[2].partition("\n")[0]
    return f"failed ({last or 'for no reason given'})"


@dataclass
class GpuSearch:
    """A search of many queries on a GPU, which gives up for good when the GPU fails once."""

    gpu: int
    notify: Notify
    resources: Any = field(default=None, repr=False)
    failed: bool = False

    @classmethod
    def of(cls, device: str, queries: int, numbers: int, notify: Notify) -> GpuSearch | None:
        """Return a search on the device if it is a GPU and that pays for these queries among so many numbers."""
        if queries < MANY or queries * numbers < LARGE:
            return None
        gpu = gpu_of(device)
        return None if gpu is None else cls(gpu, notify)

    def nearest(self, directions: Floats, rows: Floats, k: int) -> tuple[Positions, Positions, Floats] | None:
        """Return the numbers of queries, rows and cosines of somewhat more than each query's k nearest rows.

        ``rows`` are of length 1. None if the GPU cannot, or could not before.
        """
        import faiss

        count = min(k + _SPARE, len(rows))
        if self.failed or count > MOST:
            return None
        try:
            if self.resources is None:
                self.resources = faiss.StandardGpuResources()
            cosines, positions = faiss.knn_gpu(
                self.resources, directions, rows, count, metric=faiss.METRIC_INNER_PRODUCT, device=self.gpu
            )
        except RuntimeError as error:
            self.failed = True
            self.notify(f"the GPU {failure(error)} in the middle of a search, and the CPU goes on")
            return None
        queries = np.repeat(np.arange(len(directions)), count)
        return queries, np.asarray(positions, np.int64).ravel(), np.asarray(cosines, np.float32).ravel()
