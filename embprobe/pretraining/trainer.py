"""One trainer for every objective: the same images in the same order, the same optimizer and schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from embprobe.encoders.towers.language import LanguageModel
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.pretraining.data import TrainingImages, Words
from embprobe.pretraining.monitor import Monitor
from embprobe.pretraining.objectives import build_objective
from embprobe.pretraining.processes import Machine, Processes
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.run import Run, described_in

LOOKS = 20
"""How often in a run its encoder is looked at."""
SAVED_EVERY = 300.0
"""Seconds between two checkpoints: what a kill costs at most."""
COLLAPSED = 1.5
"""An effective rank below this says that all images look the same."""

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each step with the step, the number of steps, and the latest numbers."""


def pretrain(
    images: Images,
    recipe: Recipe,
    out: Path,
    *,
    held_out: Images | None = None,
    language_model: Path | None = None,
    machine: Machine | None = None,
    progress: Progress | None = None,
) -> Path:
    """Train an encoder; returns the folder ``out`` with its weights, recipe, losses and loss curve.

    A run that was interrupted goes on from its last checkpoint in ``out``, with the losses of one that was not; one
    that finished is not run again. Raises :class:`UsageError` if ``out`` holds a run of another recipe or the batch
    cannot be had, :class:`EmbprobeError` if the loss stops being a number or the features of all images become the
    same.
    """
    machine = machine or Machine()
    given = "" if language_model is None else language_model.resolve().name
    if given != recipe.language_model:
        raise UsageError(
            f"The recipe asks for the language model '{recipe.language_model or 'none'}', not '{given or 'none'}'."
        )
    described = {**asdict(recipe), "images": images.name, "images_fingerprint": images.fingerprint}
    known = described_in(out)
    if known is not None and any(known.get(name) != value for name, value in described.items()):
        differing = ", ".join(name for name, value in described.items() if known.get(name) != value)
        raise UsageError(f"'{out}' holds a run of another recipe ({differing}). Choose another --out or remove it.")
    if known is not None and (out / "model.safetensors").exists():
        return out
    if machine.threads is not None:
        torch.set_num_threads(machine.threads)
    words = Words(rate=recipe.word_rate, alone=recipe.alone_rate, parrot=recipe.parrot_rate)
    data = TrainingImages(images, words)
    if recipe.batch_size > data.concepts:
        raise UsageError(f"A batch of {recipe.batch_size} needs as many concepts; '{images.name}' has {data.concepts}.")
    processes = Processes(machine.device)
    language = None if language_model is None else LanguageModel(language_model, device=processes.device)
    objective = build_objective(recipe.objective, seed=recipe.seed, captions=data.captions(), language_model=language)
    run = Run(objective, data, recipe, out, described=described, machine=machine, processes=processes)
    monitor = Monitor(images, held_out, device=processes.device)
    every = max(1, recipe.steps // LOOKS)
    saved = time.monotonic()
    for batch in run.batches():
        numbers = run.train(batch)
        looked = run.step % every == 0 or run.step == recipe.steps
        if looked:
            seen = monitor.look(run.objective.encoder)
            run.history.look(run.step, seen)
            if math.isnan(seen["effective_rank"]):
                raise EmbprobeError(
                    f"The features stopped being numbers at step {run.step}. Try a lower learning rate."
                )
            if seen["effective_rank"] < COLLAPSED and run.step > recipe.warmup * recipe.steps:
                raise EmbprobeError(
                    f"The features collapsed: at step {run.step} all images have nearly the same (effective rank "
                    f"{seen['effective_rank']:.2f}). Try a lower learning rate or another seed."
                )
        if looked or time.monotonic() - saved > SAVED_EVERY:
            run.save()
            saved = time.monotonic()
        if progress is not None:
            progress(run.step, recipe.steps, {**numbers, **run.history.last_look})
    run.finish()
    return out
