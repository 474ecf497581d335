"""How fast the trainer goes, beside a bare loop over the same images, views and modules.

python benchmarks/pretraining.py [--objective clip]... [--rounds 5] [--steps 10]

The bare loop is what one would write in a notebook: make a batch and its views, compute the loss, ``backward``, clip,
step. The trainer adds parts and processes, history, looks and checkpoints; looks and checkpoints come twenty times in a
run, so here they are timed apart and charged by their share of a default run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from embprobe.images import load_images
from embprobe.pretraining.data import TrainingImages, Words
from embprobe.pretraining.monitor import Monitor
from embprobe.pretraining.objectives import OBJECTIVES, build_objective
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.run import Run
from embprobe.pretraining.trainer import LOOKS
from embprobe.pretraining.views import make_view
from embprobe.system.processes import Machine, Processes


def main() -> None:
    """Time both ways in turn and print images per second and the ratio, median and range over rounds."""
    parser = argparse.ArgumentParser(description="Throughput of the trainer beside a bare loop.")
    parser.add_argument("--objective", action="append", choices=sorted(OBJECTIVES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    train, held_out = load_images("bundled/emoji:train"), load_images("bundled/emoji:unseen-drawing")
    data = TrainingImages(train, Words(rate=Recipe("clip").word_rate, alone=0.5, parrot=1.0))
    for step in range(100):
        data.batch(64, seed=0, step=step)  # sizes of type are computed once for each word
    print(f"{arguments.threads} threads, {arguments.rounds} rounds of {arguments.steps} steps of 64 images")
    for name in arguments.objective or OBJECTIVES:
        compare(name, data, Monitor(train, held_out), rounds=arguments.rounds, steps=arguments.steps)


def compare(name: str, data: TrainingImages, monitor: Monitor, *, rounds: int, steps: int) -> None:
    """Print a line for one objective."""
    recipe = Recipe(name)
    with tempfile.TemporaryDirectory() as folder:
        run = Run(
            build_objective(name, seed=0, captions=data.captions()),
            data,
            recipe,
            Path(folder),
            described={},
            machine=Machine(),
            processes=Processes("cpu"),
        )
        bare = bare_loop(name, data, recipe)
        batches = run.batches()

        def trainer(count: int) -> None:
            for _ in range(count):
                run.train(next(batches))

        trainer(2)
        bare(2)
        started = time.process_time()
        monitor.look(run.objective.encoder)
        run.save()
        beside = LOOKS * (time.process_time() - started) / recipe.steps
        speeds: dict[str, list[float]] = {"trainer": [], "bare": []}
        for turn in range(rounds):
            ways = [("trainer", trainer, beside), ("bare", bare, 0.0)]
            for way, go, charged in ways if turn % 2 == 0 else ways[::-1]:
                started = time.process_time()
                go(steps)
                taken = (time.process_time() - started) / steps + charged
                speeds[way].append(recipe.batch_size / taken)
    ratios = [a / b for a, b in zip(speeds["trainer"], speeds["bare"], strict=True)]
    print(
        f"{name:8} trainer {statistics.median(speeds['trainer']):6.1f} images/s of processor time, "
        f"bare {statistics.median(speeds['bare']):6.1f}, ratio {statistics.median(ratios):.2f} "
        f"({min(ratios):.2f}-{max(ratios):.2f})",
        flush=True,
    )


def bare_loop(name: str, data: TrainingImages, recipe: Recipe) -> Callable[[int], None]:
    """Run the same modules without the trainer."""
    objective = build_objective(name, seed=0, captions=data.captions()).train()
    trained = [p for p in objective.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.learning_rate, fused=True)
    generator = torch.Generator().manual_seed(0)

    def go(count: int) -> None:
        for step in range(count):
            batch = data.batch(recipe.batch_size, seed=1, step=step)
            views = [make_view(batch.images, v, backgrounds=True, generator=generator) for v in objective.views]
            loss, _ = objective.loss(objective(views, batch.captions))
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 3.0)
            optimizer.step()
            objective.after_step(0.5)

    return go


if __name__ == "__main__":
    main()
