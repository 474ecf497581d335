"""Time and memory of measures on many vectors: the geometry statistics, k-NN decoding, and a whole comparison.

python benchmarks/memory.py [--rows 50000] [--dimension 256] [--tests 10000] [--rounds 1] [--measures geometry k-NN]
    [--before PATH] [--folder PATH]

Random vectors around the means of a hundred categories are written as finished stores of two encoders, and random
colours, lightness and texture as those of the reference encoders that a comparison reads, too. A measure runs as the
commands run it, from stores to estimates, each time in a process of its own. Memory is what the kernel counts as the
process's own (``RssAnon``: without pages of files, which it can drop) above what the rows and the libraries take, and
the peak of everything resident. With PATH, a checkout of another state, both states run in turns. Linux only.

1,000,000 x 768 takes 10 GB in ``--folder``, by default a temporary one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

from embprobe.comparing.result import MEASURED, ComparisonSettings
from embprobe.comparing.run import compare
from embprobe.embeddings.session import Session
from embprobe.embeddings.store import open_store
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import Encoder, load_encoder
from embprobe.encoders.spec import EncoderSpec, ImageInput
from embprobe.images import Images, Row
from embprobe.probing.card import Card
from embprobe.probing.run import run_probe

Vectors = NDArray[np.float32]
HERE = Path(__file__).parents[1]
CATEGORIES = 100
ZEROS, ONES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
PAUSE = 0.02
"""Seconds between two looks at memory."""
GEOMETRY = {
    "kind": "geometry",
    "statistics": ["effective rank", "uniformity", "mean cosine", "conformity", "alignment"],
    "label": "category",
}
DECODING = {
    "kind": "decoding",
    "label": "category",
    "classifier": "knn",
    "fit": {"where": {"split": ["train"]}},
    "tests": {"test": {"where": {"split": ["test"]}}},
}


@dataclass(frozen=True)
class Stored:
    """An encoder whose vectors are all in a store."""

    spec: EncoderSpec

    def encode_images(self, batch: Tensor) -> Vectors:
        """Raise: nothing is left to encode."""
        raise NotImplementedError

    def encode_texts(self, texts: Sequence[str]) -> Vectors:
        """Raise: it has no text side."""
        raise NotImplementedError


def encoders_of(dimension: int) -> list[Encoder]:
    """Return two encoders, of vectors with so many dimensions."""
    square = ImageInput(input_size=8, resize="squash", resize_to=8, interpolation="bicubic", mean=ZEROS, std=ONES)
    return [Stored(EncoderSpec(family="random", model=n, dimension=dimension, image_input=square)) for n in "ab"]


def images_of(count: int, tests: int) -> Images:
    """Return rows of a hundred categories in six styles, of which the first ``tests`` are to be tested on."""

    def row(i: int) -> Row:
        labels = {"category": f"{i % CATEGORIES}", "style": f"{i % 6}", "split": "test" if i < tests else "train"}
        return Row(f"{i:07d}", labels, f"{i}", lambda: Image.new("RGB", (8, 8)))

    return Images("random", tuple(map(row, range(count))))


def write_stores(root: Path, count: int, dimension: int, tests: int) -> None:
    """Fill the stores of both encoders, of colours and the like, a shard at a time; full ones stay as they are."""
    images, workspace, rng = images_of(count, tests), Workspace.open(root), np.random.default_rng(0)
    means = rng.standard_normal((CATEGORIES, dimension), np.float32)
    turn = rng.standard_normal((dimension, dimension), np.float32) / np.float32(dimension) ** 0.5
    encoders = [*encoders_of(dimension), *(load_encoder(name, device="cpu") for name in MEASURED.values())]
    specs = [encoder.spec.with_decoding("exact", None) for encoder in encoders]
    stores = [open_store(workspace.store(images, spec), spec, images) for spec in specs]
    for shard in stores[-1].missing:
        rows, (start, stop) = stores[0].rows_of(shard), stores[0].span(shard)
        first = means[np.arange(start, stop) % CATEGORIES] + rng.standard_normal((stop - start, dimension), np.float32)
        second = first @ turn + rng.standard_normal(first.shape, np.float32)
        measured = [rng.random((stop - start, spec.dimension), np.float32) for spec in specs[2:]]
        for store, vectors in zip(stores, (first, second, *measured), strict=True):
            store.write_shard(shard, vectors, rows, [])


def probe(measure: dict[str, Any], images: Images, encoders: Sequence[Encoder], session: Session) -> list[float]:
    """Run a card of one measure and return its estimates."""
    card = {"schema": 1, "attribute": "memory", "title": "Memory", "question": "How much?", "resample": "category"}
    results = run_probe(Card.model_validate({**card, "measures": [measure]}), images, encoders, [], session)
    return [row.estimate for row in results.rows]


def comparison(images: Images, encoders: Sequence[Encoder], session: Session) -> list[float]:
    """Compare the two encoders and return how far they agree."""
    compared = compare(images, encoders, session, ComparisonSettings())
    return [agreement.value.estimate for agreement in compared.agreements]


MEASURES: dict[str, Callable[[Images, Sequence[Encoder], Session], list[float]]] = {
    "geometry": lambda images, encoders, session: probe(GEOMETRY, images, encoders[:1], session),
    "k-NN": lambda images, encoders, session: probe(DECODING, images, encoders[:1], session),
    "compare": comparison,
}


class Watch:
    """Looks at the memory of the process again and again, until it is closed."""

    def __init__(self) -> None:
        """Begin to look."""
        self.before = self.peak = own_memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def close(self) -> float:
        """Stop, and return the peak in GiB above the beginning."""
        self._done.set()
        self._thread.join()
        return (self.peak - self.before) / 2**20

    def _look(self) -> None:
        while not self._done.wait(PAUSE):
            self.peak = max(self.peak, own_memory())


def own_memory() -> int:
    """Return the KiB that are this process's own, in memory."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def work(name: str, root: Path, count: int, dimension: int, tests: int) -> None:
    """Run a measure and print its estimates, seconds and memory; in a process of its own."""
    import faiss  # noqa: F401

    images, encoders = images_of(count, tests), encoders_of(dimension)
    session, watch = Session(Workspace.open(root)), Watch()
    started, before = time.perf_counter(), time.process_time()
    values = MEASURES[name](images, encoders, session)
    seconds, cpu, own = time.perf_counter() - started, time.process_time() - before, watch.close()
    everything = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(json.dumps({"values": values, "seconds": seconds, "cpu": cpu, "own": own, "all": everything}))


