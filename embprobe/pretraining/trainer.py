"""Train an encoder with any objective: the same images in the same order, the same optimizer and schedule."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from embprobe.encoders.towers.language import LanguageModel
from embprobe.errors import EmbprobeError, UsageError
from embprobe.images.rows import Images
from embprobe.pretraining.data import TrainingImages, Words
from embprobe.pretraining.monitor import Monitor
from embprobe.pretraining.objectives import build_objective
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.run import Run, described_in
from embprobe.system.processes import Machine, Processes, torch_threads

LOOKS = 20
"""The number of times in a run that the monitor looks at the encoder."""
SAVED_EVERY = 300.0
"""Seconds between two checkpoints, the most that a kill costs."""
COLLAPSED = 1.5
"""Below this effective rank the embeddings of all images are nearly the same."""

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
    """Train an encoder on images and their captions.

    An interrupted run goes on from its last checkpoint in ``out``, with the losses of one that was never interrupted; a
    finished run is not run again.

    Args:
        images: The training images, each with a label ``caption`` or ``name``.
        recipe: The objective and all other settings that decide the result.
        out: The folder of the run.
        held_out: Other images of the same concepts, to watch how well the encoder recognises them.
        language_model: The folder of the frozen language model that the recipe names.
        machine: The device and its settings; by default one CPU.
        progress: Called after each step.

    Returns:
        The folder ``out``, with weights, recipe, losses and loss curve.

    Raises:
        UsageError: ``out`` holds a run of another recipe, the recipe names another language model, or there are fewer
            concepts than images in a batch.
        EmbprobeError: The loss stops being a number, or the features of all images become the same.
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
    with torch_threads(machine.threads):
        return _train(images, recipe, out, described, held_out, language_model, machine, progress)


def _train(
    images: Images,
    recipe: Recipe,
    out: Path,
    described: dict[str, Any],
    held_out: Images | None,
    language_model: Path | None,
    machine: Machine,
    progress: Progress | None,
) -> Path:
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
        look_now = run.step % every == 0 or run.step == recipe.steps
        if look_now:
            look = monitor.look(run.objective.encoder)
            run.history.look(run.step, look)
            if math.isnan(look["effective_rank"]):
                raise EmbprobeError(
                    f"The features stopped being numbers at step {run.step}. Try a lower learning rate."
                )
            if look["effective_rank"] < COLLAPSED and run.step > recipe.warmup * recipe.steps:
                raise EmbprobeError(
                    f"The features collapsed: at step {run.step} all images have nearly the same (effective rank "
                    f"{look['effective_rank']:.2f}). Try a lower learning rate or another seed."
                )
        if look_now or time.monotonic() - saved > SAVED_EVERY:
            run.save()
            saved = time.monotonic()
        if progress is not None:
            progress(run.step, recipe.steps, {**numbers, **run.history.last_look})
    run.finish()
    return out
