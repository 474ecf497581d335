"""How fast the search for exact nearest neighbours is, beside the bare matrix product that any exact search has to do.

python benchmarks/nearest_neighbors.py [--queries 50000] [--keys 50000] [--dimension 768] [--k 20] [--rounds 3]

Three ways take turns on the same random vectors and the same cores: torch's float32 product in blocks, thrown away;
FAISS on vectors that are ready; and embprobe, which checks and normalises them first. Linux only: peak memory is read
from /proc.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import faiss
import numpy as np
import torch
from numpy.typing import NDArray

from embprobe.measures.knn import nearest

Vectors = NDArray[np.float32]

ROWS, COLUMNS = 4096, 16384
"""Rows of a block of the bare product: the fastest of those tried."""


def bare_product(queries: Vectors, keys: Vectors) -> None:
    """Compute every dot product, and forget each block at once."""
    for rows in torch.from_numpy(queries).split(ROWS):  # type: ignore[no-untyped-call]
        for columns in torch.from_numpy(keys).split(COLUMNS):  # type: ignore[no-untyped-call]
            rows @ columns.T


def clocked(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and of all cores together."""
    wall, cores = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cores


def peak_memory() -> float:
    """Return the peak memory of this process so far, in GiB."""
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    return int(peak[1]) / 2**20 if peak else float("nan")


def spread(values: Sequence[float]) -> str:
    """Write the median and the extremes."""
    return f"{statistics.median(values):6.2f}   {min(values):.2f} .. {max(values):.2f}"


def main() -> None:
    """Print medians and extremes; ratios are of the same round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("queries", 50_000), ("keys", 50_000), ("dimension", 768), ("k", 20), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    queries, keys = (
        drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
        for drawn in (
            rng.standard_normal((n, options.dimension), dtype=np.float32) for n in (options.queries, options.keys)
        )
    )
    ways: dict[str, Callable[[], object]] = {
        "matrix product": lambda: bare_product(queries, keys),
        "faiss.knn": lambda: faiss.knn(queries, keys, options.k, metric=faiss.METRIC_INNER_PRODUCT),
        "embprobe": lambda: nearest(queries, keys, options.k),
    }
    few = queries[:200]
    every = np.sort(few.astype(np.float64) @ keys.T.astype(np.float64), axis=1)[:, : -options.k - 1 : -1]
    worst = float(np.abs(nearest(few, keys, options.k)[0] - every).max())
    del every
    before = peak_memory()
    clock: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, work in ways.items():
            clock[name].append(clocked(work))
    print(f"{options.queries:,} queries, {options.keys:,} keys, {options.dimension} dimensions, k = {options.k}")
    print(f"{torch.get_num_threads()} threads, {options.rounds} rounds; median, extremes")
    for name, times in clock.items():
        print(f"{name:34} {spread([wall for wall, _ in times])} s")
    for name in ("faiss.knn", "embprobe"):
        pairs = list(zip(clock["matrix product"], clock[name], strict=True))
        print(f"{name + ', speed / product':34} {spread([product[0] / own[0] for product, own in pairs])}")
        print(f"{'  in processor time':34} {spread([product[1] / own[1] for product, own in pairs])}")
    print(f"farthest from float64's cosines    {worst:6.0e}   (200 queries)")
    print(f"peak memory                        {peak_memory():6.2f} GiB (before the first round {before:.2f})")


if __name__ == "__main__":
    main()
