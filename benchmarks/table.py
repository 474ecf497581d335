"""Time of a whole benchmark on vectors that are there: data sets x encoders x every task, then the same again.

python benchmarks/table.py [--datasets 10] [--encoders 4] [--rows 10000] [--dimension 512] [--classes 10]

Vectors are random around the means of the classes and stand in the place of encoders; half of the images are tests.
The second run finds every cell in the workspace.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

import embprobe as ep
from embprobe.benchmarking.dataset import Dataset, dataset_of
from embprobe.encoders.given import given_vectors
from embprobe.images import Images


def planted(number: int, rows: int, classes: int) -> Dataset:
    """Return a data set of keys and labels alone."""
    labels = [f"class {i % classes}" for i in range(rows)]
    splits = ["train" if i % (2 * classes) < classes else "test" for i in range(rows)]
    keys = [f"{number}/{i}" for i in range(rows)]
    return dataset_of(Images.without_pictures(f"set {number}", keys, {"category": labels, "split": splits}))


def main() -> None:
    """Print seconds of the first and the second run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in (("datasets", 10), ("encoders", 4), ("rows", 10_000), ("dimension", 512), ("classes", 10)):
        parser.add_argument(f"--{name}", type=int, default=value)
    options = parser.parse_args()
    datasets = [planted(i, options.rows, options.classes) for i in range(options.datasets)]
    keys = [key for dataset in datasets for key in dataset.images.keys]
    encoders = []
    for i in range(options.encoders):
        rng = np.random.default_rng(i)
        centres = rng.standard_normal((options.classes, options.dimension), np.float32)
        noise = rng.standard_normal((len(keys), options.dimension), np.float32)
        codes = np.tile(np.arange(options.rows) % options.classes, options.datasets)
        encoders.append(given_vectors(f"planted {i}", centres[codes] + (4 + 2 * i) * noise, keys))
    print(f"{os.cpu_count()} cores; {options.datasets} data sets x {options.encoders} encoders, {options.rows:,} x "
          f"{options.dimension}, {options.classes} classes")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        for run in ("first", "again"):
            began, processor = time.perf_counter(), time.process_time()
            table = ep.benchmark(datasets, encoders, workspace=Path(folder) / "workspace", device="cpu")
            table.differences()
            wall, spent = time.perf_counter() - began, time.process_time() - processor
            print(f"  {run:6} {wall:7.1f} s  {spent:7.1f} s of processor  {len(table.cells)} cells", flush=True)


if __name__ == "__main__":
    main()
