"""Mutual k-NN and CKA of two encoders beside the way of platonic-rep (Huh et al. 2024), which holds n x n matrices.

python benchmarks/comparison.py [--fits 10000] [--rows 50000] [--dimension 768] [--k 10] [--rounds 3]

The other way is written here from the definitions as its repository computes them: every similarity at once, sorted,
two n x n masks of neighbours; and both Gram matrices with their n x n x n product. Both ways take turns on ``--fits``
random rows; on ``--rows`` embprobe's is alone. Each runs in a process of its own, for its peak memory.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import numpy as np
import torch
from numpy.typing import NDArray

from embprobe.comparison.cka import cka
from embprobe.comparison.neighborhoods import mutual_knn

Vectors = NDArray[np.float32]


def mutual_knn_with_masks(a: Vectors, b: Vectors, k: int) -> float:
    """Neighbours from all similarities, and the overlap of two masks over all pairs."""
    masks = []
    for vectors in (a, b):
        x = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)
        nearest = (x @ x.T).fill_diagonal_(-1e8).argsort(dim=1, descending=True)[:, :k]
        masks.append(torch.zeros(len(x), len(x)).scatter_(1, nearest, 1.0))
    return float(((masks[0] * masks[1]).sum(1) / k).mean())


def cka_with_matrices(a: Vectors, b: Vectors) -> float:
    """The unbiased HSIC of Gram matrices, their product and all."""
    k, m = (torch.from_numpy(x) @ torch.from_numpy(x).T for x in (a, b))
    return (hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()).item()


def hsic(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Song et al. 2012, with n x n matrices."""
    n = len(k)
    k, m = (x.clone().fill_diagonal_(0) for x in (k, m))
    product = k @ m
    corrected = product.trace() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * product.sum() / (n - 2)
    return corrected / (n * (n - 3))


def ours_knn(a: Vectors, b: Vectors, k: int) -> float:
    """embprobe's mutual k-NN."""
    return float(mutual_knn(a, b, k=k).mean())


def ours_cka(a: Vectors, b: Vectors) -> float:
    """embprobe's CKA."""
    return float(cka(a, b).mean())


def vectors(n: int, d: int) -> tuple[Vectors, Vectors]:
    """Two encoders that agree in part."""
    rng = np.random.default_rng(0)
    a = rng.standard_normal((n, d), np.float32)
    return a, (
        a @ rng.standard_normal((d, d), np.float32) / np.float32(d) ** 0.5 + rng.standard_normal((n, d), np.float32)
    )


def work(to: Connection, function: Callable[..., float], n: int, d: int, extra: tuple[int, ...]) -> None:
    """In a process of its own: what it found, its seconds, and how far memory rose above the vectors'."""
    a, b = vectors(n, d)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    found = function(a, b, *extra)
    seconds = time.perf_counter() - started
    to.send((found, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20))


def measured(function: Callable[..., float], n: int, d: int, *extra: int) -> tuple[float, float, float]:
    """Value, seconds, GiB."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(theirs, function, n, d, extra))
    process.start()
    found: tuple[float, float, float] = ours.recv()
    process.join()
    return found


def main() -> None:
    """Print medians and extremes; ratios are of the same round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("fits", 10_000), ("rows", 50_000), ("dimension", 768), ("k", 10), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    asked = parser.parse_args()
    n, d, k = asked.fits, asked.dimension, asked.k
    pairs = (("mutual k-NN", ours_knn, mutual_knn_with_masks, (k,)), ("CKA", ours_cka, cka_with_matrices, ()))
    print(f"{n:,} x {d}, two encoders            seconds                  GiB above the vectors")
    for name, ours, theirs, extra in pairs:
        rounds = [(measured(ours, n, d, *extra), measured(theirs, n, d, *extra)) for _ in range(asked.rounds)]
        for who, side in (("embprobe", 0), ("n x n", 1)):
            seconds, memory = ([each[side][i] for each in rounds] for i in (1, 2))
            print(f"{name:<12} {who:<12} {rounds[0][side][0]:8.4f}  {spread(seconds)}   {max(memory):5.2f}")
        print(f"{name:<12} n x n / embprobe        {spread([b[1] / a[1] for a, b in rounds])}")
    print(f"\n{asked.rows:,} x {d}, embprobe alone")
    for name, ours, _, extra in pairs:
        alone = measured(ours, asked.rows, d, *extra)
        print(f"{name:<12} {alone[0]:8.4f}  {alone[1]:6.1f} s   {alone[2]:5.2f} GiB")


def spread(values: list[float]) -> str:
    """The median and the extremes."""
    return f"{statistics.median(values):7.2f}   {min(values):.2f} .. {max(values):.2f}"


if __name__ == "__main__":
    main()
