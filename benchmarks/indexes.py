"""Build and search a store's index of each kind: seconds, memory, disk and recall, beside another checkout of embprobe.

python benchmarks/indexes.py [--before CHECKOUT] [--rows 200000] [--dimension 128] [--queries 1000] [--rounds 3]

Vectors are random around n / 200 centres. Each way runs in a process of its own, and the ways take turns: embprobe's
exact search, IVF-Flat and IVF-PQ, on a GPU too where there is one; the other checkout's exact search and IVF; and plain
FAISS, a flat index of a copy of the vectors and HNSW, which embprobe does not build. "one" is a query alone, the median
of 20; "many" a query among all that are searched at once. Memory is the peak of RssAnon above what the process had
before it opened the index: memory maps, which the system can drop, are not in it. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).resolve().parents[1]
PART = 4096
"""Vectors that are generated at a time."""
ALONE = 20
K = 10
WAYS = ("exact", "IVF-Flat", "IVF-PQ")
COLUMNS = ("build s", "build CPU s", "one ms", "many ms", "open s", "GiB", "disk GiB", "recall@10")


def open_vectors(folder: Path, n: int, d: int) -> Any:
    """Return the store of so many rows in a folder, empty or complete."""
    from embprobe.embeddings.store import open_store
    from embprobe.encoders.spec import EncoderSpec
    from embprobe.images import Images, Row

    row = Row("row", {}, "row", lambda: Image.new("RGB", (8, 8)))
    spec = EncoderSpec(family="random", model="clusters", dimension=d)
    return open_store(folder, spec, Images("random", (row,) * n))


def drawn(n: int, d: int, centres: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield vectors around centres that do not depend on the seed."""
    middles = np.random.default_rng(0).standard_normal((centres, d), np.float32)
    rng = np.random.default_rng(seed)
    for start in range(0, n, PART):
        count = min(PART, n - start)
        yield middles[rng.integers(0, centres, count)] + rng.standard_normal((count, d), np.float32)


