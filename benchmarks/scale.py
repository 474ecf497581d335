"""What a million images cost: list them, extract, make an index, search; docs/scale.md is computed from the record.

    python benchmarks/scale.py --out docs/records/scale.json
    python scripts/render_docs.py

One tar of small JPEGs, the encoder ``reference/pixels``, which costs next to nothing, so that what is measured is
everything else. Each command runs in a process of its own. Options: --count N, --folder PLACE (for 4 GB).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFilter

ENCODER = "reference/pixels"
SIDE = 96
DIFFERENT = 1000
"""Left halves of pictures, and right ones: each pair of them is another picture."""
LIST = "from embprobe.images import load_images; print(load_images('set.tar').fingerprint)"


def main() -> None:
    """Measure every step once and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        picture_bytes = write_tar(folder / "set.tar", arguments.count)
        embprobe = ["-m", "embprobe"]
        steps = {
            "list": ["-c", LIST],
            "extract": [*embprobe, "extract", "set.tar", "-e", ENCODER],
            "index": [*embprobe, "neighbors", "set/000000007", "-i", "set.tar", "-e", ENCODER],
            "search": [*embprobe, "neighbors", "set/000000008", "-i", "set.tar", "-e", ENCODER],
        }
        measured = {step: cost(command, folder) for step, command in steps.items()}
        stores = folder / "embprobe-workspace" / "stores"
        parts = {"vectors": "img_emb", "labels": "metadata", "marks": "rows"}
        disk = {part: size_of(stores.glob(f"*/*/{inside}/*")) for part, inside in parts.items()}
        disk |= {"manifest": size_of(stores.glob("*/*/*.json*")), "index": size_of(stores.glob("*/*/*.faiss"))}
    record: dict[str, Any] = {
        "command": "python benchmarks/scale.py --out docs/records/scale.json",
        "encoder": ENCODER,
        "dimension": 432,
        "count": arguments.count,
        "cores": os.cpu_count(),
        "picture_bytes": picture_bytes,
        "picture_side": SIDE,
        "steps": measured,
        "disk": disk,
        "versions": {name: version(name) for name in ("embprobe", "torch", "numpy", "pyarrow", "pillow")},
    }
    text = json.dumps(record, indent=1) + "\n"
    print(text)
    if arguments.out:
        arguments.out.write_text(text, encoding="utf-8")


def write_tar(path: Path, count: int) -> float:
    """Write a tar of ``count`` different pictures; return the mean number of bytes of a picture."""
    rng, half, written = np.random.default_rng(0), SIDE // 2, 0
    noise = rng.integers(0, 255, (2 * DIFFERENT, SIDE, half, 3), np.uint8)
    halves = [Image.fromarray(each).filter(ImageFilter.GaussianBlur(2)) for each in noise]
    with tarfile.open(path, "w") as archive:
        for i in range(count):
            picture = Image.new("RGB", (SIDE, SIDE))
            picture.paste(halves[i % DIFFERENT], (0, 0))
            picture.paste(halves[DIFFERENT + i // DIFFERENT % DIFFERENT], (half, 0))
            picture.save(buffer := io.BytesIO(), "JPEG", quality=85)
            member = tarfile.TarInfo(f"{i:09}.jpg")
            member.size = len(buffer.getvalue())
            written += member.size
            buffer.seek(0)
            archive.addfile(member, buffer)
    return round(written / count, 1)


def cost(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command that must succeed; return its seconds, its processor seconds and its largest memory in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], cwd=folder, stdout=subprocess.DEVNULL, env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = {"seconds": time.perf_counter() - began, "processor_seconds": usage.ru_utime + usage.ru_stime}
    return {name: round(value, 1) for name, value in {**seconds, "peak_mib": usage.ru_maxrss / 1024}.items()}


def environment() -> dict[str, str]:
    """Return an environment in which the package beside this file is run."""
    installed = [path for path in sys.path if path.endswith("site-packages")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([*installed, str(Path(__file__).parents[1])])}


def size_of(files: Any) -> int:
    """Return the bytes of files."""
    return sum(file.stat().st_size for file in files)


if __name__ == "__main__":
    main()
