"""Mutual k-NN and CKA of two encoders beside the way of platonic-rep (Huh et al. 2024), which holds n x n matrices.

python benchmarks/comparison.py [--fits 10000] [--rows 50000] [--all-of 1000000] [--dimension 768] [--k 10] [--rounds 3]

The other way is written here from the definitions as its repository computes them: every similarity at once, sorted,
two n x n masks of neighbours; and both Gram matrices with their n x n x n product. Both ways take turns on ``--fits``
random rows; on ``--rows`` embprobe's is alone. Each runs in a process of its own, for its peak memory. ``--all-of``
so many rows everything is computed that ``embprobe compare`` computes: agreement with intervals, explanations, pairs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from embprobe.comparing.result import MEASURED, ComparisonSettings
from embprobe.comparing.run import compare
from embprobe.embeddings.embedding_set import EmbeddingSet
from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import Encoder, load_encoder
from embprobe.images import Images, Row
from embprobe.measures.cka import cka
from embprobe.measures.mutual_knn import mutual_knn
from embprobe.selftest.oracles import Oracle

Vectors = NDArray[np.float32]
PART = 4096
"""Vectors that are generated at a time."""


@dataclass(frozen=True)
class Ready(Session):
    """A session that returns given vectors and extracts nothing."""

    vectors: tuple[Vectors, ...] = ()

    def embed(self, images: Images, encoders: Sequence[Encoder], what: str) -> EmbeddingSet:
        """Return the vectors, in the order of the encoders."""
        return EmbeddingSet(images, {each.spec.name: v for each, v in zip(encoders, self.vectors, strict=True)})


def mutual_knn_with_masks(a: Vectors, b: Vectors, k: int) -> float:
    """Compute mutual k-NN as platonic-rep does: from all similarities, by two masks over all pairs."""
    masks = []
    for vectors in (a, b):
        x = torch.nn.functional.normalize(torch.from_numpy(vectors), dim=-1)
        nearest = (x @ x.T).fill_diagonal_(-1e8).argsort(dim=1, descending=True)[:, :k]
        masks.append(torch.zeros(len(x), len(x)).scatter_(1, nearest, 1.0))
    return float(((masks[0] * masks[1]).sum(1) / k).mean())


def cka_with_matrices(a: Vectors, b: Vectors) -> float:
    """Compute the unbiased HSIC of two Gram matrices from their n x n product."""
    k, m = (torch.from_numpy(x) @ torch.from_numpy(x).T for x in (a, b))
    return (hsic(k, m) / (hsic(k, k) * hsic(m, m)).sqrt()).item()


def hsic(k: torch.Tensor, m: torch.Tensor) -> torch.Tensor:
    """Compute CKA with the HSIC of Song et al. 2012 and n x n matrices."""
    n = len(k)
    k, m = (x.clone().fill_diagonal_(0) for x in (k, m))
    product = k @ m
    corrected = product.trace() + k.sum() * m.sum() / ((n - 1) * (n - 2)) - 2 * product.sum() / (n - 2)
    return corrected / (n * (n - 3))


def ours_knn(a: Vectors, b: Vectors, k: int) -> float:
    """Compute embprobe's mutual k-NN."""
    return float(mutual_knn(a, b, k=k).mean())


def ours_cka(a: Vectors, b: Vectors) -> float:
    """Compute embprobe's CKA."""
    return float(cka(a, b).mean())


def everything(n: int, d: int) -> None:
    """Time a whole comparison of two encoders, on images of a hundred categories in six styles."""
    rows = [
        Row(f"{i:07d}", {"category": f"{i % 100}", "style": f"{i % 6}"}, f"{i}", lambda: Image.new("RGB", (8, 8)))
        for i in range(n)
    ]
    rng = np.random.default_rng(1)
    measured = [rng.random((n, load_encoder(name).spec.dimension), np.float32) for name in MEASURED.values()]
    ready = Ready(Workspace(Path()), vectors=(*vectors(n, d), *measured))
    encoders = [Oracle(name, {"style": 0.5}) for name in "ab"]  # of which the session takes no more than the names
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    comparison = compare(Images("ready", tuple(rows)), encoders, ready, ComparisonSettings())
    seconds = time.perf_counter() - started
    peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20
    print(f"\nembprobe compare of {n:,} x {d}: {seconds:.0f} s, {peak:.2f} GiB above vectors and rows")
    for agreement in comparison.agreements:
        mean = agreement.value
        print(f"{agreement.measure:<18} {mean.estimate:.4f} ({mean.low:.4f} to {mean.high:.4f})")


def vectors(n: int, d: int) -> tuple[Vectors, Vectors]:
    """Generate two encoders that agree in part, in place, so that the measures and not this set the peak of memory."""
    rng = np.random.default_rng(0)
    turn = rng.standard_normal((d, d), np.float32) / np.float32(d) ** 0.5
    a, b = np.empty((n, d), np.float32), np.empty((n, d), np.float32)
    for start in range(0, n, PART):
        part = slice(start, start + PART)
        a[part] = rng.standard_normal(a[part].shape, np.float32)
        b[part] = a[part] @ turn + rng.standard_normal(a[part].shape, np.float32)
    return a, b


def work(to: Connection, function: Callable[..., float], n: int, d: int, extra: tuple[int, ...]) -> None:
    """Send a measure's value, its seconds, and how far memory rose above the vectors'; runs in a process of its own."""
    a, b = vectors(n, d)
    function(a[:100], b[:100], *extra)  # libraries are loaded, threads are there
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    value = function(a, b, *extra)
    seconds = time.perf_counter() - started
    to.send((value, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**20))


def measured(function: Callable[..., float], n: int, d: int, *extra: int) -> tuple[float, float, float]:
    """Run a measure in a new process and return its value, seconds and GiB."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(theirs, function, n, d, extra))
    process.start()
    measured_values: tuple[float, float, float] = ours.recv()
    process.join()
    return measured_values


def main() -> None:
    """Print medians and extremes; ratios are of the same round."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("fits", 10_000), ("rows", 50_000), ("dimension", 768), ("k", 10), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--all-of", type=int, help="Instead: everything, on so many rows.")
    options = parser.parse_args()
    if options.all_of:
        everything(options.all_of, options.dimension)
        return
    n, d, k = options.fits, options.dimension, options.k
    pairs = (("mutual k-NN", ours_knn, mutual_knn_with_masks, (k,)), ("CKA", ours_cka, cka_with_matrices, ()))
    print(f"{n:,} x {d}, two encoders            seconds                  GiB above the vectors")
    for name, ours, theirs, extra in pairs:
        rounds = [(measured(ours, n, d, *extra), measured(theirs, n, d, *extra)) for _ in range(options.rounds)]
        for who, side in (("embprobe", 0), ("n x n", 1)):
            seconds, memory = ([both[side][i] for both in rounds] for i in (1, 2))
            print(f"{name:<12} {who:<12} {rounds[0][side][0]:8.4f}  {spread(seconds)}   {max(memory):5.2f}")
        print(f"{name:<12} n x n / embprobe        {spread([b[1] / a[1] for a, b in rounds])}")
    print(f"\n{options.rows:,} x {d}, embprobe alone")
    for name, ours, _, extra in pairs:
        alone = measured(ours, options.rows, d, *extra)
        print(f"{name:<12} {alone[0]:8.4f}  {alone[1]:6.1f} s   {alone[2]:5.2f} GiB")


def spread(values: list[float]) -> str:
    """Write the median and the extremes."""
    return f"{statistics.median(values):7.2f}   {min(values):.2f} .. {max(values):.2f}"


if __name__ == "__main__":
    main()
