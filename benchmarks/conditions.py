"""What cards cost in a new workspace: every condition of every card, beside another checkout of embprobe.

python benchmarks/conditions.py --before CHECKOUT [--rounds 1] [--photographs 20] [--size 4000x3000] [--only demo]

`bundled`: `probe --attribute all` on the bundled images. `photographs`: the four cards that need no labels, on
generated JPEGs, by three encoders of `reference/`; an image is treated as often as it is among 200 (decoding repeats
few images up to 2,000). `demo`: the demo. Both checkouts take turns, each in a workspace of its own; printed are wall
time, processor time of user and system together, and peak memory. At the end of each, the largest difference of any
estimate or bound of an interval, and how many files of vectors are not the same byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from PIL import Image

HERE = Path(__file__).parents[1]
CARDS = ("color", "geometry", "style", "text")
"""The cards of which something is left to measure on photographs without labels, and a headline."""
ENCODERS = ("reference/random-vit", "reference/pixels", "reference/color-histogram")
AMONG = 200
"""Photographs among which an image is treated as often as it is here."""
RUN = """
import resource, sys
import embprobe.probing.kinds.decoding as decoding
decoding.FEW = int(sys.argv.pop(1)) or decoding.FEW
from embprobe.cli.app import main
try:
    main()
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """Seconds of wall and processor, and MiB of memory at the peak."""

    wall: float
    processor: float
    memory: float


def photographs(folder: Path, count: int, size: tuple[int, int]) -> None:
    """Write JPEGs, quality 90: turned crops of scikit-image's photographs, enlarged and with noise."""
    sources = [Image.fromarray(getattr(skimage.data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    for i in range(count):
        rng = np.random.default_rng(i)
        source = sources[i % len(sources)].convert("RGB")
        width = int(source.width * rng.uniform(0.5, 0.9))
        height = min(width * size[1] // size[0], source.height)
        left, top = (int(rng.integers(0, gap + 1)) for gap in (source.width - width, source.height - height))
        enlarged = source.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.BICUBIC)
        pixels = np.asarray(enlarged, np.int16) + rng.normal(0, 3, (size[1], size[0], 1)).round().astype(np.int16)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{i:04d}.jpg", quality=90)


def run(checkout: Path, workspace: Path, arguments: Sequence[str], few: int = 0) -> tuple[Cost, str]:
    """Run a command of a checkout in a process of its own; return its cost and its output."""
    installed = [path for path in sys.path if path.endswith("site-packages")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*installed, str(checkout)])}
    command = [sys.executable, "-c", RUN, str(few), *arguments, "--workspace", str(workspace)]
    started, before = time.perf_counter(), os.times()
    done = subprocess.run(command, cwd=workspace.parent, env=environment, check=True, capture_output=True, text=True)
    after = os.times()
    processor = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(time.perf_counter() - started, processor, int(done.stderr.split()[-1]) / 1024), done.stdout


def estimates(output: str) -> dict[tuple[Any, ...], float]:
    """Return every number of the results of `probe --json`, by all that names it."""
    documents = json.loads(output) if output.startswith(("[", "{")) else []
    found = {}
    for document in documents if isinstance(documents, list) else [documents]:
        for row in document["results"]:
            name = tuple((key, str(value)) for key, value in sorted(row.items()) if not isinstance(value, float))
            for key in ("estimate", "low", "high"):
                found[*name, key] = row[key]
    return found


def largest_difference(a: dict[tuple[Any, ...], float], b: dict[tuple[Any, ...], float]) -> float:
    """Return the largest difference of numbers of one name; infinite if a name is only in one of the two."""
    if a.keys() != b.keys():
        return math.inf
    return max((abs(a[name] - b[name]) for name in a), default=0.0)


def vectors(workspace: Path) -> Iterator[tuple[str, str]]:
    """Yield each file of vectors in a workspace and its hash."""
    for path in sorted((workspace / "stores").glob("*/*/img_emb/*.npy")):
        yield str(path.relative_to(workspace)), hashlib.sha256(path.read_bytes()).hexdigest()


def compare(title: str, checkouts: dict[str, Path], arguments: Sequence[str], rounds: int, few: int = 0) -> None:
    """Print what a command costs in each checkout, the ratio, and whether its results are the same."""
    print(f"\n{title}", flush=True)
    costs: dict[str, list[Cost]] = {state: [] for state in checkouts}
    results, hashes = [], []
    for _ in range(rounds):
        for state, checkout in checkouts.items():
            with tempfile.TemporaryDirectory() as folder:
                cost, output = run(checkout, Path(folder) / "workspace", arguments, few)
                costs[state].append(cost)
                results.append(estimates(output))
                hashes.append(dict(vectors(Path(folder) / "workspace")))
            print(
                f"  {state:7} {cost.wall:9.1f} s  {cost.processor:9.1f} s of processor  {cost.memory:7,.0f} MiB",
                flush=True,
            )
    if len(checkouts) < 2:
        return
    for name in ("wall", "processor"):
        before, after = (min(getattr(cost, name) for cost in costs[state]) for state in checkouts)
        print(f"  before / after, {name}: {before / after:.2f}")
    numbers = len(results[0])
    print(f"  largest difference of {numbers:,} numbers: {max(largest_difference(results[0], r) for r in results):.1e}")
    names = set.intersection(*(set(each) for each in hashes))
    other = sum(len({each[name] for each in hashes}) > 1 for name in names)
    alone = sum(len(set(each) - names) for each in hashes)
    print(
        f"  files of vectors: {len(names):,} in both, {other:,} of them not the same; {alone:,} only in one", flush=True
    )


def main() -> None:
    """Print the costs before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout of embprobe")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--photographs", type=int, default=20)
    parser.add_argument("--size", default="4000x3000")
    parser.add_argument("--only", nargs="*", default=["bundled", "photographs", "demo"])
    options = parser.parse_args()
    checkouts = {"before": options.before.resolve()} if options.before else {}
    checkouts["after"] = HERE
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS')}")
    if "bundled" in options.only:
        compare("probe --attribute all", checkouts, ["probe", "-a", "all", "--json"], options.rounds)
    if "photographs" in options.only:
        width, height = map(int, options.size.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            photographs(Path(folder), options.photographs, (width, height))
            cards = [argument for card in CARDS for argument in ("-a", card)]
            encoders = [argument for encoder in ENCODERS for argument in ("-e", encoder)]
            title = f"{', '.join(CARDS)} on {options.photographs} photographs of {width} x {height}"
            command = ["probe", folder, *cards, *encoders, "--json"]
            compare(title, checkouts, command, options.rounds, options.photographs * 2_000 // AMONG)
    if "demo" in options.only:
        compare("demo", checkouts, ["demo"], options.rounds)


if __name__ == "__main__":
    main()
