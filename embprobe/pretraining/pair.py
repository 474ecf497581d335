"""Train the study's pair into a workspace: two objectives, everything else equal."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from embprobe.claims.roles import UNTRAINED, Roles
from embprobe.embeddings.workspace import Workspace
from embprobe.images import load_images
from embprobe.pretraining.recipe import Recipe
from embprobe.pretraining.trainer import Progress, pretrain
from embprobe.system.processes import Machine, choose_machine

PAIR = ("clip", "dino")
ProgressBar = Callable[[int], AbstractContextManager[Progress]]
"""Takes a run's number of steps; returns a context whose value is called after each of them."""


def pretrained_roles(
    images_seen: int,
    workspace: Workspace,
    *,
    seed: int,
    device: str,
    progress_bar: ProgressBar,
) -> Roles:
    """Pretrain an encoder for each objective on the bundled images, and give them their roles in the study.

    An interrupted run goes on, and a finished one is not trained again: a run's folder is named after its objective,
    its length and its seed.

    Args:
        images_seen: The length of each run.
        workspace: The folder for the encoders.
        seed: Of both runs; the untrained twin has the same.
        device: A torch device.
        progress_bar: Shows the progress of each run.

    Raises:
        EmbprobeError: As :func:`embprobe.pretraining.trainer.pretrain` does.
    """
    names = {}
    for objective in PAIR:
        recipe = Recipe(objective, images_seen=images_seen, seed=seed)
        out = workspace.pretrained(f"{objective}-{images_seen}-images-seed-{seed}")
        pretrain_on_emoji(recipe, out, machine=choose_machine(device), progress_bar=progress_bar)
        names[objective] = f"bundled/{objective}:{out / 'model.safetensors'}"
    return Roles(names, "'{}' was not pretrained", f"{UNTRAINED}:{seed}" if seed else UNTRAINED)


def pretrain_on_emoji(recipe: Recipe, out: Path, *, machine: Machine, progress_bar: ProgressBar) -> Path:
    """Pretrain one encoder on the bundled images; returns and raises as ``pretrain`` does."""
    images, held_out = load_images("bundled/emoji:train"), load_images("bundled/emoji:unseen-drawing")
    with progress_bar(recipe.steps) as progress:
        return pretrain(images, recipe, out, held_out=held_out, machine=machine, progress=progress)
