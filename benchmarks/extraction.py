"""How fast a folder becomes vectors: beside the forward pass alone, and beside clip-retrieval.

python benchmarks/extraction.py [--rounds 5] [--large-rounds 3] [--clip-retrieval PYTHON]

PYTHON is the interpreter of an environment of its own that holds ``clip-retrieval==2.45.0``, which needs ``numpy<2``;
without it that part is left out. The weights of open_clip's and timm's models are random, and the forward pass alone
gets random tensors: neither changes how long anything takes. Files were just written, so they come from memory, not
from a disk.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from subprocess import PIPE
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import timm
import torch
from decoding import WIDTH, files, photographs, print_spread  # type: ignore[import-not-found]  # lies beside this file
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from embprobe.embeddings.extract import BATCH_SIZE, GPU_BATCH_SIZE, extract
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import Encoder, load_encoder
from embprobe.images import load_images

PHOTOGRAPH = (640, 480)
LARGE = ("open_clip/ViT-B-16", "timm/vit_small_patch16_224.dino")
COMPARED = ("open_clip/ViT-S-32-alt", "open_clip/ViT-B-32")
"""Models for clip-retrieval: one where reading and decoding weigh as much as the network, and its default."""
ON_GPU = ("open_clip/ViT-B-16", "open_clip/ViT-L-14")
THEIR_BATCH = 64
"""Batch size of clip-retrieval: its default of 256 was slower on a CPU."""
GPU_BATCHES = (GPU_BATCH_SIZE, 4 * GPU_BATCH_SIZE)
SIDE = 8192
"""Side of the square matrices whose product measures the GPU's peak."""


@dataclass
class Way:
    """One way to process a number of images, and the figures of its rounds."""

    name: str
    images: int
    run: Callable[[], None | tuple[float, float]]
    """Processes the images; may return its own seconds by the clock and of processor time."""
    speeds: list[float] = field(default_factory=list)
    """Images per second."""
    costs: list[float] = field(default_factory=list)
    """Seconds of processor time for an image, over all threads: what other work on the machine changes least."""


def take_turns(ways: Sequence[Way], rounds: int) -> None:
    """Run every way once a round, in an order that rotates from round to round, and print a line for each."""
    for turn in range(rounds):
        first = turn % len(ways)
        for way in [*ways[first:], *ways[:first]]:
            started, used = time.perf_counter(), time.process_time()
            own_times = way.run()
            taken, cost = own_times or (time.perf_counter() - started, time.process_time() - used)
            way.speeds.append(way.images / taken)
            way.costs.append(cost / way.images)
    print(f"{'':{WIDTH}}   median   quartiles")
    for way in ways:
        print_spread(way.name, way.speeds, "images/s")


def fastest(ways: Sequence[Way]) -> Way:
    """Return the way with the highest median."""
    return max(ways, key=lambda way: statistics.median(way.speeds))


def print_ratio(name: str, of: Sequence[float], to: Sequence[float]) -> None:
    """Print a line with the ratios of two ways' figures, round by round."""
    print_spread(name, [mine / other for mine, other in zip(of, to, strict=True)])


# --- folders and weights -----------------------------------------------------------------------------------------


def write_emoji(into: Path, count: int) -> dict[str, Path]:
    """Write the first bundled drawings as the files they come as and as JPEGs of the same 128 pixels."""
    folders = {"WebP": into / "webp", "JPEG": into / "jpeg"}
    for folder in folders.values():
        folder.mkdir()
    for row in load_images("bundled/emoji").rows[:count]:
        name = row.key.replace("/", "-")
        source = row.source()
        assert isinstance(source, bytes)
        (folders["WebP"] / f"{name}.webp").write_bytes(source)
        row.load().save(folders["JPEG"] / f"{name}.jpg", quality=90)
    return folders


def write_photographs(into: Path, count: int) -> Path:
    """Write ``count`` JPEGs, no two files the same."""
    folder = into / f"photographs-{count}"
    folder.mkdir(exist_ok=True)
    for name, content in files(photographs(PHOTOGRAPH), count):
        (folder / name).write_bytes(content)
    return folder


def randomly_weighted(name: str, into: Path) -> str:
    """Write a file of random weights and return the encoder's name with it."""
    family, _, model = name.partition("/")
    network = open_clip.create_model(model) if family == "open_clip" else timm.create_model(model, num_classes=0)
    file = into / f"{model}.safetensors"
    save_file(network.state_dict(), file)
    return f"{name}:{file}"


def short(encoder: Encoder) -> str:
    """Return a name without family and weights, short enough for a table."""
    return encoder.spec.name.partition("/")[2].partition(":")[0].removesuffix("_patch16_224.dino")


