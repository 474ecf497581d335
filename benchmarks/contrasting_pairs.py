"""Contrasting pairs of two encoders by blocks, beside whole matrices of cosines.

python benchmarks/contrasting_pairs.py [--rows 50000] [--beside 8000] [--dimension 768] [--rounds 3]

Random vectors around the means of a hundred categories, which both encoders see in part. On ``--beside`` rows a
sample, embprobe's search and the plain way (both matrices of cosines at once, compared as a whole) take turns, each in
a process of its own, for its peak memory. On ``--rows`` a sample embprobe's is alone, and what the pairs share of a
label and of 968 dimensions of colour is computed, too, with intervals over images.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import time
from multiprocessing.connection import Connection

import numpy as np
from numpy.typing import NDArray

from embprobe.comparing.pairs import share
from embprobe.measures.disagreement import ContrastingPairs, Limits, contrasting_pairs, count_pairs, draw_samples
from embprobe.measures.pairs import pair_cosines, random_pairs
from embprobe.statistics import resample
from embprobe.system.threads import one_thread

Vectors = NDArray[np.float32]
CATEGORIES, COLORS = 100, 968


def encoders(rows: int, dimension: int) -> tuple[Vectors, Vectors, NDArray[np.str_]]:
    """Draw vectors of two encoders ``[n, d]``, and the category of each row."""
    rng = np.random.default_rng(0)
    category = rng.integers(0, CATEGORIES, rows)
    drawn = []
    for seen in (1.0, 0.5):
        means = rng.standard_normal((CATEGORIES, dimension), np.float32) * seen
        drawn.append(means[category] + rng.standard_normal((rows, dimension), np.float32))
    return drawn[0], drawn[1], category.astype(np.str_)


def by_blocks(a: Vectors, b: Vectors) -> tuple[ContrastingPairs, ContrastingPairs]:
    """Search as ``embprobe compare`` does, between two halves of the rows."""
    samples = draw_samples(len(a), len(a) // 2)
    drawn = random_pairs(len(a))
    random = pair_cosines(a, drawn), pair_cosines(b, drawn)
    limits = (
        Limits.at_percentiles(*random, pairs=count_pairs(samples)),
        Limits.at_percentiles(*random[::-1], pairs=count_pairs(samples)),
    )
    return contrasting_pairs(a, b, limits, samples=samples, among=random)


def at_once(a: Vectors, b: Vectors) -> tuple[int, int]:
    """Count the same pairs in whole matrices of cosines."""
    first, second = draw_samples(len(a), len(a) // 2)
    drawn = random_pairs(len(a))
    random = pair_cosines(a, drawn), pair_cosines(b, drawn)
    units = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (a, b)]
    one, other = (x[first] @ x[second].T for x in units)
    limits = [np.quantile(values, (0.95, 0.5)) for values in random]
    near_far = (one > limits[0][0]) & (other < limits[1][1])
    far_near = (other > limits[1][0]) & (one < limits[0][1])
    return int(near_far.sum()), int(far_near.sum())


def alone(way: str, rows: int, dimension: int) -> tuple[float, float, str]:
    """Call :func:`measured` in a process of its own."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("spawn").Process(target=_send, args=(sender, way, rows, dimension))
    process.start()
    answer: tuple[float, float, str] = receiver.recv()
    process.join()
    return answer


def _send(pipe: Connection, way: str, rows: int, dimension: int) -> None:
    pipe.send(measured(way, rows, dimension))


def measured(way: str, rows: int, dimension: int) -> tuple[float, float, str]:
    """Time one way; return seconds, the peak memory in GiB above the vectors, and the counts."""
    a, b, category = encoders(2 * rows, dimension)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    if way == "at once":
        text = f"{at_once(a, b)}"
    else:
        with one_thread():
            both = by_blocks(a, b)
            text = f"{(both[0].found, both[1].found)}"
            if way == "with sharing":
                found = time.perf_counter()
                groups = [f"{i:07}" for i in range(len(a))]
                colors = np.abs(np.random.default_rng(1).standard_normal((len(a), COLORS), np.float32))
                for attribute in share(both, {"category": category, "color": colors}, groups).values():
                    resample(attribute.beyond, groups, seed=0).difference(0, 1)
                text += f", sharing {time.perf_counter() - found:.0f} s of it"
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return seconds, (peak - before) / 2**20, text


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Contrasting pairs by blocks and at once.")
    parser.add_argument("--rows", type=int, default=50_000, help="rows of each sample, embprobe alone")
    parser.add_argument("--beside", type=int, default=8_000, help="rows of each sample, both ways")
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    times: dict[str, list[float]] = {"blocks": [], "at once": []}
    for _ in range(arguments.rounds):
        for way, seconds in times.items():
            spent, memory, text = alone(way, arguments.beside, arguments.dimension)
            seconds.append(spent)
            print(f"{arguments.beside:,} x {arguments.beside:,}, {way}: {spent:.1f} s, {memory:.2f} GiB, {text} pairs")
    blocks, at_once_ = (statistics.median(each) for each in times.values())
    print(f"median of {arguments.rounds}: at once takes {at_once_ / blocks:.2f} times as long as by blocks")
    spent, memory, text = alone("with sharing", arguments.rows, arguments.dimension)
    print(
        f"{arguments.rows:,} x {arguments.rows:,} with sharing: {spent:.0f} s, {memory:.2f} GiB above vectors, {text}"
    )


if __name__ == "__main__":
    main()
