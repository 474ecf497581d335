"""All layers of a network in one pass, beside its last layer alone and a pass for each; tokens; profiles.

python benchmarks/layers.py [--images 64] [--rounds 5] [--tokens 10000] [--no-profiles]

ViT-B/16 of timm with random weights. Its last layer, all twelve by one pass, and twelve passes take turns on the same
images, in batches of 16. Then tokens of ViT-B/16's shape, 197 x 768 in float16, are extracted of ``--tokens`` images
and read once, in a process of its own for its peak memory (its own, without the maps of files); there the network is a
stand-in that costs nothing, for what is measured is the store. Last, the headlines of category, text, colour and style
on the bundled emoji by the bundled pair: by all six layers and the untrained network's, beside the last layer alone,
each in a workspace of its own.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import timm
import torch
from torch import Tensor, nn

from embprobe.embeddings.session import Session
from embprobe.embeddings.workspace import Workspace
from embprobe.encoders import load_encoder, load_encoders, network_encoder
from embprobe.encoders.families.timm import trunk_of
from embprobe.encoders.layers import Trunk
from embprobe.encoders.network import NetworkEncoder, encode_together
from embprobe.images import load_images
from embprobe.images.rows import Images, Row
from embprobe.probing.card import bundled_card
from embprobe.probing.profiles import Profiled, run_profiles

BATCH = 16


def vit() -> NetworkEncoder:
    """Return a ViT-B/16 with random weights."""
    torch.manual_seed(0)
    network = timm.create_model("vit_base_patch16_224", num_classes=0)
    return network_encoder(
        network, device="cpu", input_size=224, mean=(0.5,) * 3, std=(0.5,) * 3, pooling="cls", trunk=trunk_of(network)
    )


def passes(images: int, rounds: int) -> None:
    """Print how long one layer, all layers together and all layers one by one take."""
    encoder = vit()
    layers = encoder.layers()
    batches = [torch.randn(BATCH, 3, 224, 224) for _ in range(images // BATCH)]
    ways: dict[str, Callable[[Tensor], object]] = {
        "the last layer": layers[-1].encode_images,
        "twelve layers, one pass": lambda batch: encode_together(layers, [batch] * len(layers)),
        "twelve layers, twelve passes": lambda batch: [layer.encode_images(batch) for layer in layers],
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            if number < 2 or "twelve passes" not in name:
                began = time.perf_counter()
                for batch in batches:
                    way(batch)
                seconds[name].append(time.perf_counter() - began)
    last = seconds["the last layer"]
    for name, taken in seconds.items():
        ratios = [each / one for each, one in zip(taken, last, strict=False)]
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{name}: {statistics.median(taken):.1f} s for {images} images, {statistics.median(ratios):.2f} ({spread})"
        )


class StandIn(nn.Module):
    """A network with the tokens of a ViT-B/16 that costs nothing: each patch's mean colour, repeated."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.block = nn.AvgPool2d(16), nn.Identity()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images: Tensor) -> Tensor:
        patches = (self.pool(images) * self.scale).flatten(2).transpose(1, 2)
        tokens = torch.cat([patches.mean(1, keepdim=True), patches], 1).repeat(1, 1, 256)
        block: Tensor = self.block(tokens)
        return block[:, 0]


def store(images: int, folder: Path, answer: Connection) -> None:
    """Extract and read tokens; send the seconds of both, the bytes on the disk, and this process's peak memory."""
    encoder = network_encoder(
        StandIn(),
        device="cpu",
        input_size=224,
        mean=(0,) * 3,
        std=(1,) * 3,
        pooling="cls",
        trunk=Trunk(lambda network: [network.block], prefix=1, has_class=True),
    )
    (tokens_of,) = encoder.views({"layer": "1", "pooling": "tokens", "stored": "float16"})
    from PIL import Image

    rows = [
        Row(f"{i:06d}", {}, str(i), lambda i=i: Image.new("RGB", (224, 224), (i % 256, i // 256 % 256, 7)))  # type: ignore[misc]
        for i in range(images)
    ]
    seen = [_own_memory()]
    done = threading.Event()

    def sample() -> None:
        while not done.wait(0.02):
            seen.append(_own_memory())

    watch = threading.Thread(target=sample)
    watch.start()
    began = time.perf_counter()
    tokens = Session(Workspace.open(folder)).tokens(Images("greys", rows), tokens_of, "tokens")
    wrote = time.perf_counter()
    total = sum(float(np.asarray(tokens.tokens[i : i + 64], np.float32).sum()) for i in range(0, images, 64))
    read = time.perf_counter()
    done.set()
    watch.join()
    answer.send((wrote - began, read - wrote, tokens.tokens.nbytes, (max(seen) - seen[0]) / 2**30, total))


def _own_memory() -> int:
    """Return the bytes of memory that this process holds itself, without the maps of files."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+)", status)[1])  # type: ignore[index]


def profiles() -> None:
    """Print how long four headlines take by all layers, and by the last alone."""
    images = load_images("bundled/emoji")
    cards = [bundled_card(name) for name in ("category", "text", "color", "style")]
    pair, twin = load_encoders(["bundled/clip", "bundled/dino"]), load_encoder("reference/random-vit")
    seconds = {}
    for asked in ("-1", "all"):
        with tempfile.TemporaryDirectory() as folder:
            with_references = [(card, load_encoders(card.references)) for card in cards]
            twins = [Profiled.of(twin)] if asked == "all" else []
            began = time.perf_counter()
            profiled = [Profiled.of(encoder, asked) for encoder in pair]
            list(run_profiles(with_references, images, profiled, twins, Session(Workspace.open(Path(folder)))))
            seconds[asked] = time.perf_counter() - began
    ratio = seconds["all"] / seconds["-1"]
    print(f"four headlines: by the last layer {seconds['-1']:.0f} s, by all {seconds['all']:.0f} s, {ratio:.2f} times")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--no-profiles", action="store_true")
    options = parser.parse_args()
    if options.images:
        passes(options.images, options.rounds)
    if not options.no_profiles:
        profiles()
    with tempfile.TemporaryDirectory() as folder:
        receive, send = multiprocessing.Pipe(duplex=False)
        process = multiprocessing.get_context("spawn").Process(target=store, args=(options.tokens, Path(folder), send))
        process.start()
        wrote, read, size, peak, _ = receive.recv()
        process.join()
    print(
        f"tokens of {options.tokens:,} images: {size / 1e9:.2f} GB, written in {wrote:.0f} s and read in {read:.0f} s, "
        f"{peak:.2f} GiB of memory at most above the start"
    )


if __name__ == "__main__":
    main()
