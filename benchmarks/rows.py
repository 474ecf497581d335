"""Memory and time of a set of images before any of them is read: a folder, a tar and a parquet file of many rows.

Every set is opened in a process of its own. "Memory" is what stays of a row once the set is open, and what an
intervention adds: anonymous memory of the process after what is free was given back, less that of the same process with
a hundredth of the rows. Options: --count N, --before PATH (another checkout of embprobe, which is run beside this one).
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FORMS = ("folder", "tar", "parquet")
LINKS = 30_000
"""Names of one file, at most; file systems have a limit."""


def main() -> None:
    """Make the sets, open each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    parser.add_argument("--open", type=Path)
    arguments = parser.parse_args()
    if arguments.open:
        print(json.dumps(opened(arguments.open)))
        return
    states = {"now": Path(__file__).parents[1], **({"before": arguments.before} if arguments.before else {})}
    with tempfile.TemporaryDirectory() as folder:
        print(f"    {arguments.count:,} rows; bytes a row: open, with hue, with a word; seconds to open")
        for form in arguments.forms:
            counts = arguments.count // 100, arguments.count
            small, large = (made(Path(folder, f"{form}-{count}"), form, count) for count in counts)
            for state, root in states.items():
                few, many = (in_own_process(path, root) for path in (small, large))
                rows = arguments.count - arguments.count // 100
                sizes = [(many[i] - few[i]) / rows for i in ("open", "hue", "word")]
                print(f"    {form:8} {state:7}", *(f"{size:7.0f}" for size in sizes), f"{many['seconds']:8.1f} s")


def in_own_process(path: Path, root: Path) -> dict[str, float]:
    """Open a set in a new process with the package of ``root``."""
    command = [sys.executable, __file__, "--open", str(path)]
    paths = [*(path for path in sys.path if "site-packages" in path), str(root)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(command, env=environment, cwd=path.parent, capture_output=True, text=True, check=True)
    measured: dict[str, float] = json.loads(done.stdout)
    return measured


def opened(path: Path) -> dict[str, float]:
    """Open a set and change it; return the anonymous memory after each step in bytes, and the seconds of the first."""
    from embprobe.images import load_images
    from embprobe.interventions import intervene

    began = time.perf_counter()
    images = load_images(str(path))
    seconds = time.perf_counter() - began
    measured = {"open": anonymous()}
    hue = intervene(images, "hue", 120, seed=0)
    measured["hue"] = anonymous()
    del hue
    word = intervene(images, "word-neutral", 0.5, seed=0)
    measured["word"] = anonymous()
    assert len(word) == len(images)
    return {**measured, "seconds": seconds}


def anonymous() -> float:
    """Return the anonymous memory of this process in bytes, after what is free was given back."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))


def made(path: Path, form: str, count: int) -> Path:
    """Make a set of ``count`` rows of 100 categories, each row the same small picture."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (8, 8, 3), np.uint8)).save(buffer, "JPEG")
    picture = buffer.getvalue()
    if form == "folder":
        for i in range(count):
            category = path / f"category{i % 100:02}"
            if i < 100:
                category.mkdir(parents=True)
            target = category / f"{i:09}.jpg"
            if i % LINKS == 0:
                target.write_bytes(picture)
                first = target
            else:
                os.link(first, target)
        return path
    if form == "tar":
        path = path.with_suffix(".tar")
        with tarfile.open(path, "w") as archive:
            for i in range(count):
                member = tarfile.TarInfo(f"category{i % 100:02}/{i:09}.jpg")
                member.size = len(picture)
                archive.addfile(member, io.BytesIO(picture))
        return path
    path = path.with_suffix(".parquet")
    schema = pa.schema({"image": pa.binary(), "category": pa.string(), "key": pa.string()})
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, count, 10_000):
            numbers = range(start, min(start + 10_000, count))
            categories, keys = [f"category{i % 100:02}" for i in numbers], [f"{i:09}" for i in numbers]
            table = {"image": [picture] * len(numbers), "category": categories, "key": keys}
            writer.write_table(pa.table(table, schema))
    return path


if __name__ == "__main__":
    main()