def fill(folder: Path, n: int, d: int, queries: int) -> None:
    """Write a store, queries, and the positions of their nearest rows."""
    store = open_vectors(folder, n, d)
    vectors = (row for part in drawn(n, d, max(40, n // 200), 1) for row in part)
    for shard in store.missing:
        rows = store.rows_of(shard)
        store.write_shard(shard, np.stack([next(vectors) for _ in rows]), rows, [])
    asked = np.concatenate([*drawn(queries, d, max(40, n // 200), 2)])
    faiss.normalize_L2(asked)
    best = faiss.ResultHeap(queries, K, keep_max=True)
    for file in sorted(folder.glob("img_emb/*.npy")):
        block = np.load(file)
        faiss.normalize_L2(block)
        cosines, positions = faiss.knn(asked, block, K, metric=faiss.METRIC_INNER_PRODUCT)
        start = int(file.stem.rpartition("_")[2]) * store.shard_rows
        best.add_result(cosines, positions + start)
    best.finalize()
    np.save(folder / "queries.npy", asked)
    np.save(folder / "nearest.npy", best.I)


def plain(kind: str, folder: Path, d: int) -> Any:
    """Return an index of FAISS's own that holds all vectors, as an object with ``search``."""
    index: Any = (
        faiss.IndexFlatIP(d) if kind == "FAISS flat" else faiss.IndexHNSWFlat(d, 32, faiss.METRIC_INNER_PRODUCT)
    )
    for file in sorted(folder.glob("img_emb/*.npy")):
        block = np.load(file)
        faiss.normalize_L2(block)
        index.add(block)
    if kind == "HNSW":
        index.hnsw.efSearch = 64
    return index


def opened(kind: str, store: Any, n: int, d: int, device: str) -> Any:
    """Open embprobe's index of a kind; the other checkout has no argument for memory, nor codes."""
    from embprobe.search import index as module

    exact = kind == "exact"
    module.EXACT_UP_TO = n if exact else 0
    if not hasattr(module, "memory_limit"):
        return module.open_index(store)
    whole = 4 * n * d
    # codes of the most bytes: beside whole vectors they are always less than a third
    return module.open_index(store, exact=exact, memory=whole // 3 if kind == "IVF-PQ" else 4 * whole, device=device)


def anonymous() -> int:
    """Return the bytes of this process's memory that no file stands behind."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


@contextmanager
def watched() -> Iterator[list[int]]:
    """Keep the highest memory, sampled every 10 ms, as the only item of a list."""
    highest, done = [anonymous()], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            highest[0] = max(highest[0], anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()


def clocked(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Return an answer, the seconds it took, and those of all cores."""
    wall, cores = time.perf_counter(), time.process_time()
    answer = work()
    return answer, time.perf_counter() - wall, time.process_time() - cores


def measure(kind: str, folder: Path, n: int, d: int, device: str) -> dict[str, float]:
    """Build an index, search it, and open it again."""
    store = open_vectors(folder, n, d)
    queries, nearest = np.load(folder / "queries.npy"), np.load(folder / "nearest.npy")
    for left in ("index.faiss", "index.json"):
        (folder / left).unlink(missing_ok=True)

    def build() -> Any:
        return plain(kind, folder, d) if kind in ("FAISS flat", "HNSW") else opened(kind, store, n, d, device)

    before = anonymous()
    with watched() as highest:
        index, seconds, cpu = clocked(build)
        index.search(queries[:1], K)
        alone = [clocked(partial(index.search, queries[i : i + 1], K))[1] for i in range(min(ALONE, len(queries)))]
        (_, positions), many, _ = clocked(partial(index.search, queries, K))
    shares = [len(set(a) & set(b)) / K for a, b in zip(positions.tolist(), nearest.tolist(), strict=True)]
    file = folder / "index.faiss"
    again = clocked(build)[1] if file.exists() else 0.0
    values = (
        seconds,
        cpu,
        statistics.median(alone) * 1000,
        many / len(queries) * 1000,
        again,
        (highest[0] - before) / 2**30,
        file.stat().st_size / 2**30 if file.exists() else 0.0,
        float(np.mean(shares)),
    )
    return dict(zip(COLUMNS, values, strict=True))


def measured(checkout: Path, kind: str, device: str, options: argparse.Namespace) -> dict[str, float]:
    """Measure in a new process that imports embprobe from a checkout."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*packages, str(checkout)])}
    command = [sys.executable, __file__, "--child", kind, "--folder", str(options.folder), "--device", device]
    command += ["--rows", str(options.rows), "--dimension", str(options.dimension)]
    ended = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    answer: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Print medians of the rounds; seconds of the first column with their extremes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout of embprobe")
    for option, default in (("rows", 200_000), ("dimension", 128), ("queries", 1000), ("rounds", 3)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--only", nargs="+", help="ways to measure, as they are printed")
    parser.add_argument("--folder", type=Path, help="where the store lies; kept. Default: a temporary folder")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--device", default="cpu", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        values = measure(options.child, options.folder, options.rows, options.dimension, options.device)
        print(json.dumps(values))
        return
    temporary = None if options.folder else tempfile.mkdtemp()
    options.folder = (options.folder or Path(temporary or "")).resolve()
    try:
        run(options)
    finally:
        if temporary:
            shutil.rmtree(temporary)


def run(options: argparse.Namespace) -> None:
    """Fill the folder, measure every way in turn, and print a table."""
    if not (options.folder / "nearest.npy").exists():
        fill(options.folder, options.rows, options.dimension, options.queries)
    ways = {f"embprobe, {kind}": (HERE, kind, "cpu") for kind in WAYS}
    if faiss.get_num_gpus():
        ways |= {f"embprobe, {kind}, GPU": (HERE, kind, "cuda") for kind in WAYS}
    if options.before:
        ways |= {f"before, {kind}": (options.before.resolve(), kind, "cpu") for kind in WAYS[:2]}
    ways |= {kind: (HERE, kind, "cpu") for kind in ("FAISS flat", "HNSW")}
    ways = {name: way for name, way in ways.items() if not options.only or name in options.only}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, (checkout, kind, device) in ways.items():
            found[name].append(measured(checkout, kind, device, options))
    print(f"{options.rows:,} x {options.dimension}, {options.queries:,} queries, {options.rounds} rounds; medians")
    print(" " * 24 + "".join(f"{column:>12}" for column in COLUMNS) + "   build, least .. most")
    for name, rounds in found.items():
        values = [statistics.median(each[column] for each in rounds) for column in COLUMNS]
        builds = [each[COLUMNS[0]] for each in rounds]
        print(f"{name:24}" + "".join(f"{v:12.3f}" for v in values) + f"   {min(builds):.1f} .. {max(builds):.1f}")


if __name__ == "__main__":
    main()