# --- beside the forward pass alone -------------------------------------------------------------------------------


def random_batch(encoder: Encoder) -> Tensor:
    """Make a random batch as large as those of `extract`."""
    side = encoder.spec.require_image_input().input_size
    return torch.rand(BATCH_SIZE, 3, side, side)


def forward(encoder: Encoder, batches: int) -> None:
    """Encode one batch after the other, each on all of torch's threads."""
    batch = random_batch(encoder)
    for _ in range(batches):
        encoder.encode_images(batch)


def forward_on_threads(encoder: Encoder, batches: int, threads: int) -> None:
    """Encode whole batches in several threads."""
    batch = random_batch(encoder)
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for _ in pool.map(encoder.encode_images, [batch] * batches):
            pass
    torch.set_num_threads(threads)


def forward_ways(encoder: Encoder, batches: int) -> list[Way]:
    """Return both ways. To save time, the first gets as many batches as one thread of the other."""
    threads = torch.get_num_threads()
    fewer = batches // threads
    encoder.encode_images(random_batch(encoder)[:4])  # the slow first call is not counted
    return [
        Way(f"{short(encoder)}, torch's threads", fewer * BATCH_SIZE, partial(forward, encoder, fewer)),
        Way(
            f"{short(encoder)}, a batch per thread",
            batches * BATCH_SIZE,
            partial(forward_on_threads, encoder, batches, threads),
        ),
    ]


def end_to_end(folder: Path, encoders: Sequence[Encoder], device: str, stages: dict[str, float]) -> None:
    """Extract from the folder to complete stores in a new workspace, and add up the seconds of each stage."""
    with tempfile.TemporaryDirectory() as workspace:
        extract(load_images(str(folder)), encoders, Workspace.open(Path(workspace)), device=device, seconds=stages)


