"""Measure how fast questions are generated: questions planned a second, and milliseconds to draw a scene of each kind.

python benchmarks/questions.py [--images bundled/emoji:train] [--scenes 2000] [--rounds 3]

Processor time of one process; of the rounds the best counts. Scenes are read as an extraction reads them, each with the
drawings that it shows.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

from embprobe.images import load_images
from embprobe.vlm.generate import generate

TARGET = 2_000
"""Questions a second that are wanted."""


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", default="bundled/emoji:train")
    parser.add_argument("--scenes", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    images = load_images(options.images)
    generate(images, scenes=13, seed=0)
    planned, drawn = 0.0, dict[str, float]()
    for seed in range(options.rounds):
        started = time.process_time()
        asked = generate(images, scenes=options.scenes, seed=seed).questions
        planned = max(planned, len(asked) / (time.process_time() - started))
        spent: dict[str, list[float]] = defaultdict(list)
        for row in asked.images.rows:
            started = time.process_time()
            row.read()
            spent[row.labels["scene"]].append(time.process_time() - started)
        for kind, seconds in spent.items():
            drawn[kind] = min(drawn.get(kind, 1e9), sum(seconds) / len(seconds) * 1e3)
    print(f"planned   {planned:8,.0f} questions a second, {planned / TARGET:.1f} times the {TARGET:,} that are wanted")
    for kind, milliseconds in sorted(drawn.items()):
        print(f"{kind:<10}{milliseconds:8.2f} ms a scene")


if __name__ == "__main__":
    main()
