"""One trainer for every objective: the same images in the same order, the same optimizer and schedule."""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from embprobe.encoders.towers import IMAGE_SIZE, PATCH_SIZE, WIDTH, TwoTowers
from embprobe.errors import EmbprobeError, UsageError
from embprobe.files import replacing, write_json
from embprobe.images.rows import Images
from embprobe.pretraining.data import TrainingImages
from embprobe.pretraining.monitor import Monitor
from embprobe.pretraining.objectives import OBJECTIVES
from embprobe.pretraining.views import make_view

CHECKPOINTS = 20
"""How often in a run its state is saved and its encoder looked at."""


@dataclass(frozen=True)
class Recipe:
    """Everything a run depends on besides the images. Two objectives are comparable if the rest is equal."""

    objective: str
    images_seen: int = 200_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.05
    word_rate: float = 0.3
    color_jitter: bool = True
    seed: int = 0

    @property
    def steps(self) -> int:
        return max(1, self.images_seen // self.batch_size)


Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each step with the step, the number of steps, and the latest numbers."""


def pretrain(
    images: Images, recipe: Recipe, out: Path, *, held_out: Images | None = None, progress: Progress | None = None
) -> Path:
    """Train an encoder; returns the folder ``out`` with its weights, recipe, losses and loss curve.

    A run that was interrupted goes on from its last checkpoint in ``out``; one that finished is not run again. Raises
    :class:`UsageError` if ``out`` holds a run of another recipe, :class:`EmbprobeError` if the loss stops being a
    number.
    """
    if recipe.objective not in OBJECTIVES:
        raise UsageError(f"There is no objective '{recipe.objective}'. There are: {', '.join(OBJECTIVES)}.")
    described = {**asdict(recipe), "images": images.name, "images_fingerprint": images.fingerprint}
    if _same_recipe(out, described) and (out / "model.safetensors").exists():
        return out
    if (out / "recipe.json").exists() and not _same_recipe(out, described):
        raise UsageError(f"'{out}' holds a run of another recipe. Choose another --out or remove it.")
    data = TrainingImages(images, word_rate=recipe.word_rate)
    if recipe.batch_size > data.concepts:
        raise UsageError(f"A batch of {recipe.batch_size} needs as many concepts; '{images.name}' has {data.concepts}.")
    run = _Run(recipe, data, out, described)
    monitor = None if held_out is None else Monitor(images, held_out)
    every = max(1, recipe.steps // CHECKPOINTS)
    while run.step < recipe.steps:
        numbers = run.train_step()
        if run.step % every == 0 or run.step == recipe.steps:
            if monitor is not None:
                numbers.update(monitor.look(run.objective.encoder))
            run.save()
        if progress is not None:
            progress(run.step, recipe.steps, numbers)
    run.finish()
    return out


class _Run:
    """The state of one training run and its files."""

    def __init__(self, recipe: Recipe, data: TrainingImages, out: Path, described: dict[str, object]) -> None:
        self.recipe, self.data, self.out, self.described = recipe, data, out, described
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(recipe.seed)
            self.objective = OBJECTIVES[recipe.objective](seed=recipe.seed, captions=data.captions())
        self.objective.train()
        trained = [p for p in self.objective.parameters() if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim >= 2], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
        self.trained = trained
        self.step = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self._resume()

    def train_step(self) -> dict[str, float]:
        started = time.perf_counter()
        recipe = self.recipe
        batch = self.data.batch(recipe.batch_size, seed=recipe.seed, step=self.step)
        generator = torch.Generator().manual_seed(
            int(np.random.SeedSequence([recipe.seed, self.step]).generate_state(1)[0])
        )
        views = [
            make_view(batch.images, view, color_jitter=recipe.color_jitter, generator=generator)
            for view in self.objective.views
        ]
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(self.step, recipe.steps, recipe.warmup)
        loss, numbers = self.objective.loss(views, batch.captions)
        if not math.isfinite(loss.item()):
            raise EmbprobeError(f"The loss became {loss.item()} at step {self.step}. Try a lower learning rate.")
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.trained, 3.0)
        self.optimizer.step()
        self.step += 1
        self.objective.after_step(self.step / recipe.steps)
        self.seconds += time.perf_counter() - started
        numbers = {"step": self.step, "loss": loss.item(), **numbers}
        self.history.append(numbers)
        return numbers

    def save(self) -> None:
        """The checkpoint, and the losses so far."""
        write_json(self.out / "recipe.json", self.described)
        state = {
            "step": self.step,
            "seconds": self.seconds,
            "history": self.history,
            "objective": self.objective.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        with replacing(self.out / "checkpoint.pt") as path:
            torch.save(state, path)
        names = list(dict.fromkeys(name for numbers in self.history for name in numbers))
        with replacing(self.out / "losses.csv") as path, path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, names, lineterminator="\n")
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in self.history)

    def finish(self) -> None:
        """Weights in float16 beside the recipe and what it cost; the checkpoint is no longer needed."""
        from embprobe.plots.training import plot_losses

        encoder: TwoTowers = self.objective.encoder
        weights = {name: value.half().contiguous() for name, value in encoder.state_dict().items()}
        metadata = {"vocabulary": json.dumps(encoder.vocabulary)}
        with replacing(self.out / "model.safetensors") as path:
            path.write_bytes(save(weights, metadata=metadata))
        parameters = {"vit": _count(encoder.vit), "total": _count(encoder)}
        architecture = {"image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE, "width": WIDTH, "parameters": parameters}
        versions = {name: version(name) for name in ("embprobe", "torch", "timm", "numpy")}
        cost = {"seconds": round(self.seconds), "threads": torch.get_num_threads(), "device": "cpu"}
        write_json(
            self.out / "recipe.json", {**self.described, "vit": architecture, "cost": cost, "versions": versions}
        )
        plot_losses(self.out / "losses.csv", self.out / "losses.png")
        (self.out / "checkpoint.pt").unlink(missing_ok=True)

    def _resume(self) -> None:
        checkpoint = self.out / "checkpoint.pt"
        if not checkpoint.exists():
            return
        state = torch.load(checkpoint, weights_only=True)
        self.objective.load_state_dict(state["objective"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.history = state["step"], state["seconds"], state["history"]


def _schedule(step: int, steps: int, warmup: float) -> float:
    """A linear rise over the share ``warmup`` of the steps, then a half cosine to zero."""
    rise = max(1.0, warmup * steps)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1.0, steps - rise)))


def _same_recipe(out: Path, described: dict[str, object]) -> bool:
    path = out / "recipe.json"
    if not path.exists():
        return False
    saved = json.loads(path.read_text(encoding="utf-8"))
    return all(saved.get(name) == value for name, value in described.items())


def _count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
