"""How long all intervals of ten encoders take, beside scipy's bootstrap, one interval at a time.

python benchmarks/bootstrap.py [--images 10000] [--encoders 10] [--resamples 10000] [--repeats 3]

Every image is a group of its own, which is the slowest case. scipy is given a fifth of the images and of the
resamples, because its jackknife would take images x images numbers; its time is then multiplied by 25, for draws and
jackknife both grow with the product. Where other work keeps the cores busy, set OPENBLAS_NUM_THREADS=1: threads of a
matrix product that wait for each other cost more than they gain. Linux only: peak memory is read in KiB.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from embprobe.statistics import resample

SHRINK = 5


def all_intervals(scores: NDArray[np.float64], resamples: int) -> int:
    """Estimate all means, and every two encoders' difference and ratio with p-values; return how many there are."""
    n, m = scores.shape
    resampled = resample(scores, [str(i) for i in range(n)], seed=0, resamples=resamples)
    pairs = list(itertools.combinations(range(m), 2))
    estimates = [
        *(resampled.mean(i) for i in range(m)),
        *(resampled.difference(i, j) for i, j in pairs),
        *(resampled.ratio(i, j) for i, j in pairs),
    ]
    return sum(estimate is not None for estimate in estimates)


def scipys_mean(scores: NDArray[np.float64], resamples: int) -> None:
    """Compute one BCa interval of one encoder's mean with scipy."""
    batch = max(1, 2**20 // len(scores))
    stats.bootstrap((scores,), np.mean, method="BCa", n_resamples=resamples, batch=batch, vectorized=True, rng=0)


def seconds(call: Callable[[], object], repeats: int, *, times: int = 1) -> tuple[float, float, float]:
    """Return the least, median and largest seconds of some runs, each multiplied by ``times``."""
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(times * (time.perf_counter() - start))
    return min(taken), statistics.median(taken), max(taken)


def peak() -> float:
    """Return the peak memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print times and memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--encoders", type=int, default=10)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scores = rng.gamma(2.0, size=(options.images, 1)) + rng.gamma(1.0, size=(options.images, options.encoders))

    before = peak()
    count = all_intervals(scores, options.resamples)
    grown = peak() - before
    ours = seconds(lambda: all_intervals(scores, options.resamples), options.repeats)
    few, fewer = options.images // SHRINK, options.resamples // SHRINK
    theirs = seconds(lambda: scipys_mean(scores[:few, 0], fewer), options.repeats, times=SHRINK**2)

    rows = [
        (f"embprobe, all {count} intervals, differences with p", ours),
        (f"scipy.stats.bootstrap, 1 interval (x {SHRINK**2})", theirs),
    ]
    print(f"{options.resamples:,} resamples of {options.images:,} images, each a group, {options.encoders} encoders")
    print(f"{'':52}median   least .. most of {options.repeats}")
    for name, (least, median, most) in rows:
        print(f"{name:52}{median:6.2f}   {least:.2f} .. {most:.2f} s")
    print(f"scipy was given {fewer:,} resamples of {few:,} images")
    share = options.encoders * theirs[1] / ours[1]
    print(f"{options.encoders} means by scipy take {share:.1f} times as long as all {count} by embprobe")
    print(f"embprobe took {grown:.0f} MiB above the scores")


if __name__ == "__main__":
    main()