def measure_share(folders: Mapping[str, Path], encoders: Sequence[Encoder], count: int, rounds: int) -> None:
    """Measure the first encoder end to end, then all in one pass, both beside the forward passes alone."""
    alone = [forward_ways(encoder, count // BATCH_SIZE) for encoder in encoders]
    stages: dict[str, dict[str, float]] = {}

    def extracting(name: str, which: Sequence[Encoder]) -> list[Way]:
        ways = []
        for kind, folder in folders.items():
            spent = stages[f"{name}, {kind}"] = {}
            ways.append(Way(f"extract {name}, {kind}", count, partial(end_to_end, folder, which, "cpu", spent)))
        return ways

    single, both = extracting(short(encoders[0]), encoders[:1]), extracting("both", encoders)
    take_turns([*itertools.chain(*alone), *single, *both], rounds)
    bare = [fastest(pair).speeds for pair in alone]
    costs = [many.costs for _, many in alone]  # torch's own threads wait for each other at full speed
    for way in single:
        print_ratio(f"{way.name} / alone", way.speeds, bare[0])
        print_ratio("  in processor time", costs[0], way.costs)
    summed = [1 / sum(1 / speed for speed in speeds) for speeds in zip(*bare, strict=True)]
    for way in both:
        print_ratio(f"{way.name}, time / sum", summed, way.speeds)
        print_ratio("  in processor time", way.costs, [sum(of_round) for of_round in zip(*costs, strict=True)])
    for name, spent in stages.items():
        shares = (f"{stage} {taken / sum(spent.values()):.1%}" for stage, taken in spent.items())
        print(f"{name}: {', '.join(shares)}")


# --- beside clip-retrieval ---------------------------------------------------------------------------------------

CLIP_RETRIEVAL = """
import contextlib, io, itertools, os, sys, time
from all_clip import load_clip
from clip_retrieval.clip_inference import worker

class Silent:
    def __init__(self, **_): pass
    def start(self): pass
    def end(self): pass
    def __call__(self, stats): pass

worker.LoggerWriter = Silent
model, folder, output, batch_size = sys.argv[1:]
settings = {"batch_size": int(batch_size), "clip_model": model, "use_jit": False, "enable_text": False}
with contextlib.redirect_stdout(io.StringIO()):
    load_clip(clip_model=model, use_jit=False, warmup_batch_size=int(batch_size), clip_cache_path=None)
print("ready", flush=True)
for number, line in zip(itertools.count(), sys.stdin):
    started, used = time.perf_counter(), sum(os.times()[:4])
    with contextlib.redirect_stdout(io.StringIO()):
        worker.worker([0], folder, f"{output}/{number}", 1, num_prepro_workers=int(line), **settings)
    print(time.perf_counter() - started, sum(os.times()[:4]) - used, flush=True)
"""
"""Runs in the other environment: loads the model, then extracts the folder for each line with a number of workers.

All but the logging is clip-retrieval's own. Its two logging processes import torch anew in every run, on the same
cores; without them it is faster.
"""


def serve(name: str, folder: str, output: str) -> None:
    """Extract the folder with embprobe once for each line on standard input, whatever the line says."""
    encoder = load_encoder(name)
    print("ready", flush=True)
    for number, _ in zip(itertools.count(), sys.stdin, strict=False):
        started, used = time.perf_counter(), time.process_time()
        extract(load_images(folder), [encoder], Workspace.open(Path(output, str(number))))
        print(time.perf_counter() - started, time.process_time() - used, flush=True)


@dataclass
class Server:
    """embprobe or clip-retrieval in a process of its own."""

    process: subprocess.Popen[str]
    start_up: float = 0.0
    """Seconds until the process was ready."""

    def ask(self, question: str) -> tuple[float, float]:
        """Run one extraction and return its seconds by the clock and of processor time, child processes included."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{question}\n")
        self.process.stdin.flush()
        taken, cost = map(float, self.answer().split())
        return taken, cost

    def answer(self) -> str:
        """Read the next line of its output."""
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise SystemExit("A process that extracts ended early; its messages are above.")
        return line


@contextmanager
def server(*command: str) -> Iterator[Server]:
    """Start a server without a GPU and without a network."""
    changed = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "PYTHONWARNINGS": "ignore"}
    environment = {**os.environ, **changed}
    started = time.perf_counter()
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, env=environment) as process:
        server = Server(process)
        server.answer()
        server.start_up = time.perf_counter() - started
        yield server


def measure_clip_retrieval(python: str, name: str, folder: Path, workers: Sequence[int], rounds: int) -> None:
    """Measure both on the same folder and weights, without start-up and with it, and check that the vectors agree."""
    model, _, file = name.removeprefix("open_clip/").partition(":")
    count = len(load_images(str(folder)))
    print(f"\n{model} on {count:,} photographs, beside clip-retrieval, whose batches are of {THEIR_BATCH}")
    with tempfile.TemporaryDirectory() as temporary:
        outputs = [Path(temporary, kind) for kind in ("embprobe", "clip-retrieval")]
        ours_command = (sys.executable, __file__, "--serve", name, str(folder), str(outputs[0]))
        arguments = (f"open_clip:{model}/{file}", str(folder), str(outputs[1]), str(THEIR_BATCH))
        with server(*ours_command) as ours, server(python, "-c", CLIP_RETRIEVAL, *arguments) as theirs:
            ours.ask("first")  # the slow first call is not counted, in either
            theirs.ask(str(workers[0]))
            mine = Way("embprobe", count, partial(ours.ask, "again"))
            others = [Way(f"clip-retrieval, {n} workers", count, partial(theirs.ask, str(n))) for n in workers]
            take_turns([mine, *others], rounds)
        best = fastest(others)
        print_ratio("embprobe / fastest of the other", mine.speeds, best.speeds)
        print_ratio("  in processor time", best.costs, mine.costs)
        both = zip((mine, best), (ours, theirs), strict=True)
        with_start = [[count / (count / speed + s.start_up) for speed in way.speeds] for way, s in both]
        print_ratio("the same with start-up", *with_start)
        print(f"start-up: embprobe {ours.start_up:.1f} s, clip-retrieval {theirs.start_up:.1f} s")
        print_agreement(name, folder, outputs[0] / "0", outputs[1] / "0")


def print_agreement(name: str, folder: Path, ours: Path, theirs: Path) -> None:
    """Return the lowest cosine of the two vectors of a file, and the highest of different photographs."""
    (store,) = extract(load_images(str(folder)), [load_encoder(name)], Workspace.open(ours))
    assert not store.written  # it was there
    paths = pq.read_table(theirs / "metadata" / "metadata_0.parquet")["image_path"].to_pylist()
    vectors = np.load(theirs / "img_emb" / "img_emb_0.npy").astype(np.float32)
    position = {key: i for i, key in enumerate(store.keys())}
    mine = store.vectors()[[position[Path(path).name] for path in paths]]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (mine, vectors)]
    cosines = unit[0] @ unit[1].T
    picture = np.array([int(Path(path).stem) % len(photographs(PHOTOGRAPH)) for path in paths])
    different = cosines[picture[:, None] != picture]
    print(f"cosine of the same file's vectors: at least {cosines.diagonal().min():.6f}", end="")
    print(f"; of different photographs': at most {different.max():.6f}")


# --- on a GPU ----------------------------------------------------------------------------------------------------


def matrix_peak() -> float:
    """Measure operations per second of products of large square matrices in bfloat16, the best of ten."""
    a, b = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    taken = []
    for _ in range(10):
        torch.cuda.synchronize()
        started = time.perf_counter()
        torch.mm(a, b)
        torch.cuda.synchronize()
        taken.append(time.perf_counter() - started)
    return 2 * SIDE**3 / min(taken)


def gpu_forward(network: Any, batch: Tensor, batches: int) -> None:
    """Run the network on a batch that is on the GPU already."""
    with torch.inference_mode(), torch.autocast("cuda", torch.bfloat16):
        for _ in range(batches):
            network.encode_image(batch)
    torch.cuda.synchronize()


def measure_gpu(folder: Path, weights: Path, rounds: int) -> None:
    """Measure end to end in bfloat16 beside the forward pass alone, and beside the GPU's matrix products."""
    count, peak = len(load_images(str(folder))), matrix_peak()
    print(f"\n{torch.cuda.get_device_name()}: {peak / 1e12:.0f} Tflop/s in products of {SIDE} x {SIDE}, bfloat16")
    for name in ON_GPU:
        network = open_clip.create_model(name.partition("/")[2], device="cuda").eval()
        batches = {size: torch.rand(size, 3, 224, 224, device="cuda") for size in GPU_BATCHES}
        with FlopCounterMode(display=False) as counter:
            gpu_forward(network, batches[GPU_BATCH_SIZE], 1)
        operations = counter.get_total_flops() / GPU_BATCH_SIZE
        encoder = load_encoder(f"{randomly_weighted(name, weights)},precision=bfloat16", device="cuda:0")
        stages: dict[str, float] = {}
        extracting = Way(f"extract {short(encoder)}", count, partial(end_to_end, folder, [encoder], "cuda:0", stages))
        alone = [
            Way(f"alone, batches of {size}", count // size * size, partial(gpu_forward, network, batch, count // size))
            for size, batch in batches.items()
        ]
        end_to_end(folder, [encoder], "cuda:0", {})  # the first time, kernels are chosen
        print(f"\n{short(encoder)} on {count:,} photographs, {operations / 1e9:.1f} Gflop each")
        take_turns([*alone, extracting], rounds)
        print_ratio("end to end / alone", extracting.speeds, fastest(alone).speeds)
        for way in (fastest(alone), extracting):
            print_spread(f"{way.name}, of the peak", [speed * operations / peak for speed in way.speeds])


# -----------------------------------------------------------------------------------------------------------------


def measure(options: argparse.Namespace, into: Path) -> None:
    """Measure all parts that this machine and the options allow, with folders and weights in a temporary folder."""
    one_each = torch.get_num_threads() * BATCH_SIZE
    print(f"{torch.get_num_threads()} threads, batches of {BATCH_SIZE}")
    if options.count:
        count = max(1, options.count // one_each) * one_each
        print(f"\n{count:,} bundled emoji, bundled encoders")
        bundled = [load_encoder(name) for name in ("bundled/dino", "bundled/clip")]
        measure_share(write_emoji(into, count), bundled, count, options.rounds)
    if options.large_count:
        count = max(1, options.large_count // one_each) * one_each
        print(f"\n{count:,} photographs of {PHOTOGRAPH[0]} x {PHOTOGRAPH[1]}, large encoders")
        large = [load_encoder(randomly_weighted(name, into)) for name in LARGE]
        measure_share({"JPEG": write_photographs(into, count)}, large, count, options.large_rounds)
    if options.clip_retrieval:
        for name, count in zip(COMPARED, options.compared_counts, strict=True):
            folder, encoder = write_photographs(into, count), randomly_weighted(name, into)
            measure_clip_retrieval(options.clip_retrieval, encoder, folder, options.workers, options.large_rounds)
    else:
        print("\nNot beside clip-retrieval: --clip-retrieval did not say which Python has it.")
    if torch.cuda.is_available():
        measure_gpu(write_photographs(into, options.gpu_count), into, options.rounds)
    else:
        print("\nNo GPU here.")


def main() -> None:
    """Measure everything; with ``--serve``, be the process of embprobe that is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=2048, help="emoji, in whole batches for all threads; 0: none")
    parser.add_argument("--large-count", type=int, default=128, help="photographs for the large encoders")
    parser.add_argument("--compared-counts", type=int, nargs=2, default=[512, 256], help="for either model")
    parser.add_argument("--gpu-count", type=int, default=8192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large-rounds", type=int, default=3, help="for large encoders and clip-retrieval")
    parser.add_argument("--clip-retrieval", metavar="PYTHON", help="of an environment that holds it")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="of clip-retrieval; by default it has 4")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(*options.serve)
        return
    logging.disable(logging.WARNING)  # open_clip warns of random weights
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as temporary:
        measure(options, Path(temporary))


if __name__ == "__main__":
    main()
