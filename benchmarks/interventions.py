"""Measure the cost of interventions: planning a row and changing an image, beside another checkout of embprobe.

python benchmarks/interventions.py [--before CHECKOUT] [--rounds 3] [--seconds 60] [--only hue word]

Planning: microseconds of processor time a row, for 500 to 20,000 rows whose names share a word, are the same, are all
different, or are missing. Changing: milliseconds of processor time for each intervention and control at the last of its
preview's strengths, on eight bundled emoji (128 pixels) and on scikit-image's photographs of 512 x 512, of 1 and of 12
megapixels; each image once, in a new process, after one small image. Both checkouts take turns; of the rounds the
least counts. Hashes of plans and pixels are compared on the way. A process that exceeds ``--seconds`` is ended.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image

SIZES = (500, 1_000, 2_000, 20_000)
PLANNED = ("hue/lightness", "palette", "word-agrees", "word-conflicts", "word-neutral", "word", "house", "object")
KINDS = ("a shared word", "one name", "names apart", "no labels")
PICTURES = ("emoji", "512 x 512", "1 MP", "12 MP")
PHOTOGRAPHED = ("hue", "saturation", "greyscale", "temperature", "palette", "tint", "word", "oil", "posterize")
"""Interventions that are tried on large photographs, with their controls."""


def labels(kind: str, i: int) -> dict[str, str]:
    """Return the labels of the row ``i``."""
    if kind == "a shared word":
        return {"name": f"thing {i:05d}", "category": f"c{i % 7}", "concept": f"{i % 50}", "style": f"s{i % 3}"}
    if kind == "one name":
        return {"name": "cat", "category": "animal", "concept": "cat", "style": f"s{i % 3}"}
    if kind == "names apart":
        return {"name": f"n{i}", "category": f"c{i % 7}", "concept": f"{i}", "style": f"s{i % 3}"}
    return {}


def plan(name: str, kind: str, n: int) -> dict[str, float | str]:
    """Plan ``n`` rows; return microseconds a row, and a hash of the plan."""
    from embprobe.images import Images, Row
    from embprobe.interventions import find_intervention, intervene

    picture = Image.new("RGB", (8, 8))
    rows = Images("rows", tuple(Row(f"{i:05d}", labels(kind, i), f"{i}", picture.copy) for i in range(n)))
    few = rows.take(range(10))
    strength = find_intervention(name).preview[-1]
    intervene(few, name, strength, seed=0)
    started = time.process_time()
    changed = intervene(rows, name, strength, seed=0)
    return {"cost": (time.process_time() - started) / n * 1e6, "hash": changed.fingerprint}


def pictures(kind: str) -> Iterator[tuple[str, Callable[[], Image.Image]]]:
    """Yield names and readers of the images of a kind."""
    from skimage import data

    from embprobe.images import load_images

    if kind == "emoji":
        emoji = load_images("bundled/emoji")
        for row in emoji.take(range(100, len(emoji), 1200)).rows:
            yield row.key, row.read
        return
    size = {"512 x 512": (512, 512), "1 MP": (1152, 864), "12 MP": (4000, 3000)}[kind]
    for name in ("astronaut", "coffee") if kind == "512 x 512" else ("coffee",):
        photograph = Image.fromarray(getattr(data, name)()).resize(size, Image.Resampling.LANCZOS)
        yield name, photograph.copy


def change(name: str, kind: str) -> dict[str, float | str]:
    """Change every image of a kind; return the mean of milliseconds an image, and a hash of their pixels."""
    from embprobe.errors import EmbprobeError
    from embprobe.images import Images, Row, UnreadableImage
    from embprobe.interventions import find_intervention, intervene

    strength = find_intervention(name).preview[-1]
    small = Image.linear_gradient("L").resize((16, 16))
    small = Image.merge("RGB", (small, small.rotate(90), small.rotate(180)))
    warm = Images("warm", (Row("warm", {"name": "dog"}, "", small.copy),))
    named = [(key, {"name": key[:9], "style": "s"}, source) for key, source in pictures(kind)]
    images = Images("images", tuple(Row(key, labels, key, source) for key, labels, source in named))
    digest, total = hashlib.sha256(), 0.0
    with contextlib.suppress(UnreadableImage, EmbprobeError):
        intervene(warm, name, strength, seed=0, donors=images).rows[0].read()
    changed = intervene(images, name, strength, seed=0)
    for row, original in zip(changed.rows, images.rows, strict=True):
        fetched = original.read()
        apply = row.change
        started = time.process_time()
        try:
            digest.update(apply(fetched).tobytes() if apply else b"")
        except UnreadableImage as reason:
            digest.update(str(reason).encode())
        total += time.process_time() - started
    return {"cost": total / len(images) * 1e3, "hash": digest.hexdigest()}


def measured(checkout: Path, seconds: float, *what: str) -> dict[str, float | str] | None:
    """Run one measurement on a checkout in a process of its own; None if it takes too long."""
    packages = [path for path in sys.path if "site-packages" in path]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*packages, str(checkout)]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--measure", *what]
    try:
        run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds, check=True)
    except subprocess.TimeoutExpired:
        return None
    measurement: dict[str, float | str] = json.loads(run.stdout.splitlines()[-1])
    return measurement


def compare(checkouts: Sequence[Path], rounds: int, seconds: float, *what: str) -> str:
    """Measure each checkout in turns and write the least of each, their ratio, and whether results are the same."""
    costs: list[list[float]] = [[] for _ in checkouts]
    hashes: set[str] = set()
    for _ in range(rounds):
        for checkout, cost in zip(checkouts, costs, strict=True):
            if len(cost) < rounds and (result := measured(checkout, seconds, *what)):
                cost.append(float(result["cost"]))
                hashes.add(str(result["hash"]))
    least = [min(cost) if cost else None for cost in costs]
    shown = "  ".join("    over" if cost is None else f"{cost:8.1f}" for cost in least)
    if len(least) < 2 or least[0] is None or not least[1]:
        return shown
    return f"{shown}  {least[0] / least[1]:6.2f}  {'the same' if len(hashes) == 1 else 'DIFFERENT'}"


def main() -> None:
    """Print a line for each intervention: before, after, their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout of embprobe")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="after which a process is ended")
    parser.add_argument("--only", nargs="*", help="interventions; by default all")
    parser.add_argument("--kinds", nargs="*", default=PICTURES, help=f"of {', '.join(PICTURES)}")
    parser.add_argument("--measure", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        what, name, kind, *n = options.measure
        print(json.dumps(plan(name, kind, int(n[0])) if what == "plan" else change(name, kind)))
        return
    from embprobe.interventions import INTERVENTIONS

    here = Path(__file__).resolve().parents[1]
    checkouts = [each.resolve() for each in (options.before, here) if each]
    columns = "  before     after    ratio" if options.before else ""
    print(f"planning, microseconds of processor time a row\n{'':44}{columns}")
    for name in PLANNED:
        for kind in KINDS if not options.only or name in options.only else ():
            for n in SIZES:
                line = compare(checkouts, 1, options.seconds, "plan", name, kind, str(n))
                print(f"{name:15} {kind:14} {n:>7,} rows  {line}", flush=True)
    for kind in options.kinds:
        print(f"\nchanging an image, milliseconds of processor time: {kind}\n{'':30}{columns}")
        for name, intervention in INTERVENTIONS.items():
            small = kind in PICTURES[:2]
            if (options.only and name not in options.only) or not (small or name in PHOTOGRAPHED):
                continue
            for full in (name, *(f"{name}/{control}" for control in intervention.controls)):
                line = compare(checkouts, options.rounds, options.seconds, "change", full, kind)
                print(f"{full:28}  {line}", flush=True)


if __name__ == "__main__":
    main()