def run(tree: Path, *arguments: str) -> dict[str, Any] | None:
    """Run this script on a checkout and return what it prints; None if it was killed, as for too much memory."""
    installed = [path for path in sys.path if path.endswith("site-packages")]  # first, or datasets/ would hide theirs
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*installed, str(tree)])}
    done = subprocess.run([sys.executable, __file__, *arguments], env=environment, stdout=subprocess.PIPE, cwd=HERE)
    if done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL):
        return None
    done.check_returncode()
    printed: dict[str, Any] = json.loads(done.stdout or "{}")
    return printed


def main() -> None:
    """Print medians and extremes of every measure and state."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("rows", 50_000), ("dimension", 256), ("tests", 10_000), ("rounds", 1)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--measures", nargs="+", choices=MEASURES, default=list(MEASURES), metavar="NAME")
    parser.add_argument("--before", type=Path, help="a checkout of the state to compare with")
    parser.add_argument("--folder", type=Path, help="where the stores are made, and stay")
    parser.add_argument("--work", choices=["stores", *MEASURES], help=argparse.SUPPRESS)
    options = parser.parse_args()
    sizes = options.rows, options.dimension, options.tests
    if options.work:
        measures = {name: lambda root, *sizes, name=name: work(name, root, *sizes) for name in MEASURES}
        ({"stores": write_stores} | measures)[options.work](options.folder, *sizes)
        return
    with tempfile.TemporaryDirectory() as temporary:
        shared = ["--folder", str(options.folder or temporary)]
        for option in ("rows", "dimension", "tests"):
            shared += [f"--{option}", str(getattr(options, option))]
        run(HERE, *shared, "--work", "stores")
        trees = ({"before": options.before.resolve()} if options.before else {}) | {"now": HERE}
        print(f"{options.rows:,} x {options.dimension}, two encoders; {options.tests:,} tests of k-NN")
        print(f"{'':<18} seconds                  CPU seconds              GiB of its own   GiB in all")
        for name in options.measures:
            rounds = [
                {state: run(tree, *shared, "--work", name) for state, tree in trees.items()}
                for _ in range(options.rounds)
            ]
            for state in trees:
                print(f"{name:<10} {state:<7} {described([each[state] for each in rounds])}")
            print_differences(name, [each for each in rounds if all(each.values())])


def described(rounds: Sequence[dict[str, Any] | None]) -> str:
    """Write seconds and memory of the same measure and state."""
    done = [each for each in rounds if each]
    if not done:
        return "killed: too little memory"
    seconds, cpu = (spread([each[key] for each in done]) for key in ("seconds", "cpu"))
    return f"{seconds:<24} {cpu:<24} {max(e['own'] for e in done):<16.2f} {max(e['all'] for e in done):.2f}"


def print_differences(name: str, rounds: Sequence[dict[str, Any]]) -> None:
    """Print how many times as long the state before took, and how far estimates differ."""
    if not rounds or "before" not in rounds[0]:
        return
    ratios = spread([each["before"]["cpu"] / each["now"]["cpu"] for each in rounds])
    pairs = [pair for each in rounds for pair in zip(each["before"]["values"], each["now"]["values"], strict=True)]
    print(f"{name:<10} CPU seconds before / now {ratios}; estimates differ by {max(abs(a - b) for a, b in pairs):.1g}")


def spread(values: Sequence[float]) -> str:
    """Write the median and the extremes."""
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


if __name__ == "__main__":
    main()
