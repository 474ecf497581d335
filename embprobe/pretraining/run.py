"""One training run: its state, its steps and its files."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from torch import Generator
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Dataset

from embprobe.encoders.towers.vit import IMAGE_SIZE, PATCH_SIZE, WIDTH
from embprobe.encoders.towers.weights import save_towers
from embprobe.errors import EmbprobeError
from embprobe.pretraining.data import Batch, TrainingImages
from embprobe.pretraining.gradients import backpropagate
from embprobe.pretraining.objectives.base import Features, Objective
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.views import augmented, make_view
from embprobe.system.files import replacing, sweep, write_json
from embprobe.system.history import History
from embprobe.system.processes import Machine, Processes
from embprobe.system.written import written

_CLIPPED = 3.0
"""The largest norm of a gradient; a longer one is scaled down to it."""


class Run:
    """A training run, which goes on from the checkpoint in ``out`` if there is one.

    ``described`` is written into ``recipe.json``.
    """

    def __init__(
        self,
        objective: Objective,
        data: TrainingImages,
        recipe: Recipe,
        out: Path,
        *,
        described: dict[str, object],
        machine: Machine,
        processes: Processes,
    ) -> None:
        self.data, self.recipe, self.out, self.machine = data, recipe, out, machine
        self._described, self.processes = described, processes
        self._parts = self.processes.parts(recipe.batch_size, machine.accumulate)
        self.objective = objective.train().to(self.processes.device)
        self._views = augmented(objective.views, recipe.augmentation)
        self._trained = [p for p in objective.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in self._trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in self._trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        self._optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True)
        self.step = 0
        self._seconds = 0.0
        self.history = History(recipe.steps)
        self._resume()
        self._networks: Any = objective
        self._unsynchronised: Any = nullcontext
        if self.processes.world > 1:
            # parameters that only the loss uses have their gradient already, the same in every process
            self._networks = DistributedDataParallel(objective, find_unused_parameters=True)
            self._unsynchronised = self._networks.no_sync

    def batches(self) -> Iterator[Batch]:
        """Return the batches of the steps that are left."""
        steps = _Steps(self.data, self.recipe, self.step)
        # with a generator of its own, because the loader would draw from torch's
        return iter(DataLoader(steps, batch_size=None, num_workers=self.machine.workers, generator=Generator()))

    def train(self, batch: Batch) -> dict[str, float]:
        """Train one step.

        Returns:
            The loss, and the other numbers that the objective logs.

        Raises:
            EmbprobeError: The loss is not finite.
        """
        started = time.perf_counter()
        recipe = self.recipe
        images = batch.images.to(self.processes.device)
        generator = Generator().manual_seed(_mixed(recipe.seed, self.step))
        views = [make_view(images, v, backgrounds=recipe.backgrounds, generator=generator) for v in self._views]
        for group in self._optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(self.step)
        self._optimizer.zero_grad()

        def features_of(part: slice) -> Features:
            with self.machine.autocast():
                features: Features = self._networks([view[part] for view in views], batch.captions[part])
            return features

        loss, numbers = backpropagate(
            self.objective, features_of, self._parts, self.processes, unsynchronised=self._unsynchronised
        )
        numbers = {"loss": loss.item(), **numbers}
        if not math.isfinite(numbers["loss"]):
            raise EmbprobeError(f"The loss became {numbers['loss']} at step {self.step}. Try a lower learning rate.")
        torch.nn.utils.clip_grad_norm_(self._trained, _CLIPPED)
        self._optimizer.step()
        self.step += 1
        self.objective.after_step(self.step / recipe.steps)
        self.history.add(self.step, numbers)
        self._seconds += time.perf_counter() - started
        return numbers

    def save(self) -> None:
        """Write the checkpoint and the losses so far."""
        if not self.processes.first:
            return
        write_json(self.out / "recipe.json", self._described)
        state = {
            "step": self.step,
            "seconds": self._seconds,
            "history": self.history.state(),
            "objective": self.objective.state_dict(),
            "optimizer": self._optimizer.state_dict(),
        }
        with replacing(self.out / "checkpoint.pt") as path:
            torch.save(state, path)
        self.history.write(self.out / "losses.csv")

    def finish(self) -> None:
        """Write the weights in float16, the recipe with its cost and the losses; remove the checkpoint.

        The weights are written last, so a folder that has them has the rest, too.
        """
        from embprobe.plots.training import plot_losses

        if not self.processes.first:
            return
        encoder = self.objective.encoder
        parameters = {"vit": _count(encoder.vit), "total": _count(encoder)}
        architecture = {"image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE, "width": WIDTH, "parameters": parameters}
        cost = {
            "seconds": round(self._seconds),
            "device": self.machine.device,
            "precision": self.machine.precision,
            "threads": torch.get_num_threads(),
            "processes": self.processes.world,
        }
        versions = {name: version(name) for name in ("embprobe", "torch", "timm", "numpy")}
        described = {**self._described, "vit": architecture, "cost": cost, "versions": versions}
        write_json(self.out / "recipe.json", described)
        figure = self.out / "losses.png"
        written("figure", figure, lambda: plot_losses(self.out / "losses.csv", figure))
        save_towers(encoder, self.out / "model.safetensors")
        (self.out / "checkpoint.pt").unlink(missing_ok=True)

    def _resume(self) -> None:
        if self.processes.first:
            sweep(self.out)
        checkpoint = self.out / "checkpoint.pt"
        if not checkpoint.exists():
            return
        try:
            state = torch.load(checkpoint, weights_only=True, map_location=self.processes.device)
            self.objective.load_state_dict(state["objective"])
            self._optimizer.load_state_dict(state["optimizer"])
            self.history.restore(state["history"])
            self.step, self._seconds = state["step"], state["seconds"]
        except (UnpicklingError, RuntimeError, ValueError, KeyError, TypeError, EOFError):
            raise EmbprobeError(f"'{checkpoint}' is damaged. Remove it to start the run again.") from None


class _Steps(Dataset[Batch]):
    """The batches from the step ``start`` on."""

    def __init__(self, data: TrainingImages, recipe: Recipe, start: int) -> None:
        self._data, self._recipe, self._start = data, recipe, start

    def __len__(self) -> int:
        return self._recipe.steps - self._start

    def __getitem__(self, index: int) -> Batch:
        return self._data.batch(self._recipe.batch_size, seed=self._recipe.seed, step=self._start + index)


def described_in(out: Path) -> dict[str, object] | None:
    """Read ``recipe.json`` of the run in a folder; None if there is none.

    Raises:
        EmbprobeError: The file is damaged.
    """
    path = out / "recipe.json"
    if not path.exists():
        return None
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        described = None
    if not isinstance(described, dict):
        raise EmbprobeError(f"'{path}' is damaged. Choose another --out or remove '{out}'.")
    return described


def _mixed(seed: int, step: int) -> int:
    """Mix seed and step into one seed, so that no two of them share their random numbers."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
