"""How fast photographs become tensors, beside a plain Pillow loop; and how much memory `extract` takes as rows grow.

python benchmarks/decoding.py [--count 2000] [--size 4000x3000] [--rows 1000 10000]

The photographs are scikit-image's, enlarged and with noise so that they fill as many bytes as a camera's. Linux only:
peak memory is read from /proc.
"""

from __future__ import annotations

import argparse
import io
import itertools
import statistics
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import skimage.data
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor

from embprobe.embeddings.extract import extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder
from embprobe.encoders.preprocessing import decoded_side, preprocess
from embprobe.encoders.spec import ImageInput
from embprobe.images import Row, load_images

CHUNK = 50
"""Files that one way reads before it is the next way's turn."""
GROUP = 100
"""Rows in a row group of parquet, as Hugging Face's `datasets` writes images."""
MEGAPIXEL = (1152, 864)
WIDTH = 34


def photographs(size: tuple[int, int]) -> list[bytes]:
    """Make eight JPEGs, quality 90, colour at half the resolution: two crops of each of four photographs."""
    data = skimage.data
    sources: list[Callable[[], np.ndarray]] = [data.astronaut, data.chelsea, data.coffee, data.rocket]
    rng = np.random.default_rng(0)
    made = []
    for load, corner in itertools.product(sources, (0, 1)):
        source = Image.fromarray(load())
        width = min(source.width, source.height * size[0] // size[1]) * 4 // 5
        height = width * size[1] // size[0]
        left, top = corner * (source.width - width), corner * (source.height - height)
        large = source.crop((left, top, left + width, top + height)).resize(size, Image.Resampling.LANCZOS)
        grain = rng.normal(0, 5, (size[1], size[0], 1)).astype(np.float32)
        values = (np.asarray(large) + grain).clip(0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(values).save(buffer, "JPEG", quality=90, subsampling="4:2:0")
        made.append(buffer.getvalue())
    return made


def files(photographs: Sequence[bytes], count: int) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents, no two the same: each has its number in a comment behind the first two bytes."""
    for i in range(count):
        number = f"photograph {i}".encode()
        comment = b"\xff\xfe" + struct.pack(">H", len(number) + 2) + number
        content = photographs[i % len(photographs)]
        yield f"{i:05d}.jpg", content[:2] + comment + content[2:]


# --- images per second -------------------------------------------------------------------------------------------


def clip_input() -> ImageInput:
    """Return CLIP's transform: 224 pixels, bicubic."""
    image_input = load_encoder("reference/pixels").spec.require_image_input()
    return replace(image_input, input_size=224, resize_to=224, mean=(0.48, 0.46, 0.41), std=(0.27, 0.26, 0.28))


@dataclass(frozen=True)
class Way:
    """One way from rows to tensors, and the images per second of each chunk."""

    name: str
    load: Callable[[Row], Tensor]
    speeds: list[float]


def ways(folder: Path) -> list[Way]:
    """Return the plain loop, and our decoding as `extract` runs it."""
    exact = clip_input()
    fast = replace(exact, decoding="fast")
    transform = Compose(
        [Resize(224, InterpolationMode.BICUBIC), CenterCrop(224), ToTensor(), Normalize(exact.mean, exact.std)]
    )

    def plain(row: Row) -> Tensor:
        tensor: Tensor = transform(Image.open(folder / row.key).convert("RGB"))
        return tensor

    def ours(image_input: ImageInput) -> Callable[[Row], Tensor]:
        return lambda row: preprocess(row.load(at_least=decoded_side(image_input)), image_input)

    return [
        Way("(a) Pillow and torchvision", plain, []),
        Way("(b) embprobe", ours(exact), []),
        Way("(c) embprobe, fast decoding", ours(fast), []),
    ]


def measure_speed(count: int, size: tuple[int, int], workers: int) -> None:
    """Read every chunk of files in all three ways, in an order that rotates from chunk to chunk."""
    with tempfile.TemporaryDirectory() as temporary:
        folder, made = Path(temporary), photographs(size)
        for name, content in files(made, count):
            (folder / name).write_bytes(content)
        rows = load_images(temporary).rows
        compared = ways(folder)
        for row in rows[: len(made)]:
            tensors = [way.load(row) for way in compared]
            assert torch.equal(tensors[0], tensors[1])
        megabytes = sum(map(len, made)) / len(made) / 1e6
        print(f"{count:,} JPEGs of {size[0]} x {size[1]}, {megabytes:.1f} MB each; {workers} workers")
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            for turn, start in enumerate(range(0, count, CHUNK)):
                chunk = rows[start : start + CHUNK]
                for way in compared[turn % 3 :] + compared[: turn % 3]:
                    started = time.perf_counter()
                    for _ in pool.map(way.load, chunk):
                        pass
                    way.speeds.append(len(chunk) / (time.perf_counter() - started))
    print(f"{'':{WIDTH}}   median   quartiles")
    for way in compared:
        print_spread(way.name, way.speeds, "images/s")
    a, b, c = (way.speeds for way in compared)
    print_spread("(b) / (a)", [ours / plain for ours, plain in zip(b, a, strict=True)])
    print_spread("(c) / (b)", [fast / exact for fast, exact in zip(c, b, strict=True)])


def print_spread(name: str, values: Sequence[float], unit: str = "") -> None:
    """Print a line with the median over chunks, and the quartiles."""
    low, middle, high = statistics.quantiles(values, n=4) if len(values) > 1 else [*values] * 3
    print(f"{name:{WIDTH}} {middle:8.2f}   {low:.2f} .. {high:.2f} {unit}".rstrip())


# --- memory ------------------------------------------------------------------------------------------------------


def measure_memory(counts: Sequence[int]) -> None:
    """Print the peak memory of a fresh process that extracts, for each kind of source and each number of rows."""
    made = photographs(MEGAPIXEL)
    print(f"\nPeak memory of extract, reference/pixels, JPEGs of {MEGAPIXEL[0]} x {MEGAPIXEL[1]}")
    print(f"{'before extracting anything':{WIDTH}} {peak_of():9,} MiB")
    print(" ".join([f"{'':{WIDTH}}", *(f"{count:>8,} rows" for count in counts), "   ratio"]))
    for kind, write in (("folder", write_folder), ("tar", write_tar), ("parquet", write_parquet)):
        peaks = []
        for count in counts:
            with tempfile.TemporaryDirectory() as temporary:
                source = write(Path(temporary), files(made, count))
                peaks.append(peak_of(str(source), str(Path(temporary, "workspace"))))
        print(f"{kind:{WIDTH}} {' '.join(f'{peak:9,} MiB' for peak in peaks)} {peaks[-1] / peaks[0]:8.2f}")


def peak_of(*extracting: str) -> int:
    """Return the peak in MiB of a process that extracts from a source into a workspace, or does nothing."""
    command = [sys.executable, __file__, "--extract", *extracting]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def write_folder(into: Path, contents: Iterator[tuple[str, bytes]]) -> Path:
    """Write a folder with a file for each image."""
    folder = into / "photographs"
    folder.mkdir()
    for name, content in contents:
        (folder / name).write_bytes(content)
    return folder


def write_tar(into: Path, contents: Iterator[tuple[str, bytes]]) -> Path:
    """Write a WebDataset of one tar."""
    with tarfile.open(into / "photographs.tar", "w") as tar:
        for name, content in contents:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return into / "photographs.tar"


def write_parquet(into: Path, contents: Iterator[tuple[str, bytes]]) -> Path:
    """Write a table with the column that Hugging Face's `datasets` makes of an image."""
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    with pq.ParquetWriter(into / "photographs.parquet", pa.schema({"image": image})) as writer:
        while group := [{"bytes": content, "path": name} for name, content in itertools.islice(contents, GROUP)]:
            writer.write_table(pa.table({"image": pa.array(group, image)}))
    return into / "photographs.parquet"


def print_peak(extracting: Sequence[str]) -> None:
    """Extract if there is a source and a workspace, then print this process's highest resident set in MiB."""
    encoder = load_encoder("reference/pixels")
    if extracting:
        source, workspace = extracting
        rows = load_images(source)
        (store,) = extract(rows, [encoder], Workspace.open(Path(workspace)))
        assert len(store.vectors()) == len(rows)
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    print(int(line.split()[1]) // 1024)


def main() -> None:
    """Measure speed and memory; with ``--extract``, be the process whose memory is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000, help="photographs to time")
    parser.add_argument("--size", default="4000x3000", help="of those, in pixels")
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 10_000], help="for memory")
    parser.add_argument("--workers", type=int, default=torch.get_num_threads(), help="threads that read")
    parser.add_argument("--extract", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.extract is not None:
        print_peak(options.extract)
        return
    width, _, height = options.size.partition("x")
    measure_speed(options.count, (int(width), int(height)), options.workers)
    measure_memory(options.rows)


if __name__ == "__main__":
    main()
